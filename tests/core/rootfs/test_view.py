"""Looks into an image whose layers are not unpacked; that they agree with the unpacked tree is tested by test_layer."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from images import directory, file, hardlink, layer_tar, symlink
from unpacking import Blobs

from prun.errors import InvalidArgument, NotFound, ResourceExhausted
from prun.rootfs.tarstream import Limits
from prun.rootfs.view import LayersView

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from images import Entry


def view(*layers: Sequence[Entry], blobs: Blobs | None = None, limits: Limits | None = None) -> LayersView:
    blobs = blobs or Blobs()
    return LayersView([blobs.add(layer_tar(layer), "gzip") for layer in layers], blobs.open, limits or Limits())


ETC = [directory("etc", mode=0o711), file("etc/passwd", b"root:x:0:0", mode=0o640, uid=1, gid=2)]


def test_a_file_is_read_and_described() -> None:
    with view(ETC) as found:
        assert found.read("/etc/passwd", 100) == b"root:x:0:0"
        assert found.stat("/etc/passwd") == (stat.S_IFREG | 0o640, 1, 2, 10)
        assert found.stat("/etc") == (stat.S_IFDIR | 0o711, 0, 0, 0)
        assert (found.path, found.mounts) == ("", ())


def test_nothing_is_opened_before_someone_asks() -> None:
    blobs = Blobs()
    with view(ETC, blobs=blobs) as found:
        assert blobs.opened == []
        found.stat("/x")
        found.stat("/etc/passwd")
    assert len(blobs.opened) == 1


def test_the_topmost_layer_has_the_last_word() -> None:
    with view(ETC, [file("etc/passwd", b"new")], [file("etc/.wh.group"), file("etc/group", b"g")]) as found:
        assert found.read("/etc/passwd", 100) == b"new"
        assert found.read("/etc/group", 100) == b"g"


@pytest.mark.parametrize("mark", ["etc/.wh.passwd", ".wh.etc", ".wh..wh..opq", "etc/.wh..wh..opq", "link/.wh.passwd"])
def test_what_a_layer_hides_is_not_found(mark: str) -> None:
    with view([*ETC, symlink("link", "etc")], [file(mark)]) as found:
        assert found.stat("/etc/passwd") is None
        with pytest.raises(NotFound, match="/etc/passwd"):
            found.read("/etc/passwd", 100)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "chain", "../link/passwd"])
def test_links_are_followed_within_the_root(target: str) -> None:
    links = [symlink("a/x", target), symlink("a/chain", "/link/passwd"), symlink("link", "etc")]
    with view(ETC, [directory("a"), *links]) as found:
        assert found.read("/a/x", 100) == b"root:x:0:0"


def test_a_hard_link_to_a_lower_layer_has_its_content() -> None:
    with view(ETC, [hardlink("copy", "etc/passwd")], [file(".wh.etc")]) as found:
        assert found.read("/copy", 100) == b"root:x:0:0"


def test_a_sparse_file_is_read_with_its_holes() -> None:
    headers = {"GNU.sparse.map": "2,3", "GNU.sparse.size": "8"}
    with view([file("x", b"abc", pax_headers=headers)]) as found:
        assert found.read("/x", 100) == b"\0\0abc\0\0\0"


@pytest.mark.parametrize("path", ["/etc/passwd/x", "/etc/passwd/", "/loop", "/missing/x"])
def test_what_is_not_there_is_not_found(path: str) -> None:
    with view([*ETC, symlink("loop", "loop")]) as found:
        assert found.stat(path) is None
        with pytest.raises(NotFound):
            found.read(path, 100)


@pytest.mark.parametrize("path", ["/", "", "/etc", ".."])
def test_a_directory_cannot_be_read(path: str) -> None:
    with view(ETC) as found, pytest.raises(InvalidArgument, match="regular"):
        found.read(path, 100)


def test_a_file_over_the_limit_is_refused() -> None:
    with view(ETC) as found, pytest.raises(ResourceExhausted, match="10 bytes"):
        found.read("/etc/passwd", 9)


def test_entries_are_bounded_over_all_layers() -> None:
    layers = [[file(f"{n}-{m}") for m in range(10)] for n in range(3)]
    with view(*layers, limits=Limits(entries=30)) as found:
        assert found.stat("/2-9")
    with view(*layers, limits=Limits(entries=29)) as found, pytest.raises(ResourceExhausted):
        found.stat("/2-9")


def test_a_path_with_a_nul_byte_is_refused() -> None:
    with view(ETC) as found, pytest.raises(InvalidArgument, match="NUL"):
        found.stat("/etc\0")


def test_no_image_is_an_empty_root() -> None:
    with view() as found:
        assert found.stat("/") == (stat.S_IFDIR | 0o755, 0, 0, 0)
        assert found.stat("/etc") is None


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with view([*ETC, symlink("out", str(tmp_path)), file("out/x", b"evil")]) as found:
        assert found.read(f"{tmp_path}/x", 10) == b"evil"
    assert os.listdir(tmp_path) == []
