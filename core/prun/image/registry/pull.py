"""An image and all that it needs, from a registry into the content store.

Documents first, for they say what is needed; then the layers, several at a time, unpacked as they come; the documents
are stored last, so that what the store names it has.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple, cast

from prun.errors import DataLoss, InvalidArgument, NotFound, Unavailable
from prun.image.fields import load_object
from prun.image.identity import chain_ids
from prun.image.manifest import NotAnImage, blobs, is_image, needed_for, resolve
from prun.image.media_type import INDEXES, MANIFESTS
from prun.image.partial import is_stored, partial
from prun.image.platform import host_platform
from prun.image.registry.arrival import Arrival
from prun.image.registry.attempts import Attempts
from prun.image.registry.faults import Transient
from prun.image.registry.transport import check_length
from prun.image.registry.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import BinaryIO

    from prun.image.document import Descriptor
    from prun.image.ingest import Ingest
    from prun.image.layout import ContentStore
    from prun.image.partial import Partial
    from prun.image.registry.client import Registry
    from prun.image.registry.transport import Answer
    from prun.services import Blobs
    from prun.types import Image, Platform

    # Asked with what a tag names, that document, and the digest of the one manifest in it that is wanted.
    Admit = Callable[[Registry, Descriptor, bytes, str], None]

    # Unpacks the layers of an image, which it opens by their digests.
    Unpack = Callable[[Image, Callable[[str], BinaryIO]], None]


class _Remote:
    """Documents as content to resolve images in: those of the store, and of the registry where it has none."""

    def __init__(
        self, registry: Registry, store: ContentStore, only: Collection[str] = (), *, repairs: bool = True
    ) -> None:
        self._registry = registry
        self._only = only
        self._store = store
        self._repairs = repairs
        self._manifests: dict[str, Descriptor] = {}
        self._configs: dict[str, Descriptor] = {}
        self.documents: dict[str, bytes] = {}

    def target(self, reference: str) -> Descriptor:
        """Fetch the manifest or index of a tag or a digest and return what describes it."""
        document = self._registry.manifest(reference)
        self._learn(document.descriptor, document.data)
        return document.descriptor

    def has(self, digest: str) -> bool:
        if digest in self._manifests:
            return not self._only or digest in self._only
        return digest in self.documents or digest in self._configs

    def read(self, digest: str, limit_bytes: int) -> bytes:
        if digest not in self.documents:
            expected = self._manifests.get(digest) or self._configs.get(digest)
            if expected is None:
                raise NotFound(f"blob {digest} is named by nothing")
            self._learn(expected, self._read(digest, expected, limit_bytes))
        return self.documents[digest]

    def _read(self, digest: str, expected: Descriptor, limit_bytes: int) -> bytes:
        if is_stored(self._store, expected):
            try:
                return self._store.read(digest, limit_bytes)
            except DataLoss:
                if self._repairs:
                    self._store.delete(digest)  # to be had anew
        if digest in self._manifests:
            return self._registry.manifest(digest, expected).data
        return self._registry.small_blob(expected)

    def _learn(self, descriptor: Descriptor, data: bytes) -> None:
        """Take in a document, and what it says that there is; ``prun.image.manifest`` checks it when it is read."""
        self.documents[descriptor["digest"]] = data
        if descriptor["mediaType"] not in MANIFESTS | INDEXES:
            return  # a config, or an entry of an index that says nothing that we know
        document = load_object(data, f"document {descriptor['digest']}")
        entries = document.get("manifests", [])
        for known, found in ((self._manifests, entries), (self._configs, [document.get("config")])):
            for entry in found if isinstance(found, list) else ():
                if isinstance(entry, dict) and isinstance(entry.get("digest"), str):
                    known.setdefault(entry["digest"], entry)  # type: ignore[arg-type]  # parse_descriptor checks it


class Plan(NamedTuple):
    """What an image needs, what is needed before what needs it; ``image`` is the one to unpack, if there is one."""

    target: Descriptor
    needed: Sequence[Descriptor]
    image: Image | None


def pull(
    registry: Registry,
    reference: str,
    ingest: Ingest,
    platform: Platform | None,
    unpack: Unpack | None,
    *,
    to_run: bool = False,
    only: Collection[str] = (),
    admit: Admit | None = None,
) -> Descriptor:
    """Fetch an image by tag or digest, for one platform, or with ``None`` for all, and return its target.

    ``admit`` is asked before more than documents has been fetched, and raises where the image may not come in.
    ``only``, if any: the digests of those entries of an index that are wanted.
    A tag may name something else than an image, which is fetched as it is, unless it is wanted ``to_run``.
    Whoever opened ``ingest`` gives the target its name before closing it.

    Raises:
        NotFound: there is no such image, or none for the platform.
        NotAnImage: what is wanted to run is something else.
        PermissionDenied: the registry wants somebody else to ask.
        DataLoss, InvalidArgument, ResourceExhausted: the registry gives something else than it should.
        Unavailable: it gives nothing, for long enough.
    """
    store = ingest.store
    remote = _Remote(registry, store, only)
    plan = _plan(remote, remote.target(reference), platform, registry.endpoint.name, to_run=to_run)
    if admit:
        one = plan.image.digest if plan.image and platform else plan.target["digest"]
        admit(registry, plan.target, remote.documents[plan.target["digest"]], one)
    chains = chain_ids([layer.diff_id for layer in plan.image.layers]) if plan.image else ()
    ingest.hold(dict.fromkeys((*(each["digest"] for each in plan.needed), *chains)))
    layers = [each for each in plan.needed if each["digest"] not in remote.documents]
    _Fetch(registry, store, layers).run(plan.image, unpack)
    documents = [each for each in plan.needed if each["digest"] in remote.documents]
    for descriptor in documents:
        if not ingest.has(descriptor["digest"]) and not is_stored(store, descriptor):
            with ingest.writer(descriptor) as writer:
                writer.write(remote.documents[descriptor["digest"]])
    ingest.commit(descriptor["digest"] for descriptor in documents)
    return plan.target


def look(
    registry: Registry, reference: str, store: Blobs, platform: Platform, name: str, admit: Admit | None = None
) -> Image:
    """Return an image by tag or digest, from its documents alone; those that the store has are read there.

    ``admit`` is asked as by ``pull``.

    Raises: as ``pull``.
    """
    remote = _Remote(registry, cast("ContentStore", store), repairs=False)  # it is only read from
    target = remote.target(reference)
    image = resolve(remote, target, platform, name)
    if admit:
        admit(registry, target, remote.documents[target["digest"]], image.digest)
    return image


def _plan(remote: _Remote, target: Descriptor, platform: Platform | None, name: str, *, to_run: bool) -> Plan:
    whole = not to_run and target["mediaType"] in MANIFESTS and not is_image(remote, target)
    if platform is None or whole:
        needed = list(blobs(remote, target))
        try:
            return Plan(target, needed, resolve(remote, target, host_platform(), name))
        except (NotFound, NotAnImage):
            return Plan(target, needed, None)
    image, needed = needed_for(remote, target, platform, name)
    return Plan(target, needed, image)


class _Fetch:
    """The layers of one pull, on their way."""

    def __init__(self, registry: Registry, store: ContentStore, layers: Iterable[Descriptor]) -> None:
        self._registry = registry
        self._store = store
        self._report = registry.report
        self._arrivals = {each["digest"]: Arrival(store, each) for each in layers}
        self._resumed = False

    def run(self, image: Image | None, unpack: Unpack | None) -> None:
        """Fetch all of them, and unpack ``image`` meanwhile."""
        jobs = [functools.partial(self._fetch, arrival) for arrival in self._arrivals.values()]
        workers = Workers(jobs, self._give_up)
        try:
            workers.start()
            if image is not None and unpack is not None:
                self._unpack(image, unpack)
            for arrival in self._arrivals.values():
                arrival.wait()
        except BaseException as error:
            self._give_up(error)
            workers.abandon()
            raise

    def _unpack(self, image: Image, unpack: Unpack) -> None:
        self._report("unpacking", image.digest)
        try:
            unpack(image, self._open)
        except (DataLoss, InvalidArgument):
            if not self._resumed:
                raise
            # What an earlier process had left was damaged, and has been fetched anew by the time that all is here.
            for arrival in self._arrivals.values():
                arrival.wait()
            unpack(image, self._store.open)
        self._report("unpacked", image.digest)

    def _open(self, digest: str) -> BinaryIO:
        return self._arrivals[digest].open() if digest in self._arrivals else self._store.open(digest)

    def _give_up(self, error: BaseException) -> None:
        for arrival in self._arrivals.values():
            arrival.failed(error)
        self._registry.transport.abort()

    def _fetch(self, arrival: Arrival) -> None:
        expected = arrival.descriptor
        digest, size = expected["digest"], expected["size"]
        with partial(self._store, expected, lambda: self._report("waiting", digest, 0, size)) as found:
            if found is None:
                arrival.complete()
                self._report("exists", digest, size, size)
                return
            self._resumed = self._resumed or found.resumed
            try:
                self._bring_all(found, arrival)
            except BaseException as error:
                arrival.failed(error)  # while the file is open: no reader may take another one for it
                raise
            arrival.complete()
        self._report("downloaded", digest, size, size)

    def _bring_all(self, found: Partial, arrival: Arrival) -> None:
        attempts = Attempts(self._registry.transport, self._report)
        while True:
            try:
                self._bring(found, arrival, attempts)
                if found.is_right() or not found.resumed:
                    break
                found.restart()
                arrival.grown(found.descriptor, 0)
            except Transient as error:
                attempts.wait_after(error, arrival.descriptor["digest"])
        found.commit()

    def _bring(self, found: Partial, arrival: Arrival, attempts: Attempts) -> None:
        """Ask for what is missing and take what comes."""
        digest, size = arrival.descriptor["digest"], arrival.descriptor["size"]
        arrival.grown(found.descriptor, found.size)
        if found.size == size:
            return
        answer = self._registry.blob(digest, found.size)
        if not _continues(answer, found.size, size):
            if answer.status != 200:
                answer.close()
                if not found.size:
                    raise Unavailable(f"blob {digest}: the registry answers {answer.status} to a plain question")
            found.restart()
            arrival.grown(found.descriptor, 0)
            if answer.status != 200:
                raise Transient(f"blob {digest}: the registry cannot go on with it")
        check_length(answer, size - found.size, f"blob {digest}")
        for chunk in answer.chunks():
            found.append(chunk)
            arrival.grown(found.descriptor, found.size)
            attempts.brought(len(chunk))
            self._report("downloading", digest, found.size, size)
            if self._registry.transport.cancelled.is_set():
                answer.close()
                raise Unavailable(f"blob {digest} is not fetched: the work was given up")
        if found.size < size:
            raise Transient(f"blob {digest} ends after {found.size} of {size} bytes")


def _continues(answer: Answer, offset: int, size: int) -> bool:
    """Tell whether an answer has the bytes from ``offset`` on."""
    if answer.status != 206:
        return answer.status == 200 and not offset
    stated = answer.headers.get("Content-Range", "").replace(" ", "").lower()
    return stated in (f"bytes{offset}-{size - 1}/{size}", f"bytes{offset}-{size - 1}/*") and offset > 0
