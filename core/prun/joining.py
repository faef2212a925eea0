"""Join the namespaces of a running container: ``container:NAME`` of ``--pid``, ``--ipc``, ``--uts`` and their kin.

What a runtime gets is ``ns:PATH``.  The path leads to a descriptor of ours, opened while the process was known to be
the container's: a pid that the kernel gives to another process meanwhile is never joined.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, InvalidArgument
from prun.identity import start_time
from prun.record import is_alive
from prun.types import Mount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.metadata import ContainerRow, Lease
    from prun.spec.document import MountEntry, Spec
    from prun.state import Store
    from prun.types import RunRequest

PREFIX = "container:"
SHM = "/dev/shm"  # noqa: S108
START_TIMEOUT_S = 5.0  # until a container that is just being started has a process
_ANCESTORS = 4  # the process, the OCI runtime that waits for it, prun


@contextmanager
def joined(request: RunRequest, store: Store) -> Iterator[RunRequest]:
    """Give the request with ``ns:PATH`` or ``host`` for each ``container:NAME``; the paths hold until the context ends.

    With ``--ipc`` the other's ``/dev/shm`` comes too, as a mount.  With ``view_only`` nothing is held.

    Raises:
        NotFound: there is no such container.
        FailedPrecondition: it does not run, or its ipc namespace is not for others (docker's rule).
        InvalidArgument: several ids begin like that; or a size is given for the other's ``/dev/shm``.
    """
    with ExitStack() as stack:
        words = dict(request.namespaces)
        mounts: tuple[Mount, ...] = ()
        for kind, word in request.namespaces.items():
            if not word.startswith(PREFIX):
                continue
            row = find(store, word.removeprefix(PREFIX))
            spec = _spec_of(store, row)
            if kind == "ipc":
                mounts += _shared_memory(request, row, spec, store.bundle(row.id))
            kinds = [namespace["type"] for namespace in spec.get("linux", {}).get("namespaces", [])]
            words[kind] = _opened(store, row, spec, kind, stack, request.view_only) if kind in kinds else "host"
        yield request._replace(namespaces=words, mounts=(*mounts, *request.mounts))


def find(store: Store, words: str) -> ContainerRow:
    """Find a running container by its name, its id, or the beginning of its id.

    Raises:
        NotFound: there is none.
        InvalidArgument: several ids begin like that.
        FailedPrecondition: it does not run.
    """
    row = store.find(words)
    if row.status != "running":
        raise _not_running(row)
    return row


def _not_running(row: ContainerRow) -> FailedPrecondition:
    return FailedPrecondition(
        f"container {row.name} is not running: its namespaces cannot be joined", hint="prun ps lists those that are"
    )


def _spec_of(store: Store, row: ContainerRow) -> Spec:
    """Return the spec of a running container, from its bundle."""
    try:
        with open(os.path.join(store.bundle(row.id), "config.json"), encoding="utf-8") as file:
            spec: Spec = json.load(file)
            return spec
    except FileNotFoundError as error:
        raise _not_running(row) from error


def _opened(store: Store, row: ContainerRow, spec: Spec, kind: str, stack: ExitStack, view_only: bool) -> str:
    """Return ``ns:PATH`` for a namespace of the container's process."""
    pid = _pid_of(store, row, spec)
    path = f"/proc/{pid}/ns/{kind}"
    if view_only:
        return f"ns:{path}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _not_running(row) from error
    stack.callback(os.close, fd)
    if not (
        _is_recorded(row, pid) or _is_process_of(pid, spec, _lease_of(store, row))
    ):  # only now the descriptor is known to be the container's
        raise _not_running(row)
    return f"ns:/proc/{os.getpid()}/fd/{fd}"


def open_root(store: Store, row: ContainerRow) -> int:
    """Return a descriptor of the root directory that the process of a running container has.

    Raises:
        FailedPrecondition: it does not run, or has not entered its root yet.
    """
    spec = _spec_of(store, row)
    pid = _pid_of(store, row, spec)
    try:
        fd = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _not_running(row) from error
    try:
        # Before pivot_root(2) a container's first process has the machine's root.
        if _pid_of(store, row, spec) == pid and not os.path.samestat(os.fstat(fd), os.stat("/")):
            return os.dup(fd)
    finally:
        os.close(fd)
    raise _not_running(row)


def _pid_of(store: Store, row: ContainerRow, spec: Spec) -> int:
    """Return the pid of the container's process, which its OCI runtime writes down a moment after the start."""
    if row.pid and _is_recorded(row, row.pid):
        return row.pid
    file = os.path.join(store.bundle(row.id), "pid")
    deadline = time.monotonic() + START_TIMEOUT_S
    while lease := _lease_of(store, row):
        pid = row.pid or _read_number(file)
        if pid and _is_process_of(pid, spec, lease):
            return pid
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    raise _not_running(row)


def _is_recorded(row: ContainerRow, pid: int) -> bool:
    """Tell whether a pid is still that of the process which was recorded with its start time."""
    return bool(row.start_time) and pid == row.pid and start_time(pid) == row.start_time


def _lease_of(store: Store, row: ContainerRow) -> Lease | None:
    """Return the identity of the prun that runs the container, None when it has ended."""
    lease = next((lease for lease in store.metadata.leases() if lease.container_id == row.id), None)
    return lease if lease and is_alive(lease) else None


def _is_process_of(pid: int, spec: Spec, lease: Lease | None) -> bool:
    """Tell whether a process is in the container's cgroup; without one, whether it descends from its prun."""
    if path := spec.get("linux", {}).get("cgroupsPath", ""):
        lines = _read(f"/proc/{pid}/cgroup").splitlines()
        return any(f"{path}/" in f"{line.split(':', 2)[2]}/" for line in lines)
    for _ in range(_ANCESTORS):
        if lease and pid == lease.pid:
            return start_time(pid) == lease.start_time
        status = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        pid = int(status[1]) if len(status) > 1 else 0
    return False


def _shared_memory(request: RunRequest, row: ContainerRow, spec: Spec, bundle: str) -> tuple[Mount, ...]:
    """Return the mount of the other container's ``/dev/shm``, none where both have the host's."""
    if request.shm_size_bytes:
        raise InvalidArgument(
            "--shm-size cannot be used with --ipc container:", hint="the other's /dev/shm has its size"
        )
    nothing: MountEntry = {}
    shared = next((mount for mount in spec.get("mounts", []) if mount.get("destination") == SHM), nothing)
    source = shared.get("source", "")
    if source == SHM:
        return ()
    if not source.startswith(f"{bundle}/"):
        raise FailedPrecondition(
            f"container {row.name} does not share its ipc namespace", hint="run it with --ipc shareable"
        )
    return (Mount(SHM, "bind", source, tuple(shared.get("options", ()))),)


def _read_number(path: str) -> int | None:
    words = _read(path)
    return int(words) if words.isascii() and words.isdigit() else None


def _read(path: str) -> str:
    """Return the content of a small file, nothing when it is gone."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
