"""Images in an archive of ``docker save``: a list of images, each a config and layers, without a manifest.

A manifest is made for each; its digest depends on nothing but the content.

Spec: https://github.com/moby/docker-image-spec/blob/v1.3.1/v1.2.md#combined-image-json--filesystem-changeset-format
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import DataLoss, InvalidArgument, NotFound
from prun.image.config import parse_config
from prun.image.fields import as_list, as_object, as_string, as_strings, load_json
from prun.image.manifest import MAX_DOCUMENT_BYTES, MAX_LAYERS, MAX_MANIFESTS
from prun.image.media_type import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from prun.image.platform import host_platform, rank
from prun.image.reference import parse_reference
from prun.image.stream import compression_of
from prun.types import Layer, Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.image.document import Descriptor
    from prun.image.files import Files
    from prun.image.staging import Staging

MANIFEST_FILE = "manifest.json"
_LAYER_TYPES = {"none": OCI_LAYER, "gzip": f"{OCI_LAYER}+gzip", "zstd": f"{OCI_LAYER}+zstd"}


class _Image(NamedTuple):
    """One entry of ``manifest.json``: canonical names, the config, the layers as names of files in the archive."""

    names: tuple[str, ...]
    platform: Platform
    config: bytes
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]


def load_docker(staging: Staging, tag: str) -> tuple[list[tuple[tuple[str, ...], Descriptor]], list[str]]:
    """Stage the images of a docker archive; see ``archive.loading`` and ``archive_oci.load_oci``."""
    files, ingest = staging.files, staging.ingest
    images = _images(files)
    chosen = _tagged(files, images, tag) if tag else images
    for image in chosen:
        if staging.platform and rank(staging.platform, image.platform) is None:
            name = image.names[0] if image.names else "without a name"
            raise NotFound(
                f"{files.label}: image {name!r} is not for {staging.platform}", hint=f"it is for {image.platform}"
            )
    if staging.admit:
        for image in chosen:
            staging.admit("docker-archive", image.names, None, None)
    wanted: dict[str, Descriptor] = {}
    for image in chosen:
        for name, diff_id in zip(image.layers, image.diff_ids, strict=True):
            wanted.setdefault(name, _expected(files, name, diff_id))
    # A layer has no digest here before it is read: it is known by its name.
    unpacked = [_layers(image, wanted) for image in chosen if rank(host_platform(), image.platform) is not None]
    layers = staging.run(wanted, unpacked, lambda name: name)
    found = []
    digests = [layer["digest"] for layer in layers.values()]
    for image in chosen:
        config = ingest.put(image.config, OCI_CONFIG)
        manifest = ingest.put(_manifest(files, image, config, layers), OCI_MANIFEST)
        digests += [config["digest"], manifest["digest"]]
        found.append((image.names, manifest))
    return found, digests


def _layers(image: _Image, files: Mapping[str, Descriptor]) -> tuple[Layer, ...]:
    return tuple(
        Layer(name, diff_id, files[name]["mediaType"], files[name]["size"])
        for name, diff_id in zip(image.layers, image.diff_ids, strict=True)
    )


def _images(files: Files) -> list[_Image]:
    what = f"{files.label}: {MANIFEST_FILE}"
    document = load_json(files.read(MANIFEST_FILE, MAX_DOCUMENT_BYTES), what)
    images = [_image(files, entry, what) for entry in as_list(document, what, MAX_MANIFESTS)]
    if not images:
        raise NotFound(f"{files.label} holds no image")
    return images


def _image(files: Files, value: object, what: str) -> _Image:
    entry = as_object(value, f"{what}'s entry")
    layers = as_strings(entry.get("Layers", []), f"{what}'s Layers", MAX_LAYERS)
    config = files.read(as_string(entry.get("Config"), f"{what}'s Config"), MAX_DOCUMENT_BYTES)
    document = parse_config(config, len(layers))
    host = host_platform()  # a config that says nothing fits everyone
    platform = Platform(document["os"] or host.os, document["architecture"] or host.architecture,
                        document.get("variant", ""))  # fmt: skip
    names = [str(parse_reference(name)) for name in as_strings(entry.get("RepoTags", []), f"{what}'s RepoTags")]
    follow, diff_ids = files.follow, document["rootfs"]["diff_ids"]
    return _Image(tuple(names), platform, config, tuple(follow(name) for name in layers), tuple(diff_ids))


def _expected(files: Files, name: str, diff_id: str) -> Descriptor:
    """Describe a layer as far as it is known; an uncompressed one is its own diff."""
    compression = compression_of(files.head(name))
    if compression not in _LAYER_TYPES:
        raise InvalidArgument(f"{files.label}: the layer {name!r} is compressed with {compression}")
    expected: Descriptor = {"mediaType": _LAYER_TYPES[compression], "size": files.size(name)}
    if compression == "none" and diff_id.startswith("sha256:"):
        expected["digest"] = diff_id
    return expected


def _manifest(files: Files, image: _Image, config: Descriptor, layers: dict[str, Descriptor]) -> bytes:
    for name, diff_id in zip(image.layers, image.diff_ids, strict=True):
        layer = layers[name]
        if layer["mediaType"] == OCI_LAYER and diff_id.startswith("sha256:") and layer["digest"] != diff_id:
            raise DataLoss(f"{files.label}: the layer {name!r} is {layer['digest']}, the config says {diff_id}")
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config,
        "layers": [layers[name] for name in image.layers],
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _tagged(files: Files, images: list[_Image], tag: str) -> list[_Image]:
    """Return the image that has ``tag`` among its names, in full or as the part after the colon."""
    full = [image for image in images if _canonical(tag) in image.names]
    found = full or [image for image in images if any(parse_reference(name).tag == tag for name in image.names)]
    available = ", ".join(sorted({name for image in images for name in image.names})) or "images without a name"
    if not found:
        raise NotFound(f"{files.label} has no image {tag!r}", hint=f"it has: {available}")
    if len(found) > 1:
        raise InvalidArgument(f"{files.label} has several images {tag!r}", hint=f"it has: {available}")
    return found


def _canonical(tag: str) -> str:
    try:
        return str(parse_reference(tag))
    except InvalidArgument:
        return ""
