"""Write a tar: ustar headers, PAX records for what does not fit, PAX sparse 1.0 for files with holes.

What is written is what ``prun.rootfs.tarstream`` reads, and GNU tar, Go's archive/tar and Python's tarfile.  Times are
whole seconds, as docker's: fractions would double the headers of every file.

Format: POSIX.1-2017 pax(1); GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.rootfs.tarheader import BLOCK_BYTES, XATTR_PREFIX
from prun.rootfs.tarstream import BLOCK, CHAR, DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prun.rootfs.tarheader import Entry, SparseMap

_NAME_BYTES = 100
_MAX_ID = 0o7777777
_MAX_SIZE = 0o77777777777
_ZEROS = bytes(BLOCK_BYTES)


class TarWriter:
    """Writes entries with ``write``, which takes all of what it is given."""

    def __init__(self, write: Callable[[bytes | memoryview], object]) -> None:
        self._write = write

    def add(self, entry: Entry, pieces: Iterable[bytes | memoryview] = ()) -> None:
        """Write one entry; ``pieces`` are exactly its ``stored_bytes``."""
        leading = _sparse_map(entry.sparse, entry.size_bytes) if entry.sparse is not None else b""
        self._write(_headers(entry, len(leading)))
        if leading:
            self._write(leading)
        for piece in pieces:
            self._write(piece)
        if padding := -entry.stored_bytes % BLOCK_BYTES:
            self._write(_ZEROS[:padding])

    def close(self) -> None:
        """Write the end of the archive."""
        self._write(_ZEROS * 2)


def _headers(entry: Entry, leading_bytes: int) -> bytes:
    """Return the entry's header, behind one with records where it needs some."""
    records: dict[bytes, bytes] = {}
    name = entry.name + b"/" if entry.kind == DIRECTORY and not entry.name.endswith(b"/") else entry.name
    stored = entry.stored_bytes + leading_bytes
    if entry.sparse is not None:
        records.update({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": name,
                        b"GNU.sparse.realsize": b"%d" % entry.size_bytes})  # fmt: skip
    elif len(name) > _NAME_BYTES:
        records[b"path"] = name
    if len(entry.link) > _NAME_BYTES:
        records[b"linkpath"] = entry.link
    seconds = entry.mtime_ns // 1_000_000_000
    for key, value, limit in ((b"uid", entry.uid, _MAX_ID), (b"gid", entry.gid, _MAX_ID), (b"size", stored, _MAX_SIZE),
                              (b"mtime", seconds, _MAX_SIZE)):  # fmt: skip
        if not 0 <= value <= limit:
            records[key] = b"%d" % value
    records.update({XATTR_PREFIX + key: value for key, value in entry.xattrs.items()})
    header = _block(entry, name, stored, seconds)
    if not records:
        return header
    body = b"".join(_record(key, value) for key, value in records.items())
    extended = entry._replace(kind=b"x", mode=0o644, link=b"", major=0, minor=0)
    return (
        _block(extended, b"PaxHeaders.0/" + name, len(body), seconds) + body + bytes(-len(body) % BLOCK_BYTES) + header
    )


def _block(entry: Entry, name: bytes, size_bytes: int, seconds: int) -> bytes:
    device = entry.kind in (CHAR, BLOCK)
    fields = (
        name[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0"),
        b"%07o\0" % entry.mode,
        b"%07o\0" % _fitting(entry.uid, _MAX_ID),
        b"%07o\0" % _fitting(entry.gid, _MAX_ID),
        b"%011o\0" % _fitting(size_bytes, _MAX_SIZE),
        b"%011o\0" % _fitting(seconds, _MAX_SIZE),
        b" " * 8,
        entry.kind,
        entry.link[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0"),
        b"ustar\x0000",
        bytes(64),
        b"%07o\0" % (entry.major if device else 0),
        b"%07o\0" % (entry.minor if device else 0),
        bytes(167),
    )
    block = b"".join(fields)
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])


def _fitting(value: int, limit: int) -> int:
    """Return what the header says of a number that a record says in full."""
    return value if 0 <= value <= limit else 0


def _record(key: bytes, value: bytes) -> bytes:
    """Return ``LENGTH KEY=VALUE\\n``; the length counts itself."""
    rest = b" %b=%b\n" % (key, value)
    length = len(rest)
    while length != len(rest) + len(b"%d" % length):
        length = len(rest) + len(b"%d" % length)
    return b"%d%b" % (length, rest)


def _sparse_map(sparse: SparseMap, size_bytes: int) -> bytes:
    """Return the map that stands before the data; its last pair says where the file ends, as GNU tar writes it."""
    pairs = (*sparse, (size_bytes, 0))
    text = b"%d\n" % len(pairs) + b"".join(b"%d\n%d\n" % pair for pair in pairs)
    return text + bytes(-len(text) % BLOCK_BYTES)
