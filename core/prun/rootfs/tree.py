"""The directory that a layer is unpacked into: no path of the archive leads out of it.

Every step from a directory to a child is one call relative to an open directory that follows no link; links are
resolved here, within the root, as a kernel would after chroot(2).  Open directories are kept, so that a file costs no
walk.  Nobody else may write below the root meanwhile; if someone does, the calls still do not leave it.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument
from prun.rootfs.marks import OPAQUE
from prun.rootfs.tarheader import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

MAX_DEPTH = 256  # directories below each other; also bounds recursion and open descriptors
MAX_LINKS = 40  # as the kernel's
_MAX_OPEN = 128
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Directory(NamedTuple):
    """An open directory and its path below the root, empty for the root; the descriptor is the tree's."""

    fd: int
    path: bytes

    def child(self, name: bytes) -> bytes:
        """Return the path of the child ``name``."""
        return self.path + b"/" + name if self.path else name


class Place(NamedTuple):
    """Where an entry goes; ``directory`` stays open until the next ``Tree.place``."""

    directory: Directory
    name: bytes

    @property
    def path(self) -> bytes:
        return self.directory.child(self.name)


class Tree:
    """A context manager around the root directory ``fd``, which it owns from then on.

    ``merged``: there are files of lower layers.  Then the tree remembers what this layer has written, because a
    whiteout hides lower layers only, and restores the times of directories that were there before.
    """

    def __init__(self, fd: int, *, merged: bool) -> None:
        self.root = Directory(fd, b"")
        self.merged = merged
        self._open: dict[bytes, Directory] = {b"": self.root}
        self._places: dict[bytes, Directory] = {}  # by the archive's own spelling of the parent
        self._times: dict[bytes, tuple[int, int]] = {}
        self._written: set[bytes] = set()
        if merged:
            self._note_times(self.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._forget()
        os.close(self.root.fd)

    def place(self, name: bytes) -> Place | None:
        """Return where the entry ``name`` goes, its parents made; None if it is the root itself."""
        if len(self._open) > _MAX_OPEN:
            self._forget()
        parent, _, base = name.rstrip(b"/").rpartition(b"/")
        if base in (b"", b".", b".."):
            parts = cleaned(name)
            if not parts:
                return None
            base = parts.pop()
            parent = b"/".join(parts)
        directory = self._places.get(parent)
        if directory is None:
            directory = self._walk(cleaned(parent), create=True)
            if directory is None:
                raise InvalidArgument(f"tar entry {shown(name)} has a parent that is no directory")
            self._places[parent] = directory
        return Place(directory, base)

    def find(self, name: bytes) -> Place | None:
        """Return where ``name`` is, nothing made, its last component not followed; None without such a parent."""
        parts = cleaned(name)
        if not parts:
            return None
        base = parts.pop()
        directory = self._walk(parts, create=False)
        return Place(directory, base) if directory else None

    def find_directory(self, name: bytes) -> Directory | None:
        """Return the directory ``name``, links followed, nothing made; None if there is none."""
        return self._walk(cleaned(name), create=False)

    def make(self, place: Place, make: Callable[[], None]) -> None:
        """Call ``make``, which makes a non-directory at ``place``, in the place of what is there."""
        try:
            make()
        except FileExistsError:
            self.remove(place, keep_written=False)
            make()
        self.wrote(place.path)

    def wrote(self, path: bytes) -> None:
        """Remember that this layer has something at ``path`` that is no directory."""
        if self.merged:
            self._written.add(path)
        if self._times:
            self._times.pop(path, None)

    def make_directory(self, place: Place, atime_ns: int, mtime_ns: int) -> tuple[int, bool]:
        """Return the directory at ``place`` and whether it is new; the times are set at the end."""
        new = True
        try:
            os.mkdir(place.name, 0o700, dir_fd=place.directory.fd)
        except FileExistsError:
            new = not _is_directory(place)
            if new:
                self.remove(place, keep_written=False)
                os.mkdir(place.name, 0o700, dir_fd=place.directory.fd)
        directory = self._child(place.directory, place.name)
        self.wrote(directory.path)
        self._times[directory.path] = (atime_ns, mtime_ns)
        return directory.fd, new

    def set_root_times(self, atime_ns: int, mtime_ns: int) -> None:
        """Set the times of the root at the end."""
        self._times[b""] = (atime_ns, mtime_ns)

    def remove(self, place: Place, *, keep_written: bool) -> None:
        """Remove what is at ``place``; ``keep_written`` spares what this layer has written."""
        try:
            mode = os.lstat(place.name, dir_fd=place.directory.fd).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            self._forget(place.directory)
        elif stat.S_ISLNK(mode):
            self._places.clear()  # an archive's path may have led through this link
        self._remove(place.directory, place.name, mode, keep_written)

    def clear(self, directory: Directory) -> None:
        """Remove from ``directory`` what is not of this layer."""
        self._forget(directory)
        for name in _children(directory.fd):
            mode = os.lstat(name, dir_fd=directory.fd).st_mode
            self._remove(directory, name, mode, keep_written=True)

    def set_directory_times(self) -> None:
        """Set the times of directories; to be called once, when nothing is made or removed any more."""
        for path, times in self._times.items():
            if len(self._open) > _MAX_OPEN:
                self._forget()
            directory = self._walk(path.split(b"/"), create=False)
            if directory is None or directory.path != path:
                continue  # removed since, with what stood above it
            if os.fstat(directory.fd).st_mtime_ns != times[1]:
                os.utime(directory.fd, ns=times)

    def _walk(self, parts: list[bytes], *, create: bool) -> Directory | None:
        """Follow ``parts`` from the root, links too; None where that is impossible."""
        stack = [self.root]
        pending = parts[::-1]
        links = 0
        while pending:
            part = pending.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                stack = stack[:-1] or [self.root]
                continue
            step = self._step(stack[-1], part, create=create)
            if step is None:
                return None
            if isinstance(step, Directory):
                stack.append(step)
                if len(stack) > MAX_DEPTH:
                    raise InvalidArgument(f"directory {shown(step.path)} is more than {MAX_DEPTH} levels deep")
                continue
            links += 1
            if links > MAX_LINKS:
                raise InvalidArgument(f"path {shown(b'/'.join(parts))} leads through more than {MAX_LINKS} links")
            if step.startswith(b"/"):
                stack = [self.root]
            pending += step.split(b"/")[::-1]
        return stack[-1]

    def _step(self, here: Directory, name: bytes, *, create: bool) -> Directory | bytes | None:
        """Return the child directory ``name``, or the target of a link, or None."""
        try:
            return self._child(here, name)
        except FileNotFoundError as error:
            if not create:
                return None
            if name == OPAQUE:  # a link can lead there; what is read back from the tree would take it for the mark
                raise InvalidArgument(
                    f"a link of the layer leads below {shown(name)}, a mark that is no directory"
                ) from error
            os.mkdir(name, 0o755, dir_fd=here.fd)
            made = self._child(here, name)
            os.fchmod(made.fd, 0o755)  # whatever the umask
            return made
        except NotADirectoryError:
            if not stat.S_ISLNK(os.lstat(name, dir_fd=here.fd).st_mode):
                return None
            return os.readlink(name, dir_fd=here.fd)

    def _child(self, here: Directory, name: bytes) -> Directory:
        path = here.child(name)
        directory = self._open.get(path)
        if directory is None:
            directory = self._open[path] = Directory(os.open(name, OPEN_DIRECTORY, dir_fd=here.fd), path)
            if self.merged:
                self._note_times(directory)
        return directory

    def _note_times(self, directory: Directory) -> None:
        if directory.path not in self._times:
            found = os.fstat(directory.fd)
            self._times[directory.path] = (found.st_atime_ns, found.st_mtime_ns)

    def _remove(self, here: Directory, name: bytes, mode: int, keep_written: bool) -> bool:
        """Remove one child, recursively; whether it is gone.  The depth is bounded by ``MAX_DEPTH``."""
        path = here.child(name)
        keep = keep_written and path in self._written
        if not stat.S_ISDIR(mode):
            if not keep:
                os.unlink(name, dir_fd=here.fd)
            return not keep
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=here.fd)
        try:
            directory = Directory(fd, path)
            for child in _children(fd):
                child_mode = os.lstat(child, dir_fd=fd).st_mode
                keep |= not self._remove(directory, child, child_mode, keep_written)
        finally:
            os.close(fd)
        if not keep:
            os.rmdir(name, dir_fd=here.fd)
        return not keep

    def _forget(self, spared: Directory | None = None) -> None:
        """Close the open directories but the root and ``spared``."""
        keep = (self.root, spared)
        for directory in self._open.values():
            if directory not in keep:
                os.close(directory.fd)
        self._open = {directory.path: directory for directory in keep if directory}
        self._places.clear()


def _children(fd: int) -> list[bytes]:
    return [os.fsencode(name) for name in os.listdir(fd)]


def cleaned(name: bytes) -> list[bytes]:
    """Return the components of ``name``, ``..`` resolved as text and never above the root."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return parts


def _is_directory(place: Place) -> bool:
    return stat.S_ISDIR(os.lstat(place.name, dir_fd=place.directory.fd).st_mode)
