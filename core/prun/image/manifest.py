"""From an index to a manifest to a config: the documents of an image, checked where they come in.

A document is refused unless it is exactly what its descriptor says.  One that could be read as a manifest or as an
index, by the same digest, is nobody's friend (CVE-2021-41190).

What is no image (a signature, an attestation, a chart) is kept, copied and checked like one, whatever its media types
are; only what would run it, or unpack it, refuses it.  What a manifest has for its ``subject`` is no part of it.

Spec: https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md and image-index.md
"""

from __future__ import annotations

import re
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

# RFC 6838 section 4.2
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = f"{_NAME}/{_NAME}"
MAX_DOCUMENT_BYTES = 4 << 20
MAX_MANIFESTS = 1000
MAX_LAYERS = 500
MAX_DEPTH = 2
MAX_INDEXES = 100


class NotAnImage(InvalidArgument):
    """A manifest is sound, and what it describes cannot be run."""


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
    if not re.fullmatch(_MEDIA_TYPE, media_type):
        stated = f"the mediaType {media_type[:200]!r}, which is none" if media_type else "no mediaType"
        raise InvalidArgument(f"{what} has {stated}")
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
    """Return the manifest that a descriptor of ``media_type`` leads to: of an image, or of anything else.

    Raises:
        InvalidArgument: it is no manifest, or could be taken for something else.
    """
    manifest = _document(data, "image manifest", media_type, ("manifests", "fsLayers"))
    parse_descriptor(manifest.get("config"), "image manifest's config")
    layers = as_list(manifest.get("layers"), "image manifest's layers", MAX_LAYERS)
    manifest["layers"] = [parse_descriptor(value, "layer of the image manifest") for value in layers]
    if "subject" in manifest:
        parse_descriptor(manifest["subject"], "image manifest's subject")
    as_string(manifest.get("artifactType", ""), "image manifest's artifactType")
    return cast("Manifest", manifest)


def not_an_image(manifest: Manifest) -> str:
    """Return why what a manifest describes is no image that could be run, empty where it is one."""
    if (media_type := manifest["config"]["mediaType"]) not in CONFIGS:
        return f"unknown image config media type {media_type[:200]!r}"
    for layer in manifest["layers"]:
        if layer["mediaType"] not in LAYERS:
            return f"unknown layer media type {layer['mediaType'][:200]!r}"
    return ""


def is_image(content: Content, descriptor: Descriptor) -> bool:
    """Tell whether a manifest, which ``content`` has, is that of an image."""
    return not not_an_image(parse_manifest(read_document(content, descriptor), descriptor["mediaType"]))


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


def is_offered(descriptor: Descriptor) -> bool:
    """Tell whether an entry of an index is, as far as it says, an image or an index of images.

    An attestation, a signature and the like are not.
    """
    platform = descriptor.get("platform", {})
    return (
        descriptor["mediaType"] in MANIFESTS | INDEXES
        and platform.get("os") != "unknown"
        and platform.get("architecture") != "unknown"
        and "vnd.docker.reference.type" not in descriptor.get("annotations", {})
        and descriptor.get("artifactType", "") in CONFIGS | {""}
    )


class Found(NamedTuple):
    """What is below some target; ``indexes`` are those that lead to it, the outermost first.

    ``offered``: every index on the way takes it for that of an image.
    """

    descriptor: Descriptor
    indexes: tuple[Descriptor, ...]
    offered: bool = True


def members(content: Content, target: Descriptor) -> Iterator[Found]:
    """Yield all documents that ``target`` leads to, in order, an index after its entries: ``target`` is the last.

    Entries that ``content`` does not have are yielded all the same, as the platforms of an index that were not kept.

    Raises:
        InvalidArgument: ``target`` is neither manifest nor index; an index is not valid.
        ResourceExhausted: indexes nest deeper than MAX_DEPTH, are too many, or hold more than MAX_MANIFESTS together.
    """
    if target["mediaType"] not in MANIFESTS | INDEXES:
        raise InvalidArgument(
            f"media type {target['mediaType'][:200]!r} of {target['digest']} is neither an image manifest nor an index"
        )
    count = 0
    for found in _members(content, Found(target, ()), set()):
        count += found.descriptor["mediaType"] not in INDEXES
        if count > MAX_MANIFESTS:
            raise ResourceExhausted(f"image {target['digest']} has more than {MAX_MANIFESTS} manifests")
        yield found


def manifests(content: Content, target: Descriptor) -> Iterator[Found]:
    """Yield the manifests of images that ``target`` leads to; raises as ``members`` does.

    Whether they are what indexes take them for is known when they are opened.
    """
    return (found for found in members(content, target) if found.offered and found.descriptor["mediaType"] in MANIFESTS)


def _members(content: Content, found: Found, seen: set[str]) -> Iterator[Found]:
    target, above, offered = found
    if target["mediaType"] in INDEXES:
        if target["digest"] in seen:
            return
        seen.add(target["digest"])
        if not above or content.has(target["digest"]):
            _check_nesting(target, len(above), len(seen))
            for entry in parse_index(read_document(content, target), target["mediaType"])["manifests"]:
                yield from _members(content, Found(entry, (*above, target), offered and is_offered(entry)), seen)
    yield found


def _check_nesting(index: Descriptor, depth: int, count: int) -> None:
    if depth >= MAX_DEPTH or count > MAX_INDEXES:
        raise ResourceExhausted(
            f"index {index['digest']} is one too many",
            hint=f"indexes may nest {MAX_DEPTH} deep, and an image may have {MAX_INDEXES} of them",
        )


class Opened(NamedTuple):
    """One image's documents."""

    manifest: Manifest
    config: ConfigDocument

    @property
    def platform(self) -> Platform:
        """What the config says that the image is for; parts may be empty."""
        return Platform(self.config["os"], self.config["architecture"], self.config.get("variant", ""))


def open_manifest(content: Content, descriptor: Descriptor) -> Opened:
    """Read an image's manifest and its config, both verified and checked against each other.

    Raises:
        NotAnImage: it is the manifest of something else.
    """
    manifest = parse_manifest(read_document(content, descriptor), descriptor["mediaType"])
    if reason := not_an_image(manifest):
        raise NotAnImage(
            f"{reason}: that is no image",
            hint="a signature, an attestation and the like can be inspected, saved and pushed, and not run",
        )
    config = parse_config(read_document(content, manifest["config"]), len(manifest["layers"]))
    return Opened(manifest, config)


class Needed(NamedTuple):
    """A blob that some target needs; ``is_document``: it is the target, or an entry of an index."""

    descriptor: Descriptor
    is_document: bool


def blobs(content: Content, target: Descriptor) -> Iterator[Descriptor]:
    """Yield every blob that ``target`` needs, as ``needed`` does."""
    return (each.descriptor for each in needed(content, target))


def needed(content: Content, target: Descriptor) -> Iterator[Needed]:
    """Yield every blob that ``target`` needs, what is needed before what needs it; some more than once.

    Entries of an index that ``content`` does not have are left out: platforms that were not kept.  An entry of another
    media type than those of manifests and indexes leads to nothing that would be known here.

    Raises:
        NotFound: an index has entries, and ``content`` none of them.
        InvalidArgument, DataLoss, ResourceExhausted: a document is not what it should be.
    """
    absent = present = False
    for descriptor, above, offered in members(content, target):
        if above and not content.has(descriptor["digest"]):
            absent = True
            continue
        present = present or descriptor["mediaType"] not in INDEXES
        if descriptor is target and absent and not present:
            raise NotFound(f"index {target['digest']} has no image whose content is here")
        data = read_document(content, descriptor)
        if descriptor["mediaType"] in MANIFESTS:
            manifest = parse_manifest(data, descriptor["mediaType"])
            if offered and not not_an_image(manifest):
                parse_config(read_document(content, manifest["config"]), len(manifest["layers"]))
            yield from (Needed(layer, False) for layer in (*manifest["layers"], manifest["config"]))
        yield Needed(descriptor, True)


def needed_for(content: Content, target: Descriptor, platform: Platform, name: str) -> tuple[Image, list[Descriptor]]:
    """Return the image of ``target`` for one platform, as ``resolve`` does, and every blob that it needs."""
    image = resolve(content, target, platform, name)
    found = next(each for each in manifests(content, target) if each.descriptor["digest"] == image.digest)
    manifest = open_manifest(content, found.descriptor).manifest
    return image, [*manifest["layers"], manifest["config"], found.descriptor, *reversed(found.indexes)]


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
        NotAnImage: it is something else.
        InvalidArgument, DataLoss, ResourceExhausted: a document is not what it should be.
    """
    opened: dict[str, Opened] = {}
    candidates: list[_Candidate] = []
    offers: list[Platform] = []
    for order, (descriptor, *_) in enumerate(manifests(content, target)):
        offered = _platform_of(descriptor)
        if offered is None:
            if descriptor is not target and not (content.has(descriptor["digest"]) and is_image(content, descriptor)):
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
