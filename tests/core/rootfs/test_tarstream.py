"""Entries out of the bytes of a tar: dialects, limits, damage."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from images import directory, entry, file, hardlink, layer_tar, symlink

from prun.errors import DataLoss, InvalidArgument, PrunError, ResourceExhausted
from prun.rootfs.decompress import ByteStream
from prun.rootfs.tarstream import Limits, read_entries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.rootfs.tarheader import Entry

END = bytes(1024)


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def parse(data: bytes, limits: Limits | None = None, chunk: int = 4096) -> list[tuple[Entry, bytes]]:
    stream = ByteStream(chunks(data, chunk))
    return [(found, stream.take(found.stored_bytes)) for found in read_entries(stream, limits or Limits())]


def only(data: bytes) -> Entry:
    [(found, _)] = parse(data)
    return found


def header(name: bytes = b"x", kind: bytes = b"0", size: bytes = b"0", **fields: bytes) -> bytes:
    """A header of our own making, with a right checksum; ``fields`` are ``at_<offset>=value``."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:107] = b"0000644"
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    for key, value in fields.items():
        at = int(key.removeprefix("at_"))
        block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return header(b"pax", kind, b"%o" % len(records)) + padded(records)


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


@pytest.mark.parametrize("chunk", [1, 7, 512, 1000, 1 << 20])
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_tarfile_writes_is_read_whatever_the_chunks(format: int, chunk: int) -> None:  # noqa: A002
    long = "d" * 90 + "/" + "n" * 90
    tar = layer_tar(
        [
            directory("d", uid=1, gid=2),
            file(long, b"content" * 100, mode=0o4755),
            symlink("s", "target"),
            hardlink("h", long if format != tarfile.USTAR_FORMAT else "d"),
            entry("c", tarfile.CHRTYPE, devmajor=4, devminor=5),
        ],
        format,
    )
    found = parse(tar, chunk=chunk)
    with tarfile.open(fileobj=io.BytesIO(tar)) as reference:
        expected = [
            (m.name.encode(), m.type, m.mode, m.uid, m.gid, m.size, m.mtime * 10**9, m.linkname.encode())
            for m in reference
        ]
    assert [
        (e.name.rstrip(b"/"), e.kind, e.mode, e.uid, e.gid, e.size_bytes, e.mtime_ns, e.link) for e, _ in found
    ] == expected
    assert found[1][1] == b"content" * 100
    assert (found[4][0].major, found[4][0].minor) == (4, 5)


def test_a_ustar_prefix_is_part_of_the_name() -> None:
    assert only(header(b"name", at_345=b"some/prefix") + END).name == b"some/prefix/name"


def test_a_directory_of_the_time_before_types_is_a_directory() -> None:
    assert only(header(b"d/", b"\0") + END).kind == b"5"
    assert only(header(b"f", b"\0") + END).kind == b"0"


def test_numbers_in_base_256_are_read() -> None:
    found = only(header(at_108=b"\x80" + (3_000_000).to_bytes(7, "big"), at_136=b"\xff" * 12) + END)
    assert (found.uid, found.mtime_ns) == (3_000_000, -1_000_000_000)


@pytest.mark.parametrize("field", [b"1_0", b"-7", b"+7", b"0x7", b"9", b"abc", b"0o7"])
def test_a_field_that_is_no_octal_number_is_refused(field: bytes) -> None:
    with pytest.raises(InvalidArgument, match="no number"):
        parse(header(at_108=field.ljust(8, b"\0")) + END)


def test_global_records_hold_for_later_entries_and_give_way_to_their_own() -> None:
    tar = pax(record(b"uid", b"7") + record(b"mtime", b"1"), b"g") + header(b"a")
    tar += pax(record(b"uid", b"8")) + header(b"b") + pax(record(b"uid", b"")) + header(b"c")
    assert [(e.name, e.uid, e.mtime_ns) for e, _ in parse(tar + END)] == [
        (b"a", 7, 10**9),
        (b"b", 8, 10**9),
        (b"c", 0, 10**9),
    ]


@pytest.mark.parametrize("key", [b"path", b"linkpath", b"size", b"GNU.sparse.size"])
def test_a_global_record_that_names_a_file_is_refused(key: bytes) -> None:
    with pytest.raises(InvalidArgument, match="global"):
        parse(pax(record(key, b"1"), b"g") + header() + END)


def test_global_records_are_bounded_together() -> None:
    tar = b"".join(pax(record(b"SCHILY.xattr.user.%d" % n, b"x" * 500_000), b"g") for n in range(3))
    with pytest.raises(ResourceExhausted, match="global"):
        parse(tar + header() + END)


@pytest.mark.parametrize(
    "records",
    [
        b"1",
        b"5 a=b",
        b"99 a=b\n",
        b"0 a=b\n",
        b"6 ab\n\n",
        b"5 =b\n",
        b"a a=b\n",
        b"-6 a=b\n",
        b"3 \n",
        b"00000000006 a=b\n",
    ],
)
def test_a_malformed_record_is_refused(records: bytes) -> None:
    with pytest.raises(InvalidArgument):
        parse(pax(records) + header() + END)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"uid", b"-1"),
        (b"uid", b"1.5"),
        (b"size", b"-1"),
        (b"size", b"1e9"),
        (b"mtime", b"soon"),
        (b"mtime", b"9" * 30),
    ],
)
def test_a_record_with_an_impossible_number_is_refused(key: bytes, value: bytes) -> None:
    with pytest.raises(InvalidArgument):
        parse(pax(record(key, value)) + header() + END)


def test_a_time_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="out of range"):
        parse(header(at_136=b"\x80" + b"\x7f" * 11) + END)


@pytest.mark.parametrize(
    ("key", "error"),
    [(b"path", InvalidArgument), (b"linkpath", InvalidArgument), (b"GNU.sparse.name", InvalidArgument)],
)
def test_a_name_with_a_nul_byte_is_refused(key: bytes, error: type[PrunError]) -> None:
    sparse = record(b"GNU.sparse.size", b"0") if key.startswith(b"GNU") else b""
    with pytest.raises(error):
        parse(pax(sparse + record(key, b"a\0b")) + header() + END)


def test_an_entry_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="name"):
        parse(header(b"") + END)


@pytest.mark.parametrize("kind", [b"L", b"K"])
def test_a_long_name_is_bounded_before_it_is_read(kind: bytes) -> None:
    with pytest.raises(ResourceExhausted):
        parse(header(b"././@LongLink", kind, b"10000000000") + END)


def test_a_name_of_a_record_is_bounded() -> None:
    assert only(pax(record(b"path", b"a/" * 2048)) + header() + END).name == b"a/" * 2048
    with pytest.raises(ResourceExhausted, match="4096"):
        parse(pax(record(b"path", b"a" * 4097)) + header() + END)


def test_a_record_block_is_bounded_before_it_is_read() -> None:
    with pytest.raises(ResourceExhausted):
        parse(header(b"pax", b"x", b"5000000") + END)


def test_headers_that_only_announce_an_entry_are_bounded() -> None:
    with pytest.raises(ResourceExhausted, match="headers"):
        parse(pax(record(b"uid", b"1")) * 100 + header() + END)


def test_the_number_of_entries_is_bounded() -> None:
    tar = header() * 10 + END
    assert len(parse(tar, Limits(entries=10))) == 10
    with pytest.raises(ResourceExhausted, match="9 entries"):
        parse(tar, Limits(entries=9))


@pytest.mark.parametrize(
    "tar", [header(size=b"\x80" + b"\0" * 3 + b"\x10" + b"\0" * 7), pax(record(b"size", b"1" * 19)) + header()]
)
def test_a_size_over_the_limit_is_refused_before_any_data_is_read(tar: bytes) -> None:
    with pytest.raises(ResourceExhausted, match="bytes"):
        parse(tar + END)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="negative"):
        parse(header(size=b"\xff" * 12) + END)


def test_a_wrong_checksum_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="checksum"):
        parse(header()[:-1] + b"x" + END)


def test_a_checksum_over_signed_characters_is_accepted() -> None:
    block = bytearray(header(b"caf\xe9"))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in block)
    assert only(bytes(block) + END).name == b"caf\xe9"


def test_the_largest_possible_checksum_is_exact() -> None:
    block = header(b"\xff" * 100, at_157=b"\xff" * 100, at_265=b"\xff" * 64, at_345=b"\xff" * 155)
    assert only(block + END).link == b"\xff" * 100


def test_an_archive_may_end_without_its_zero_blocks() -> None:
    assert [e.name for e, _ in parse(header(b"x"))] == [b"x"]
    assert parse(b"") == []
    assert [e.name for e, _ in parse(header(b"x") + bytes(512))] == [b"x"]


def test_data_behind_a_single_zero_block_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="zero block"):
        parse(header() + bytes(512) + header() + END)


def test_an_announced_entry_that_never_comes_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="announces"):
        parse(pax(record(b"uid", b"1")) + END)


@pytest.mark.parametrize("cut", [1, 511, 513, 600, 1023, 1511])
def test_an_archive_that_is_cut_within_an_entry_is_data_loss(cut: int) -> None:
    tar = header(b"x", size=b"1750") + padded(b"1" * 1000)  # octal
    with pytest.raises(DataLoss):
        parse(tar[:cut])


@pytest.mark.parametrize(
    "records",
    [
        record(b"GNU.sparse.size", b"100")
        + record(b"GNU.sparse.offset", b"10")
        + record(b"GNU.sparse.numbytes", b"2")
        + record(b"GNU.sparse.offset", b"50")
        + record(b"GNU.sparse.numbytes", b"1"),
        record(b"GNU.sparse.size", b"100") + record(b"GNU.sparse.map", b"10,2,50,1") + record(b"GNU.sparse.name", b"x"),
    ],
    ids=["0.0", "0.1"],
)
def test_sparse_maps_in_records_are_read(records: bytes) -> None:
    found, data = parse(pax(records) + header(b"x", size=b"3") + padded(b"abc") + END)[0]
    assert (found.name, found.size_bytes, found.sparse, data) == (b"x", 100, ((10, 2), (50, 1)), b"abc")


def old_sparse(pairs: list[tuple[int, int]], size: int, stored: bytes) -> bytes:
    def fields(some: list[tuple[int, int]]) -> bytes:
        return b"".join(b"%011o\0%011o\0" % pair for pair in some)

    rest = pairs[4:]
    block = header(
        b"x", b"S", b"%o" % len(stored), at_257=b"ustar  \0", at_386=fields(pairs[:4]), at_482=b"\1" if rest else b"\0",
        at_483=b"%011o\0" % size,
    )  # fmt: skip
    while rest:
        block += fields(rest[:21]).ljust(504, b"\0") + (b"\1" if rest[21:] else b"\0") + bytes(7)
        rest = rest[21:]
    return block + padded(stored) + END


@pytest.mark.parametrize("count", [0, 1, 4, 5, 25, 26, 60])
def test_old_gnu_sparse_files_are_read(count: int) -> None:
    pairs = [(n * 10, 2) for n in range(count)]
    found, data = parse(old_sparse(pairs, 1000, b"ab" * count))[0]
    assert (found.size_bytes, found.sparse, data) == (1000, tuple(pairs), b"ab" * count)


@pytest.mark.parametrize(
    ("pairs", "size"), [([(0, 4), (2, 2)], 100), ([(0, 3)], 100), ([(99, 6)], 100), ([(10, 3), (0, 3)], 100)]
)
def test_a_sparse_map_that_does_not_fit_is_refused(pairs: list[tuple[int, int]], size: int) -> None:
    with pytest.raises(InvalidArgument, match="sparse map"):
        parse(old_sparse(pairs, size, b"abcdef"))


@pytest.mark.parametrize("lines", [b"x\n", b"2\n0\n1\n", b"\n", b"999999999999999\n0\n", b"1\n" + b"9" * 600])
def test_a_malformed_leading_sparse_map_is_refused(lines: bytes) -> None:
    records = record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0")
    records += record(b"GNU.sparse.name", b"x") + record(b"GNU.sparse.realsize", b"5")
    data = padded(lines)
    with pytest.raises(PrunError):
        parse(pax(records) + header(b"x", size=b"%o" % len(data)) + data + END)


def test_a_leading_sparse_map_is_bounded() -> None:
    records = record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0")
    records += record(b"GNU.sparse.realsize", b"5")
    data = padded(b"9999999\n" + b"1\n" * (1 << 20))
    with pytest.raises(ResourceExhausted, match="sparse map"):
        parse(pax(records) + header(b"x", size=b"%o" % len(data)) + data + END)
