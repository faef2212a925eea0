"""Write entries of a tar into a tree: files, directories, links and devices, each with its attributes."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from prun.rootfs import tarstream
from prun.rootfs.attributes import is_kept_xattr, set_mode
from prun.rootfs.failures import translated
from prun.rootfs.tarheader import shown
from prun.rootfs.tree import cleaned

if TYPE_CHECKING:
    from prun.rootfs.decompress import ByteStream
    from prun.rootfs.tarheader import Entry
    from prun.rootfs.tree import Directory, Place, Tree

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEVICE_TYPES = {tarstream.CHAR: stat.S_IFCHR, tarstream.BLOCK: stat.S_IFBLK, tarstream.FIFO: stat.S_IFIFO}
_LARGE_BYTES = 1 << 20


class TreeWriter:
    """Writes entries into ``tree``; counts the bytes of their files."""

    def __init__(self, tree: Tree) -> None:
        self.size_bytes = 0
        self._tree = tree

    def add(self, entry: Entry, stream: ByteStream) -> None:
        """Write one entry, in the place of what is there; ``stream`` has its data."""
        try:
            self._add(entry, stream)
        except OSError as error:
            if refused := _refused_to_us(entry, error):
                raise refused from error
            with translated(lambda: f"tar entry {shown(entry.name)} cannot be unpacked"):
                raise error

    def _add(self, entry: Entry, stream: ByteStream) -> None:
        place = self._tree.place(entry.name)
        if place is None:
            self._add_root(entry)
        elif entry.kind == tarstream.FILE:
            self._tree.make(place, lambda: self._write_file(entry, place, stream))
        elif entry.kind == tarstream.DIRECTORY:
            fd, new = self._tree.make_directory(place, entry.atime_ns, entry.mtime_ns)
            _set_attributes(fd, entry, new=new)
        elif entry.kind == tarstream.SYMLINK:
            self._tree.make(place, lambda: _make_symlink(entry, place))
        elif entry.kind == tarstream.HARDLINK:
            self._add_hardlink(entry, place)
        elif not _is_hidden_device(entry):
            self._tree.make(place, lambda: _make_device(entry, place))

    def _add_root(self, entry: Entry) -> None:
        if entry.kind != tarstream.DIRECTORY:  # umoci CVE-2021-29136
            raise InvalidArgument(f"tar entry {shown(entry.name)} is the root and no directory")
        _set_attributes(self._tree.root.fd, entry, new=False)
        self._tree.set_root_times(entry.atime_ns, entry.mtime_ns)

    def _add_hardlink(self, entry: Entry, place: Place) -> None:
        source = self._tree.find(entry.link)
        found = _lstat(source.directory, source.name) if source else None
        if source is None or found is None:
            raise InvalidArgument(
                f"tar entry {shown(entry.name)} is a hard link to {shown(entry.link)}, which is missing"
            )
        if stat.S_ISDIR(found.st_mode):
            raise InvalidArgument(f"tar entry {shown(entry.name)} is a hard link to the directory {shown(entry.link)}")
        there = _lstat(place.directory, place.name)
        if there is not None and (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino):
            self._tree.wrote(place.path)
            return
        if there is not None and stat.S_ISDIR(there.st_mode) and source.path.startswith(place.path + b"/"):
            raise InvalidArgument(f"tar entry {shown(entry.name)} is a hard link that replaces its own target")
        directories = source.directory.fd, place.directory.fd
        self._tree.make(place, lambda: _link(source, place, directories))

    def _write_file(self, entry: Entry, place: Place, stream: ByteStream) -> None:
        fd = os.open(place.name, _CREATE, 0o600, dir_fd=place.directory.fd)
        try:
            if entry.stored_bytes > _LARGE_BYTES:
                _require_space(fd, entry)
            if entry.sparse is not None:
                _write_sparse(fd, entry, stream)
            elif entry.stored_bytes:
                for piece in stream.pieces(entry.stored_bytes):
                    _write_all(fd, piece)
            _set_attributes(fd, entry, new=True)
            os.utime(fd, ns=(entry.atime_ns, entry.mtime_ns))
        finally:
            os.close(fd)
        self.size_bytes += entry.stored_bytes


def _is_hidden_device(entry: Entry) -> bool:
    """Whether the entry is a device in ``/dev`` that we cannot make: every container has a ``/dev`` over it."""
    if entry.kind not in (tarstream.CHAR, tarstream.BLOCK) or cleaned(entry.name)[:1] != [b"dev"]:
        return False
    from prun.rootless import is_rootless

    return is_rootless()


def _refused_to_us(entry: Entry, error: OSError) -> FailedPrecondition | None:
    """Say what an ordinary user cannot unpack; None where something else is the matter."""
    from prun.rootless import is_rootless, lacks_ids

    if error.errno not in (errno.EINVAL, errno.EPERM) or not is_rootless():
        return None
    if entry.kind in (tarstream.CHAR, tarstream.BLOCK) and error.errno == errno.EPERM:
        return FailedPrecondition(
            f"tar entry {shown(entry.name)} is a device, which only root can make", hint="use this image with sudo"
        )
    if error.errno == errno.EINVAL and (remedy := lacks_ids(entry.uid, entry.gid)):
        return FailedPrecondition(
            f"tar entry {shown(entry.name)} belongs to {entry.uid}:{entry.gid}, which you have no ids for", hint=remedy
        )
    return None


def _write_sparse(fd: int, entry: Entry, stream: ByteStream) -> None:
    os.ftruncate(fd, entry.size_bytes)
    for offset, length in entry.sparse or ():
        os.lseek(fd, offset, os.SEEK_SET)
        for piece in stream.pieces(length):
            _write_all(fd, piece)


def _write_all(fd: int, data: memoryview) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, data[written:])


def _require_space(fd: int, entry: Entry) -> None:
    """Refuse a file before it fills the disk."""
    system = os.fstatvfs(fd)
    free = system.f_bavail * system.f_frsize
    if entry.stored_bytes > free:
        raise ResourceExhausted(
            f"tar entry {shown(entry.name)} has {entry.stored_bytes} bytes and {free} are free",
            hint="free space, or remove images with `prun rmi`",
        )


def _set_attributes(fd: int, entry: Entry, *, new: bool) -> None:
    """Set owner, mode and extended attributes, in this order: chown clears setuid bits and capabilities."""
    os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode)
    kept = _kept_xattrs(entry)
    if not new:
        for name in os.listxattr(fd):
            if is_kept_xattr(os.fsencode(name)) and os.fsencode(name) not in kept:
                os.removexattr(fd, name)
    for key, value in kept.items():
        os.setxattr(fd, key, value)


def _kept_xattrs(entry: Entry) -> dict[bytes, bytes]:
    return {name: value for name, value in entry.xattrs.items() if is_kept_xattr(name)} if entry.xattrs else {}


def _make_symlink(entry: Entry, place: Place) -> None:
    if not entry.link:
        raise InvalidArgument(f"tar entry {shown(entry.name)} is a link to nowhere")
    fd = place.directory.fd
    os.symlink(entry.link, place.name, dir_fd=fd)
    os.chown(place.name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
    os.utime(place.name, ns=(entry.atime_ns, entry.mtime_ns), dir_fd=fd, follow_symlinks=False)


def _make_device(entry: Entry, place: Place) -> None:
    if entry.kind == tarstream.CHAR and entry.major == entry.minor == 0:
        raise InvalidArgument(f"tar entry {shown(entry.name)} is the device 0:0, overlayfs's own mark")
    fd = place.directory.fd
    os.mknod(place.name, _DEVICE_TYPES[entry.kind] | 0o600, os.makedev(entry.major, entry.minor), dir_fd=fd)
    os.chown(place.name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
    set_mode(fd, place.name, entry.mode)
    os.utime(place.name, ns=(entry.atime_ns, entry.mtime_ns), dir_fd=fd, follow_symlinks=False)


def _link(source: Place, place: Place, directories: tuple[int, int]) -> None:
    try:
        os.link(source.name, place.name, src_dir_fd=directories[0], dst_dir_fd=directories[1], follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise InvalidArgument(f"hard link to {shown(source.path)} crosses a mount") from error
        raise


def _lstat(directory: Directory, name: bytes) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=directory.fd)
    except FileNotFoundError:
        return None
