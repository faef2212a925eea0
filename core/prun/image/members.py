"""The members of a tar archive, one after the other: for archives that hold an image, not for its layers.

Nothing is unpacked: a name is a key to look up, never a path on this machine.  ustar, PAX and GNU long names.

Spec: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from prun.errors import DataLoss, InvalidArgument, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MEMBERS = 20_000
# No tool writes longer names into an image archive; the longest is blobs/sha512/<128 digits>.
MAX_NAME_BYTES = 1024
_MAX_HEADER_BYTES = 64 << 10
_BLOCK = 512

Kind = Literal["file", "link", "symlink", "other"]
_KINDS: dict[bytes, Kind] = {b"0": "file", b"\0": "file", b"7": "file", b"1": "link", b"2": "symlink"}
_NO_CONTENT = b"123456"


class Member(NamedTuple):
    """One member; ``name`` and a link's ``target`` are relative, without ``.``; ``offset`` is that of the content."""

    name: str
    kind: Kind
    size: int
    target: str
    offset: int


class Stream(Protocol):
    """Where an archive is read from, from the beginning to the end."""

    label: str
    position: int

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end."""
        ...

    def skip(self, size: int) -> None:
        """Go forward; raises DataLoss where the archive ends before that."""
        ...


def members(stream: Stream) -> Iterator[Member]:
    """Yield every member; what the caller has not read of its content by then is skipped.

    Raises:
        InvalidArgument: it is no tar archive, or a member's name leads out of it.
        DataLoss: it ends too early.
        ResourceExhausted: it has too many members, or headers that are too long.
    """
    extended: dict[str, str] = {}
    for count, header in enumerate(_headers(stream)):
        if count >= MAX_MEMBERS:
            raise ResourceExhausted(f"{stream.label} has more than {MAX_MEMBERS} members")
        kind, size = header[156:157], _number(stream, header[124:136])
        if kind in b"xLKg":
            extended |= _extension(stream, kind, size)
            continue
        if kind == b"S":
            raise InvalidArgument(f"{stream.label} has a sparse member, which image archives do not use")
        size = 0 if kind in _NO_CONTENT else int(extended.get("size", size))
        end = stream.position + size
        yield Member(
            _relative(stream, extended.get("path") or _name(header)),
            _KINDS.get(kind, "other"),
            size,
            extended.get("linkpath") or _text(header[157:257]),
            stream.position,
        )
        stream.skip(end + -size % _BLOCK - stream.position)
        extended = {}


def _headers(stream: Stream) -> Iterator[bytes]:
    start = stream.position
    while header := stream.read(_BLOCK):
        if len(header) < _BLOCK:
            raise DataLoss(f"{stream.label} ends within a header")
        if not header.strip(b"\0"):
            return
        stated = _number(stream, header[148:156])
        if sum(header) - sum(header[148:156]) + 8 * ord(" ") != stated:
            what = "is no tar archive" if stream.position == start + _BLOCK else "has a damaged header"
            raise InvalidArgument(f"{stream.label} {what}")
        yield header
    if stream.position == start:
        raise InvalidArgument(f"{stream.label} is empty")


def _extension(stream: Stream, kind: bytes, size: int) -> dict[str, str]:
    """Read a header that extends the one after it; a global one (``g``) has nothing that is of use here."""
    if size > _MAX_HEADER_BYTES:
        raise ResourceExhausted(f"{stream.label} has an extended header of {size} bytes")
    data = stream.read(size)
    if len(data) < size:
        raise DataLoss(f"{stream.label} ends within a header")
    stream.skip(-size % _BLOCK)
    if kind == b"x":
        return _pax(stream, data)
    key = {b"L": "path", b"K": "linkpath"}.get(kind)
    return {key: _text(data)} if key else {}


def _pax(stream: Stream, data: bytes) -> dict[str, str]:
    """Return the keywords of a PAX header that matter: records are ``<length> <key>=<value>\\n``."""
    found: dict[str, str] = {}
    while data:
        match = re.match(rb"([0-9]{1,5}) ([^=]+)=", data)
        length = int(match[1]) if match else 0
        if not match or length <= match.end() or data[length - 1 : length] != b"\n":
            raise InvalidArgument(f"{stream.label} has a damaged PAX header")
        key, value = match[2].decode(errors="replace"), data[match.end() : length - 1]
        if key in {"path", "linkpath"}:
            found[key] = _text(value)
        elif key == "size":
            if not re.fullmatch(rb"[0-9]{1,19}", value):
                raise InvalidArgument(f"{stream.label} has a member of the size {value[:100]!r}")
            found[key] = value.decode()
        data = data[length:]
    return found


def _number(stream: Stream, field: bytes) -> int:
    """Read an octal number, or GNU's binary one."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    match = re.fullmatch(rb" *([0-7]*)[ \0]*", field)
    if not match:
        raise InvalidArgument(f"{stream.label} is no tar archive, or has a damaged header")
    return int(match[1] or b"0", 8)


def _name(header: bytes) -> str:
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    name = _text(header[:100])
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="surrogateescape")


def _relative(stream: Stream, name: str) -> str:
    if len(name) > MAX_NAME_BYTES:
        raise ResourceExhausted(f"{stream.label} has a member whose name has {len(name)} bytes")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise InvalidArgument(f"member {name!r} of {stream.label} leads out of it")
    return "/".join(parts)
