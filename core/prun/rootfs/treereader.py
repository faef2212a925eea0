"""Read a tree that somebody else may change at any moment, as entries of a tar.

Each step is one call relative to an open directory that follows no link.  A file is looked at through a descriptor
that cannot read; only a regular one is then opened: a FIFO cannot make us wait, and no device is opened.  Holes of a
file are left out.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument
from prun.rootfs import syscalls, tarstream
from prun.rootfs.attributes import is_kept_xattr
from prun.rootfs.idmap import container_owner
from prun.rootfs.tarheader import Entry
from prun.rootfs.tree import MAX_DEPTH, OPEN_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prun.rootfs.idmap import IdMaps
    from prun.rootfs.tarheader import SparseMap

_KINDS = {
    stat.S_IFREG: tarstream.FILE,
    stat.S_IFLNK: tarstream.SYMLINK,
    stat.S_IFDIR: tarstream.DIRECTORY,
    stat.S_IFCHR: tarstream.CHAR,
    stat.S_IFBLK: tarstream.BLOCK,
    stat.S_IFIFO: tarstream.FIFO,
}
_NO_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE_BYTES = 256 << 10
_SPARSE_BYTES = 1 << 20  # holes of smaller files are not worth their headers
_MAX_EXTENTS = 30_000  # what a reader's limit of a map's size allows; a file with more is read as if it had no holes


class Member(NamedTuple):
    """An entry, and its file: ``fd`` is open for reading until the next member is asked for, -1 without data."""

    entry: Entry
    fd: int = -1

    def pieces(self) -> Iterator[bytes]:
        """Yield the entry's ``stored_bytes``; where the file has become shorter since, zeros."""
        entry = self.entry
        for start, length in entry.sparse if entry.sparse is not None else ((0, entry.stored_bytes),):
            at, end = start, start + length
            while at < end:
                size_bytes = min(end - at, _PIECE_BYTES)
                piece = os.pread(self.fd, size_bytes, at) or bytes(size_bytes)
                at += len(piece)
                yield piece


class TreeReader:
    """Reads members of one tree, whose files belong to ids of a user namespace with ``maps``.

    The second of several hard links to a file is an entry that names the first.  Sockets, overlayfs's own device 0:0
    and what the kernel's own file systems have (procfs, sysfs and their kin) are left out.
    """

    def __init__(self, maps: IdMaps | None = None) -> None:
        self._maps = maps
        self._first: dict[tuple[int, int], bytes] = {}
        self._plain: dict[int, bool] = {}

    def members(
        self, directory: int, path: bytes, is_wanted: Callable[[bytes], bool] = lambda _: True, depth: int = 0
    ) -> Iterator[Member]:
        """Yield everything below an open directory, whose name in the archive is ``path``, parents before children.

        Raises:
            InvalidArgument: directories are nested too deep.
        """
        if depth > MAX_DEPTH:
            raise InvalidArgument(f"directory {os.fsdecode(path[:200])!r}... is more than {MAX_DEPTH} levels deep")
        for name in sorted(map(os.fsencode, os.listdir(directory))):
            child = path + b"/" + name if path else name
            if is_wanted(child):
                yield from self.member(directory, name, child, is_wanted, depth)

    def member(
        self,
        directory: int,
        name: bytes,
        path: bytes,
        is_wanted: Callable[[bytes], bool] | None = lambda _: True,
        depth: int = 0,
    ) -> Iterator[Member]:
        """Yield what ``name`` of an open directory is, and with ``is_wanted`` all below it; nothing if it is gone."""
        try:
            handle = os.open(name, _NO_PATH, dir_fd=directory)
        except FileNotFoundError:
            return
        try:
            yield from self.opened(handle, path, is_wanted, depth)
        finally:
            os.close(handle)

    def opened(
        self,
        handle: int,
        path: bytes,
        is_wanted: Callable[[bytes], bool] | None = lambda _: True,
        depth: int = 0,
    ) -> Iterator[Member]:
        """Yield what the ``O_PATH`` descriptor ``handle`` is, as ``member`` does."""
        found = os.fstat(handle)
        kind = stat.S_IFMT(found.st_mode)
        if kind not in _KINDS or (kind == stat.S_IFCHR and found.st_rdev == 0) or not self._is_plain(handle, found):
            return
        if kind == stat.S_IFDIR:
            yield Member(self._entry(handle, found, path))
            if is_wanted is not None:
                fd = os.open(".", OPEN_DIRECTORY, dir_fd=handle)
                try:
                    yield from self.members(fd, path, is_wanted, depth + 1)
                finally:
                    os.close(fd)
            return
        if found.st_nlink > 1:
            first = self._first.setdefault((found.st_dev, found.st_ino), path)
            if first != path:
                entry = self._entry(handle, found, path)
                yield Member(entry._replace(kind=tarstream.HARDLINK, link=first, size_bytes=0, xattrs={}))
                return
        if kind != stat.S_IFREG:
            yield Member(self._entry(handle, found, path))
            return
        fd = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            yield Member(_with_data(self._entry(handle, found, path), fd, found), fd)
        finally:
            os.close(fd)

    def _entry(self, handle: int, found: os.stat_result, path: bytes) -> Entry:
        kind = stat.S_IFMT(found.st_mode)
        uid, gid = container_owner(self._maps, found)
        is_device = kind in (stat.S_IFCHR, stat.S_IFBLK)
        return Entry(
            name=path,
            kind=_KINDS[kind],
            mode=stat.S_IMODE(found.st_mode),
            uid=uid,
            gid=gid,
            size_bytes=0,
            stored_bytes=0,
            mtime_ns=found.st_mtime_ns,
            atime_ns=found.st_atime_ns,
            link=os.readlink(b"", dir_fd=handle) if kind == stat.S_IFLNK else b"",
            major=os.major(found.st_rdev) if is_device else 0,
            minor=os.minor(found.st_rdev) if is_device else 0,
            xattrs=_xattrs(handle) if kind in (stat.S_IFREG, stat.S_IFDIR) else {},
        )

    def _is_plain(self, handle: int, found: os.stat_result) -> bool:
        plain = self._plain.get(found.st_dev)
        if plain is None:
            plain = self._plain[found.st_dev] = not syscalls.is_kernel_file_system(handle)
        return plain


def _with_data(entry: Entry, fd: int, found: os.stat_result) -> Entry:
    size_bytes = found.st_size
    sparse = _extents(fd, size_bytes) if _SPARSE_BYTES <= size_bytes > found.st_blocks * 512 else None
    stored = size_bytes if sparse is None else sum(length for _, length in sparse)
    return entry._replace(size_bytes=size_bytes, stored_bytes=stored, sparse=sparse)


def _extents(fd: int, size_bytes: int) -> SparseMap | None:
    """Return where a file has data, None where it has no holes or too many."""
    found: list[tuple[int, int]] = []
    at = 0
    try:
        while at < size_bytes and len(found) <= _MAX_EXTENTS:
            start = os.lseek(fd, at, os.SEEK_DATA)
            at = min(os.lseek(fd, start, os.SEEK_HOLE), size_bytes)
            if start < at:
                found.append((start, at - start))
    except OSError as error:
        if error.errno != errno.ENXIO:  # else: a hole up to the end
            return None
    if len(found) > _MAX_EXTENTS or found == [(0, size_bytes)]:
        return None
    return tuple(found)


def _xattrs(handle: int) -> dict[bytes, bytes]:
    path = f"/proc/self/fd/{handle}"
    try:
        names = [os.fsencode(name) for name in os.listxattr(path)]
        return {name: os.getxattr(path, name) for name in names if is_kept_xattr(name)}
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENODATA):
            return {}
        raise
