"""What ``prun inspect`` shows, in docker's field names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prun.cli.output import timestamp
from prun.cli.template.values import Pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.metadata import ContainerRow, ImageRow, MountRow
    from prun.state import Store


def inspect_container(row: ContainerRow, mounts: Sequence[MountRow] = ()) -> dict[str, Any]:
    """Return a container's record; the fields are those of ``docker inspect`` where docker has them."""
    return {
        "Id": row.id,
        "Name": row.name,
        "Created": timestamp(row.created_at),
        "Path": row.command[0] if row.command else "",
        "Args": list(row.command[1:]),
        "State": {
            "Status": row.status,
            "Running": row.status == "running",
            "Pid": row.pid or 0,
            "ExitCode": row.exit_code,
            "StartedAt": timestamp(row.started_at),
            "FinishedAt": timestamp(row.finished_at),
        },
        "Image": row.digest,
        "Config": {"Image": row.image, "Labels": Pairs(row.labels), "StopSignal": row.stop_signal or "SIGTERM"},
        "HostConfig": {"Runtime": row.runtime, "AutoRemove": not row.keep},
        "RuntimeOptions": Pairs(row.options),
        "Mounts": [_mount(mount) for mount in mounts],
    }


def _mount(row: MountRow) -> dict[str, Any]:
    propagation = [word for word in row.options if word.endswith(("private", "shared", "slave", "unbindable"))]
    return {
        "Type": row.type,
        "Name": row.name,
        "Source": row.source,
        "Destination": row.destination,
        "Driver": "local" if row.type == "volume" else "",
        "Mode": ",".join(row.options),
        "RW": "ro" not in row.options,
        "Propagation": "".join(propagation[:1]),
    }


def inspect_image(store: Store, row: ImageRow) -> dict[str, Any]:
    """Return an image's manifest and config for this machine's platform, or for the first that it has."""
    from prun.image.manifest import resolve
    from prun.image.platform import host_platform

    image = resolve(store.content, row.target, host_platform(), row.name)
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
