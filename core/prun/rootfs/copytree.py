"""Copy whole trees, owners, links and all, through open directories only."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import FailedPrecondition, InvalidArgument
from prun.rootfs.attributes import copy_attributes, set_mode
from prun.rootfs.tree import MAX_DEPTH, OPEN_DIRECTORY

if TYPE_CHECKING:
    from prun.rootfs.idmap import IdMaps

_FICLONE = 0x40049409  # ioctl_ficlonerange(2)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES = 1 << 30
_NO_RANGE = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM)


class _Copy(NamedTuple):
    """Where the first of several hard links went, below the descriptor of the tree's root; and whose ids."""

    root_fd: int
    links: dict[tuple[int, int], str]
    shift: IdMaps | None

    def owner(self, found: os.stat_result, path: str) -> tuple[int, int]:
        """Return the owner and group of the copy."""
        if self.shift is None:
            return found.st_uid, found.st_gid
        from prun.rootfs.idmap import host_id

        uid, gid = host_id(self.shift.uids, found.st_uid), host_id(self.shift.gids, found.st_gid)
        if uid is None or gid is None:
            raise FailedPrecondition(
                f"file {path!r} of the image belongs to {found.st_uid}:{found.st_gid}, which are not mapped",
                hint="map more ids (--userns auto:size=65536, --uidmap)",
            )
        return uid, gid


def copy_tree(source: str, target: str, shift: IdMaps | None = None) -> None:
    """Copy what is in the directory ``source`` into the empty directory ``target``, and its attributes.

    Blocks are shared where the file system can (reflink).  ``source`` must hold still.  ``shift``: the copy belongs
    to the ids that these maps have for the ones in ``source``.

    Raises:
        OSError: as the system calls.
        FailedPrecondition: a file's owner is not in ``shift``.
    """
    source_fd = os.open(source, OPEN_DIRECTORY)
    target_fd = os.open(target, OPEN_DIRECTORY)
    try:
        copy_open_tree(source_fd, target_fd, shift)
    finally:
        os.close(source_fd)
        os.close(target_fd)


def copy_open_tree(source_fd: int, target_fd: int, shift: IdMaps | None = None) -> None:
    """Do what ``copy_tree`` does with two directories that are open for reading."""
    _copy_directory(source_fd, target_fd, "", 0, _Copy(target_fd, {}, shift))


def _copy_directory(source: int, target: int, path: str, depth: int, copy: _Copy) -> None:
    if depth > MAX_DEPTH:
        raise InvalidArgument(f"directory {path!r} is more than {MAX_DEPTH} levels deep")
    for name in os.listdir(source):
        child = f"{path}/{name}" if path else name
        found = os.lstat(name, dir_fd=source)
        if not stat.S_ISDIR(found.st_mode):
            _copy_file(source, target, name, child, found, copy)
            continue
        os.mkdir(name, 0o700, dir_fd=target)
        new_source = os.open(name, OPEN_DIRECTORY, dir_fd=source)
        new_target = os.open(name, OPEN_DIRECTORY, dir_fd=target)
        try:
            _copy_directory(new_source, new_target, child, depth + 1, copy)
        finally:
            os.close(new_source)
            os.close(new_target)
    copy_attributes(source, target, copy.owner(os.fstat(source), path))


def _copy_file(source: int, target: int, name: str, path: str, found: os.stat_result, copy: _Copy) -> None:
    """Copy what is no directory; the second of several hard links becomes a link to the first."""
    if found.st_nlink > 1:
        first = copy.links.setdefault((found.st_dev, found.st_ino), path)
        if first != path:
            _link(copy.root_fd, first, target, name)
            return
    if stat.S_ISREG(found.st_mode):
        _copy_regular(source, target, name, found.st_size, copy.owner(found, path))
        return
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    else:
        os.mknod(name, stat.S_IFMT(found.st_mode) | 0o600, found.st_rdev, dir_fd=target)
    os.chown(name, *copy.owner(found, path), dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        set_mode(target, os.fsencode(name), stat.S_IMODE(found.st_mode))
    os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def _link(root_fd: int, first: str, target: int, name: str) -> None:
    """Link to what was copied before: a container that has the target mounted may have put links on the way there."""
    from prun.rootfs.safepath import Root

    directory, _, last = first.rpartition("/")
    with Root(f"/proc/self/fd/{root_fd}") as root:
        parent = root.open(directory)
    try:
        os.link(last, name, src_dir_fd=parent, dst_dir_fd=target, follow_symlinks=False)
    finally:
        os.close(parent)


def _copy_regular(source: int, target: int, name: str, size_bytes: int, owner: tuple[int, int]) -> None:
    read_fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    write_fd = os.open(name, _CREATE, 0o600, dir_fd=target)
    try:
        if size_bytes:
            _copy_data(read_fd, write_fd, size_bytes)
        copy_attributes(read_fd, write_fd, owner)
    finally:
        os.close(read_fd)
        os.close(write_fd)


def _copy_data(source: int, target: int, size_bytes: int) -> None:
    """Share the blocks where possible, else copy what is no hole."""
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
        return
    except OSError as error:
        if error.errno not in (*_NO_RANGE, errno.ENOTTY):
            raise
    os.ftruncate(target, size_bytes)
    at = 0
    while at < size_bytes:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        at = os.lseek(source, start, os.SEEK_HOLE)
        _copy_range(source, target, start, at)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            copied = os.copy_file_range(source, target, min(end - start, _COPY_BYTES), start, start)
        except OSError as error:
            if error.errno not in _NO_RANGE:
                raise
            copied = os.pwrite(target, os.pread(source, min(end - start, 1 << 20), start), start)
        if not copied:
            return  # truncated meanwhile
        start += copied
