"""What ``prun inspect`` shows of a container, in docker's structure and names.

https://docs.docker.com/reference/api/engine/version/v1.50/#tag/Container/operation/ContainerInspect
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from prun.cli.inspection.settings import config, host_config, network_mode
from prun.cli.output import timestamp
from prun.cli.states import health_record, pid_of, state_of
from prun.cli.template.values import Pairs
from prun.errors import DataLoss, PrunError
from prun.types import Image, Platform, RunRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.metadata import ContainerRow, MountRow
    from prun.state import Store


def inspect_container(store: Store, row: ContainerRow, *, sizes: bool = False) -> dict[str, Any]:
    """Return all that is known of a container; ``sizes``: its bytes on the disk, and with its image's, too."""
    request = request_of(row)
    image = image_of(store, row)
    log = log_of(store, row, request)
    bundle = store.bundle(row.id)
    mounts = store.metadata.mounts(row.id)
    record = {
        "Id": row.id,
        "Created": timestamp(row.created_at),
        "Path": row.command[0] if row.command else "",
        "Args": list(row.command[1:]),
        "State": _state(store, row),
        "Image": row.digest,
        "ImageName": row.image,
        "ResolvConfPath": _file_of(bundle, "resolv.conf"),
        "HostnamePath": _file_of(bundle, "hostname"),
        "HostsPath": _file_of(bundle, "hosts"),
        "LogPath": log["Path"],
        "Name": row.name,
        "RestartCount": row.restart_count,
        "Driver": "overlay",
        "Platform": image.platform.os,
        "Runtime": row.runtime,
        "RuntimeOptions": Pairs(row.options),
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": host_config(row, request, log),
        "Mounts": [_mount(mount) for mount in mounts],
        "Config": config(row, request, image),
        "NetworkSettings": _network(request),
    }
    if sizes:
        record["SizeRw"], record["SizeRootFs"] = store.snapshots.sizes(row.id)
    return record


def request_of(row: ContainerRow) -> RunRequest:
    """Return what a container was made from; of one whose record does not say, or cannot be read, what its row has."""
    if row.request:
        from prun.request.stored import loaded

        with suppress(DataLoss):  # what it was made from is one thing, that it is there another
            return loaded(row.request)
    return RunRequest(row.id, row.image, name=row.name, runtime=row.runtime, labels=row.labels, remove=not row.keep)


def image_of(store: Store, row: ContainerRow) -> Image:
    """Return the image a container was made from, an empty one where there is none, or not any more."""
    from prun.engines.embedded.images import pinned

    if row.digest:
        try:
            return pinned(store, row.digest, row.image)
        except PrunError:
            pass  # a record tells of what is gone, too
    return Image(row.image, row.digest, Platform("linux", ""), {})


def log_of(store: Store, row: ContainerRow, request: RunRequest) -> dict[str, Any]:
    """Return docker's ``LogConfig``, and ``Path``: where the log is, empty where there is none."""
    from prun.request.supervision import LogRequest, settled_log

    if not row.monitored:
        return {"Type": "none", "Config": Pairs(), "Path": ""}
    log = request.log or LogRequest()
    options = {"max-size": str(log.size_bytes) if log.size_bytes else "", "max-file": str(log.files)}
    return {
        "Type": log.driver,
        "Config": Pairs({key: value for key, value in options.items() if value and log.size_bytes}),
        "Path": settled_log(log, store.directory(row.id)).path,
    }


def _state(store: Store, row: ContainerRow) -> dict[str, Any]:
    """Return docker's ``State``; one that is paused runs, as docker has it."""
    state = state_of(row)
    record = {
        "Status": state,
        "Running": state in ("running", "paused"),
        "Paused": state == "paused",
        "Restarting": state == "restarting",
        "OOMKilled": row.oom_killed,
        "Dead": False,
        "Pid": pid_of(store, row),
        "ExitCode": row.exit_code or 0,
        "Error": row.error,
        "StartedAt": timestamp(row.started_at),
        "FinishedAt": timestamp(row.finished_at),
    }
    health = health_record(row)
    return {**record, "Health": health} if health else record


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


def _network(request: RunRequest) -> dict[str, Any]:
    """Return docker's ``NetworkSettings``: no address and no port, since a container has none of its own yet."""
    name = network_mode(request)
    networks: Mapping[str, Any] = {} if name.startswith(("container:", "ns:")) else {name: _NO_ENDPOINT}
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": {},
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "MacAddress": "",
        "Networks": networks,
    }


_NO_ENDPOINT: Mapping[str, Any] = {
    "IPAMConfig": None, "Links": None, "Aliases": None, "DriverOpts": None, "NetworkID": "", "EndpointID": "",
    "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0, "MacAddress": "",
}  # fmt: skip


def _file_of(bundle: str, name: str) -> str:
    path = os.path.join(bundle, name)
    return path if os.path.exists(path) else ""
