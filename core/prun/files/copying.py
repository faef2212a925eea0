"""``cp``: between a container and this machine, either way, between containers, and as a tar on a stream.

What is copied is read and written entry by entry, as a tar would have it, and never as a tar: there is no parser
between two trees.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import FailedPrecondition, InvalidArgument
from prun.files.paths import Argument, Found, Kind, Top, parse_arguments, top_of
from prun.files.roots import container_root
from prun.rootfs import syscalls, tarstream
from prun.rootfs.failures import failure, translated
from prun.rootfs.idmap import host_id
from prun.rootfs.tarheader import shown
from prun.rootfs.tree import MAX_LINKS, Tree, cleaned
from prun.rootfs.treereader import TreeReader
from prun.rootfs.treewriter import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from prun.files.roots import ContainerRoot
    from prun.metadata import ContainerRow
    from prun.rootfs.decompress import ByteStream
    from prun.rootfs.tarheader import Entry
    from prun.rootfs.treereader import Member
    from prun.state import Store

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_OF_ROOT = (b"dev", b"proc", b"sys")  # of a copy of the whole root
_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID
_ANY = tarstream.Limits(size_bytes=1 << 62, entries=1 << 40)  # it is the user's own archive


class CopyOptions(NamedTuple):
    """``archive``: what comes into a container belongs to its user, else to the numbers that it had.

    ``follow``: a link as source means what it leads to.  ``overwrite``: a file may take a directory's place, and the
    other way round.
    """

    archive: bool = True
    follow: bool = False
    overwrite: bool = False


class Copied(NamedTuple):
    """How much it was, and the names of devices that were left out: they are of no use on this machine."""

    size_bytes: int
    left_out: tuple[str, ...] = ()


class _Source(NamedTuple):
    """An ``O_PATH`` descriptor of what is copied; ``path`` is its real path in a container's root."""

    handle: int
    path: bytes
    reader: TreeReader
    container: str = ""

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(os.fstat(self.handle).st_mode)

    def members(self, top: Top) -> Iterator[Member]:
        """Yield what is copied, under the names that it gets."""
        left_out = {top.path + b"/" + name if top.path else name for name in _NOT_OF_ROOT} if self._is_root else set()
        if top.included:
            return self.reader.opened(self.handle, top.path, lambda path: path not in left_out)
        return self._content(top.path, left_out)

    def _content(self, path: bytes, left_out: set[bytes]) -> Iterator[Member]:
        fd = os.open(".", _OPEN_DIRECTORY, dir_fd=self.handle)
        try:
            yield from self.reader.members(fd, path, lambda child: child not in left_out)
        finally:
            os.close(fd)

    @property
    def _is_root(self) -> bool:
        return bool(self.container) and not self.path


def copy(
    store: Store,
    source: str,
    target: str,
    options: CopyOptions = CopyOptions(),  # noqa: B008  a constant
    *,
    stdin: BinaryIO | None = None,
    write: Callable[[bytes | memoryview], object] | None = None,
) -> Copied:
    """Copy ``[CONTAINER:]PATH`` to ``[CONTAINER:]PATH``; ``-`` is a tar, read from ``stdin`` or written with ``write``.

    Raises:
        NotFound: there is no such container, file, or directory to copy into.
        InvalidArgument: a directory cannot become a file, or the words make no sense.
        FailedPrecondition: it is of the kernel, or what is there is in the way.
    """
    origin, goal = parse_arguments(source, target)
    with ExitStack() as stack:
        stack.enter_context(_translated(f'"{source}" cannot be copied to "{target}"'))
        roots = _roots(store, (origin, goal), stack)
        if origin.is_stream:
            return _from_stream(roots[goal.container], goal, options, stdin)
        opened = stack.enter_context(_source(origin, roots, follow=options.follow))
        if goal.is_stream:
            return _to_stream(origin, opened, write)
        return _to_tree(origin, goal, opened, roots, options)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Raise what a container's changes under our hands bring about as one of our errors."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise failure(what, error) from error


def _roots(store: Store, arguments: Iterable[Argument], stack: ExitStack) -> dict[str, ContainerRoot]:
    """Open the roots of the containers that are named, each once, in an order that two commands have in common."""
    rows: dict[str, ContainerRow] = {each.container: store.find(each.container) for each in arguments if each.container}
    by_id = {row.id: row for row in rows.values()}
    opened = {key: stack.enter_context(container_root(store, by_id[key])) for key in sorted(by_id)}
    return {name: opened[row.id] for name, row in rows.items()}


def _from_stream(root: ContainerRoot, goal: Argument, options: CopyOptions, stdin: BinaryIO | None) -> Copied:
    """Unpack a tar in a directory of a container."""
    import sys

    from prun.files.streams import entries_of

    with _writing(root, options) as sink:
        found = _find(sink.tree, goal)
        if found.kind != "directory":
            raise InvalidArgument("destination must be a directory when copying from stdin")
        for entry, stream in entries_of(stdin or sys.stdin.buffer, _ANY):
            parts = cleaned(entry.name)
            if not parts:
                continue  # the directory itself
            path = b"/".join([*found.path.split(b"/"), *parts] if found.path else parts)
            if entry.kind == tarstream.HARDLINK:
                entry = entry._replace(link=b"/".join([found.path, *cleaned(entry.link)]))
            sink.add(entry._replace(name=path), stream)
        return sink.done()


def _to_stream(origin: Argument, source: _Source, write: Callable[[bytes | memoryview], object] | None) -> Copied:
    """Write what is copied as a tar."""
    from prun.rootfs.tarwriter import TarWriter

    if write is None:
        raise InvalidArgument("a tar needs somebody to write it to")
    tar, size_bytes = TarWriter(write), 0
    contents = not origin.name or (origin.contents and source.is_directory)
    for member in _read(origin, source, Top(b"" if contents else os.fsencode(origin.name), included=not contents)):
        tar.add(member.entry, member.pieces())
        size_bytes += member.entry.stored_bytes
    tar.close()
    return Copied(size_bytes)


def _to_tree(
    origin: Argument, goal: Argument, source: _Source, roots: dict[str, ContainerRoot], options: CopyOptions
) -> Copied:
    from prun.rootfs.decompress import ByteStream

    with _writing(roots[goal.container], options) if goal.container else _writing_here(goal, options) as sink:
        found = sink.found or _find(sink.tree, goal)
        top = top_of(origin, goal, found, is_directory=source.is_directory)
        if goal.container and source.container == roots[goal.container].row.id and source.is_directory:
            _refuse_into_itself(source.path, top, goal)
        for member in _read(origin, source, top):
            sink.add(member.entry, ByteStream(member.pieces()))
        return sink.done()


def _read(origin: Argument, source: _Source, top: Top) -> Iterator[Member]:
    """Yield what is copied.

    Raises:
        FailedPrecondition: it is something of which there is nothing to copy.
    """
    members = source.members(top)
    count = 0
    while True:
        with translated(lambda: f'"{origin.path}" cannot be read'):
            member = next(members, None)
        if member is None:
            break
        count += 1
        yield member
    if top.included and not count:
        raise FailedPrecondition(
            f'"{origin.path}" cannot be copied',
            hint="it is a socket, or in a file system of the kernel, or just removed",
        )


def _refuse_into_itself(source: bytes, top: Top, goal: Argument) -> None:
    if f"{os.fsdecode(top.path)}/".startswith(f"{os.fsdecode(source)}/") or not source:
        raise InvalidArgument(f'a directory cannot be copied into itself: "{goal.path}"')


class _Sink:
    """Writes entries into a tree as ``cp`` does; ``found`` is the destination where that was found before."""

    def __init__(
        self, tree: Tree, adjust: Callable[[Entry], Entry | None], *, overwrite: bool, found: Found | None = None
    ) -> None:
        self.tree = tree
        self.found = found
        self._adjust = adjust
        self._overwrite = overwrite
        self._writer = TreeWriter(tree)
        self._left_out: list[str] = []
        self._is_empty = True

    def add(self, entry: Entry, stream: ByteStream) -> None:
        adjusted = self._adjust(entry)
        if adjusted is None:
            self._left_out.append(shown(entry.name))
            return
        self._is_empty = False
        if not self._overwrite:
            self._refuse_replacement(adjusted)
        self._writer.add(adjusted, stream)

    def done(self) -> Copied:
        if self._is_empty and self._left_out:
            raise FailedPrecondition(f"{self._left_out[0]} is a device, and is not made on this machine")
        with translated(lambda: "times of directories cannot be set"):
            self.tree.set_directory_times()
        return Copied(self._writer.size_bytes, tuple(self._left_out))

    def _refuse_replacement(self, entry: Entry) -> None:
        place = self.tree.find(entry.name)
        try:
            mode = os.lstat(place.name, dir_fd=place.directory.fd).st_mode if place else 0
        except FileNotFoundError:
            return
        if place and stat.S_ISDIR(mode) != (entry.kind == tarstream.DIRECTORY):
            what = "a directory" if stat.S_ISDIR(mode) else "no directory"
            raise FailedPrecondition(
                f'error creating "/{os.fsdecode(entry.name)}": file exists and is {what}',
                hint="--overwrite replaces it",
            )


@contextmanager
def _writing(root: ContainerRoot, options: CopyOptions) -> Iterator[_Sink]:
    """Give a sink into a container; what we make there has an owner that its user namespace knows."""

    def adjust(entry: Entry) -> Entry:
        uid, gid = root.user if options.archive else (entry.uid, entry.gid)
        if root.maps is None:
            return entry._replace(uid=uid, gid=gid)
        outer = host_id(root.maps.uids, uid), host_id(root.maps.gids, gid)
        if outer[0] is None or outer[1] is None:
            raise InvalidArgument(f"{shown(entry.name)} would belong to {uid}:{gid}, which the container does not have")
        return entry._replace(uid=outer[0], gid=outer[1])

    with ExitStack() as stack:
        tree = stack.enter_context(Tree(os.dup(root.fd), merged=False))
        if root.maps is not None:
            owner = host_id(root.maps.uids, 0), host_id(root.maps.gids, 0)
            stack.enter_context(syscalls.file_owner(owner[0] or 0, owner[1] or 0))
        yield _Sink(tree, adjust, overwrite=options.overwrite)


@contextmanager
def _writing_here(goal: Argument, options: CopyOptions) -> Iterator[_Sink]:
    """Give a sink into a directory of this machine: nothing in what is copied leads out of it."""

    def adjust(entry: Entry) -> Entry | None:
        if entry.kind in (tarstream.CHAR, tarstream.BLOCK):
            return None
        # Whose program it was, it is not any more: what ran with his rights must not run with ours.
        kept = {name: value for name, value in entry.xattrs.items() if name != b"security.capability"}
        return entry._replace(uid=os.geteuid(), gid=os.getegid(), mode=entry.mode & ~_SPECIAL_BITS, xattrs=kept)

    real = os.path.realpath(goal.path)
    kind = _kind_here(goal.path)  # not of ``real``: what /dev/stdout leads to has no path
    if kind == "file" and goal.means_directory:
        raise goal.missing("not a directory")
    base, name = (real, b"") if kind == "directory" else (os.path.dirname(real), os.fsencode(os.path.basename(real)))
    try:
        fd = os.open(base, _OPEN_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise goal.missing() from error
    with Tree(fd, merged=False) as tree:
        yield _Sink(tree, adjust, overwrite=options.overwrite, found=Found(kind, name))


def _kind_here(path: str) -> Kind:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "missing"
    if stat.S_ISDIR(mode):
        return "directory"
    return "file" if stat.S_ISREG(mode) else "other"


@contextmanager
def _source(argument: Argument, roots: dict[str, ContainerRoot], *, follow: bool) -> Iterator[_Source]:
    """Open what is copied: a link itself, unless ``follow`` or the words mean a directory."""
    follow = follow or argument.means_directory
    if argument.container:
        root = roots[argument.container]
        with Tree(os.dup(root.fd), merged=False) as tree:
            found = _find(tree, argument) if follow else _find_itself(tree, argument)
            if found.kind == "missing" or (found.kind != "directory" and argument.means_directory):
                raise argument.missing("not a directory" if found.kind != "missing" else "no such file or directory")
            place = tree.find(found.path)
            directory, name = (place.directory, place.name) if place else (tree.root, b".")
            with translated(lambda: f'"{argument.path}" cannot be opened'):
                handle = os.open(name, _NO_PATH, dir_fd=directory.fd)
        opened = _Source(handle, found.path, TreeReader(root.maps), root.row.id)
    else:
        path = argument.path.rstrip("/") or "/"
        try:
            handle = os.open(os.path.realpath(path) if follow else path, _NO_PATH)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise argument.missing() from error
        opened = _Source(handle, b"", TreeReader())
    try:
        if argument.means_directory and not opened.is_directory:
            raise argument.missing("not a directory")
        yield opened
    finally:
        os.close(handle)


def _find(tree: Tree, argument: Argument) -> Found:
    """Look a path up in a container's root, links followed, the last one too.

    Raises:
        NotFound: its parent does not exist.
        FailedPrecondition: it is in a file system of the kernel.
    """
    path = os.fsencode(argument.path)
    for _ in range(MAX_LINKS):
        found = _find_itself(tree, argument, path)
        place = tree.find(found.path)
        if place is None or found.kind != "other":
            return found
        mode = os.lstat(place.name, dir_fd=place.directory.fd).st_mode
        if not stat.S_ISLNK(mode):
            return found
        link = os.readlink(place.name, dir_fd=place.directory.fd)
        path = link if link.startswith(b"/") else place.directory.child(link)
    raise InvalidArgument(f'"{argument.path}" leads through more than {MAX_LINKS} links')


def _find_itself(tree: Tree, argument: Argument, path: bytes | None = None) -> Found:
    """Look a path up; of a link, the kind is ``other``."""
    wanted = os.fsencode(argument.path) if path is None else path
    with translated(lambda: f'"{argument.path}" cannot be looked up'):
        place = tree.find(wanted)
        if place is None:
            if cleaned(wanted):
                raise argument.missing()
            return Found("directory", b"")
        if syscalls.is_kernel_file_system(place.directory.fd):
            raise FailedPrecondition(
                f'"{argument.path}" is in a file system of the kernel', hint="read it with prun exec"
            )
        try:
            mode = os.lstat(place.name, dir_fd=place.directory.fd).st_mode
        except FileNotFoundError:
            return Found("missing", place.path)
    if stat.S_ISDIR(mode):
        return Found("directory", place.path)
    return Found("file" if stat.S_ISREG(mode) else "other", place.path)
