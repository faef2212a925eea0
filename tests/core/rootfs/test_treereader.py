"""A tree is read as entries: links, holes and special files as they are, nothing opened that is no regular file."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from prun.errors import InvalidArgument
from prun.rootfs import tarstream
from prun.rootfs.idmap import IdMaps, IdRange
from prun.rootfs.treereader import Member, TreeReader

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path, maps: IdMaps | None = None) -> dict[str, tuple[Member, bytes]]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return {
            os.fsdecode(member.entry.name): (member, b"".join(member.pieces()) if member.fd >= 0 else b"")
            for member in TreeReader(maps).members(fd, b"")
        }
    finally:
        os.close(fd)


def test_files_links_and_special_files_are_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o751)
    (tmp_path / "d" / "f").write_bytes(b"content")
    (tmp_path / "d" / "f").chmod(0o4640)
    os.setxattr(tmp_path / "d" / "f", "user.note", b"1")
    os.link(tmp_path / "d" / "f", tmp_path / "same")
    os.symlink("/etc/passwd", tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        found = read(tmp_path)
    kinds = {name: member.entry.kind for name, (member, _) in found.items()}
    assert kinds == {
        "d": tarstream.DIRECTORY, "d/f": tarstream.FILE, "same": tarstream.HARDLINK, "link": tarstream.SYMLINK,
        "pipe": tarstream.FIFO,
    }  # fmt: skip
    assert list(found) == ["d", "d/f", "link", "pipe", "same"]
    assert (found["same"][0].entry.link, found["link"][0].entry.link) == (b"d/f", b"/etc/passwd")
    file, data = found["d/f"]
    assert (data, file.entry.mode, file.entry.xattrs) == (b"content", 0o4640, {b"user.note": b"1"})
    assert (file.entry.uid, file.entry.gid) == (os.geteuid(), os.getegid())


def test_holes_are_left_out_and_a_file_that_shrinks_gives_zeros(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.seek(1 << 30)
        file.write(b"x" * 4096)
        file.truncate(1 << 40)
    (tmp_path / "z").write_bytes(b"y" * 9000)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    members = TreeReader().members(fd, b"")
    sparse = next(members)
    assert (sparse.entry.size_bytes, sparse.entry.sparse) == (1 << 40, ((1 << 30, 4096),))
    assert b"".join(sparse.pieces()) == b"x" * 4096
    plain = next(members)
    os.truncate(tmp_path / "z", 10)
    assert b"".join(plain.pieces()) == b"y" * 10 + bytes(8990)
    assert list(members) == []
    os.close(fd)


def test_owners_are_the_containers(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    own = os.geteuid(), os.getegid()
    maps = IdMaps((IdRange(5, own[0], 1),), (IdRange(7, own[1] + 1, 1),))
    entry = read(tmp_path, maps)["f"][0].entry
    assert (entry.uid, entry.gid) == (5, 65534)


def test_what_vanishes_or_turns_into_a_link_while_it_is_read_leads_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").touch()
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    for name in ("b", "c", "d"):
        (root / name).mkdir()
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    members = TreeReader().members(fd, b"")
    assert next(members).entry.name == b"a"
    (root / "b").rmdir()
    (root / "c").rmdir()
    (root / "c").symlink_to(outside)
    found = [(member.entry.name, member.entry.kind) for member in members]
    assert found == [(b"c", tarstream.SYMLINK), (b"d", tarstream.DIRECTORY)]
    os.close(fd)


def test_directories_nested_too_deep_are_refused(tmp_path: Path) -> None:
    deep = tmp_path / "x"
    for _ in range(260):
        deep = deep / "d"
    os.makedirs(deep)
    with pytest.raises(InvalidArgument, match="levels deep"):
        read(tmp_path)


def test_the_kernels_own_files_are_left_out() -> None:
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    assert list(TreeReader().member(root, b"proc", b"proc")) == []
    assert [member.entry.name for member in TreeReader().member(root, b"etc", b"e", None)] == [b"e"]
    os.close(root)


@pytest.mark.root
def test_a_device_is_an_entry_and_overlayfss_own_is_none(tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tmp_path / "whiteout", stat.S_IFCHR, os.makedev(0, 0))
    found = read(tmp_path)
    assert list(found) == ["null"]
    entry = found["null"][0].entry
    assert (entry.kind, entry.major, entry.minor) == (tarstream.CHAR, 1, 3)
