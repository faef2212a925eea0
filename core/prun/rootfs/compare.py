"""Whether two directories hold the same: names, kinds, owners, modes, times of files, links, devices, content."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from prun.rootfs.tree import MAX_DEPTH, OPEN_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 20
# Where overlayfs copied a file from, and that it may have: of the copy's time and place, not of what it holds.
_NOT_CONTENT = tuple(
    f"{space}.overlay.{name}" for space in ("trusted", "user") for name in ("origin", "impure", "uuid")
)


def first_difference(left: str, right: str) -> str:
    """Return the path below ``left`` and ``right`` at which they differ first and how, nothing where they do not.

    Neither is written meanwhile.  What a container can have put there is never followed.
    """
    fds = [os.open(path, OPEN_DIRECTORY) for path in (left, right)]
    try:
        return next(_differences(fds[0], fds[1], "", 0), "")
    finally:
        for fd in fds:
            os.close(fd)


def _differences(left: int, right: int, path: str, depth: int) -> Iterator[str]:
    yield from _unlike(os.fstat(left), os.fstat(right), path or "/")
    if _attributes(f"/proc/self/fd/{left}", follow=True) != _attributes(f"/proc/self/fd/{right}", follow=True):
        yield f"{path or '/'} has other extended attributes"
    if depth > MAX_DEPTH:
        yield f"{path} is too deep"
        return
    names = [set(os.listdir(left)), set(os.listdir(right))]
    for name in sorted(names[0] | names[1]):
        child = f"{path}/{name}"
        if name not in names[0] or name not in names[1]:
            yield f"{child} is {'missing' if name in names[1] else 'too many'}"
            continue
        found = [os.lstat(name, dir_fd=fd) for fd in (left, right)]
        if stat.S_IFMT(found[0].st_mode) != stat.S_IFMT(found[1].st_mode):
            yield f"{child} is of another kind"
        elif stat.S_ISDIR(found[0].st_mode):
            fds = [os.open(name, OPEN_DIRECTORY, dir_fd=fd) for fd in (left, right)]
            try:
                yield from _differences(fds[0], fds[1], child, depth + 1)
            finally:
                for fd in fds:
                    os.close(fd)
        else:
            yield from _unlike(found[0], found[1], child)
            yield from _file_differences(left, right, name, child, found[0].st_mode)


def _unlike(left: os.stat_result, right: os.stat_result, path: str) -> Iterator[str]:
    if left.st_mode != right.st_mode:
        yield f"{path} has the mode {stat.S_IMODE(left.st_mode):o}, not {stat.S_IMODE(right.st_mode):o}"
    if (left.st_uid, left.st_gid) != (right.st_uid, right.st_gid):
        yield f"{path} belongs to {left.st_uid}:{left.st_gid}, not {right.st_uid}:{right.st_gid}"
    if left.st_rdev != right.st_rdev:
        yield f"{path} has another device number"
    is_mark = (stat.S_ISCHR(left.st_mode) and not left.st_rdev) or os.path.basename(path).startswith(".wh.")
    if stat.S_ISDIR(left.st_mode) or is_mark:
        return  # a directory without an entry, and what overlayfs and FUSE hide with, have the time of the unpacking
    if left.st_mtime_ns != right.st_mtime_ns:
        yield f"{path} has another time"
    if (left.st_size, left.st_nlink) != (right.st_size, right.st_nlink):
        yield f"{path} has {left.st_size} bytes and {left.st_nlink} names, not {right.st_size} and {right.st_nlink}"


def _file_differences(left: int, right: int, name: str, path: str, mode: int) -> Iterator[str]:
    if _attributes(f"/proc/self/fd/{left}/{name}") != _attributes(f"/proc/self/fd/{right}/{name}"):
        yield f"{path} has other extended attributes"
    if stat.S_ISLNK(mode) and os.readlink(name, dir_fd=left) != os.readlink(name, dir_fd=right):
        yield f"{path} leads elsewhere"
    if stat.S_ISREG(mode) and not _same_content(left, right, name):
        yield f"{path} has another content"


def _same_content(left: int, right: int, name: str) -> bool:
    with (
        open(os.open(name, _OPEN_FILE, dir_fd=left), "rb", buffering=0) as one,
        open(os.open(name, _OPEN_FILE, dir_fd=right), "rb", buffering=0) as other,
    ):
        while chunk := one.read(_CHUNK_BYTES):
            if chunk != other.read(_CHUNK_BYTES):
                return False
        return not other.read(1)


def _attributes(path: str, *, follow: bool = False) -> dict[str, bytes]:
    names = [name for name in os.listxattr(path, follow_symlinks=follow) if name not in _NOT_CONTENT]
    return {name: os.getxattr(path, name, follow_symlinks=follow) for name in names}
