"""What ``prun inspect`` shows of an image, in docker's field names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prun.cli.output import timestamp
from prun.cli.template.values import Pairs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.metadata import ImageRow
    from prun.state import Store


def inspect_image(store: Store, row: ImageRow) -> dict[str, Any]:
    """Return an image's manifest and config for this machine's platform, or for the first that it has.

    The fields are those of ``docker image inspect``; ``ManifestDigest`` and ``MediaType`` are prun's own.
    """
    from prun.engines.embedded.images import describe, repository_of

    found = describe(store, row)
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
    }


# What an image need not say, and a template may ask for.
_NO_CONFIG: Mapping[str, Any] = {
    "User": "", "ExposedPorts": None, "Env": None, "Cmd": None, "Volumes": None, "WorkingDir": "", "Entrypoint": None,
    "StopSignal": "",
}  # fmt: skip
