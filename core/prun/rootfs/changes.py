"""What differs between two trees: docker's A, C and D.

A path that is new is ``A``, one that is gone ``D`` (of a directory only itself), one that is another or has another
owner, mode, size, time, target or attribute ``C``.  A directory is ``C`` too when something in it differs, and its time
does not count: docker's rules.  A file that overlayfs has copied up and nobody has changed is no change.

Whoever writes below one of the trees meanwhile gives an answer between before and after; no link is followed.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Literal, NamedTuple

from prun.errors import InvalidArgument
from prun.rootfs.attributes import is_kept_xattr
from prun.rootfs.idmap import container_owner
from prun.rootfs.tree import MAX_DEPTH, OPEN_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prun.rootfs.idmap import IdMaps
    from prun.rootfs.views import Layer

_MTAB = (b"etc/mtab", "/proc/mounts")  # prun.engines.embedded.rootfs makes it


class Change(NamedTuple):
    """One change; ``path`` is below the root, empty for the root itself."""

    kind: Literal["A", "C", "D"]
    path: bytes


def changes(layer: Layer, *, mount_points: Iterable[bytes] = (), maps: IdMaps | None = None) -> list[Change]:
    """Return what has become of ``layer.old``, sorted by path: parents come before children.

    ``mount_points`` are paths below the root that an OCI runtime has made to mount something there: one that is new and
    empty is no change.  The owners of the new tree's files are those of a user namespace with ``maps``.

    Raises:
        OSError: as the system calls.
        InvalidArgument: directories are nested too deep.
    """
    comparison = _Comparison(layer.opaque, mount_points, maps)
    comparison.directory(layer.new, layer.old, b"", whole=not layer.opaque, depth=0)
    if comparison.differs(os.fstat(layer.new), os.fstat(layer.old), *_paths(layer.new, layer.old, b".")):
        comparison.found.append(Change("C", b""))
    return sorted(comparison.found, key=lambda change: change.path.split(b"/"))


class _Comparison:
    def __init__(self, opaque: str, mount_points: Iterable[bytes], maps: IdMaps | None) -> None:
        self.found: list[Change] = []
        self._opaque = opaque
        self._maps = maps
        self._made = {path[:end] for path in mount_points for end in (*_slashes(path), len(path))}

    def directory(self, new: int, old: int | None, path: bytes, *, whole: bool, depth: int) -> None:
        """Compare two directories; unless ``whole``, the new one has only what differs."""
        if depth > MAX_DEPTH:
            raise InvalidArgument(f"directory {os.fsdecode(path[:200])!r}... is more than {MAX_DEPTH} levels deep")
        names = set(map(os.fsencode, os.listdir(new)))
        for name in names:
            self._child(new, old, name, path + b"/" + name if path else name, depth)
        if whole and old is not None:
            for name in set(map(os.fsencode, os.listdir(old))) - names:
                self.found.append(Change("D", path + b"/" + name if path else name))

    def differs(self, new: os.stat_result, old: os.stat_result, new_path: str, old_path: str) -> bool:
        """Tell whether two files of one kind differ; a directory's content and time apart."""
        kind = stat.S_IFMT(new.st_mode)
        if (new.st_mode, *container_owner(self._maps, new)) != (old.st_mode, old.st_uid, old.st_gid):
            return True
        if kind == stat.S_IFLNK:
            return os.readlink(new_path) != os.readlink(old_path)
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            return new.st_rdev != old.st_rdev
        if kind == stat.S_IFREG and (new.st_size, new.st_mtime_ns) != (old.st_size, old.st_mtime_ns):
            return True
        return _kept_xattrs(new_path) != _kept_xattrs(old_path)

    def _child(self, new: int, old: int | None, name: bytes, path: bytes, depth: int) -> None:
        now, before = _lstat(new, name), None if old is None else _lstat(old, name)
        if now is None:
            return
        if self._opaque and stat.S_ISCHR(now.st_mode) and now.st_rdev == 0:
            if before:
                self.found.append(Change("D", path))
            return
        count = len(self.found)
        if stat.S_ISDIR(now.st_mode):
            self._subdirectory(new, old, name, path, depth)
        if before is None or old is None:
            if len(self.found) > count or not self._is_mount_point(path, now, *_paths(new, new, name)):
                self.found.append(Change("A", path))
        elif len(self.found) > count or self._is_another(now, before, *_paths(new, old, name)):
            self.found.append(Change("C", path))

    def _subdirectory(self, new: int, old: int | None, name: bytes, path: bytes, depth: int) -> None:
        new_fd, old_fd = _open(new, name), None if old is None else _open(old, name)
        try:
            if new_fd is not None:
                whole = not self._opaque or self._is_opaque(new_fd)
                self.directory(new_fd, old_fd, path, whole=whole, depth=depth + 1)
        finally:
            for fd in (new_fd, old_fd):
                if fd is not None:
                    os.close(fd)

    def _is_another(self, now: os.stat_result, before: os.stat_result, new_path: str, old_path: str) -> bool:
        try:
            return self.differs(now, before, new_path, old_path)
        except FileNotFoundError:  # removed since
            return True

    def _is_mount_point(self, path: bytes, found: os.stat_result, new_path: str, _: str) -> bool:
        """Tell whether something new is what a runtime mounts over, or a directory that leads there."""
        if stat.S_ISLNK(found.st_mode):
            return bool(self._made) and path == _MTAB[0] and os.readlink(new_path) == _MTAB[1]
        return path in self._made and (stat.S_ISDIR(found.st_mode) or found.st_size == 0)

    def _is_opaque(self, fd: int) -> bool:
        return self._opaque in os.listxattr(fd) and os.getxattr(fd, self._opaque) == b"y"


def _lstat(directory: int, name: bytes) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return None


def _open(directory: int, name: bytes) -> int | None:
    """Return the directory ``name``, None where it is none, or none any more."""
    try:
        return os.open(name, OPEN_DIRECTORY, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _paths(new: int, old: int, name: bytes) -> tuple[str, str]:
    """Return paths for calls that have no ``dir_fd``; of each only the last component is not ours."""
    return f"/proc/self/fd/{new}/{os.fsdecode(name)}", f"/proc/self/fd/{old}/{os.fsdecode(name)}"


def _kept_xattrs(path: str) -> dict[str, bytes]:
    names = [name for name in os.listxattr(path, follow_symlinks=False) if is_kept_xattr(os.fsencode(name))]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _slashes(path: bytes) -> list[int]:
    return [index for index, byte in enumerate(path) if byte == ord("/")]
