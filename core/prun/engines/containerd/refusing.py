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
    log = request.log
    asked = {
        "--restart without --detach": bool(request.restart) and not request.detach,
        "--log-driver and --log-opt without --detach": log is not None and not request.detach,
        "--log-opt max-size and max-file": log is not None and bool(log.size_bytes or log.files > 1),
        "--log-driver json-file": log is not None and log.driver == "json-file",
        "start --attach": request.again and not request.detach,
        "--tty with --detach": request.detach and request.terminal,
        "--interactive with --detach": request.detach and request.interactive,
        "--timeout with --detach": request.detach and request.timeout_s is not None,
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
