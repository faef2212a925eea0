"""Blobs into tars: compression by media type, damage, bombs, the digest."""

from __future__ import annotations

import gzip
import hashlib
import io
import threading

import pytest
import zstandard
from images import LAYER

from prun.errors import DataLoss, InvalidArgument, ResourceExhausted
from prun.rootfs.decompress import CHUNK_BYTES, ByteStream, open_tar

PLAIN, GZIP, ZSTD = LAYER["none"], LAYER["gzip"], LAYER["zstd"]
DATA = bytes(range(256)) * 5000


def read(blob: bytes, media_type: str, limit: int = 1 << 30, algorithm: str = "sha256") -> tuple[bytes, str]:
    with open_tar(io.BytesIO(blob), media_type, limit, algorithm) as tar:
        data = tar.take(len(DATA))
        return data, tar.diff_id()


@pytest.mark.parametrize(
    ("blob", "media_type"),
    [
        (DATA, PLAIN),
        (DATA, "application/vnd.docker.image.rootfs.diff.tar"),
        (gzip.compress(DATA), GZIP),
        (gzip.compress(DATA), "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        (gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:]), GZIP),
        (gzip.compress(DATA) + bytes(100), GZIP),
        (zstandard.compress(DATA), ZSTD),
        (zstandard.compress(DATA[:1000]) + zstandard.compress(DATA[1000:]), ZSTD),
        (b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstandard.compress(DATA), ZSTD),
    ],
)
def test_every_compression_gives_the_data_and_its_digest(blob: bytes, media_type: str) -> None:
    assert read(blob, media_type) == (DATA, "sha256:" + hashlib.sha256(DATA).hexdigest())


def test_the_diff_id_is_of_the_algorithm_that_is_asked_for() -> None:
    assert read(DATA, PLAIN, algorithm="sha512")[1] == "sha512:" + hashlib.sha512(DATA).hexdigest()
    with pytest.raises(InvalidArgument, match="md5"):
        read(DATA, PLAIN, algorithm="md5")


@pytest.mark.parametrize(
    ("blob", "media_type"),
    [
        (gzip.compress(DATA), PLAIN),
        (gzip.compress(DATA), ZSTD),
        (zstandard.compress(DATA), GZIP),
        (zstandard.compress(DATA), PLAIN),
        (DATA, GZIP),
        (DATA, ZSTD),
        (b"", GZIP),
    ],
)
def test_a_media_type_that_the_data_belies_is_refused(blob: bytes, media_type: str) -> None:
    with pytest.raises(InvalidArgument, match="media type"):
        read(blob, media_type)


@pytest.mark.parametrize("media_type", ["application/zip", "", "application/vnd.oci.image.layer.v1.tar+xz"])
def test_an_unknown_media_type_is_refused(media_type: str) -> None:
    with pytest.raises(InvalidArgument, match="media type"):
        read(DATA, media_type)


@pytest.mark.parametrize("cut", [4, 20, 1000, -1, -8])
def test_truncated_gzip_is_data_loss(cut: int) -> None:
    with pytest.raises(DataLoss):
        read(gzip.compress(DATA)[:cut], GZIP)


@pytest.mark.parametrize("cut", [6, 20, 200])
def test_truncated_zstd_is_data_loss(cut: int) -> None:
    with pytest.raises(DataLoss):
        read(zstandard.compress(DATA)[:cut], ZSTD)


@pytest.mark.parametrize("where", [12, 300, -6])
def test_damaged_gzip_is_data_loss(where: int) -> None:
    blob = bytearray(gzip.compress(DATA))
    blob[where] ^= 0xFF
    with pytest.raises(DataLoss):
        read(bytes(blob), GZIP)


def test_junk_behind_the_compressed_data_is_data_loss() -> None:
    with pytest.raises(DataLoss):
        read(gzip.compress(DATA) + b"junk", GZIP)
    with pytest.raises(DataLoss):
        read(zstandard.compress(DATA) + b"junk", ZSTD)


def test_more_than_the_limit_is_refused_though_nobody_reads_it() -> None:
    blob = gzip.compress(bytes(50_000_000))
    with pytest.raises(ResourceExhausted, match="20000000"), open_tar(io.BytesIO(blob), GZIP, 20_000_000) as tar:
        tar.drain()


def test_a_zstd_window_over_128_mib_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, strategy=1, hash_log=6, chain_log=6)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    blob = compressor.compress(DATA) + compressor.flush()
    with pytest.raises(ResourceExhausted, match="window"):
        read(blob, ZSTD)


def test_the_thread_ends_with_the_context_whatever_is_left_unread() -> None:
    before = threading.active_count()
    with open_tar(io.BytesIO(gzip.compress(bytes(100 * CHUNK_BYTES))), GZIP, 1 << 40) as tar:
        tar.take(1)
    assert threading.active_count() == before


def test_an_error_of_the_blob_itself_is_passed_on() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 1000:
                raise OSError(5, "Input/output error")
            return super().read(min(size or 1, 600))

    with pytest.raises(OSError, match="Input/output"), open_tar(Broken(DATA), PLAIN, 1 << 30) as tar:
        tar.drain()


def test_a_stream_counts_what_was_taken_and_skipped() -> None:
    stream = ByteStream(iter([b"abc", b"defg", b"h"]))
    assert (stream.take(2), stream.take(3), stream.offset) == (b"ab", b"cde", 5)
    stream.skip(2)
    assert (stream.offset, stream.take(1), stream.ended()) == (7, b"h", True)
    with pytest.raises(DataLoss, match="too early, at byte 8"):
        stream.take(1)
