"""The files of an archive or of a directory that holds an image: read by name, regular files only."""

from __future__ import annotations

import os
import posixpath
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from prun.errors import DataLoss, InvalidArgument, PermissionDenied, ResourceExhausted, Unavailable
from prun.image.digest import parse_digest
from prun.image.members import members
from prun.image.staging import is_stored
from prun.image.stream import CHUNK_BYTES, MAGIC_BYTES, FileStream, Part, PipeStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.image.document import Descriptor
    from prun.image.ingest import Ingest, Writer
    from prun.image.members import Member

_MAX_LINKS = 8


class Files(Protocol):
    """What an image is loaded from; ``label`` is for messages, ``seekable`` whether threads may read side by side."""

    label: str
    seekable: bool

    def has(self, name: str) -> bool: ...

    def size(self, name: str) -> int:
        """Return the size in bytes; raises DataLoss where there is no such file, InvalidArgument where it is none."""
        ...

    def read(self, name: str, limit_bytes: int) -> bytes:
        """Return the whole of a small file; raises ResourceExhausted where it is longer, and what ``size`` does."""
        ...

    def head(self, name: str) -> bytes:
        """Return the first few bytes: enough to know how it is compressed."""
        ...

    def follow(self, name: str) -> str:
        """Return the name of the file that ``name`` leads to, which may be a link to another file in here."""
        ...

    def open(self, name: str) -> BinaryIO:
        """Open the file for reading from its start, beside all other readers."""
        ...

    def stage(self, name: str, expected: Descriptor, ingest: Ingest) -> Descriptor:
        """Write the file into ``ingest``, checked against ``expected``, and return what it is."""
        ...


class DirectoryFiles:
    """The files below a directory that the user named."""

    seekable = True

    def __init__(self, path: str, label: str) -> None:
        self.label = label
        self._path = path

    def has(self, name: str) -> bool:
        return os.path.lexists(os.path.join(self._path, name))

    def size(self, name: str) -> int:
        with self._open(name) as descriptor:
            return os.fstat(descriptor).st_size

    def read(self, name: str, limit_bytes: int) -> bytes:
        with self._open(name) as descriptor:
            size = os.fstat(descriptor).st_size
            _check_limit(self.label, name, size, limit_bytes)
            return _pread(self.label, descriptor, 0, size)

    def head(self, name: str) -> bytes:
        with self._open(name) as descriptor:
            return os.pread(descriptor, MAGIC_BYTES, 0)

    def follow(self, name: str) -> str:
        return name

    def open(self, name: str) -> BinaryIO:
        with self._open(name) as descriptor:
            return open(os.dup(descriptor), "rb", buffering=0)

    def stage(self, name: str, expected: Descriptor, ingest: Ingest) -> Descriptor:
        with self._open(name) as descriptor, ingest.writer(expected) as writer:
            _copy(self.label, descriptor, 0, os.fstat(descriptor).st_size, writer)
        return _written(expected, writer)

    @contextmanager
    def _open(self, name: str) -> Iterator[int]:
        # Whoever made the directory may have put anything into it: links, or FIFOs that block.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            descriptor = os.open(os.path.join(self._path, name), flags)
        except FileNotFoundError as error:
            raise DataLoss(f"{self.label} has no file {name!r}") from error
        except PermissionError as error:
            raise PermissionDenied(f"{self.label}: {name!r} may not be read") from error
        except OSError as error:
            raise InvalidArgument(f"{self.label}: {name!r} is no regular file: {error.strerror}") from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidArgument(f"{self.label}: {name!r} is no regular file")
            yield descriptor
        finally:
            os.close(descriptor)


class _Table:
    """The members of an archive by name."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._members: dict[str, Member] = {}

    def add(self, member: Member) -> None:
        """Take in a member; one name twice is refused, for readers differ in which of them counts."""
        if member.kind == "other":
            return
        if self._members.setdefault(member.name, member) is not member:
            raise InvalidArgument(f"{self.label} has the member {member.name!r} twice")

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def file(self, name: str) -> Member:
        """Return the regular file of that name."""
        member = self._members.get(name)
        if not member:
            raise DataLoss(f"{self.label} has no file {name[:300]!r}")
        if member.kind != "file":
            raise InvalidArgument(f"{self.label}: {name!r} is a link, not a regular file")
        return member

    def follow(self, name: str) -> str:
        """Follow links within the archive: docker once wrote a layer that it had written before as a link."""
        start = name
        for _ in range(_MAX_LINKS):
            member = self._members.get(name)
            if not member or member.kind == "file":
                return name
            above = posixpath.dirname(name) if member.kind == "symlink" else ""
            name = posixpath.normpath(posixpath.join(above, member.target))
            if name.startswith(("/", "../")):
                raise InvalidArgument(f"{self.label}: the link {start!r} leads out of it")
        raise InvalidArgument(f"{self.label}: the link {start!r} leads nowhere")


class ArchiveFiles:
    """The members of an uncompressed tar file."""

    seekable = True

    def __init__(self, descriptor: int, label: str) -> None:
        self.label = label
        self._descriptor = descriptor
        self._table = _Table(label)
        for member in members(FileStream(descriptor, label)):
            self._table.add(member)

    def has(self, name: str) -> bool:
        return name in self._table

    def size(self, name: str) -> int:
        return self._table.file(name).size

    def read(self, name: str, limit_bytes: int) -> bytes:
        member = self._table.file(name)
        _check_limit(self.label, name, member.size, limit_bytes)
        return _pread(self.label, self._descriptor, member.offset, member.size)

    def head(self, name: str) -> bytes:
        member = self._table.file(name)
        return os.pread(self._descriptor, min(member.size, MAGIC_BYTES), member.offset)

    def follow(self, name: str) -> str:
        return self._table.follow(name)

    def open(self, name: str) -> BinaryIO:
        member = self._table.file(name)
        return cast("BinaryIO", Part(self._descriptor, member.offset, member.size))

    def stage(self, name: str, expected: Descriptor, ingest: Ingest) -> Descriptor:
        member = self._table.file(name)
        with ingest.writer(expected) as writer:
            _copy(self.label, self._descriptor, member.offset, member.size, writer)
        return _written(expected, writer)


class PipedFiles:
    """The members of an archive that can be read only once: all of them are written into the ingest on the way."""

    seekable = False

    def __init__(self, stream: PipeStream, ingest: Ingest) -> None:
        self.label = stream.label
        self._ingest = ingest
        self._table = _Table(stream.label)
        self._digests: dict[str, str] = {}
        for member in members(stream):
            self._table.add(member)
            if member.kind == "file":
                self._digests[member.name] = self._take(stream, member)
        stream.drain()

    def has(self, name: str) -> bool:
        return name in self._table

    def size(self, name: str) -> int:
        return self._table.file(name).size

    def read(self, name: str, limit_bytes: int) -> bytes:
        _check_limit(self.label, name, self.size(name), limit_bytes)
        return self._first(name, limit_bytes)

    def head(self, name: str) -> bytes:
        self.size(name)
        return self._first(name, MAGIC_BYTES)

    def follow(self, name: str) -> str:
        return self._table.follow(name)

    def open(self, name: str) -> BinaryIO:
        return self._ingest.open(self._digests[self._table.file(name).name])

    def stage(self, name: str, expected: Descriptor, ingest: Ingest) -> Descriptor:
        found: Descriptor = {**expected, "digest": self._digests[name], "size": self.size(name)}
        if found["digest"] != expected.get("digest", found["digest"]):
            raise DataLoss(f"{self.label}: {name!r} has the digest {found['digest']}, not {expected['digest']}")
        return found

    def _first(self, name: str, size: int) -> bytes:
        with self._ingest.open(self._digests[name]) as blob:
            return blob.read(size)

    def _take(self, stream: PipeStream, member: Member) -> str:
        expected: Descriptor = {"size": member.size}
        digest = _digest_in(member.name)
        if digest:
            if is_stored(self._ingest, digest, member.size):
                return digest
            expected["digest"] = digest
        with self._ingest.writer(expected) as writer:
            while chunk := stream.read_some(min(CHUNK_BYTES, member.size - writer.size)):
                writer.write(chunk)
            if writer.size < member.size:
                raise DataLoss(f"{self.label} ends within {member.name!r}")
        return writer.digest


def _digest_in(name: str) -> str:
    """Return the digest that an OCI layout's ``blobs/<algorithm>/<hex>`` stands for, or nothing."""
    parts = name.split("/")
    if len(parts) != 3 or parts[0] != "blobs":
        return ""
    try:
        return parse_digest(f"{parts[1]}:{parts[2]}")
    except InvalidArgument:
        return ""


def _check_limit(label: str, name: str, size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise ResourceExhausted(f"{label}: {name!r} has {size} bytes; {limit_bytes} is the limit")


def _pread(label: str, descriptor: int, offset: int, size: int) -> bytes:
    data = os.pread(descriptor, size, offset)
    if len(data) != size:
        raise DataLoss(f"{label} ends too early")
    return data


def _copy(label: str, descriptor: int, offset: int, size: int, writer: Writer) -> None:
    buffer = memoryview(bytearray(min(CHUNK_BYTES, size)))
    while size:
        try:
            count = os.preadv(descriptor, [buffer[:size]], offset)
        except OSError as error:
            raise Unavailable(f"{label} cannot be read: {error.strerror}") from error
        if not count:
            raise DataLoss(f"{label} ends too early")
        writer.write(buffer[:count])
        offset += count
        size -= count


def _written(expected: Descriptor, writer: Writer) -> Descriptor:
    return {**expected, "digest": writer.digest, "size": writer.size}
