from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import time

import pytest
from archives import (
    ONE,
    archive_with,
    archived,
    assert_nothing_stored,
    docker_save,
    members_of,
    refused,
    refused_everywhere,
)
from images import (
    config_document,
    document,
    file,
    hardlink,
    layer_tar,
    symlink,
)

from prun.errors import DataLoss, InvalidArgument, PrunError, ResourceExhausted

# hostile archives


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
@pytest.mark.parametrize("link", [symlink, hardlink])
def test_a_document_that_is_a_link_is_refused(tmp_path, layout, store, name, link):
    parts = members_of(layout)
    real = parts.pop(name)
    refused_everywhere(
        archive_with(parts, file("real", real), link(name, "real")), tmp_path, store, InvalidArgument, "link"
    )


@pytest.mark.parametrize("target", ["/etc/shadow", "real.json"])
def test_a_manifest_json_that_is_a_link_is_refused(tmp_path, store, target):
    data = layer_tar([file("real.json", b"[]"), symlink("manifest.json", target)])
    refused_everywhere(data, tmp_path, store, InvalidArgument, "link")


def test_a_docker_config_that_is_a_link_is_refused(tmp_path, store):
    config = document(config_document([ONE], {}))
    data = docker_save([ONE], members=[file("real", config), symlink("c", "real")], Config="c")
    refused_everywhere(data, tmp_path, store, InvalidArgument, "link")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "missing", "loop", "../x/loop"])
def test_a_layer_that_links_elsewhere_is_refused(tmp_path, store, target):
    config = document(config_document([ONE], {}))
    manifest = document([{"Config": "c", "Layers": ["x/loop"]}])
    data = layer_tar([symlink("x/loop", target), file("c", config), file("manifest.json", manifest)])
    refused_everywhere(data, tmp_path, store, PrunError)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", "config.json/../x"])
def test_a_docker_manifest_cannot_name_what_is_not_in_the_archive(tmp_path, store, name):
    refused_everywhere(docker_save([ONE], Config=name), tmp_path, store, PrunError)
    refused_everywhere(docker_save([ONE], Layers=[name]), tmp_path, store, PrunError)


def test_a_member_whose_name_leads_out_is_refused_and_nothing_is_touched(tmp_path, layout, store):
    victim = tmp_path / "victim"
    for name in ("../victim", "../../../../../../../../" + str(victim), "blobs/sha256/../../../victim"):
        refused_everywhere(
            archive_with(members_of(layout), file(name, b"x")), tmp_path, store, InvalidArgument, "leads out"
        )
    assert not victim.exists()


@pytest.mark.parametrize("name", ["index.json", "./index.json", "/index.json", "blobs/sha256/" + "0" * 64])
def test_one_member_twice_is_refused(tmp_path, layout, store, name):
    parts = {"blobs/sha256/" + "0" * 64: b"", **members_of(layout)}
    if name.startswith("blobs"):
        parts.pop(name)
        twice = [file(name, b"one"), file(name, b"other")]
    else:
        twice = [file(name, b'{"schemaVersion": 2, "manifests": []}')]
        parts.pop("blobs/sha256/" + "0" * 64)
    data = archive_with(parts, *twice)
    refused(str(archived(tmp_path / "x.tar", data)), store, InvalidArgument, "twice")
    refused("-", store, PrunError, stdin=io.BytesIO(data))


@pytest.mark.parametrize("name", ["index.json", "blobs/sha256/" + "0" * 64, "manifest.json", "other"])
def test_a_member_that_claims_an_exbibyte_is_refused(tmp_path, layout, store, name):
    parts = members_of(layout)
    parts.pop(name, None)
    header = tarfile.TarInfo(name)
    header.size = 1 << 60
    data = archive_with(parts).rstrip(b"\0")
    data += b"\0" * (-len(data) % 512) + header.tobuf(tarfile.GNU_FORMAT) + b"x" * 4096
    refused_everywhere(data, tmp_path, store, (DataLoss, ResourceExhausted), "ends too early|does not fit")


@pytest.mark.parametrize("size", [(4 << 20) + 1, 64 << 20])
def test_a_huge_document_is_refused(tmp_path, store, size):
    padding = b'"' + b"x" * size + b'"'
    layout_file = file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    for data in (layer_tar([file("manifest.json", padding)]), layer_tar([layout_file, file("index.json", padding)])):
        refused(str(archived(tmp_path / "x.tar", data)), store, ResourceExhausted)
        refused("-", store, ResourceExhausted, stdin=io.BytesIO(data))


def test_a_json_that_nests_too_deep_is_refused(tmp_path, store):
    refused_everywhere(layer_tar([file("manifest.json", b"[" * 4_000_000)]), tmp_path, store, InvalidArgument, "deep")


MEASURED = """
import re, sys
from prun.errors import PrunError
from prun.image.archive import loading
from prun.image.layout import ContentStore
from prun.image.source import parse_source
try:
    with loading(parse_source(sys.argv[1]), ContentStore(sys.argv[2]), stdin=sys.stdin.buffer):
        pass
except PrunError as error:
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())  # ru_maxrss includes the parent's
    print(type(error).__name__, int(peak[1]) // 1024)
"""


def measured(text, store, producer):
    """Load in a process of its own what another one produces; return the error, peak MiB and seconds."""
    started = time.monotonic()
    writer = subprocess.Popen([sys.executable, "-c", producer], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with writer:
        out = subprocess.run(
            [sys.executable, "-c", MEASURED, text, store.path],
            stdin=writer.stdout,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        writer.stdout.close()
    error, peak = out.split()
    return error, int(peak), time.monotonic() - started


MILLION_MEMBERS = """
import sys, tarfile
for number in range(1000):
    sys.stdout.buffer.write(b"".join(
        tarfile.TarInfo(f"member-{number}-{n}").tobuf(tarfile.GNU_FORMAT) for n in range(1000)))
"""
LONG_NAMES = """
import sys, tarfile
header = tarfile.TarInfo("././@LongLink")
header.type, header.size = b"L", 1 << 33
sys.stdout.buffer.write(header.tobuf(tarfile.GNU_FORMAT))
for _ in range(1 << 13):
    sys.stdout.buffer.write(b"n" * (1 << 20))
"""
ZEROS_IN_GZIP = """
import gzip, sys, tarfile
header = tarfile.TarInfo("index.json")
header.size = 1 << 50
out = gzip.GzipFile(fileobj=sys.stdout.buffer, mode="wb", compresslevel=1)
out.write(header.tobuf(tarfile.GNU_FORMAT))
while True:
    out.write(bytes(1 << 20))
"""
ZSTD_WINDOW = """
import sys
magic, no_single_segment, window_of_2_gib = "28b52ffd", "00", "a8"
sys.stdout.buffer.write(bytes.fromhex(magic + no_single_segment + window_of_2_gib) + bytes(1000))
"""


@pytest.mark.parametrize(
    "bomb", [MILLION_MEMBERS, LONG_NAMES, ZEROS_IN_GZIP, ZSTD_WINDOW], ids=["members", "names", "zeros", "window"]
)
def test_a_bomb_costs_neither_memory_nor_much_time(store, bomb):
    error, peak, seconds = measured("-", store, bomb)
    assert error in {"ResourceExhausted", "DataLoss"}
    assert peak < 200
    assert seconds < 30
    assert_nothing_stored(store)
