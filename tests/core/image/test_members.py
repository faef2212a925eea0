from __future__ import annotations

import io
import os
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import directory, entry, file, hardlink, layer_tar, symlink

from prun.errors import DataLoss, InvalidArgument, PrunError, ResourceExhausted
from prun.image.members import members
from prun.image.stream import FileStream, PipeStream

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def walk(data):
    return list(members(PipeStream(io.BytesIO(data), "the archive")))


def walk_file(data, tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return list(members(FileStream(descriptor, "the archive")))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("format_", FORMATS)
def test_members_are_found_in_a_file_and_in_a_pipe_alike(format_, tmp_path):
    long = "d/" * 60 + "name"
    data = layer_tar(
        [directory("./d"), file("./d/a", b"x" * 700), symlink("s", "d/a"), hardlink("h", "d/a"), file(long, b"y")],
        format_,
    )
    found = walk(data)
    assert [(m.name, m.kind, m.size, m.target) for m in found] == [
        ("d", "other", 0, ""),
        ("d/a", "file", 700, ""),
        ("s", "symlink", 0, "d/a"),
        ("h", "link", 0, "d/a"),
        (long, "file", 1, ""),
    ]
    assert data[found[1].offset :].startswith(b"x" * 700)
    assert walk_file(data, tmp_path) == found


def test_content_that_was_read_in_part_is_skipped_to_its_end():
    stream = PipeStream(io.BytesIO(layer_tar([file("a", b"x" * 2000), file("b", b"y")])), "it")
    names = []
    for member in members(stream):
        names.append(member.name)
        stream.read(min(member.size, 600))
    assert names == ["a", "b"]


def test_a_size_beyond_the_octal_field_is_read_from_pax_and_from_gnu():
    for format_ in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        header = entry("big", tarfile.REGTYPE, size=1 << 40).tobuf(format_)
        with pytest.raises(DataLoss, match="ends too early"):
            walk(header)


def test_a_sixty_bit_size_ends_at_the_end_of_the_archive(tmp_path):
    header = entry("big", tarfile.REGTYPE, size=1 << 60).tobuf(tarfile.GNU_FORMAT)
    for reader in (walk, lambda data: walk_file(data, tmp_path)):
        with pytest.raises(DataLoss):
            reader(header + b"x" * 2048)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "..", "/../x", "a/.."])
def test_a_name_that_leads_out_is_refused(name):
    with pytest.raises(InvalidArgument, match="leads out"):
        walk(layer_tar([file(name)]))


def test_an_absolute_name_is_taken_from_the_root_of_the_archive():
    assert walk(layer_tar([file("/a/b")]))[0].name == "a/b"


def test_names_that_are_not_utf8_or_not_printable_are_names():
    assert walk(layer_tar([file("a\udcff\x1b[0m")], tarfile.GNU_FORMAT))[0].name == "a\udcff\x1b[0m"


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("length", [2000, 100_000, 5_000_000])
def test_a_name_that_is_a_bomb_is_refused(format_, length):
    with pytest.raises(ResourceExhausted):
        walk(layer_tar([file("n" * length)], format_))


def test_a_long_name_that_claims_a_gigabyte_is_refused_before_it_is_read():
    bomb = entry("././@LongLink", b"L", size=1 << 30).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(ResourceExhausted, match="extended header"):
        walk(bomb)


@pytest.mark.parametrize(
    "records", [b"x", b"5 path\n", b"3 a\n", b"99 path=x\n", b"0 path=x\n", b"12 path=abcdef\n", b"16 size=1e99999\n"]
)
def test_a_damaged_pax_header_is_refused(records):
    header = entry("p", b"x", size=len(records)).tobuf(tarfile.USTAR_FORMAT)
    with pytest.raises(InvalidArgument):
        walk(header + records.ljust(512, b"\0") + layer_tar([file("a")]))


def test_global_headers_change_nothing(tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", pax_headers={"path": "other", "comment": "x"}) as tar:
        tar.addfile(tarfile.TarInfo("a"))
    assert [member.name for member in walk(out.getvalue())] == ["a"]


def test_a_sparse_member_is_refused():
    with pytest.raises(InvalidArgument, match="sparse"):
        walk(entry("s", b"S").tobuf(tarfile.GNU_FORMAT))


@pytest.mark.parametrize("data", [b"", b"junk", b"junk" * 1000, b"\xff" * 512])
def test_what_is_no_archive_is_refused(data):
    with pytest.raises(PrunError):
        walk(data)


def test_a_flipped_bit_in_a_header_is_noticed():
    data = bytearray(layer_tar([file("a"), file("b")]))
    data[512] ^= 1
    with pytest.raises(InvalidArgument, match="damaged"):
        walk(bytes(data))


@pytest.mark.parametrize("cut", [100, 600, 1000, 1300])
def test_a_truncated_archive_is_refused(cut, tmp_path):
    data = layer_tar([file("a", b"x" * 800), file("b")])[:cut]
    for reader in (walk, lambda data: walk_file(data, tmp_path)):
        with pytest.raises(DataLoss):
            reader(data)


def test_a_million_members_are_refused_early():
    block = entry("x", tarfile.REGTYPE).tobuf(tarfile.USTAR_FORMAT)

    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return block[:size]

    with pytest.raises(ResourceExhausted, match="members"):
        for _ in members(PipeStream(Endless(), "it")):
            pass


def test_endless_extended_headers_count_as_members():
    block = entry("x", b"g").tobuf(tarfile.USTAR_FORMAT)

    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return block[:size]

    with pytest.raises(ResourceExhausted, match="members"):
        list(members(PipeStream(Endless(), "it")))


@settings(max_examples=300)
@given(st.data())
def test_any_damage_gives_members_or_an_error_of_ours(data):
    archive = bytearray(layer_tar([file("a", b"x" * 600), symlink("s", "a"), file("n" * 150, b"y")]))
    for _ in range(data.draw(st.integers(1, 5))):
        archive[data.draw(st.integers(0, 6 * 512))] = data.draw(st.integers(0, 255))
    for start in range(0, 6 * 512, 512):  # right checksums let more of it through
        if data.draw(st.booleans()):
            block = archive[start : start + 512]
            block[148:156] = b" " * 8
            archive[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    try:
        walk(bytes(archive))
    except PrunError:
        return
