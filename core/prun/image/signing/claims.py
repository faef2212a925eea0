"""Where signatures of a manifest are found: beside it in its registry, or in the layout that it comes in.

cosign puts them into a manifest under the tag ``sha256-<hex>.sig``, or into one that refers to the image (OCI 1.1).
That somebody claims to have signed something is all that is known here.

Spec: https://github.com/sigstore/cosign/blob/v2.4.1/specs/SIGNATURE_SPEC.md#storage
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument, NotFound, PrunError
from prun.image.manifest import parse_manifest, read_document
from prun.image.media_type import MANIFESTS
from prun.image.signing.payload import SIMPLE_SIGNING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prun.image.document import Descriptor, Manifest
    from prun.image.manifest import Content
    from prun.image.registry.client import Registry

    # Yields what claims to be a signature of the manifest of a digest.
    Claims = Callable[[str], Iterator["Claim"]]

ARTIFACT_TYPE = "application/vnd.dev.cosign.artifact.sig.v1+json"
_MAX_REFERRERS = 32


class Claim(NamedTuple):
    """One signature: where it is, for messages; what describes its payload, and has the signature; how to read that."""

    origin: str
    layer: Descriptor
    read: Callable[[], bytes]


def tag_of(digest: str) -> str:
    """Return the tag that the signatures of a manifest have."""
    return f"{digest.replace(':', '-')}.sig"


def holds_signatures_alone(manifest: Manifest) -> bool:
    """Tell whether a manifest is nothing but signatures: those have none themselves."""
    return bool(manifest["layers"]) and all(layer["mediaType"] == SIMPLE_SIGNING for layer in manifest["layers"])


def of_registry(registry: Registry) -> Claims:
    """Return the claims in a repository."""

    def claims(digest: str) -> Iterator[Claim]:
        with suppress(NotFound):
            found = registry.manifest(tag_of(digest))
            yield from _layers(found.descriptor, found.data, f":{tag_of(digest)}", registry.small_blob)
        referrers: list[Descriptor] = []
        with suppress(PrunError):  # a registry that cannot say knows of none
            referrers = registry.referrers(digest, ARTIFACT_TYPE)["manifests"]
        for each in referrers[:_MAX_REFERRERS]:
            document = registry.manifest(each["digest"], each)
            yield from _layers(each, document.data, f"@{each['digest']}", registry.small_blob)

    return claims


def of_layout(content: Content, entries: Iterable[tuple[Descriptor, Iterable[str]]]) -> Claims:
    """Return the claims in a layout; ``entries`` are its targets, each with its tags."""
    tagged = {tag: target for target, tags in entries for tag in tags}

    def claims(digest: str) -> Iterator[Claim]:
        if target := tagged.get(tag_of(digest)):
            data = read_document(content, target)
            yield from _layers(target, data, tag_of(digest), lambda layer: read_document(content, layer))

    return claims


def none(_digest: str) -> Iterator[Claim]:
    """Return the claims where there can be none."""
    return iter(())


def _layers(descriptor: Descriptor, data: bytes, origin: str, read: Callable[[Descriptor], bytes]) -> Iterator[Claim]:
    if descriptor["mediaType"] not in MANIFESTS:
        raise InvalidArgument(f"{origin} is no manifest of signatures")
    for number, layer in enumerate(parse_manifest(data, descriptor["mediaType"])["layers"]):
        yield Claim(f"{origin}[{number}]", layer, lambda layer=layer: read(layer))  # type: ignore[misc]
