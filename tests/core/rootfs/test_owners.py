"""A whole tree is given away, and nothing outside of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from prun.errors import FailedPrecondition, ResourceExhausted
from prun.rootfs import owners
from prun.rootfs.tree import MAX_DEPTH

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    (path / "d" / "e").mkdir(parents=True)
    (path / "d" / "f").touch()
    os.mkfifo(path / "d" / "pipe")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    (path / "link").symlink_to(tmp_path / "outside")
    (path / "d" / "dangling").symlink_to("nowhere")
    return path


def test_links_are_given_and_what_they_lead_to_is_not(tree: Path) -> None:
    owners.give(str(tree), 5, 6, "tree")
    found = [os.lstat(path) for path in (tree, *tree.rglob("*"))]
    assert len(found) == 7
    assert {(each.st_uid, each.st_gid) for each in found} == {(5, 6)}
    assert {path.stat().st_uid for path in (tree.parent / "outside", tree.parent / "outside" / "file")} == {0}


def test_a_file_alone_and_a_directory_that_is_theirs_already(tree: Path) -> None:
    owners.give(str(tree / "d" / "f"), 5, 6, "f")
    assert (tree / "d" / "f").stat().st_uid == 5
    os.chown(tree, 7, 8)
    owners.give(str(tree), 7, 8, "tree")
    assert (tree / "d").stat().st_uid == 0


def test_directories_without_end_are_refused_and_the_top_stays(tmp_path: Path) -> None:
    """So that the next run begins again."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(MAX_DEPTH + 10):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ResourceExhausted, match="levels deep"):
        owners.give(str(tmp_path), 5, 6, "deep")
    assert tmp_path.stat().st_uid == 0
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("path", ["/", "/etc", "/var/lib", "/home", os.path.realpath(os.path.expanduser("~"))])
def test_the_systems_own_directories_are_refused(path: str) -> None:
    with pytest.raises(FailedPrecondition, match="option U"):
        owners.check_path(path)
    owners.check_path("/srv/data")
