"""What ``prun inspect`` shows of an image, in docker's field names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prun.cli.output import timestamp

if TYPE_CHECKING:
    from prun.metadata import ImageRow
    from prun.state import Store


def inspect_image(store: Store, row: ImageRow) -> dict[str, Any]:
    """Return an image's manifest and config for this machine's platform, or for the first that it has."""
    from prun.engines.embedded.images import image_of

    image = image_of(store, row)
    names = [each.name for each in store.metadata.images() if each.digest == row.digest]
    return {
        "Id": row.digest,
        "RepoTags": [name for name in names if not name.startswith("sha256:")],
        "Digest": row.digest,
        "ManifestDigest": image.digest,
        "MediaType": row.media_type,
        "Created": timestamp(row.created_at),
        "Os": image.platform.os,
        "Architecture": image.platform.architecture,
        "Variant": image.platform.variant,
        "Size": sum(layer.size_bytes for layer in image.layers),
        "Config": image.config,
        "RootFS": {"Type": "layers", "Layers": [layer.diff_id for layer in image.layers]},
    }
