"""The tar that ``cp -`` reads: plain, or compressed as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.errors import DataLoss, InvalidArgument
from prun.image.stream import CHUNK_BYTES, open_pipe
from prun.rootfs import tarstream
from prun.rootfs.decompress import ByteStream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from prun.image.stream import PipeStream
    from prun.rootfs.tarheader import Entry


def entries_of(file: BinaryIO, limits: tarstream.Limits) -> Iterator[tuple[Entry, ByteStream]]:
    """Yield the entries of a tar, and the stream that has their data.

    Raises:
        InvalidArgument: it is no tar, or compressed in a way that is not read.
        DataLoss: it is damaged or ends too early.
    """
    pipe = open_pipe(file, "standard input")
    stream = ByteStream(_chunks(pipe))
    entries = tarstream.read_entries(stream, limits)
    try:
        if stream.ended():
            raise DataLoss("standard input is empty")
        first = next(entries, None)
    except (DataLoss, InvalidArgument) as error:
        raise InvalidArgument("source must be a (compressed) tar archive when copying from stdin") from error
    if first is not None:
        yield first, stream
        for entry in entries:
            yield entry, stream
    pipe.drain()


def _chunks(pipe: PipeStream) -> Iterator[bytes]:
    while chunk := pipe.read_some(CHUNK_BYTES):
        yield chunk
