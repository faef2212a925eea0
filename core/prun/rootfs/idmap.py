"""Id maps of user namespaces, and mounts that show other owners than the disk has (idmapped mounts, Linux 5.12).

An image's files keep the image's ids on disk.  A container in a user namespace of its own finds them through a mount
that adds the shift: nothing is copied and no file changes its owner.

See user_namespaces(7), mount_setattr(2) and https://docs.kernel.org/filesystems/idmappings.html.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import FailedPrecondition
from prun.rootfs import syscalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

OVERFLOW_ID = 65534  # user_namespaces(7)
_NOT_HERE = (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)


class IdRange(NamedTuple):
    """One line of an id map: ``size`` ids from ``container`` on are those from ``host`` on (config-linux.md)."""

    container: int
    host: int
    size: int


class IdMaps(NamedTuple):
    """The maps of a user namespace; an id in no range belongs to nobody in it."""

    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]


def host_id(ranges: Iterable[IdRange], number: int) -> int | None:
    """Return what a container's id is outside of it, None where it is not mapped."""
    for each in ranges:
        if each.container <= number < each.container + each.size:
            return each.host + number - each.container
    return None


def container_owner(maps: IdMaps | None, found: os.stat_result) -> tuple[int, int]:
    """Return owner and group of a file as a user namespace with ``maps`` knows them; nobody where it does not."""
    if maps is None:
        return found.st_uid, found.st_gid
    inner = inverse(maps)
    uid, gid = host_id(inner.uids, found.st_uid), host_id(inner.gids, found.st_gid)
    return OVERFLOW_ID if uid is None else uid, OVERFLOW_ID if gid is None else gid


def read_ranges(path: str) -> tuple[IdRange, ...]:
    """Read ``/proc/PID/uid_map`` or ``gid_map``; the ids outside are those of the reader's own namespace."""
    with open(path, encoding="ascii") as file:
        lines = [[int(word) for word in line.split()] for line in file]
    return tuple(IdRange(*line) for line in lines)


def map_lines(ranges: Iterable[IdRange]) -> str:
    """Return the text to write into ``/proc/PID/uid_map``."""
    return "".join(f"{each.container} {each.host} {each.size}\n" for each in ranges)


@contextmanager
def user_namespace(maps: IdMaps) -> Iterator[int]:
    """Make a user namespace with these maps and give a descriptor of it while the context lasts.

    Raises:
        FailedPrecondition: the kernel makes none, or refuses the maps.
    """
    with _child(lambda: syscalls.unshare(syscalls.CLONE_NEWUSER)) as pid:
        try:
            for name, ranges in (("uid_map", maps.uids), ("gid_map", maps.gids)):
                with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
                    file.write(map_lines(ranges))
            fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise FailedPrecondition(f"a user namespace cannot be made: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


def maps_of(path: str) -> IdMaps:
    """Return the maps of the user namespace at ``path``, such as ``/proc/PID/ns/user``, as seen from ours.

    Raises:
        FailedPrecondition: it cannot be entered.
    """

    def enter() -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        syscalls.setns(fd, syscalls.CLONE_NEWUSER)

    with _child(enter) as pid:
        return IdMaps(read_ranges(f"/proc/{pid}/uid_map"), read_ranges(f"/proc/{pid}/gid_map"))


def idmapped_clone(path: str, namespace: int) -> int:
    """Return a copy of the mount of the directory ``path`` with shifted owners, attached nowhere: a descriptor.

    Raises:
        FailedPrecondition: the kernel or the file system has no idmapped mounts.
    """
    fd = syscalls.clone_mount(path)
    try:
        _map(fd, namespace, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def map_owners(fd: int, maps: IdMaps, path: str) -> None:
    """Show the files of the unattached mount ``fd``, of ``path``, with the owners of a user namespace with these maps.

    Raises: as ``idmapped_clone``.
    """
    with user_namespace(maps) as namespace:
        _map(fd, namespace, path)


def inverse(maps: IdMaps) -> IdMaps:
    """Return the maps that lead from the ids outside to those in the container."""
    uids, gids = (tuple(IdRange(each.host, each.container, each.size) for each in ranges) for ranges in maps)
    return IdMaps(uids, gids)


def _map(fd: int, namespace: int, path: str) -> None:
    try:
        syscalls.map_mount(fd, namespace)
    except OSError as error:
        if error.errno in _NOT_HERE:
            raise FailedPrecondition(
                f"{path} cannot be mounted with other owners: {error.strerror}",
                hint="a user namespace needs Linux 5.19 and a file system with idmapped mounts (ext4, xfs, btrfs)",
            ) from error
        raise


@contextmanager
def _child(work: Callable[[], None]) -> Iterator[int]:
    """Do ``work`` in a process that then waits until the context ends; its pid.

    It gets no signals: our handlers raise, and what they would undo there is ours.
    """
    import signal

    ready, said = os.pipe()
    waits, ends = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        _work_and_wait(work, said, waits, ends)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(said)
    os.close(waits)
    try:
        if number := int(os.read(ready, 64) or b"0"):
            raise FailedPrecondition(f"a user namespace cannot be entered: {os.strerror(number)}")
        yield pid
    finally:
        os.close(ready)
        os.close(ends)
        os.waitpid(pid, 0)


def _work_and_wait(work: Callable[[], None], said: int, waits: int, ends: int) -> None:
    os.close(ends)
    try:
        work()
        os.write(said, b"0")
    except OSError as error:
        os.write(said, str(error.errno).encode())
    finally:
        try:
            os.read(waits, 1)
        finally:
            os._exit(0)
