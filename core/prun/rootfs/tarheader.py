"""The fields of a tar header: numbers, names, PAX records, sparse maps.

Our own parser, because a layer is untrusted and the limits matter: every loop here runs over at most one block or
over one record block of bounded size, and a number is checked before it is used.

Format: POSIX.1-2017 pax(1), "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar Format"
and "Storing Sparse Files".
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import NamedTuple

from prun.errors import InvalidArgument

BLOCK_BYTES = 512
NAME_BYTES = 4096  # PATH_MAX: nothing longer can be named by a system call
RECORDS_BYTES = 1 << 20
MAX_ID = (1 << 31) - 1  # containerd CVE-2024-40635: larger ones wrap around to root somewhere
MAX_MAJOR = (1 << 12) - 1  # Linux dev_t: 12 + 20 bits
MAX_MINOR = (1 << 20) - 1
MAX_SECONDS = 1 << 55  # beyond what any file system stores; keeps nanoseconds and C's time_t in range
XATTR_PREFIX = b"SCHILY.xattr."

Records = dict[bytes, bytes]
SparseMap = tuple[tuple[int, int], ...]


class Entry(NamedTuple):
    """One member of a tar, as the archive has it; ``name`` and ``link`` are raw bytes, neither cleaned nor trusted.

    ``kind`` is the type flag: ``0`` file, ``1`` hard link, ``2`` symlink, ``3`` char and ``4`` block device,
    ``5`` directory, ``6`` fifo.  ``size_bytes`` is the file's size, ``stored_bytes`` what the archive holds of it:
    less for a sparse file, whose data lies at ``sparse`` (offset, length), in order.
    """

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size_bytes: int
    stored_bytes: int
    mtime_ns: int
    atime_ns: int
    link: bytes
    major: int
    minor: int
    xattrs: dict[bytes, bytes]
    sparse: SparseMap | None = None


def shown(name: bytes) -> str:
    """Return ``name`` quoted for a message: no control characters, bounded."""
    text = repr(name.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 200 else f"{text[:200]}..."


@lru_cache(1024)  # modes, owners and times repeat from entry to entry
def number(field: bytes, what: str) -> int:
    """Parse a numeric field: octal digits, or GNU's base 256 where the first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=False) & ~(0x80 << 8 * (len(field) - 1))
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not digits.isdigit():  # some writers leave junk after the terminator
        digits = digits.partition(b"\0")[0].rstrip(b" ")
    try:
        return int(digits, 8) if digits.isdigit() else _bad_number(field, what)
    except ValueError:
        return _bad_number(field, what)


def _bad_number(field: bytes, what: str) -> int:
    raise InvalidArgument(f"tar header has {what} {field!r}, which is no number")


def decimal(text: bytes, what: str) -> int:
    """Parse a decimal number of a PAX record; the sign is the caller's business."""
    if not text.isdigit() or len(text) > 20:
        raise InvalidArgument(f"tar record has {what} {text[:40]!r}, which is no number")
    return int(text)


def checked(value: int, limit: int, what: str) -> int:
    """Return ``value`` if it is within 0 and ``limit``."""
    if not 0 <= value <= limit:
        raise InvalidArgument(f"tar header has {what} {value}, which is not within 0 and {limit}")
    return value


def seconds(value: int) -> int:
    """Return the nanoseconds of a whole number of seconds since 1970, negative before."""
    if not -MAX_SECONDS <= value <= MAX_SECONDS:
        raise InvalidArgument(f"tar header has time {value}, which is out of range")
    return value * 1_000_000_000


def timestamp(text: bytes) -> int:
    """Parse the decimal seconds of a PAX record, ``-1.5``, into nanoseconds."""
    negative = text.startswith(b"-")
    whole, _, fraction = text.removeprefix(b"-").partition(b".")
    if fraction and not fraction.isdigit():
        raise InvalidArgument(f"tar record has time {text[:40]!r}, which is no number")
    nanoseconds = seconds(decimal(whole, "time")) + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if negative else nanoseconds


def checksum_is_right(block: bytes) -> bool:
    """Whether the header's sum of bytes, its own field taken as spaces, is what the field says."""
    stored = number(block[148:156], "checksum")
    # Adler-32's low half is 1 + the sum of the bytes, exact below 65521: eight times as fast as sum() over bytes.
    total = (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2
    if total - sum(block[148:156]) + 8 * 0x20 == stored:
        return True
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:])
    return signed + 8 * 0x20 == stored  # old writers summed signed characters


def text(field: bytes) -> bytes:
    """Return a name field up to its terminator."""
    return field.partition(b"\0")[0]


def records(block: bytes) -> list[tuple[bytes, bytes]]:
    """Parse PAX records, ``LENGTH KEY=VALUE\\n`` each, in order; duplicates are kept (sparse 0.0 needs them)."""
    found = []
    at = 0
    while at < len(block):
        space = block.find(b" ", at, at + 8)
        length = decimal(block[at:space], "record length") if space > at else 0
        record = block[space + 1 : at + length]
        key, equals, value = record[:-1].partition(b"=")
        if length <= space - at + 1 or at + length > len(block) or record[-1:] != b"\n" or not equals or not key:
            raise InvalidArgument(f"tar record {block[at : at + 40]!r} is malformed")
        found.append((key, value))
        at += length
    return found


def sparse_from_records(found: list[tuple[bytes, bytes]]) -> list[int] | None:
    """Return the numbers of a PAX sparse map 0.0 (repeated keys) or 0.1 (one list), None where there is none."""
    lists = [value for key, value in found if key == b"GNU.sparse.map"]
    if lists:
        return [decimal(part, "sparse map") for part in lists[-1].split(b",")] if lists[-1] else []
    pair_keys = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
    pairs = [(key, value) for key, value in found if key in pair_keys]
    if any(key != pair_keys[index % 2] for index, (key, _) in enumerate(pairs)):
        raise InvalidArgument("tar record of a sparse file does not alternate offset and numbytes")
    if pairs or any(key == b"GNU.sparse.size" for key, _ in found):
        return [decimal(value, "sparse map") for _, value in pairs]
    return None


def sparse_map(numbers: list[int], size_bytes: int, stored_bytes: int) -> SparseMap:
    """Pair offsets and lengths, checked: ascending, within the file, adding up to what is stored."""
    if len(numbers) % 2:
        raise InvalidArgument("tar entry's sparse map has an odd number of numbers")
    at = total = 0
    for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
        if offset < at or length < 0 or offset + length > size_bytes:
            raise InvalidArgument(f"tar entry's sparse map has {offset},{length}, which does not fit")
        at = offset + length
        total += length
    if total != stored_bytes:
        raise InvalidArgument(f"tar entry's sparse map covers {total} bytes and {stored_bytes} are stored")
    return tuple((offset, length) for offset, length in zip(numbers[::2], numbers[1::2], strict=True) if length)
