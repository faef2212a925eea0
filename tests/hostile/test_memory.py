"""Peak memory of whole commands, whatever the image: under 150 MB, but for the window that a zstd layer asks for.

For 100,000 files see test_bombs.py.
"""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard
from images import CONFIG, LAYER, MANIFEST, config_document, descriptor, document, entry, put_blob, put_index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any, BinaryIO

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

LIMIT_BYTES = 150_000_000
# What zstd has to have in memory of what it has unpacked, whoever unpacks it (RFC 8878 section 3.1.1.1.2).
WINDOW_BYTES = 128 << 20
SCRIPT = """
import sys
from prun.cli import command
code = command(sys.argv[1:])
with open("/proc/self/status") as status:
    print(code, *[line.split()[1] for line in status if line.startswith("VmHWM")])
"""


def peak_bytes(path: Path, *words: str, code: int = 0) -> tuple[int, str]:
    """Run a command in a process of its own; return the most memory that it had, and what it said on stderr."""
    command = [sys.executable, "-c", SCRIPT, "--root", str(path / "root"), "--state", str(path / "state"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found, resident_kib = done.stdout.splitlines()[-1].split()
    assert int(found) == code, done.stderr
    return int(resident_kib) << 10, done.stderr


def put_image_of(path: Path, layer: bytes, diff_id: str, compression: str) -> None:
    """Write a layout of an image of one finished layer."""
    config: dict[str, Any] = {**config_document([], {"Cmd": ["true"]})}
    config["rootfs"] = {"type": "layers", "diff_ids": [diff_id]}
    blob = document(config)
    layers = [descriptor(LAYER[compression], layer)]  # type: ignore[index]
    manifest = document(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, blob), "layers": layers}
    )
    for each in (layer, blob, manifest):
        put_blob(path, each)
    put_index(path, [descriptor(MANIFEST, manifest)])


def pieces_of_a_file(name: str, size: int, piece: bytes) -> Iterator[bytes]:
    """A tar of one file, made of equal pieces."""
    yield entry(name, tarfile.REGTYPE, size=size).tobuf(tarfile.GNU_FORMAT)
    for _ in range(size // len(piece)):
        yield piece
    yield bytes(1024)


def hashed(pieces: Iterator[bytes], out: BinaryIO) -> str:
    hasher = hashlib.sha256()
    for piece in pieces:
        hasher.update(piece)
        out.write(piece)
    return f"sha256:{hasher.hexdigest()}"


def zstd_layer(path: Path, window_log: int, size: int) -> tuple[bytes, str]:
    """Return a layer whose every match is a whole window away, so that all of it is needed."""
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, enable_ldm=True, compression_level=1)
    piece = hashlib.shake_256(b"noise").digest(1 << 20)
    with open(path, "wb") as raw, zstandard.ZstdCompressor(compression_params=parameters).stream_writer(raw) as out:
        diff_id = hashed(pieces_of_a_file("noise", size, piece), out)  # type: ignore[arg-type]
    return path.read_bytes(), diff_id


@pytest.mark.parametrize("command", ["load", "pipe"])
def test_a_zstd_layer_of_the_largest_window_takes_that_and_no_more(tmp_path: Path, command: str) -> None:
    layer, diff_id = zstd_layer(tmp_path / "blob", 27, 160 << 20)
    assert zstandard.get_frame_parameters(layer).window_size == WINDOW_BYTES
    put_image_of(tmp_path / "layout", layer, diff_id, "zstd")
    source = [f"oci:{tmp_path / 'layout'}"]
    if command == "pipe":
        subprocess.run(["tar", "-C", tmp_path / "layout", "-cf", tmp_path / "image.tar", "."], check=True)
        source = ["-i", str(tmp_path / "image.tar")]
    peak, _ = peak_bytes(tmp_path, "load", "--tag", "long", *source)
    assert peak < WINDOW_BYTES + 60_000_000


def test_a_zstd_layer_of_the_usual_windows_stays_below(tmp_path: Path) -> None:
    layer, diff_id = zstd_layer(tmp_path / "blob", 26, 96 << 20)
    put_image_of(tmp_path / "layout", layer, diff_id, "zstd")
    peak, _ = peak_bytes(tmp_path, "load", "--tag", "long", f"oci:{tmp_path / 'layout'}")
    assert peak < LIMIT_BYTES


@pytest.mark.slow
def test_a_gibibyte_of_zeros(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "blob", "wb", compresslevel=1) as out:
        diff_id = hashed(pieces_of_a_file("zeros", 1 << 30, bytes(1 << 20)), out)  # type: ignore[arg-type]
    put_image_of(tmp_path / "layout", (tmp_path / "blob").read_bytes(), diff_id, "gzip")
    peak, _ = peak_bytes(tmp_path, "load", "--tag", "zeros", f"oci:{tmp_path / 'layout'}")
    assert peak < LIMIT_BYTES


@pytest.mark.parametrize("what", ["too long", "at the limit"])
def test_a_manifest_of_4_mib(tmp_path: Path, what: str) -> None:
    """At the limit it is as costly as can be: nothing but small members of objects."""
    count = 420_000 if what == "too long" else 290_000
    manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {}, "layers": [],
                                "annotations": {f"{number:x}": "" for number in range(count)}}  # fmt: skip
    blob = document(manifest)
    assert (len(blob) > 4 << 20) == (what == "too long")
    put_blob(tmp_path / "layout", blob)
    put_index(tmp_path / "layout", [descriptor(MANIFEST, blob)])
    peak, error = peak_bytes(tmp_path, "load", "--tag", "big", f"oci:{tmp_path / 'layout'}", code=125)
    assert ("4194304 is the limit" in error) == (what == "too long")
    assert peak < LIMIT_BYTES
