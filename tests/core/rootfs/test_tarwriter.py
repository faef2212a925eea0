"""What is written as a tar is read the same by our reader, and by Python's."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.rootfs import tarstream
from prun.rootfs.decompress import ByteStream
from prun.rootfs.tarheader import MAX_ID, Entry
from prun.rootfs.tarwriter import TarWriter

SECOND = 1_000_000_000
NAMES = st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name and name.strip(b"/."))
XATTRS = st.dictionaries(
    st.binary(min_size=1, max_size=20).filter(lambda key: not {0, ord("=")} & set(key)).map(lambda key: b"user." + key),
    st.binary(max_size=200),
    max_size=3,
)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(st.sampled_from([b"0", b"1", b"2", b"3", b"4", b"5", b"6"]))
    data = draw(st.binary(max_size=1500)) if kind == b"0" else b""
    device = kind in (b"3", b"4")
    name = draw(NAMES).rstrip(b"/")
    entry = Entry(
        name=name + b"/" if kind == b"5" else name or b"x",
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, MAX_ID)),
        gid=draw(st.integers(0, MAX_ID)),
        size_bytes=len(data),
        stored_bytes=len(data),
        mtime_ns=draw(st.integers(-(1 << 33), 1 << 40)) * SECOND,
        atime_ns=0,
        link=draw(NAMES) if kind in (b"1", b"2") else b"",
        major=draw(st.integers(0, 4095)) if device else 0,
        minor=draw(st.integers(0, (1 << 20) - 1)) if device else 0,
        xattrs=draw(XATTRS) if kind in (b"0", b"5") else {},
    )
    return entry._replace(atime_ns=entry.mtime_ns), data


def written(members: list[tuple[Entry, bytes]]) -> bytes:
    out = io.BytesIO()
    tar = TarWriter(out.write)
    for entry, data in members:
        tar.add(entry, [data] if data else ())
    tar.close()
    return out.getvalue()


def read(tar: bytes) -> list[tuple[Entry, bytes]]:
    stream = ByteStream(iter([tar]))
    return [(entry, stream.take(entry.stored_bytes)) for entry in tarstream.read_entries(stream)]


@given(st.lists(entries(), max_size=5))
def test_our_reader_reads_what_was_written(members: list[tuple[Entry, bytes]]) -> None:
    assert read(written(members)) == members


@given(st.lists(entries(), max_size=5))
def test_python_reads_the_same_names_sizes_and_data(members: list[tuple[Entry, bytes]]) -> None:
    with tarfile.open(fileobj=io.BytesIO(written(members)), errors="surrogateescape") as tar:
        found = [(info.name.encode(errors="surrogateescape"), info.size) for info in tar]
    assert found == [(entry.name.rstrip(b"/"), entry.size_bytes) for entry, _ in members]


@pytest.mark.parametrize(
    "sparse", [(), ((0, 10),), ((4096, 10), (1 << 34, 3)), tuple((n * 8192, 2) for n in range(3000))]
)
def test_a_file_with_holes_keeps_them(sparse: tuple[tuple[int, int], ...]) -> None:
    data = bytes(range(1, 1 + sum(length for _, length in sparse) % 250)) or b"x"
    data = (data * 6000)[: sum(length for _, length in sparse)]
    entry = Entry(b"d/file", b"0", 0o644, 0, 0, 1 << 35, len(data), 0, 0, b"", 0, 0, {}, sparse)
    tar = written([(entry, data), (entry._replace(name=b"next", sparse=None, size_bytes=0, stored_bytes=0), b"")])
    (found, content), (behind, _) = read(tar)
    assert (found, content, behind.name) == (entry, data, b"next")
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        info = archive.getmember("d/file")
        assert (info.size, [pair for pair in info.sparse or () if pair[1]]) == (1 << 35, list(sparse))
