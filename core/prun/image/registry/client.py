"""The distribution API of one repository: manifests, blobs, uploads, tags, referrers.

Spec: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from prun.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted
from prun.image.digest import digest_of, matches, parse_digest
from prun.image.fields import as_strings, load_object
from prun.image.manifest import MAX_DOCUMENT_BYTES, parse_index
from prun.image.media_type import INDEXES, MANIFESTS, OCI_INDEX
from prun.image.reference import is_tag
from prun.image.registry.attempts import patiently
from prun.image.registry.auth import Authorizer
from prun.image.registry.faults import NoTls
from prun.image.registry.progress import Reporter
from prun.image.registry.transport import origin_of
from prun.image.registry.trust import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO, Literal

    from prun.image.document import Descriptor, Index
    from prun.image.registry.auth import Login
    from prun.image.registry.endpoint import Endpoint
    from prun.image.registry.transport import Answer, Transport

    Actions = Literal["pull", "pull,push", ""]

# RFC 6838: what an index may call an entry of it, and may be put into a header.
_TYPE = re.compile(r"[A-Za-z0-9][\w!#$&^.+-]{0,126}/[A-Za-z0-9][\w!#$&^.+-]{0,126}", re.ASCII)
MAX_TAGS = 100_000
PAGE = 1000
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})", re.ASCII)
_NEXT = re.compile(r'<([^<>]+)>\s*;\s*rel="?next"?', re.IGNORECASE)


class Document(NamedTuple):
    """A manifest or an index: the very bytes, and what describes them."""

    descriptor: Descriptor
    data: bytes


class Registry:
    """One repository of a registry; may be used from several threads."""

    def __init__(self, endpoint: Endpoint, transport: Transport, login: Login, report: Reporter | None = None) -> None:
        self.endpoint = endpoint
        self.transport = transport
        self.report = report or Reporter()
        self._auth = Authorizer(transport, login, endpoint.host)
        self._base = ""
        if endpoint.insecure:
            transport.insecure.add(endpoint.host)

    def ping(self) -> None:
        """Check that this is a registry, and that it takes our credentials.

        Raises:
            PermissionDenied: it does not.
        """
        answer = patiently(self.transport, self.report, lambda: self._ask("GET", "/v2/", ""))
        if answer.status != 200:
            raise answer.failure(f"registry {self.endpoint.host}")
        answer.discard()

    def manifest(self, reference: str, expected: Descriptor | None = None) -> Document:
        """Return the manifest or index of a tag or a digest; ``expected`` is what an index says of it.

        Raises:
            NotFound: there is none.
            ResourceExhausted: it is longer than 4 MiB.
            DataLoss: it has another digest, size or type than it should.
        """
        return patiently(self.transport, self.report, lambda: self._manifest(reference, expected))

    def blob(self, digest: str, offset: int = 0) -> Answer:
        """Ask once for a blob, from ``offset`` on if the registry can: 200 is all of it, 206 what was asked for."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._repository("GET", f"/blobs/{parse_digest(digest)}", headers=headers)
        if answer.status not in (200, 206, 416):
            raise answer.failure(f"blob {digest} of {self.endpoint.name}")
        return answer

    def small_blob(self, expected: Descriptor) -> bytes:
        """Return the whole of a blob that is a document.

        Raises:
            ResourceExhausted: it is longer than a document may be.
            DataLoss: it is not what ``expected`` says.
        """
        return patiently(self.transport, self.report, lambda: self._small_blob(expected))

    def has_blob(self, digest: str) -> bool:
        """Tell whether the repository has a blob."""
        path = f"/blobs/{parse_digest(digest)}"
        answer = patiently(self.transport, self.report, lambda: self._repository("HEAD", path, actions="pull,push"))
        if answer.status in (200, 404):
            answer.discard()
            return answer.status == 200
        raise answer.failure(f"blob {digest} of {self.endpoint.name}")

    def tags(self, page: int = PAGE) -> Iterator[str]:
        """Yield all tags, ``page`` at a time.

        Raises:
            NotFound: there is no such repository.
            ResourceExhausted: more than 100,000.
        """
        url, count, seen = f"/tags/list?{urlencode({'n': page})}", 0, set[str]()
        while url and url not in seen:
            seen.add(url)
            answer = self._repository_patiently("GET", url)
            what = f"tags of {self.endpoint.name}"
            document = load_object(_checked(answer, what).read(MAX_DOCUMENT_BYTES, what), what)
            names = as_strings(document.get("tags", []), what, MAX_TAGS)
            for name in names:
                if not is_tag(name):
                    raise InvalidArgument(f"{what}: {name[:200]!r} is no tag")
            yield from names
            count += len(names)
            if count > MAX_TAGS or (not names and answer.headers.get("Link")):
                raise ResourceExhausted(f"{what}: more than {MAX_TAGS}, or pages without end")
            url = self._next_page(answer)

    def referrers(self, digest: str, artifact_type: str = "") -> Index:
        """Return what refers to a manifest: signatures, attestations and the like.

        Where the registry does not know the question, its answer is the index with the tag that the spec names.

        Spec: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
        """
        query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
        answer = self._repository_patiently("GET", f"/referrers/{parse_digest(digest)}{query}")
        if answer.status == 404:
            answer.discard()
            index = self._tagged_referrers(digest)
        else:
            what = f"referrers of {digest}"
            index = parse_index(_checked(answer, what).read(MAX_DOCUMENT_BYTES, what), OCI_INDEX)
        if artifact_type:
            index["manifests"] = [each for each in index["manifests"] if each.get("artifactType") == artifact_type]
        return index

    def put_manifest(self, reference: str, document: Document) -> None:
        """Store a manifest or an index under a tag or its digest; what it refers to must be there."""
        headers = {"Content-Type": document.descriptor["mediaType"]}
        answer = patiently(
            self.transport,
            self.report,
            lambda: self._repository(
                "PUT", f"/manifests/{reference}", actions="pull,push", headers=headers, body=document.data
            ),
        )
        if answer.status not in (200, 201, 202):
            raise answer.failure(f"manifest {reference} of {self.endpoint.name}")
        answer.discard()
        stated = answer.headers.get("Docker-Content-Digest", "")
        if stated and stated != document.descriptor["digest"]:
            raise DataLoss(f"manifest {reference} of {self.endpoint.name} has the digest {stated[:200]} there")

    def start_upload(self, digest: str, mount_from: str = "") -> str:
        """Begin to send a blob: return the URL to send it to, empty where it was mounted from another repository."""
        query = f"?{urlencode({'mount': parse_digest(digest), 'from': mount_from})}" if mount_from else ""
        answer = self._repository(
            "POST", f"/blobs/uploads/{query}", actions="pull,push", headers={"Content-Length": "0"}, also=mount_from
        )
        answer.discard()
        if answer.status == 201 and mount_from:
            return ""
        if answer.status != 202:
            raise answer.failure(f"upload of {digest} to {self.endpoint.name}")
        return self.transport.led_to(answer.url, answer.headers.get("Location", ""))

    def upload_offset(self, url: str, size: int) -> tuple[str, int]:
        """Ask how much of a blob of ``size`` bytes has come to where ``start_upload`` said.

        Return the URL to go on at and the number of bytes; an empty URL where it has to be begun anew.

        Spec: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks
        """
        answer = self._authorized("GET", url, self._scope("pull,push"))
        answer.discard()
        last = _RANGE.fullmatch(answer.headers.get("Range", ""))
        # "0-0" is what most registries say of nothing at all
        offset = int(last[1]) + 1 if answer.status == 204 and last and last[1] != "0" else 0
        if not 0 < offset <= size:
            return "", 0
        return self.transport.led_to(answer.url, answer.headers.get("Location") or answer.url), offset

    def finish_upload(self, url: str, expected: Descriptor, body: IO[bytes], offset: int = 0) -> None:
        """Send the blob, from ``offset`` on, where ``body`` stands, to where ``start_upload`` says."""
        parts = urlsplit(url)
        query = f"{parts.query}&" if parts.query else ""
        url = parts._replace(query=f"{query}{urlencode({'digest': expected['digest']})}", fragment="").geturl()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(expected["size"] - offset)}
        if 0 < offset < expected["size"]:
            headers["Content-Range"] = f"{offset}-{expected['size'] - 1}"
        answer = self._authorized("PUT", url, self._scope("pull,push"), headers, body)
        if answer.status != 201:
            raise answer.failure(f"upload of {expected['digest']} to {self.endpoint.name}")
        answer.discard()

    def _manifest(self, reference: str, expected: Descriptor | None) -> Document:
        what = f"manifest {reference} of {self.endpoint.name}"
        stated_type = expected["mediaType"] if expected else ""
        accepted = sorted({*INDEXES, *MANIFESTS, *([stated_type] if _TYPE.fullmatch(stated_type) else ())})
        answer = self._repository("GET", f"/manifests/{reference}", headers={"Accept": ", ".join(accepted)})
        data = _checked(answer, what).read(MAX_DOCUMENT_BYTES, what)
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        digest = reference if _is_digest(reference) else digest_of(data)
        stated = answer.headers.get("Docker-Content-Digest") or digest
        if not matches(data, digest) or not _is_digest(stated) or not matches(data, stated):
            raise DataLoss(f"{what} has the digest {digest_of(data)}, and not that by which it was announced")
        if media_type not in {*INDEXES, *MANIFESTS, stated_type}:
            raise InvalidArgument(
                f"{what} has the media type {media_type[:200]!r}, which is neither an image manifest nor an index",
                hint="docker schema 1 images have to be converted, with skopeo copy for example"
                if "manifest.v1" in media_type
                else "",
            )
        found: Descriptor = {"mediaType": media_type, "digest": digest, "size": len(data)}
        if expected and (expected["mediaType"], expected["size"]) != (media_type, len(data)):
            raise DataLoss(
                f"{what} is {media_type} of {len(data)} bytes; "
                f"its index says {expected['mediaType'][:200]} of {expected['size']}"
            )
        return Document(found, data)

    def _small_blob(self, expected: Descriptor) -> bytes:
        digest, size = expected["digest"], expected["size"]
        what = f"blob {digest} of {self.endpoint.name}"
        if size > MAX_DOCUMENT_BYTES:
            raise ResourceExhausted(f"{what} has {size} bytes; {MAX_DOCUMENT_BYTES} is the limit for a document")
        data = _checked(self.blob(digest), what).read(size, what)
        if len(data) != size or not matches(data, digest):
            raise DataLoss(f"{what} has {len(data)} bytes of the digest {digest_of(data)}")
        return data

    def _tagged_referrers(self, digest: str) -> Index:
        try:
            document = self.manifest(digest.replace(":", "-")[:128])
        except NotFound:
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        return parse_index(document.data, document.descriptor["mediaType"])

    def _next_page(self, answer: Answer) -> str:
        """Return the path of the page after ``answer``, empty for none: in the same repository, whatever it says."""
        match = _NEXT.search(answer.headers.get("Link", "")[:8192])
        query = urlsplit(match[1]).query if match else ""
        return f"/tags/list?{quote(query, safe='=&%+')}" if query else ""

    def _repository_patiently(self, method: str, path: str) -> Answer:
        return patiently(self.transport, self.report, lambda: self._repository(method, path))

    def _repository(
        self,
        method: str,
        path: str,
        *,
        actions: Actions = "pull",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        also: str = "",
    ) -> Answer:
        """Ask once for something of the repository; ``also`` names another one that is read from."""
        scope = self._scope(actions) + (f" repository:{also}:pull" if also else "")
        return self._ask(method, f"/v2/{quote(self.endpoint.repository)}{path}", scope, headers, body)

    def _ask(
        self, method: str, path: str, scope: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        if self._base:
            return self._authorized(method, self._base + path, scope, headers, body)
        host = self.endpoint.host
        try:
            answer = self._authorized(method, f"https://{host}{path}", scope, headers, body)
        except NoTls:
            # Not what a bad certificate leads to: here is nobody who speaks TLS, and nobody expects it.
            if not self.endpoint.insecure and not is_loopback(urlsplit(f"//{host}").hostname or ""):
                raise
            answer = self._authorized(method, f"http://{host}{path}", scope, headers, body)
            self._base = f"http://{host}"
        else:
            self._base = f"https://{host}"
        return answer

    def _authorized(
        self,
        method: str,
        url: str,
        scope: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | IO[bytes] | None = None,
    ) -> Answer:
        """Send a request, and answer the registry's own challenge: nobody's whom it redirects to."""
        registry = origin_of(url)
        ours = not self._base or registry == origin_of(self._base)
        sent = self._auth.header(scope) if ours else ""
        start = 0 if body is None or isinstance(body, bytes) else body.tell()
        answer = self.transport.exchange(method, url, headers=headers, authorization=sent, body=body)
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status != 401 or not challenge or not ours or origin_of(answer.url) != registry:
            return _or_again(answer, f"{method} of {self.endpoint.name}")
        answer.discard()
        sent = self._auth.answer(challenge, scope, registry, sent)
        if body is not None and not isinstance(body, bytes):
            body.seek(start)
        answer = self.transport.exchange(method, url, headers=headers, authorization=sent, body=body)
        return _or_again(answer, f"{method} of {self.endpoint.name}")

    def _scope(self, actions: Actions) -> str:
        return f"repository:{self.endpoint.repository}:{actions}" if self.endpoint.repository else ""


def _checked(answer: Answer, what: str) -> Answer:
    if answer.status != 200:
        raise answer.failure(what)
    return answer


def _or_again(answer: Answer, what: str) -> Answer:
    """Return the answer, unless it says that the next one may be another."""
    if answer.status in (408, 429) or answer.status >= 500:
        raise answer.failure(what)
    return answer


def _is_digest(text: str) -> bool:
    try:
        return bool(parse_digest(text))
    except InvalidArgument:
        return False
