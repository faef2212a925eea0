"""Turn a layer blob into the bytes of its tar: decompressed, hashed and limited, in a thread of its own.

The decompressor and the hash release the GIL, so that they run beside the unpacking, which waits for the kernel.
Nothing is executed: the decompressors are libraries (docker CVE-2026-41567 ran one found through ``PATH``).
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, cast

from prun.errors import DataLoss, InvalidArgument, ResourceExhausted

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterator
    from io import BufferedReader
    from typing import BinaryIO

CHUNK_BYTES = 256 << 10  # stays in a core's cache between decompressor, hash and write
QUEUED_CHUNKS = 16
ZSTD_WINDOW_BYTES = 128 << 20  # what `zstd` itself accepts without --long=31; a frame may ask for 2 GiB and more

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # bytes 1 to 3; the first is 0x50 to 0x5f (RFC 8878 section 3.1.2)

_COMPRESSION = {
    "application/vnd.oci.image.layer.v1.tar": "",
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar": "",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
}


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class ByteStream:
    """Takes bytes from an iterator of chunks; ``offset`` is how many have been taken.

    Every method that returns data raises DataLoss where the chunks end too early.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._at = 0
        self._before = 0

    @property
    def offset(self) -> int:
        return self._before + self._at

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes in one piece; the caller bounds ``size``."""
        start = self._at
        end = start + size
        if end <= len(self._chunk):
            self._at = end
            return self._chunk[start:end]
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next ``size`` bytes without copying them."""
        while size:
            if self._at == len(self._chunk) and not self._next():
                raise DataLoss(f"tar ends {size} bytes too early, at byte {self.offset}")
            piece = memoryview(self._chunk)[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> None:
        """Pass over the next ``size`` bytes."""
        if self._at + size <= len(self._chunk):
            self._at += size
            return
        for _ in self.pieces(size):
            pass

    def skip_padding(self, size: int) -> None:
        """Pass over the next ``size`` bytes, or what there is of them: `umoci insert` leaves out the last padding."""
        if self._at + size <= len(self._chunk):
            self._at += size
            return
        while size and not self.ended():
            step = min(size, len(self._chunk) - self._at)
            self._at += step
            size -= step

    def ended(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._chunk) and not self._next()

    def drain(self) -> None:
        """Pass over everything that is left."""
        while self._next():
            pass

    def _next(self) -> bool:
        self._before += len(self._chunk)
        self._at = 0
        self._chunk = next(self._chunks, b"")
        return bool(self._chunk)


class TarBytes(ByteStream):
    """A layer's uncompressed bytes; ``diff_id()`` is their digest, once everything has been taken."""

    def __init__(self, chunks: Iterator[bytes], digest: hashlib._Hash) -> None:
        super().__init__(chunks)
        self._digest = digest

    def diff_id(self) -> str:
        """Take what is left (bytes after the end of the archive count) and return the DiffID."""
        self.drain()
        return f"{self._digest.name}:{self._digest.hexdigest()}"


@contextmanager
def open_tar(blob: BinaryIO, media_type: str, limit_bytes: int, algorithm: str = "sha256") -> Iterator[TarBytes]:
    """Open a layer blob, which must be seekable or buffered, at its start; the thread ends with the context.

    Raises (while reading, too):
        InvalidArgument: an unknown media type, or one that the data belies.
        DataLoss: damaged or truncated compression.
        ResourceExhausted: more than ``limit_bytes`` come out, or a zstd window is too large.
    """
    from concurrent.futures import ThreadPoolExecutor
    from queue import Empty, Queue

    chunks = _chunks(open_uncompressed(blob, media_type), limit_bytes)
    digest = _new_hash(algorithm)
    queue: Queue[bytes] = Queue(QUEUED_CHUNKS)
    stopped = False

    def produce() -> None:
        try:
            for chunk in chunks:
                digest.update(chunk)
                queue.put(chunk)
                if stopped:
                    return
        finally:
            queue.put(b"")

    def taken() -> Iterator[bytes]:
        while chunk := queue.get():
            yield chunk
        producer.result()  # raises what ended it

    with ThreadPoolExecutor(1, "prun-layer") as executor:
        producer = executor.submit(produce)
        try:
            yield TarBytes(taken(), digest)
        finally:
            stopped = True
            while not producer.done():
                with suppress(Empty):
                    queue.get(timeout=0.01)  # it may wait for room in the queue


def open_uncompressed(blob: BinaryIO, media_type: str) -> _Readable:
    """Return a reader of the uncompressed bytes of ``blob``, by its media type (image-spec layer.md).

    Its ``read`` raises what the decompressor raises; ``open_tar`` translates.
    """
    try:
        compression = _COMPRESSION[media_type]
    except KeyError:
        raise InvalidArgument(f"layer media type {media_type!r} is not known") from None
    if blob.seekable():
        head = blob.read(4)
        blob.seek(-len(head), 1)
    else:  # one that comes from a daemon, buffered
        head = cast("BufferedReader", blob).peek(4)[:4]
    found = compression_of(head)
    if found != compression:
        raise InvalidArgument(f"layer of media type {media_type!r} is {found or 'not compressed'}")
    return decompressed(blob, compression)


def compression_of(head: bytes) -> str:
    """Return ``gzip``, ``zstd`` or an empty string for the first four bytes of a file."""
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    if head.startswith(ZSTD_MAGIC) or (head[1:4] == _ZSTD_SKIPPABLE and head[0] & 0xF0 == 0x50):
        return "zstd"
    return ""


def decompressed(blob: BinaryIO, compression: str) -> _Readable:
    """Return a reader of what ``blob`` holds; several gzip members or zstd frames are read as one."""
    if compression == "gzip":
        from isal import igzip

        return igzip.IGzipFile(fileobj=blob, mode="rb")  # type: ignore[no-untyped-call]
    if compression == "zstd":
        import zstandard

        decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
        return decompressor.stream_reader(blob, read_size=CHUNK_BYTES, read_across_frames=True)
    return blob


def _chunks(reader: _Readable, limit_bytes: int) -> Iterator[bytes]:
    """Yield what ``reader`` gives, its errors translated."""
    from gzip import BadGzipFile

    from isal import isal_zlib
    from zstandard import ZstdError

    total = 0
    try:
        while chunk := reader.read(CHUNK_BYTES):
            total += len(chunk)
            if total > limit_bytes:
                raise ResourceExhausted(f"layer unpacks to more than {limit_bytes} bytes")
            yield chunk
    except ZstdError as error:
        if "too much memory" in str(error):
            raise ResourceExhausted(f"zstd window of a layer is larger than {ZSTD_WINDOW_BYTES} bytes") from error
        raise DataLoss(f"layer cannot be decompressed: {error}") from error
    except (EOFError, BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]  # isal's stub has an instance
        raise DataLoss(f"layer cannot be decompressed: {error}") from error


def _new_hash(algorithm: str) -> hashlib._Hash:
    import hashlib

    if algorithm not in ("sha256", "sha512"):
        raise InvalidArgument(f"diff ID of algorithm {algorithm!r} cannot be checked", hint="sha256 or sha512")
    return hashlib.new(algorithm)
