"""Copies of whole trees, and their removal."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

import pytest
from unpacking import paths_below

from prun.errors import InvalidArgument, NotFound
from prun.rootfs.copytree import copy_tree
from prun.rootfs.removal import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    (path / "d").mkdir(parents=True)
    (path / "d" / "f").write_bytes(b"content" * 10_000)
    os.chown(path / "d" / "f", 5, 6)
    os.chmod(path / "d" / "f", 0o4751)
    os.link(path / "d" / "f", path / "same")
    os.symlink("/outside", path / "link")
    os.lchown(path / "link", 7, 8)
    os.mkfifo(path / "pipe", 0o620)
    os.mknod(path / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with open(path / "sparse", "wb") as file:
        file.seek(1 << 30)
        file.write(b"end")
        file.truncate(2 << 30)
    os.setxattr(path / "d", "user.note", b"1")
    os.setxattr(path / "d", "trusted.overlay.opaque", b"y")
    for name in ("d/f", "d", "sparse"):
        os.utime(path / name, ns=(1, 123_456_789))
    return path


def look(path: Path) -> dict[bytes, tuple[object, ...]]:
    seen = {}
    for name in [b".", *paths_below(path)]:
        found = os.lstat(os.path.join(os.fsencode(path), name))
        seen[name] = (found.st_mode, found.st_uid, found.st_gid, found.st_rdev, found.st_nlink, found.st_mtime_ns)
    return seen


@pytest.mark.parametrize("ways", ["all", "no reflink", "no copy_file_range"])
def test_a_copy_is_the_same_in_everything(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ways: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "no")

    if ways != "all":
        monkeypatch.setattr(fcntl, "ioctl", refuse)
    if ways == "no copy_file_range":
        monkeypatch.setattr(os, "copy_file_range", refuse)
    target = tmp_path / "target"
    target.mkdir()
    copy_tree(str(source), str(target))
    assert look(target) == look(source)
    assert (target / "d" / "f").read_bytes() == (source / "d" / "f").read_bytes()
    assert (target / "d" / "f").samefile(target / "same")
    assert os.listxattr(target / "d") == ["user.note"]
    assert (target / "sparse").stat().st_size == 2 << 30
    assert (target / "sparse").stat().st_blocks * 512 < 1 << 20
    with open(target / "sparse", "rb") as file:
        file.seek(1 << 30)
        assert file.read(4) == b"end\0"


def test_a_tree_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source" / ("d/" * 300)).mkdir(parents=True)
    (tmp_path / "target").mkdir()
    with pytest.raises(InvalidArgument, match="levels"):
        copy_tree(str(tmp_path / "source"), str(tmp_path / "target"))


def test_a_tree_is_removed_and_no_link_in_it_followed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "marker").write_text("host")
    os.symlink(tmp_path / "outside", source / "to-outside")
    os.chmod(source / "d", 0)
    remove_tree(str(source))
    remove_tree(str(source))
    assert not source.exists()
    assert (tmp_path / "outside" / "marker").read_text() == "host"


def test_a_link_put_into_the_copy_meanwhile_leads_no_hard_link_out_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that has the volume mounted changes a directory for a link to one of the host's."""
    source, target, host = (tmp_path / name for name in ("from", "to", "host"))
    for made in (source / "a", target, host):
        made.mkdir(parents=True)
    (source / "a" / "file").write_text("the image's")
    os.link(source / "a" / "file", source / "b")
    (host / "file").write_text("the host's")
    # "b" comes last, when "a" has been swapped.
    monkeypatch.setattr(os, "listdir", _swapping(os.listdir, target / "a", host))
    with pytest.raises(NotFound):
        copy_tree(str(source), str(target))
    assert not (target / "b").exists()


def _swapping(listdir: Callable[[int], list[str]], directory: Path, host: Path) -> Callable[[int], Iterator[str]]:
    def swapped(path: int) -> Iterator[str]:
        for name in sorted(listdir(path)):
            if name == "b":
                directory.rename(directory.with_name("moved"))
                directory.symlink_to(host)
            yield name

    return swapped
