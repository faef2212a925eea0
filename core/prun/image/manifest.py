"""From an index to a manifest to a config: the documents of an image, checked where they come in.

A document is refused unless it is exactly what its descriptor says.  One that could be read as a manifest or as an
index, by the same digest, is nobody's friend (CVE-2021-41190).

Spec: https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md and image-index.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from prun.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted
from prun.image.config import parse_config
from prun.image.digest import parse_digest
from prun.image.fields import as_list, as_object, as_size, as_string, as_string_map, load_object
from prun.image.media_type import CONFIGS, INDEXES, LAYERS, MANIFESTS, OCI_INDEX, OCI_MANIFEST
from prun.image.platform import normalize, rank
from prun.types import Image, Layer, Platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.image.document import ConfigDocument, Descriptor, Index, Manifest

MAX_DOCUMENT_BYTES = 4 << 20
MAX_MANIFESTS = 1000
MAX_LAYERS = 500
MAX_DEPTH = 2
MAX_INDEXES = 100


class Content(Protocol):
    """Where blobs are read from: the content store, or an archive that is being loaded."""

    def has(self, digest: str) -> bool: ...

    def read(self, digest: str, limit_bytes: int) -> bytes:
        """Return the blob, verified.

        Raises:
            NotFound: there is none.
            ResourceExhausted: it is longer than ``limit_bytes``.
            DataLoss: its digest is another one.
        """
        ...


def parse_descriptor(value: object, what: str) -> Descriptor:
    """Return a descriptor whose fields have the types of the spec (descriptor.md#properties)."""
    descriptor = as_object(value, what)
    media_type = as_string(descriptor.get("mediaType"), f"{what}'s mediaType")
    if not media_type:
        raise InvalidArgument(f"{what} has no mediaType")
    parse_digest(as_string(descriptor.get("digest"), f"{what}'s digest"))
    as_size(descriptor.get("size"), f"{what}'s size")
    if "annotations" in descriptor:
        as_string_map(descriptor["annotations"], f"{what}'s annotations")
    if "artifactType" in descriptor:
        as_string(descriptor["artifactType"], f"{what}'s artifactType")
    if "platform" in descriptor:
        platform = as_object(descriptor["platform"], f"{what}'s platform")
        for key in ("os", "architecture", "variant", "os.version"):
            as_string(platform.get(key, ""), f"{what}'s platform's {key}")
    return cast("Descriptor", descriptor)


def parse_index(data: bytes, media_type: str = "") -> Index:
    """Return the index that a descriptor of ``media_type`` leads to; ``index.json`` has no descriptor.

    Raises:
        InvalidArgument: it is no index, or could be taken for something else.
    """
    index = _document(data, "image index", media_type, ("layers", "config", "fsLayers"))
    if index.get("mediaType", "") not in {"", *INDEXES}:
        raise InvalidArgument(f"image index has the media type {index['mediaType']!r}")
    manifests = as_list(index.get("manifests"), "image index's manifests", MAX_MANIFESTS)
    index["manifests"] = [parse_descriptor(value, "entry of the image index") for value in manifests]
    return cast("Index", index)


def parse_manifest(data: bytes, media_type: str) -> Manifest:
    """Return the manifest that a descriptor of ``media_type`` leads to.

    Raises:
        InvalidArgument: it is no image's manifest, or could be taken for something else.
    """
    manifest = _document(data, "image manifest", media_type, ("manifests", "fsLayers"))
    config = parse_descriptor(manifest.get("config"), "image manifest's config")
    if config["mediaType"] not in CONFIGS:
        raise InvalidArgument(f"unknown image config media type {config['mediaType'][:200]!r}")
    layers = as_list(manifest.get("layers"), "image manifest's layers", MAX_LAYERS)
    manifest["layers"] = [parse_descriptor(value, "layer of the image manifest") for value in layers]
    for layer in manifest["layers"]:
        if layer["mediaType"] not in LAYERS:
            raise InvalidArgument(f"unknown layer media type {layer['mediaType'][:200]!r}")
    return cast("Manifest", manifest)


def _document(data: bytes, what: str, media_type: str, foreign: tuple[str, ...]) -> dict[str, Any]:
    document = load_object(data, what)
    if document.get("schemaVersion") != 2:
        raise InvalidArgument(
            f"{what} has the schema version {str(document.get('schemaVersion'))[:200]}, not 2",
            hint="docker schema 1 images have to be converted, with skopeo copy for example",
        )
    for key in foreign:
        if key in document:
            raise InvalidArgument(f"{what} is ambiguous: it has {key!r} too")
    stated = as_string(document.get("mediaType", media_type), f"{what}'s mediaType")
    if media_type and stated != media_type:
        raise InvalidArgument(f"{what} says it is {stated[:200]!r}, its descriptor says {media_type[:200]!r}")
    return document


def read_document(content: Content, descriptor: Descriptor) -> bytes:
    """Return the small blob of ``descriptor``; its digest and its size are right.

    Raises:
        NotFound: ``content`` does not have it.
        ResourceExhausted: it is too large for a document.
        DataLoss: it is not what the descriptor says.
    """
    digest, size = descriptor["digest"], descriptor["size"]
    if size > MAX_DOCUMENT_BYTES:
        raise ResourceExhausted(f"document {digest} has {size} bytes; {MAX_DOCUMENT_BYTES} is the limit")
    data = content.read(digest, MAX_DOCUMENT_BYTES)
    if len(data) != size:
        raise DataLoss(f"blob {digest} has {len(data)} bytes, its descriptor says {size}")
    return data


def descriptor_of(content: Content, digest: str) -> Descriptor:
    """Return a descriptor of the manifest or index of that digest, by what it says of itself.

    Raises:
        InvalidArgument: it is neither.
    """
    data = content.read(digest, MAX_DOCUMENT_BYTES)
    document = load_object(data, f"document {digest}")
    stated = as_string(document.get("mediaType", OCI_INDEX if "manifests" in document else OCI_MANIFEST), "mediaType")
    return {"mediaType": stated, "digest": digest, "size": len(data)}


def is_image(descriptor: Descriptor) -> bool:
    """Tell whether an entry of an index is an image or an index: not an attestation, a signature or the like."""
    platform = descriptor.get("platform", {})
    return (
        descriptor["mediaType"] in MANIFESTS | INDEXES
        and platform.get("os") != "unknown"
        and platform.get("architecture") != "unknown"
        and "vnd.docker.reference.type" not in descriptor.get("annotations", {})
        and descriptor.get("artifactType", "") in CONFIGS | {""}
    )


class Found(NamedTuple):
    """A manifest below some target; ``indexes`` are those that lead to it, the outermost first."""

    descriptor: Descriptor
    indexes: tuple[Descriptor, ...]


def manifests(content: Content, target: Descriptor) -> Iterator[Found]:
    """Yield the manifests that ``target`` leads to, in order: itself, or those of an index and of indexes in it.

    Entries that are no images are left out.  Those that ``content`` does not have are yielded all the same, as the
    platforms of an index that were not kept; an index that is not there has none.

    Raises:
        InvalidArgument: ``target`` is neither manifest nor index; an index is not valid.
        ResourceExhausted: indexes nest deeper than MAX_DEPTH, are too many, or hold more than MAX_MANIFESTS together.
    """
    if target["mediaType"] not in MANIFESTS | INDEXES:
        raise InvalidArgument(
            f"media type {target['mediaType'][:200]!r} of {target['digest']} is neither an image manifest nor an index"
        )
    for number, found in enumerate(_manifests(content, target, (), set())):
        if number >= MAX_MANIFESTS:
            raise ResourceExhausted(f"image {target['digest']} has more than {MAX_MANIFESTS} manifests")
        yield found


def _manifests(content: Content, target: Descriptor, above: tuple[Descriptor, ...], seen: set[str]) -> Iterator[Found]:
    if target["mediaType"] in MANIFESTS:
        yield Found(target, above)
        return
    if target["digest"] in seen or (above and not content.has(target["digest"])):
        return
    seen.add(target["digest"])
    if len(above) >= MAX_DEPTH or len(seen) > MAX_INDEXES:
        raise ResourceExhausted(
            f"index {target['digest']} is one too many",
            hint=f"indexes may nest {MAX_DEPTH} deep, and an image may have {MAX_INDEXES} of them",
        )
    index = parse_index(read_document(content, target), target["mediaType"])
    for entry in filter(is_image, index["manifests"]):
        yield from _manifests(content, entry, (*above, target), seen)


class Opened(NamedTuple):
    """One image's documents."""

    manifest: Manifest
    config: ConfigDocument

    @property
    def platform(self) -> Platform:
        """What the config says that the image is for; parts may be empty."""
        return Platform(self.config["os"], self.config["architecture"], self.config.get("variant", ""))


def open_manifest(content: Content, descriptor: Descriptor) -> Opened:
    """Read a manifest and its config, both verified and checked against each other."""
    manifest = parse_manifest(read_document(content, descriptor), descriptor["mediaType"])
    config = parse_config(read_document(content, manifest["config"]), len(manifest["layers"]))
    return Opened(manifest, config)


def blobs(content: Content, target: Descriptor) -> Iterator[Descriptor]:
    """Yield every blob that ``target`` needs, what is needed before what needs it; some more than once.

    Manifests of an index that ``content`` does not have are left out: platforms that were not kept.

    Raises:
        NotFound: an index has no image at all in ``content``.
        InvalidArgument, DataLoss, ResourceExhausted: a document is not what it should be.
    """
    indexes: dict[str, Descriptor] = {}
    empty = True
    for descriptor, above in manifests(content, target):
        if above and not content.has(descriptor["digest"]):
            continue
        empty = False
        indexes.update((index["digest"], index) for index in above)
        manifest = open_manifest(content, descriptor).manifest
        yield from manifest["layers"]
        yield manifest["config"]
        yield descriptor
    if empty:
        raise NotFound(f"index {target['digest']} has no image whose content is here")
    yield from reversed(indexes.values())


class _Candidate(NamedTuple):
    rank: int
    order: int
    descriptor: Descriptor
    platform: Platform


def resolve(content: Content, target: Descriptor, platform: Platform, name: str) -> Image:
    """Find the image for ``platform`` that ``target`` leads to; ``name`` is for the result and for messages.

    Of several that fit, the nearest wins, then the first.  An entry of an index that names no platform, and a target
    that is no index, is for the platform that its config names.

    Raises:
        NotFound: there is none for the platform, or it is not in ``content``; the hint says what there is.
        InvalidArgument, DataLoss, ResourceExhausted: a document is not what it should be.
    """
    opened: dict[str, Opened] = {}
    candidates: list[_Candidate] = []
    offers: list[Platform] = []
    for order, (descriptor, _) in enumerate(manifests(content, target)):
        offered = _platform_of(descriptor)
        if offered is None:
            if descriptor is not target and not content.has(descriptor["digest"]):
                continue
            opened[descriptor["digest"]] = open_manifest(content, descriptor)
            offered = _or_else(opened[descriptor["digest"]].platform, platform)
        offers.append(normalize(offered))
        position = rank(platform, offered)
        if position is not None:
            candidates.append(_Candidate(position, order, descriptor, offers[-1]))
    candidates.sort(key=lambda candidate: candidate[:2])
    for candidate in candidates:
        digest = candidate.descriptor["digest"]
        if digest in opened or content.has(digest):
            found = opened.get(digest) or open_manifest(content, candidate.descriptor)
            return _image(name, digest, candidate.platform, found)
    raise _no_manifest(name, platform, offers, absent=bool(candidates))


def _platform_of(entry: Descriptor) -> Platform | None:
    platform = cast("dict[str, str]", entry.get("platform", {}))
    if not platform.get("os") or not platform.get("architecture"):
        return None
    return Platform(
        platform["os"], platform["architecture"], platform.get("variant", ""), platform.get("os.version", "")
    )


def _or_else(stated: Platform, wanted: Platform) -> Platform:
    """Complete what a config leaves open with what is wanted: an image that says nothing fits everyone."""
    if not stated.architecture:
        return Platform(stated.os or wanted.os, wanted.architecture, wanted.variant)
    return Platform(stated.os or wanted.os, stated.architecture, stated.variant)


def _image(name: str, digest: str, platform: Platform, found: Opened) -> Image:
    layers = tuple(
        Layer(layer["digest"], diff_id, layer["mediaType"], layer["size"])
        for layer, diff_id in zip(found.manifest["layers"], found.config["rootfs"]["diff_ids"], strict=True)
    )
    return Image(name, digest, platform, found.config["config"], layers)


def _no_manifest(name: str, platform: Platform, offers: list[Platform], absent: bool) -> NotFound:
    listed = ", ".join(dict.fromkeys(str(offer) for offer in offers)) or "no image for any platform"
    if absent:
        return NotFound(
            f"image {name!r} for {platform} is named by its index, and its content is not here",
            hint="load or pull the image again, with this platform",
        )
    return NotFound(f"image {name!r} has no manifest for {platform}", hint=f"it has: {listed}")
