"""Enter the user namespace of prun without root: the command's own process, once and for good.

All prun processes of a state directory share one user namespace while any of them, or a container of theirs, lives:
only from within may one signal the processes of another's container.  ``STATE/userns`` says who is in it.  Mounts are
each process's own: they end with it, also when it is killed.

See user_namespaces(7) and ``prun.rootless``.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition
from prun.identity import start_time
from prun.rootfs import syscalls
from prun.rootfs.idmap import IdMaps, map_lines
from prun.rootfs.mount import make_slave
from prun.rootless import MARK, SUBORDINATE, TOOLS, home_of_user, is_number, restriction, user_maps, why_not, word_in
from prun.state import make_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

_NS_GET_PARENT, _NS_GET_OWNER_UID = 0xB702, 0xB704  # ioctl_ns(2)


def enter(state: str) -> None:
    """Make this process root of the user namespace of ``state``; one that is root already stays as it is.

    The process must have one thread only.  It cannot go back.

    Raises:
        FailedPrecondition: the machine does not let an ordinary user do that, or the subordinate ids are wrong.
        PermissionDenied: ``state`` cannot be made.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return
    os.environ.setdefault("HOME", home_of_user(uid))
    make_private(state)
    try:
        with _members(state) as members:
            if not _join(members, uid):
                _make(user_maps(uid, gid))
            members.append(os.getpid())
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        syscalls.unshare(syscalls.CLONE_NEWNS)
        make_slave()
    except OSError as error:
        reason, remedy = why_not() if why_not()[0] else restriction()
        raise FailedPrecondition(
            f"a user namespace cannot be made: {reason or error.strerror}", hint=remedy or "use sudo"
        ) from error
    os.environ[MARK] = str(uid)


@contextmanager
def _members(state: str) -> Iterator[list[int]]:
    """Give the pids of who is in the user namespace, alone with the list; who is added is written down.

    Container processes outlive a prun that is killed: they are found by the pid files of their bundles.
    """
    import fcntl
    import glob

    path = os.path.join(state, "userns")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "r+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = [words for words in map(str.split, file) if len(words) == 2 and all(map(is_number, words))]
        known = [int(pid) for pid, start in lines if start_time(int(pid)) == int(start)]
        bundles = glob.glob(os.path.join(glob.escape(state), "bundles", "*", "pid"))
        members = [*known, *(pid for pid in map(_pid_in, bundles) if pid)]
        before = len(members)
        yield members
        file.seek(0)
        file.truncate()
        file.writelines(f"{pid} {start_time(pid) or 0}\n" for pid in (*known, *members[before:]))


def _pid_in(path: str) -> int:
    return int(word) if is_number(word := word_in(path)) else 0


def _join(members: list[int], uid: int) -> bool:
    """Enter the user namespace of the first member that is in one of ours; whether there was one."""
    for pid in members:
        try:
            fd = _namespace_of(pid, uid)
        except OSError:
            continue  # it has ended, or it is not ours
        try:
            syscalls.setns(fd, syscalls.CLONE_NEWUSER)
        except OSError:
            continue
        else:
            return True
        finally:
            os.close(fd)
    return False


def _namespace_of(pid: int, uid: int) -> int:
    """Return the user namespace of a process that is a child of ours and belongs to ``uid``.

    The process itself may be in a namespace further down (``--userns``).
    """
    import fcntl

    own = os.stat("/proc/self/ns/user")
    fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        while True:
            parent = fcntl.ioctl(fd, _NS_GET_PARENT)
            if os.path.samestat(os.fstat(parent), own):
                os.close(parent)
                owner = int.from_bytes(fcntl.ioctl(fd, _NS_GET_OWNER_UID, bytes(4)), sys.byteorder)
                if owner != uid:
                    raise PermissionError
                return os.dup(fd)
            fd, parent = parent, fd
            os.close(parent)
    finally:
        os.close(fd)


def _make(maps: IdMaps) -> None:
    """Make a user namespace with these maps, and a mount namespace in it."""
    if len(maps.uids) == 1:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", map_lines(maps.uids)), ("gid_map", map_lines(maps.gids))):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
        return
    waits, ready = os.pipe()
    said, saying = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(ready)  # else it would wait for itself where we fail
        _map_parent(maps, waits, saying)
    os.close(waits)
    os.close(saying)
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        os.write(ready, b"1")
        with open(said, encoding="utf-8", errors="replace", closefd=False) as file:
            words = " ".join(file.read().split())
    finally:
        os.close(ready)
        os.close(said)
        status = os.waitpid(helper, 0)[1]
    if status:
        raise FailedPrecondition(
            f"the subordinate ids cannot be mapped: {words or 'newuidmap failed'}",
            hint=f"see {' and '.join(SUBORDINATE)}, and whether {' and '.join(TOOLS)} are setuid root",
        )


def _map_parent(maps: IdMaps, waits: int, saying: int) -> NoReturn:
    """Run newuidmap and newgidmap for our parent, from outside of its namespace, once it says that it has one."""
    failed = 1
    try:
        parent = os.getppid()
        os.dup2(saying, 2)
        if os.read(waits, 1):
            failed = 0
            for tool, ranges in zip(TOOLS, maps, strict=True):
                words = [str(number) for each in ranges for number in each]
                failed = failed or os.spawnve(os.P_WAIT, tool, [tool, str(parent), *words], {})  # noqa: S606  no shell
    finally:
        os._exit(1 if failed else 0)
