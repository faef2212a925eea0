"""Archives that are small and want to become large: bounded memory, bounded time, a clear error, a clean store."""

from __future__ import annotations

import gzip
import os
import pickle
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard
from images import LAYER, digest, entry, layer_tar

from prun.types import Layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

RESIDENT_BYTES = 150_000_000  # issue 9's limit, whatever the image
NO_DIFF_ID = "sha256:" + "0" * 64
SCRIPT = """
import pickle, resource, sys
with open(sys.argv[1], "rb") as job:
    path, layer, blob_path, limits = pickle.load(job)
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
from prun.errors import PrunError
from prun.metadata import Metadata
from prun.rootfs import layer as layers
from prun.rootfs.snapshots import Snapshots
from prun.rootfs.tarstream import Limits
from prun.types import Layer
layers.apply_layer.__kwdefaults__["limits"] = Limits(*limits)
try:
    snapshots = Snapshots(path + "/snapshots", Metadata(path + "/metadata.db"))
    snapshots.unpack([Layer(*layer)], lambda _: open(blob_path, "rb"))
    print("unpacked")
except PrunError as error:
    print(type(error).__name__, error)
with open("/proc/self/status") as status:
    print(*[line.split()[1] for line in status if line.startswith("VmHWM")])
"""


def unpack_within_limits(
    path: Path, blob: Path, compression: str, limits: tuple[int, int], diff_id: str = NO_DIFF_ID
) -> str:
    """Unpack in a process of bounded memory; return its words, after looking that nothing is left behind."""
    layer = Layer("sha256:" + "1" * 64, diff_id, LAYER[compression], blob.stat().st_size)  # type: ignore[index]
    job = path / "job"
    job.write_bytes(pickle.dumps((str(path), tuple(layer), str(blob), limits)))
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(job)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer, resident_kib = done.stdout.splitlines()
    assert int(resident_kib) << 10 < RESIDENT_BYTES
    if answer != "unpacked":
        assert set(os.listdir(path / "snapshots")) <= {"active", "locks", "driver"}
    return answer


def zeros(size: int) -> Iterator[bytes]:
    chunk = bytes(1 << 20)
    return (chunk for _ in range(size >> 20))


def header_of(size: int) -> bytes:
    return entry("zeros", tarfile.REGTYPE, size=size).tobuf(tarfile.GNU_FORMAT)


def test_a_gzip_of_gigabytes_of_zeros_is_stopped_at_the_limit(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    with gzip.open(blob, "wb", compresslevel=9) as out:
        out.write(header_of(2 << 30))
        for chunk in zeros(2 << 30):
            out.write(chunk)
    assert blob.stat().st_size < 3 << 20
    assert unpack_within_limits(tmp_path, blob, "gzip", (1 << 30, 1000)).startswith("ResourceExhausted")


def test_a_gzip_bomb_behind_a_small_archive_is_stopped_at_the_limit(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    with gzip.open(blob, "wb", compresslevel=9) as out:
        out.write(layer_tar([]))
        for chunk in zeros(300 << 20):
            out.write(chunk)
    answer = unpack_within_limits(tmp_path, blob, "gzip", (200 << 20, 1000))
    assert answer == f"ResourceExhausted layer unpacks to more than {200 << 20} bytes"


def test_a_zstd_of_gigabytes_of_zeros_is_stopped_at_the_limit(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    with open(blob, "wb") as raw, zstandard.ZstdCompressor().stream_writer(raw) as out:
        out.write(header_of(4 << 30))
        for chunk in zeros(4 << 30):
            out.write(chunk)
    assert blob.stat().st_size < 1 << 20
    assert unpack_within_limits(tmp_path, blob, "zstd", (1 << 30, 1000)).startswith("ResourceExhausted")


def test_a_zstd_window_of_two_gigabytes_is_refused(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    # Magic number; no content size, no checksum; window of 2^31 bytes (RFC 8878 section 3.1.1.1.2); a raw block.
    blob.write_bytes(b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(31 - 10) << 3]) + b"\x01\x00\x00")
    assert unpack_within_limits(tmp_path, blob, "zstd", (1 << 30, 1000)).startswith("ResourceExhausted zstd window")


def test_a_file_that_claims_two_to_the_sixty_bytes_is_refused(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(header_of(1 << 60) + bytes(1 << 20))
    assert unpack_within_limits(tmp_path, blob, "none", (64 << 30, 1000)).startswith("ResourceExhausted")


def test_a_sparse_file_of_two_to_the_sixty_bytes_is_refused(tmp_path: Path) -> None:
    headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 60)}
    blob = tmp_path / "blob"
    blob.write_bytes(layer_tar([(entry("x", tarfile.REGTYPE, size=1, pax_headers=headers), b"1")]))
    assert unpack_within_limits(tmp_path, blob, "none", (64 << 30, 1000)).startswith("ResourceExhausted")


def test_a_file_larger_than_what_is_free_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    system = os.statvfs(tmp_path)
    size = system.f_bavail * system.f_frsize + (1 << 30)
    blob = tmp_path / "blob"
    blob.write_bytes(header_of(size) + bytes(1 << 20))
    answer = unpack_within_limits(tmp_path, blob, "none", (1 << 60, 1000))
    assert answer.startswith("ResourceExhausted")
    assert "free" in answer


def many(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield entry(f"d{number // 1000}/{number}", tarfile.REGTYPE).tobuf(tarfile.USTAR_FORMAT)


def test_more_empty_files_than_the_limit_are_refused(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    with gzip.open(blob, "wb", compresslevel=1) as out:
        for header in many(20_001):
            out.write(header)
    assert "20000 entries" in unpack_within_limits(tmp_path, blob, "gzip", (64 << 30, 20_000))


@pytest.mark.slow
def test_a_hundred_thousand_empty_files_take_bounded_memory(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    tar = b"".join(many(100_000))
    blob.write_bytes(tar)
    assert unpack_within_limits(tmp_path, blob, "none", (64 << 30, 1_000_000), digest(tar)) == "unpacked"


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_header_of_a_gigabyte_is_refused(tmp_path: Path, kind: bytes) -> None:
    blob = tmp_path / "blob"
    with gzip.open(blob, "wb", compresslevel=1) as out:
        out.write(entry("pax", kind, size=1 << 30).tobuf(tarfile.GNU_FORMAT))
        for chunk in zeros(200 << 20):
            out.write(chunk)
    assert unpack_within_limits(tmp_path, blob, "gzip", (64 << 30, 1000)).startswith("ResourceExhausted")


def test_endless_records_and_links_are_refused_in_no_time(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    tar = layer_tar(
        [(entry(f"l{n}", tarfile.SYMTYPE, linkname=f"l{n + 1}/l{n + 1}"), b"") for n in range(500)]
        + [(entry("l0/x", tarfile.REGTYPE), b"")]
    )
    blob.write_bytes(tar)
    assert "links" in unpack_within_limits(tmp_path, blob, "none", (64 << 30, 1_000_000))
