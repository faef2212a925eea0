"""What registries and layouts hold beside images: attestations, signatures, artifacts of OCI 1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from images import CONFIG, INDEX, MANIFEST, descriptor, document, file, layer_tar, put_blob, put_image

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

EMPTY = "application/vnd.oci.empty.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
UNKNOWN = {"os": "unknown", "architecture": "unknown"}
AMD = {"os": "linux", "architecture": "amd64"}
ARM = {"os": "linux", "architecture": "arm64"}


def put_manifest(
    path: str | os.PathLike[str], config: dict[str, Any], layers: Sequence[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    """Store a manifest in the layout at ``path`` and return its descriptor."""
    manifest = document({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list(layers), **more})
    put_blob(path, manifest)
    return descriptor(MANIFEST, manifest)


def blob(path: str | os.PathLike[str], media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    put_blob(path, data)
    return descriptor(media_type, data, **more)


def put_attestation(path: str | os.PathLike[str], image: dict[str, Any]) -> dict[str, Any]:
    """Store what BuildKit puts into an index beside an image, and return the entry for it."""
    statement = document({"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"digest": image["digest"]}]})
    layer = blob(path, IN_TOTO, statement, annotations={"in-toto.io/predicate-type": "https://slsa.dev/provenance"})
    config = {**UNKNOWN, "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    made = put_manifest(path, blob(path, CONFIG, document(config)), [layer])
    annotations = {
        "vnd.docker.reference.digest": image["digest"],
        "vnd.docker.reference.type": "attestation-manifest",
    }
    return {**made, "annotations": annotations, "platform": UNKNOWN}


def put_artifact(path: str | os.PathLike[str], subject: dict[str, Any], data: bytes = b"an artifact") -> dict[str, Any]:
    """Store an artifact as OCI 1.1 has it, that refers to a manifest; return its descriptor, with its type."""
    kind = "application/vnd.example.sbom+json"
    layers = [blob(path, "application/vnd.example.anything", data)]
    plain = {key: subject[key] for key in ("mediaType", "digest", "size")}
    made = put_manifest(path, blob(path, EMPTY, b"{}"), layers, subject=plain, artifactType=kind)
    return {**made, "artifactType": kind}


def put_signature(path: str | os.PathLike[str], payload: bytes = b"{}", signature: str = "AA==") -> dict[str, Any]:
    """Store the manifest that cosign puts under the tag ``sha256-<hex>.sig``, and return its descriptor."""
    layer = blob(path, SIMPLE_SIGNING, payload, annotations={"dev.cosignproject.cosign/signature": signature})
    config = {"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    return put_manifest(path, blob(path, CONFIG, document(config)), [layer])


def put_whole_index(path: str | os.PathLike[str], layer: bytes = b"", *, opaque: bool = False) -> dict[str, Any]:
    """Store an index of two images, their attestations and an artifact, and return its descriptor.

    ``layer`` is that of the image for amd64.  ``opaque``: there is an entry, too, of which nobody knows what it is.
    """
    entries = []
    for platform in (AMD, ARM):
        own = layer if layer and platform is AMD else layer_tar([file("which", platform["architecture"].encode())])
        image = put_image(path, [own], {"Cmd": ["cat", "/which"]}, platform=platform)
        entries += [{**image, "platform": platform}, put_attestation(path, image)]
    entries.append(put_artifact(path, entries[0]))
    if opaque:
        entries.append(blob(path, "application/vnd.example.unheard-of", b"\0 no JSON at all"))
    index = document({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, "annotations": {"a": "b"}})
    return blob(path, INDEX, index)
