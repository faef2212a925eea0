"""What ``prun inspect`` shows of an image, in docker's field names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prun.cli.output import timestamp
from prun.cli.template.values import Pairs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.image.document import Manifest
    from prun.image.manifest import Content
    from prun.metadata import ImageRow
    from prun.services import ImageStore
    from prun.types import Platform


def inspect_image(store: ImageStore, row: ImageRow, platform: Platform | None = None) -> dict[str, Any]:
    """Return an image's manifest and config for ``platform``; None: for this machine's, or the first that it has.

    The fields are those of ``docker image inspect``; ``ManifestDigest`` and ``MediaType`` are prun's own, and so is
    ``Artifact``, the manifest of what is no image: nothing is in the other fields then.
    """
    from prun.engines.embedded.images import Described, describe, repository_of
    from prun.image.manifest import NotAnImage
    from prun.types import Platform

    artifact = None
    try:
        found = describe(store, row, platform)
    except NotAnImage:
        artifact = _artifact(store, row)
        manifest = artifact or {"layers": []}
        found = Described(row.digest, manifest, {"config": {}, "rootfs": {"diff_ids": []}}, Platform("", ""))
    names = [each.name for each in store.metadata.images() if each.digest == row.digest and each.name != row.digest]
    config = found.config
    steps = config.get("history") or [{}]
    return {
        "Id": row.digest,
        "RepoTags": [name for name in names if "@" not in name],
        "RepoDigests": sorted({f"{repository_of(name)}@{row.digest}" for name in names}),
        "Digest": row.digest,
        "ManifestDigest": found.digest,
        "MediaType": row.media_type,
        "Comment": str(steps[-1].get("comment", "")),
        "Created": timestamp(row.created_at if found.created_at is None else found.created_at),
        "Author": str(config.get("author", "")),
        "Os": found.platform.os,
        "Architecture": found.platform.architecture,
        "Variant": found.platform.variant,
        "Size": sum(layer["size"] for layer in found.manifest["layers"]),
        "Config": {**_NO_CONFIG, **config["config"], "Labels": Pairs(config["config"].get("Labels") or {})},
        "RootFS": {"Type": "layers", "Layers": config["rootfs"]["diff_ids"]},
        "Manifests": _manifests(store.content, row),
        "Artifact": artifact,
    }


def _artifact(store: ImageStore, row: ImageRow) -> Manifest | None:
    """Return the manifest of what is no image; None for an index without one."""
    from prun.image.manifest import parse_manifest, read_document
    from prun.image.media_type import MANIFESTS

    if row.media_type not in MANIFESTS:
        return None
    return parse_manifest(read_document(store.content, row.target), row.media_type)


def _manifests(content: Content, row: ImageRow) -> list[dict[str, Any]]:
    """Return all that a name leads to, as docker's API has it: what it is, and whether it is here."""
    from prun.image.manifest import is_image, members
    from prun.image.media_type import INDEXES, MANIFESTS

    rows = []
    for each, _, offered in members(content, row.target):
        here = content.has(each["digest"])
        if here and each["mediaType"] in INDEXES:
            continue
        kind = "image" if offered and each["mediaType"] in MANIFESTS else "unknown"
        if kind == "image" and here and not is_image(content, each):
            kind = "unknown"
        if each.get("annotations", {}).get("vnd.docker.reference.type") == "attestation-manifest":
            kind = "attestation"
        rows.append({"ID": each["digest"], "Descriptor": each, "Available": here, "Kind": kind})
    return rows


# What an image need not say, and a template may ask for.
_NO_CONFIG: Mapping[str, Any] = {
    "User": "", "ExposedPorts": None, "Env": None, "Cmd": None, "Volumes": None, "WorkingDir": "", "Entrypoint": None,
    "StopSignal": "",
}  # fmt: skip
