"""The bytes of an archive: from a file, where any part can be read at any time, or from a pipe, only once.

An archive may be compressed with gzip or zstd as a whole; then it is like a pipe.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO, cast

from prun.errors import DataLoss, InvalidArgument

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAGIC_BYTES = 6
_MAGICS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
}
# 128 MiB: what zstd itself allows unless told otherwise; a window costs as much memory.
_MAX_WINDOW_BYTES = 128 << 20
CHUNK_BYTES = 1 << 20
_MAX_PADDING_CHUNKS = 16


class FileStream:
    """A tar file, read with pread: of the descriptor's own position there is no use."""

    def __init__(self, descriptor: int, label: str) -> None:
        self.label = label
        self.position = 0
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def read(self, size: int) -> bytes:
        data = os.pread(self._descriptor, size, self.position)
        self.position += len(data)
        return data

    def skip(self, size: int) -> None:
        self.position += size
        if self.position > self._size:
            raise DataLoss(f"{self.label} ends too early: it has {self._size} bytes, and a member that ends after that")


class Part(io.RawIOBase):
    """A part of a file, as a file of its own; the descriptor stays its owner's."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor, self._offset, self._size = descriptor, offset, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        count = os.preadv(self._descriptor, [view], self._offset + self._at)
        self._at += count
        return count


class PipeStream:
    """An archive that can be read once only; ``error`` is what its reader raises when the data is damaged."""

    def __init__(self, file: BinaryIO, label: str, error: type[Exception] = OSError) -> None:
        self.label = label
        self.position = 0
        self._file = file
        self._errors = (OSError, EOFError, error)

    def read(self, size: int) -> bytes:
        chunks = []
        while size and (chunk := self.read_some(size)):
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)

    def read_some(self, size: int) -> bytes:
        """Return at most ``size`` bytes, none only at the end."""
        try:
            chunk = self._file.read(size)
        except self._errors as error:
            raise DataLoss(f"{self.label} cannot be read: {error}") from error
        self.position += len(chunk)
        return chunk

    def skip(self, size: int) -> None:
        while size:
            chunk = self.read_some(min(size, CHUNK_BYTES))
            if not chunk:
                raise DataLoss(f"{self.label} ends too early")
            size -= len(chunk)

    def drain(self) -> None:
        """Read the padding that follows the archive, so that whoever writes it is not killed by SIGPIPE."""
        for _ in range(_MAX_PADDING_CHUNKS):
            if not self.read_some(CHUNK_BYTES):
                return


def open_pipe(file: BinaryIO, label: str) -> PipeStream:
    """Return the uncompressed content of a file that may be compressed.

    Raises:
        InvalidArgument: it is compressed in another way than with gzip or zstd.
    """
    head = file.read(MAGIC_BYTES)
    whole = io.BufferedReader(Rejoined(head, file), CHUNK_BYTES)
    compression = compression_of(head)
    if compression == "none":
        return PipeStream(whole, label)
    if compression == "gzip":
        from isal import igzip, isal_zlib

        unzipped = igzip.IGzipFile(fileobj=whole, mode="rb")  # type: ignore[no-untyped-call]
        return PipeStream(cast("BinaryIO", unzipped), label, cast("type[Exception]", isal_zlib.error))
    if compression == "zstd":
        import zstandard

        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        return PipeStream(decompressor.stream_reader(whole, read_across_frames=True), label, zstandard.ZstdError)
    raise InvalidArgument(f"{label} is compressed with {compression}", hint="gzip, zstd and plain archives can be read")


def compression_of(head: bytes) -> str:
    """Return how a file that begins with ``head`` is compressed: gzip, zstd, xz, bzip2, lz4 or none."""
    return next((name for magic, name in _MAGICS.items() if head.startswith(magic)), "none")


class Rejoined(io.RawIOBase):
    """A file whose beginning has been read already."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = head
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        data = self._head[: len(view)] or self._file.read(len(view))
        self._head = self._head[len(data) :]
        view[: len(data)] = data
        return len(data)
