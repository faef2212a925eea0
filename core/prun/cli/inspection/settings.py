"""What a container was asked to be: docker's ``Config`` (its process) and ``HostConfig`` (what the machine gives)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prun.cli.template.values import Pairs
from prun.request.resources import Resources
from prun.spec import with_default_env, with_env

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prun.metadata import ContainerRow
    from prun.request.mounts import MountRequest
    from prun.request.resources import DeviceLimits
    from prun.types import Image, RunRequest

_SHM_BYTES = 64 << 20
_DEFAULT_STOP_S = 10


def config(row: ContainerRow, request: RunRequest, image: Image) -> dict[str, Any]:
    """Return ``Config``: of the image, and over that of the request."""
    of_image = image.config
    entrypoint = of_image.get("Entrypoint") if request.entrypoint is None else list(request.entrypoint)
    command = list(request.args) or (of_image.get("Cmd") if request.entrypoint is None else None)
    attached = request.attach or (() if request.detach else ("stdin", "stdout", "stderr"))
    stop_s = request.stop_timeout_s
    return {
        "Hostname": request.hostname or row.id[:12],
        "Domainname": "",
        "User": request.user or of_image.get("User", ""),
        "AttachStdin": request.interactive and "stdin" in attached,
        "AttachStdout": "stdout" in attached,
        "AttachStderr": "stderr" in attached,
        "ExposedPorts": of_image.get("ExposedPorts") or {},
        "Tty": request.terminal,
        "OpenStdin": request.interactive,
        "StdinOnce": request.interactive,
        "Env": _environment(request, image),
        "Cmd": command,
        "Image": row.image,
        "Volumes": of_image.get("Volumes") or None,
        "WorkingDir": request.workdir or of_image.get("WorkingDir", ""),
        "Entrypoint": entrypoint,
        "OnBuild": None,
        "Labels": Pairs(row.labels),
        "Annotations": Pairs(request.annotations),
        "StopSignal": row.stop_signal or "SIGTERM",
        "StopTimeout": _DEFAULT_STOP_S if stop_s is None else int(stop_s) if stop_s != float("inf") else -1,
        "Timeout": request.timeout_s or 0,
        "Umask": f"{0o022 if request.umask is None else request.umask:04o}",
    }


def host_config(row: ContainerRow, request: RunRequest, log: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``HostConfig``; docker's words and units, 0 or null where nothing was asked."""
    limits = request.resources or Resources()
    namespaces = request.namespaces
    policy, _, retries = row.restart.partition(":")
    return {
        "Binds": [_bind(mount) for mount in request.volumes if mount.type in ("bind", "volume")] or None,
        "LogConfig": {"Type": log["Type"], "Config": log["Config"]},
        "NetworkMode": network_mode(request),
        "PortBindings": {},
        "RestartPolicy": {"Name": policy or "no", "MaximumRetryCount": int(retries or 0)},
        "AutoRemove": not row.keep,
        "VolumeDriver": "",
        "VolumesFrom": list(request.volumes_from) or None,
        "Annotations": Pairs(request.annotations),
        "CapAdd": list(request.cap_add) or None,
        "CapDrop": list(request.cap_drop) or None,
        "CgroupnsMode": namespaces.get("cgroup", "private"),
        "Dns": list(request.dns),
        "DnsOptions": list(request.dns_options),
        "DnsSearch": list(request.dns_search),
        "ExtraHosts": [_extra_host(line) for line in request.hosts] or None,
        "GroupAdd": list(request.groups) or None,
        "IpcMode": namespaces.get("ipc", "private"),
        "OomScoreAdj": request.oom_score_adj or 0,
        "PidMode": namespaces.get("pid", ""),
        "Privileged": request.privileged,
        "PublishAllPorts": False,
        "ReadonlyRootfs": request.readonly,
        "SecurityOpt": list(request.security) or None,
        "Sysctls": Pairs(request.sysctls),
        "Tmpfs": Pairs({mount.destination: ",".join(mount.options) for mount in _tmpfs(request)}),
        "UTSMode": namespaces.get("uts", ""),
        "UsernsMode": namespaces.get("user", ""),
        "ShmSize": request.shm_size_bytes or _SHM_BYTES,
        "Runtime": row.runtime,
        "Init": request.init,
        **_resources(request, limits),
    }


def _resources(request: RunRequest, limits: Resources) -> dict[str, Any]:
    return {
        "CpuShares": limits.cpu_shares,
        "Memory": limits.memory_bytes,
        "NanoCpus": round(limits.cpus * 10**9),
        "CgroupParent": request.cgroup_parent,
        "BlkioWeight": limits.blkio_weight,
        "BlkioWeightDevice": _by_device(limits.blkio_weight_device, "Weight"),
        "BlkioDeviceReadBps": _by_device(limits.device_read_bps, "Rate"),
        "BlkioDeviceWriteBps": _by_device(limits.device_write_bps, "Rate"),
        "BlkioDeviceReadIOps": _by_device(limits.device_read_iops, "Rate"),
        "BlkioDeviceWriteIOps": _by_device(limits.device_write_iops, "Rate"),
        "CpuPeriod": limits.cpu_period_us,
        "CpuQuota": limits.cpu_quota_us,
        "CpusetCpus": limits.cpuset_cpus,
        "CpusetMems": limits.cpuset_mems,
        "Devices": [_device(word) for word in request.devices] or None,
        "DeviceCgroupRules": list(request.device_rules) or None,
        "MemoryReservation": limits.memory_reservation_bytes,
        "MemorySwap": limits.memory_swap_bytes,
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids_limit or None,
        "Ulimits": [
            {"Name": name.removeprefix("RLIMIT_").lower(), "Soft": soft, "Hard": hard}
            for name, (soft, hard) in request.ulimits.items()
        ],
    }


def network_mode(request: RunRequest) -> str:
    """Return the network as it was asked for."""
    return request.network


def _environment(request: RunRequest, image: Image) -> list[str]:
    """Return the variables that the image, prun and the user gave the process; no secrets are among them."""
    from prun.spec.linux import DEFAULT_PATH_ENV

    spec: dict[str, Any] = {}
    for option in (
        with_env((*request.host_env, *image.config.get("Env", ()))),
        with_default_env((DEFAULT_PATH_ENV,)),
        with_env(request.env),
    ):
        option(spec)  # type: ignore[arg-type]  # a spec that has nothing yet
    found: Sequence[str] = spec["process"]["env"]
    return list(found)


def _bind(mount: MountRequest) -> str:
    return ":".join(filter(None, (mount.source, mount.destination, ",".join(mount.options))))


def _tmpfs(request: RunRequest) -> list[MountRequest]:
    return [mount for mount in request.volumes if mount.type == "tmpfs"]


def _extra_host(line: str) -> str:
    """Return ``NAME:ADDRESS`` of a line of /etc/hosts."""
    address, _, name = line.partition(" ")
    return f"{name}:{address}"


def _by_device(limits: DeviceLimits, unit: str) -> list[dict[str, Any]] | None:
    return [{"Path": path, unit: number} for path, number in limits] or None


def _device(word: str) -> dict[str, str]:
    from prun.request.isolation import cdi_name, host_device

    if cdi_name(word):
        return {"PathOnHost": word, "PathInContainer": "", "CgroupPermissions": ""}
    host, container, access = host_device(word)
    return {"PathOnHost": host, "PathInContainer": container, "CgroupPermissions": access}
