"""Read a tar as a stream of entries: ustar, PAX, GNU; one pass, nothing kept, nothing touched.

Differences of opinion between parsers are refused rather than guessed: an unknown type flag, a lone zero block in the
middle, a global header that names a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument, ResourceExhausted
from prun.rootfs import tarheader
from prun.rootfs.tarheader import BLOCK_BYTES, Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.rootfs.decompress import ByteStream
    from prun.rootfs.tarheader import SparseMap

FILE, HARDLINK, SYMLINK, CHAR, BLOCK, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_ZERO_BLOCK = bytes(BLOCK_BYTES)
_GNU_SPARSE = b"S"
_WITH_DATA = (b"0", b"\0", b"7", _GNU_SPARSE)
_WITHOUT_DATA = (HARDLINK, SYMLINK, CHAR, BLOCK, DIRECTORY, FIFO)
_OLD_SPARSE_NUMBER = 12
_HEADERS_PER_ENTRY = 16


class Limits(NamedTuple):
    """What one layer may ask for."""

    size_bytes: int = 64 << 30
    entries: int = 1_000_000


LIMITS = Limits()


def read_entries(stream: ByteStream, limits: Limits = LIMITS) -> Iterator[Entry]:
    """Yield the entries; between two of them, at most ``stored_bytes`` may be taken from ``stream``.

    Ends behind the end-of-archive blocks, or where the stream ends between two entries.

    Raises:
        InvalidArgument: malformed, or of a kind that no layer has.
        DataLoss: the stream ends within an entry.
        ResourceExhausted: one of ``limits``, or a name or record block that is too long.
    """
    common: tarheader.Records = {}
    for _ in range(limits.entries):
        entry = _next_entry(stream, common, limits)
        if entry is None:
            return
        end = stream.offset + entry.stored_bytes
        yield entry
        stream.skip(end - stream.offset)
        stream.skip_padding(-entry.stored_bytes % BLOCK_BYTES)
    if _next_entry(stream, common, limits) is not None:
        raise ResourceExhausted(f"tar has more than {limits.entries} entries")


def _next_entry(stream: ByteStream, common: tarheader.Records, limits: Limits) -> Entry | None:
    """Return the next entry with all headers that belong to it, None at the end of the archive."""
    long_name = long_link = b""
    extended: list[tuple[bytes, bytes]] = []
    for _ in range(_HEADERS_PER_ENTRY):
        block = _header_block(stream)
        if block is None:
            if long_name or long_link or extended:
                raise InvalidArgument("tar ends behind a header that announces an entry")
            return None
        kind = block[156:157]
        if kind == b"x":
            extended = tarheader.records(_payload(stream, block, tarheader.RECORDS_BYTES))
        elif kind == b"g":
            _merge(common, tarheader.records(_payload(stream, block, tarheader.RECORDS_BYTES)))
        elif kind == b"L":
            long_name = tarheader.text(_payload(stream, block, tarheader.NAME_BYTES + 1))
        elif kind == b"K":
            long_link = tarheader.text(_payload(stream, block, tarheader.NAME_BYTES + 1))
        else:
            return _entry(stream, block, kind, long_name, long_link, common, extended, limits)
    raise ResourceExhausted(f"tar has more than {_HEADERS_PER_ENTRY} headers for one entry")


def _header_block(stream: ByteStream) -> bytes | None:
    if stream.ended():
        return None
    block = stream.take(BLOCK_BYTES)
    if block == _ZERO_BLOCK:
        if not stream.ended() and stream.take(BLOCK_BYTES) != _ZERO_BLOCK:
            raise InvalidArgument("tar goes on behind a single zero block")
        return None
    if not tarheader.checksum_is_right(block):
        raise InvalidArgument(f"tar header at byte {stream.offset - BLOCK_BYTES} has a wrong checksum")
    return block


def _payload(stream: ByteStream, block: bytes, limit_bytes: int) -> bytes:
    """Return the data of a header that only describes the next entry."""
    size = tarheader.number(block[124:136], "size")
    if not 0 <= size <= limit_bytes:
        raise ResourceExhausted(
            f"tar header of type {block[156:157]!r} has {size} bytes; at most {limit_bytes} are read"
        )
    return stream.take(size + -size % BLOCK_BYTES)[:size]


def _merge(common: tarheader.Records, found: list[tuple[bytes, bytes]]) -> None:
    """Add the records of a global header (pax "Header Block": they hold for every later entry)."""
    for key, value in found:
        if key in (b"path", b"linkpath", b"size") or key.startswith(b"GNU.sparse."):
            raise InvalidArgument(f"tar has a global header with {tarheader.shown(key)}")
        common[key] = value
    if sum(len(key) + len(value) for key, value in common.items()) > tarheader.RECORDS_BYTES:
        raise ResourceExhausted(f"tar has more than {tarheader.RECORDS_BYTES} bytes of global records")


def _entry(
    stream: ByteStream,
    block: bytes,
    kind: bytes,
    long_name: bytes,
    long_link: bytes,
    common: tarheader.Records,
    extended: list[tuple[bytes, bytes]],
    limits: Limits,
) -> Entry:
    number, text, checked = tarheader.number, tarheader.text, tarheader.checked
    with_data = kind in _WITH_DATA
    if not with_data and kind not in _WITHOUT_DATA:
        raise InvalidArgument(f"tar entry {tarheader.shown(block[:100])} is of unknown type {kind!r}")
    name = long_name or text(block[:100])
    if not long_name and block[257:263] == b"ustar\0" and block[345]:
        name = text(block[345:500]) + b"/" + name
    stored = number(block[124:136], "size") if with_data else 0  # other kinds have no data, whatever the field says
    mtime_ns = tarheader.seconds(number(block[136:148], "mtime"))
    major = minor = 0
    if kind in (CHAR, BLOCK):
        major = checked(number(block[329:337], "device major"), tarheader.MAX_MAJOR, "device major")
        minor = checked(number(block[337:345], "device minor"), tarheader.MAX_MINOR, "device minor")
    entry = Entry(
        name=name,
        kind=_kind(kind, name),
        mode=number(block[100:108], "mode") & 0o7777,
        uid=number(block[108:116], "uid"),
        gid=number(block[116:124], "gid"),
        size_bytes=stored,
        stored_bytes=stored,
        mtime_ns=mtime_ns,
        atime_ns=mtime_ns,
        link=long_link or text(block[157:257]),
        major=major,
        minor=minor,
        xattrs={},
    )
    if common or extended:
        entry = _with_records(entry, {**common, **dict(extended)})
    if kind == _GNU_SPARSE:
        entry = _with_old_sparse(stream, block, entry)
    elif extended and with_data:
        entry = _with_pax_sparse(stream, entry, extended)
    return _checked(entry, limits)


def _kind(kind: bytes, name: bytes) -> bytes:
    if kind == b"\0" and name.endswith(b"/"):
        return DIRECTORY  # tar before POSIX had no type for directories
    return FILE if kind in _WITH_DATA else kind


def _with_records(entry: Entry, found: tarheader.Records) -> Entry:
    """Apply PAX records; an empty value takes back a global one."""
    decimal = tarheader.decimal
    entry = entry._replace(
        name=found.get(b"path") or entry.name,
        link=found.get(b"linkpath") or entry.link,
        xattrs={
            key[len(tarheader.XATTR_PREFIX) :]: value
            for key, value in found.items()
            if key.startswith(tarheader.XATTR_PREFIX)
        },
    )
    if uid := found.get(b"uid"):
        entry = entry._replace(uid=decimal(uid, "uid"))
    if gid := found.get(b"gid"):
        entry = entry._replace(gid=decimal(gid, "gid"))
    if mtime := found.get(b"mtime"):
        entry = entry._replace(mtime_ns=tarheader.timestamp(mtime), atime_ns=tarheader.timestamp(mtime))
    if atime := found.get(b"atime"):
        entry = entry._replace(atime_ns=tarheader.timestamp(atime))
    if (size := found.get(b"size")) and entry.kind == FILE:
        stored = decimal(size, "size")
        entry = entry._replace(size_bytes=stored, stored_bytes=stored)
    return entry


def _checked(entry: Entry, limits: Limits) -> Entry:
    name, link = entry.name, entry.link
    if len(name) > tarheader.NAME_BYTES or len(link) > tarheader.NAME_BYTES:
        raise ResourceExhausted(
            f"tar entry {tarheader.shown(name)} has a name of more than {tarheader.NAME_BYTES} bytes"
        )
    if not name or b"\0" in name or b"\0" in link:
        raise InvalidArgument(f"tar entry has the name {tarheader.shown(name)}, link {tarheader.shown(link)}")
    if not 0 <= entry.uid <= tarheader.MAX_ID or not 0 <= entry.gid <= tarheader.MAX_ID:
        raise InvalidArgument(f"tar entry {tarheader.shown(name)} has owner {entry.uid}:{entry.gid}, out of range")
    if entry.size_bytes < 0 or entry.stored_bytes < 0:
        raise InvalidArgument(f"tar entry {tarheader.shown(name)} has a negative size")
    if entry.size_bytes > limits.size_bytes:
        raise ResourceExhausted(
            f"tar entry {tarheader.shown(name)} has {entry.size_bytes} bytes; at most {limits.size_bytes} are unpacked"
        )
    return entry


def _with_pax_sparse(stream: ByteStream, entry: Entry, extended: list[tuple[bytes, bytes]]) -> Entry:
    """Apply PAX sparse 0.0, 0.1 and 1.0, GNU tar's three ways (GNU tar manual, "Storing Sparse Files")."""
    found = dict(extended)
    numbers = tarheader.sparse_from_records(extended)
    stored = entry.stored_bytes
    if found.get(b"GNU.sparse.major") == b"1" and found.get(b"GNU.sparse.minor") == b"0":
        start = stream.offset
        numbers = _leading_map(stream, stored)
        stored -= stream.offset - start
    if numbers is None:
        return entry
    size = tarheader.decimal(found.get(b"GNU.sparse.realsize") or found.get(b"GNU.sparse.size") or b"", "sparse size")
    name = found.get(b"GNU.sparse.name") or entry.name
    return _sparse(entry._replace(name=name), tarheader.sparse_map(numbers, size, stored), size, stored)


def _leading_map(stream: ByteStream, stored_bytes: int) -> list[int]:
    """Take the map that PAX sparse 1.0 keeps before the data: decimal lines, padded to a block."""
    lines: list[bytes] = []
    tail = b""
    for at in range(0, tarheader.RECORDS_BYTES, BLOCK_BYTES):
        if at + BLOCK_BYTES > stored_bytes:
            raise InvalidArgument("tar entry's sparse map is longer than its data")
        *new, tail = (tail + stream.take(BLOCK_BYTES)).split(b"\n")
        lines += new
        if lines and len(lines) > 2 * tarheader.decimal(lines[0], "sparse map"):
            count = 2 * tarheader.decimal(lines[0], "sparse map")
            return [tarheader.decimal(line, "sparse map") for line in lines[1 : count + 1]]
        if len(tail) > BLOCK_BYTES:
            break
    raise ResourceExhausted(f"tar entry's sparse map is longer than {tarheader.RECORDS_BYTES} bytes")


def _with_old_sparse(stream: ByteStream, block: bytes, entry: Entry) -> Entry:
    """Apply GNU's old sparse format: four pairs in the header, 21 in each extension block behind it."""
    size = tarheader.number(block[483:495], "sparse size")
    fields = block[386:482]
    more = block[482]
    while more:
        if len(fields) > tarheader.RECORDS_BYTES:
            raise ResourceExhausted(f"tar entry {tarheader.shown(entry.name)} has too long a sparse map")
        extension = stream.take(BLOCK_BYTES)
        fields += extension[:504]
        more = extension[504]
    numbers = []
    for at in range(0, len(fields), 2 * _OLD_SPARSE_NUMBER):
        pair = fields[at : at + 2 * _OLD_SPARSE_NUMBER]
        if not pair[0]:  # unused pairs at the end are zero bytes, not digits
            break
        numbers += [tarheader.number(pair[:12], "sparse offset"), tarheader.number(pair[12:], "sparse length")]
    stored = entry.stored_bytes
    return _sparse(entry, tarheader.sparse_map(numbers, size, stored), size, stored)


def _sparse(entry: Entry, sparse: SparseMap, size_bytes: int, stored_bytes: int) -> Entry:
    return entry._replace(sparse=sparse, size_bytes=size_bytes, stored_bytes=stored_bytes)
