"""What this engine cannot do, said by name before anything has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.engines.containerd.place import check_identifier
from prun.engines.containerd.rootfs import lease_of
from prun.errors import Unimplemented

if TYPE_CHECKING:
    from prun.types import RunRequest


def refuse(request: RunRequest) -> None:
    """Refuse a request for what containerd's side of a run does not do.

    Raises:
        Unimplemented: it asks for that; the message names the option.
        InvalidArgument: its id is none that containerd takes.
    """
    check_identifier(lease_of(request.id), "container id")
    asked = {
        "--userns": "user" in request.namespaces,
        "--mount type=image": any(mount.type == "image" for mount in request.volumes),
        "--mount with idmap": any(mount.owners == "idmap" for mount in request.volumes),
        "--ipc shareable": request.namespaces.get("ipc") == "shareable",
    }
    for option, wanted in asked.items():
        if wanted:
            raise Unimplemented(
                f"engine containerd does not support {option}", hint="leave it out, or --engine embedded"
            )
