"""Look into an image without unpacking it: the tree that its layers make, in memory, contents left in the blobs.

For ``prun spec`` and for runtimes that execute nothing: no root, nothing written.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument, NotFound, ResourceExhausted
from prun.rootfs import tarstream
from prun.rootfs.marks import is_aufs_mark, whiteout_of
from prun.rootfs.tree import MAX_DEPTH, MAX_LINKS, cleaned
from prun.types import FileStat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import BinaryIO, Self

    from prun.rootfs.tarheader import Entry
    from prun.types import Layer, Mount

_TYPES = {
    tarstream.FILE: stat.S_IFREG,
    tarstream.SYMLINK: stat.S_IFLNK,
    tarstream.DIRECTORY: stat.S_IFDIR,
    tarstream.CHAR: stat.S_IFCHR,
    tarstream.BLOCK: stat.S_IFBLK,
    tarstream.FIFO: stat.S_IFIFO,
}


class _Node:
    """A file or directory; ``layer`` wrote it last, ``number`` is that of the entry with its content."""

    __slots__ = ("children", "layer", "link", "number", "source", "stat")

    def __init__(self, layer: int, found: FileStat, link: bytes = b"", number: int = 0) -> None:
        self.layer = layer
        self.stat = found
        self.link = link
        self.number = number
        self.source = layer  # the layer that has the content: another one for a hard link
        self.children: dict[bytes, _Node] | None = {} if stat.S_ISDIR(found.mode) else None


class LayersView:
    """The root file system that ``layers`` make (contract: ``types.Rootfs``); scanned when first asked.

    ``open_blob`` opens a blob by its digest.  All layers together may have as many entries as ``limits`` allow one.
    """

    path = ""
    mounts: tuple[Mount, ...] = ()

    def __init__(
        self,
        layers: Sequence[Layer],
        open_blob: Callable[[str], BinaryIO],
        limits: tarstream.Limits = tarstream.LIMITS,
    ) -> None:
        self._layers = layers
        self._open_blob = open_blob
        self._limits = limits
        self._root: _Node | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._root = None

    def leave(self) -> None:
        """Hold nothing, undo nothing."""

    def read(self, path: str, limit_bytes: int) -> bytes:
        node = self._find(path)
        if node is None:
            raise NotFound(f"file {path!r} does not exist in the root file system")
        if not stat.S_ISREG(node.stat.mode):
            raise InvalidArgument(f"file {path!r} in the root file system is no regular file")
        size = node.stat.size_bytes
        if size > limit_bytes:
            raise ResourceExhausted(f"file {path!r} in the root file system has {size} bytes, over {limit_bytes}")
        return self._content(node)

    def stat(self, path: str) -> FileStat | None:
        node = self._find(path)
        return node.stat if node else None

    def _find(self, path: str) -> _Node | None:
        if "\0" in path:
            raise InvalidArgument(f"path {path!r} contains a NUL byte")
        if self._root is None:
            self._root = self._scan()
        return _walk(self._root, os.fsencode(path).split(b"/"))

    def _content(self, node: _Node) -> bytes:
        from prun.rootfs.decompress import open_tar

        layer = self._layers[node.source]
        with self._open_blob(layer.digest) as blob, open_tar(blob, layer.media_type, self._limits.size_bytes) as tar:
            for number, entry in enumerate(tarstream.read_entries(tar, self._limits)):
                if number == node.number:
                    content = bytearray(entry.size_bytes)
                    for offset, length in entry.sparse or ((0, entry.stored_bytes),):
                        content[offset : offset + length] = tar.take(length)
                    return bytes(content)
        raise AssertionError("unreachable: the blob had this entry when it was scanned")

    def _scan(self) -> _Node:
        from prun.rootfs.decompress import open_tar

        root = _Node(-1, FileStat(stat.S_IFDIR | 0o755, 0, 0, 0))
        left = self._limits.entries
        for index, layer in enumerate(self._layers):
            limits = self._limits._replace(entries=left)
            with self._open_blob(layer.digest) as blob, open_tar(blob, layer.media_type, limits.size_bytes) as tar:
                for number, entry in enumerate(tarstream.read_entries(tar, limits)):
                    _add(root, entry, index, number)
                    left -= 1
        return root


def _add(root: _Node, entry: Entry, layer: int, number: int) -> None:
    """Do to the tree in memory what ``layer.apply_layer`` does to one on disk."""
    parts = cleaned(entry.name)
    if is_aufs_mark(entry.name):
        return
    hidden = whiteout_of(entry.name)
    if hidden is not None:
        parent = _walk(root, parts[:-1])
        if parent is not None and parent.children is not None:
            for name in [hidden] if hidden else list(parent.children):
                if name in parent.children and not _hide(parent.children[name], layer):
                    del parent.children[name]
        return
    if not parts:
        root.stat, root.layer = _stat_of(entry), layer
        return
    parent = _walk(root, parts[:-1], make_in=layer)
    if parent is None or parent.children is None:
        return  # refused when it is unpacked
    _place(parent.children, parts[-1], _new_node(root, entry, layer, number))


def _new_node(root: _Node, entry: Entry, layer: int, number: int) -> _Node | None:
    if entry.kind != tarstream.HARDLINK:
        return _Node(layer, _stat_of(entry), entry.link, number)
    *parents, base = cleaned(entry.link) or [b""]
    directory = _walk(root, parents)
    target = (directory.children or {}).get(base) if directory else None
    if target is None or target.children is not None:
        return None  # refused when it is unpacked
    node = _Node(layer, target.stat, target.link, target.number)
    node.source = target.source
    return node


def _place(children: dict[bytes, _Node], name: bytes, node: _Node | None) -> None:
    if node is None:
        return
    there = children.get(name)
    if there is not None and there.children is not None and node.children is not None:
        node.children = there.children
    children[name] = node


def _hide(node: _Node, layer: int) -> bool:
    """Take from ``node`` what lower layers have put there; whether anything is left."""
    kept = node.layer == layer
    if node.children is not None:
        for name, child in list(node.children.items()):
            if _hide(child, layer):
                kept = True
            else:
                del node.children[name]
    return kept


def _walk(root: _Node, parts: list[bytes], make_in: int | None = None) -> _Node | None:
    """Follow ``parts`` from the root, links too; ``make_in`` makes missing directories, as of that layer."""
    stack = [root]
    pending = parts[::-1]
    links = 0
    while pending:
        part = pending.pop()
        children = stack[-1].children
        if children is None:
            return None
        if part in (b"", b"."):
            continue
        if part == b"..":
            stack = stack[:-1] or [root]
            continue
        child = children.get(part)
        if child is None:
            if make_in is None or len(stack) > MAX_DEPTH:
                return None
            child = children[part] = _Node(-1, FileStat(stat.S_IFDIR | 0o755, 0, 0, 0))
        if not stat.S_ISLNK(child.stat.mode):
            stack.append(child)
            continue
        links += 1
        if links > MAX_LINKS:
            return None
        if child.link.startswith(b"/"):
            stack = [root]
        pending += child.link.split(b"/")[::-1]
    return stack[-1]


def _stat_of(entry: Entry) -> FileStat:
    size = len(entry.link) if entry.kind == tarstream.SYMLINK else entry.size_bytes
    return FileStat(_TYPES[entry.kind] | entry.mode, entry.uid, entry.gid, size)
