from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.rootfs.usage import tree_bytes

if TYPE_CHECKING:
    from pathlib import Path


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_files_count_once_and_links_do_not_lead_anywhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "big").write_bytes(bytes(10_000))
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "one").write_bytes(bytes(100))
    os.link(tree / "a" / "one", tree / "a" / "b" / "same")
    (tree / "a" / "b" / "two").write_bytes(bytes(11))
    (tree / "link").symlink_to(outside)
    os.mkfifo(tree / "pipe")
    assert tree_bytes(str(tree)) == 111 + len(str(outside))
    assert tree_bytes(str(tree / "link")) == 0
    assert tree_bytes(str(tmp_path / "none")) == 0


def test_a_tree_deeper_than_any_path_is_counted_with_few_open_files(tmp_path: Path) -> None:
    before = open_descriptors()
    top = os.open(tmp_path, os.O_RDONLY)
    here = os.dup(top)
    depth = 3000
    for number in range(depth):
        os.close(os.open(f"file{number}", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.truncate(f"/proc/self/fd/{here}/file{number}", 2)
        os.mkdir("a-rather-long-name-of-a-directory", dir_fd=here)
        below = os.open("a-rather-long-name-of-a-directory", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    os.close(top)
    assert tree_bytes(str(tmp_path)) == 2 * depth
    assert open_descriptors() == before
    from prun.rootfs.removal import remove_tree

    remove_tree(str(tmp_path))


def test_wide_trees_are_counted(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}" / "x").mkdir(parents=True)
        (tmp_path / f"{number}" / "x" / "file").write_bytes(b"abc")
    assert tree_bytes(str(tmp_path)) == 900
