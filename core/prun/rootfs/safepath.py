"""Look into a root file system: no link, device or size in it harms the one who looks.

A path is resolved as if the root were ``/`` (openat2's RESOLVE_IN_ROOT, or the same walk by hand where the kernel or a
seccomp filter has no openat2), into a descriptor that cannot be read yet; only a regular file is then opened.  A
FIFO cannot make it hang, opening a device has no effect because none is opened, a swapped directory leads nowhere.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument, NotFound, ResourceExhausted
from prun.rootfs import syscalls
from prun.rootfs.failures import failure
from prun.types import FileStat

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_MAX_LINKS = 40  # as the kernel's
_RACES = 100  # openat2 gives up with EAGAIN when ".." races with a rename
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_NO_PATH = os.O_PATH | os.O_CLOEXEC


class Root:
    """A context manager on the directory ``path``, the root of a file system (contract: ``types.Rootfs``).

    Raises:
        NotFound: ``path`` is no directory.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path, _NO_PATH | os.O_DIRECTORY)
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                raise NotFound(f"root file system {path!r} is no directory") from error
            raise failure(f"root file system {path!r} cannot be opened", error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, path: str, limit_bytes: int) -> bytes:
        fd, size_bytes = self._open_file(path)
        with open(fd, "rb", buffering=0) as file:
            if size_bytes > limit_bytes:
                raise _too_long(path, size_bytes, limit_bytes)
            data = _read_at_most(file.fileno(), limit_bytes + 1)
        if len(data) > limit_bytes:  # it has grown, or has no size of its own
            raise _too_long(path, len(data), limit_bytes)
        return data

    def head(self, path: str, size_bytes: int, offset: int = 0) -> bytes:
        """Return at most ``size_bytes`` of the regular file at ``path``, from ``offset`` on; raises as ``read``."""
        fd, length = self._open_file(path)
        with open(fd, "rb", buffering=0) as file:
            if not 0 <= offset <= length:
                return b""
            file.seek(offset)
            return _read_at_most(file.fileno(), size_bytes)

    def has_acl(self, path: str) -> bool:
        """Tell whether what ``path`` leads to has an access control list, which says more than its mode (acl(5))."""
        handle = self._open(path)
        if handle is None:
            return False
        try:
            return "system.posix_acl_access" in os.listxattr(f"/proc/self/fd/{handle}")
        except OSError:
            return False
        finally:
            os.close(handle)

    def open(self, path: str) -> int:
        """Return an ``O_PATH`` descriptor of what ``path`` leads to.

        Raises:
            NotFound: there is nothing.
        """
        handle = self._open(path)
        if handle is None:
            raise NotFound(f"path {path!r} does not exist in {self.path}")
        return handle

    def open_directory(self, path: str) -> int | None:
        """Return a descriptor, open for reading, of the directory that ``path`` leads to; None where there is none."""
        handle = self._open(path)
        if handle is None:
            return None
        try:
            if not stat.S_ISDIR(os.fstat(handle).st_mode):
                return None
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=handle)
        finally:
            os.close(handle)

    def stat(self, path: str) -> FileStat | None:
        handle = self._open(path)
        if handle is None:
            return None
        try:
            found = os.fstat(handle)
        finally:
            os.close(handle)
        return FileStat(found.st_mode, found.st_uid, found.st_gid, found.st_size)

    def file_above(self, path: str) -> str:
        """Return what is no directory on the way to a ``path`` that does not exist, empty where one could be made."""
        at = path.rstrip("/")
        while at := at.rpartition("/")[0]:
            if found := self.stat(at):
                return "" if stat.S_ISDIR(found.mode) else at
        return ""

    def _open_file(self, path: str) -> tuple[int, int]:
        """Open a regular file for reading; return its descriptor and its size."""
        handle = self._open(path)
        if handle is None:
            raise NotFound(f"file {path!r} does not exist in the root file system")
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidArgument(f"file {path!r} in the root file system is no regular file")
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(f"/proc/self/fd/{handle}", flags), found.st_size
        except OSError as error:
            raise failure(f"file {path!r} in the root file system cannot be opened", error) from error
        finally:
            os.close(handle)

    def _open(self, path: str) -> int | None:
        """Return an ``O_PATH`` descriptor of what ``path`` leads to, None where there is nothing."""
        encoded = os.fsencode(path)
        if b"\0" in encoded:
            raise InvalidArgument(f"path {path!r} contains a NUL byte")
        try:
            try:
                return _openat2(self._fd, encoded)
            except OSError as error:
                if not syscalls.is_missing(error):
                    raise
            return _walk(self._fd, encoded)
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return None
            raise failure(f"path {path!r} in the root file system cannot be resolved", error) from error


def real_directory_problems(root: str) -> list[str]:
    """Return what is wrong with ``/dev``, ``/proc`` and ``/sys`` of ``root``: each, if there, must be a directory.

    An OCI runtime follows a link there and works on the host's files (CVE-2026-41579, CVE-2026-47766).
    """
    problems = []
    for name in ("dev", "proc", "sys"):
        try:
            mode = os.lstat(os.path.join(root, name)).st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(mode):
            problems.append(f"/{name} is a {'symbolic link' if stat.S_ISLNK(mode) else 'file'} and no directory")
    return problems


def _openat2(root: int, path: bytes) -> int:
    """Resolve by the kernel; an empty path is the root."""
    resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
    for attempt in range(_RACES):
        try:
            return syscalls.openat2(root, path or b".", _NO_PATH, resolve)
        except OSError as error:
            if error.errno != errno.EAGAIN or attempt == _RACES - 1:
                raise
    raise AssertionError("unreachable")


def _walk(root: int, path: bytes) -> int:
    """Resolve by hand, one descriptor a component; ``..`` goes back to the descriptor that it came from."""
    stack = [os.open(".", _NO_PATH | os.O_DIRECTORY, dir_fd=root)]
    pending = path.split(b"/")[::-1]
    links = 0
    try:
        while pending:
            part = pending.pop()
            if not stat.S_ISDIR(os.fstat(stack[-1]).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if part in (b"", b"."):
                continue
            if part == b"..":
                _shorten(stack, max(1, len(stack) - 1))
                continue
            stack.append(os.open(part, _NO_PATH | os.O_NOFOLLOW, dir_fd=stack[-1]))
            if not stat.S_ISLNK(os.fstat(stack[-1]).st_mode):
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(b"", dir_fd=stack[-1])
            _shorten(stack, 1 if target.startswith(b"/") else len(stack) - 1)
            pending += target.split(b"/")[::-1]
        return stack.pop()
    finally:
        _shorten(stack, 0)


def _shorten(stack: list[int], length: int) -> None:
    while len(stack) > length:
        os.close(stack.pop())


def _read_at_most(fd: int, size_bytes: int) -> bytes:
    pieces = []
    while size_bytes and (piece := os.read(fd, min(size_bytes, 1 << 20))):
        pieces.append(piece)
        size_bytes -= len(piece)
    return b"".join(pieces)


def _too_long(path: str, size_bytes: int, limit_bytes: int) -> ResourceExhausted:
    return ResourceExhausted(
        f"file {path!r} in the root file system has {size_bytes} bytes; at most {limit_bytes} are read"
    )
