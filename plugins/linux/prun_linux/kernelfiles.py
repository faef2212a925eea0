"""The mounts of the kernel's file systems: ``/proc``, ``/sys``, ``/dev`` and what is below them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument
from prun.spec.linux import DEFAULT_MOUNTS
from prun.types import Mount

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prun.types import RunRequest

SHM_SIZE_BYTES = 64 << 20
SHM_OPTIONS = ("nosuid", "noexec", "nodev")
SHM = "/dev/shm"  # noqa: S108
CGROUP = "/sys/fs/cgroup"
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8


def mounts(request: RunRequest) -> list[Mount]:
    """Return them, parents before children."""
    found = {mount.destination: mount for mount in DEFAULT_MOUNTS}
    ipc = request.namespaces.get("ipc", "")
    if request.shm_size_bytes or ipc:
        found[SHM] = _shm(request, ipc)
    if ipc == "none":
        del found[SHM]
    if request.privileged:
        for path in ("/sys", CGROUP):
            found[path] = _writable(found[path])
    if request.security:
        from prun_linux.security import parse_security

        security = parse_security(request.security)
        proc = found["/proc"]
        found["/proc"] = proc._replace(options=(*proc.options, *security.proc_options))
        if _unmasks_cgroup(security.unmask):
            found[CGROUP] = _writable(found[CGROUP])
    return list(found.values())


def shareable_shm(state: str, container_id: str) -> str:
    """Return where the ``/dev/shm`` of a container is on this machine, so that others can have it too."""
    return os.path.join(os.path.abspath(state), "bundles", container_id, "mounts", "shm")


def write(request: RunRequest, bundle: str) -> None:
    """Mount what other containers may share with this one; ``prun.state.remove_bundle`` unmounts it."""
    if request.namespaces.get("ipc") != "shareable":
        return
    from prun.rootfs.failures import failure
    from prun.rootfs.syscalls import old_mount

    path = os.path.join(bundle, "mounts", "shm")
    try:
        os.makedirs(path, 0o700)
        options = f"mode=1777,size={request.shm_size_bytes or SHM_SIZE_BYTES}"
        old_mount("shm", path, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, options)
    except OSError as error:
        raise failure(f"{SHM} cannot be mounted at {path}", error) from error


def _shm(request: RunRequest, ipc: str) -> Mount:
    if ipc in ("host", "none") and request.shm_size_bytes:
        raise InvalidArgument(
            f"--shm-size cannot be used with --ipc {ipc}", hint="it is for a /dev/shm of the container's own"
        )
    if ipc == "host":
        return Mount(SHM, "bind", SHM, ("rbind", *SHM_OPTIONS))
    if ipc == "shareable":
        return Mount(SHM, "bind", shareable_shm(request.state, request.id), ("rbind", *SHM_OPTIONS))
    size = request.shm_size_bytes or SHM_SIZE_BYTES
    return Mount(SHM, "tmpfs", "shm", (*SHM_OPTIONS, "mode=1777", f"size={size}"))


def _unmasks_cgroup(unmask: Iterable[str]) -> bool:
    """Tell whether control groups may be changed: with cgroup v2 only, where a container has a tree of its own."""
    from prun_linux import cgroups

    return any(path in ("ALL", CGROUP) for path in unmask) and cgroups.mode() == "v2"


def _writable(mount: Mount) -> Mount:
    return mount._replace(options=tuple(word for word in mount.options if word != "ro"))
