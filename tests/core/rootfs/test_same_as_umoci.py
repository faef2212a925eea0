"""What we unpack equals what umoci unpacks of the same image, file by file."""

from __future__ import annotations

import filecmp
import json
import os
import stat
import subprocess
import tarfile
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import pytest
from debian_image import TAG, debian_oci_layout
from images import directory, entry, file, hardlink, layer_tar, oci_layout, symlink
from unpacking import paths_below, snapshots_at

from prun.types import Layer

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

pytestmark = pytest.mark.root

NET_RAW = b"\x01\x00\x00\x02\x00\x20\x00\x00" + bytes(12)
SMALL = [
    [
        directory(".", mode=0o751, mtime=11),
        directory("usr", mtime=1),
        directory("usr/bin", mode=0o755, uid=3, gid=4),
        file("usr/bin/su", b"su", mode=0o4755, pax_headers={"mtime": "123.456789"}),
        file(
            "usr/bin/ping",
            b"p",
            mode=0o755,
            pax_headers={"SCHILY.xattr.security.capability": NET_RAW.decode("latin-1")},
        ),
        symlink("bin", "usr/bin", uid=9),
        hardlink("usr/bin/sg", "usr/bin/su"),
        entry("null", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3),
        entry("pipe", tarfile.FIFOTYPE, mode=0o620),
        directory("tmp", mode=0o1777),
        directory("old"),
        file("old/a"),
        directory("old/b"),
        file("old/b/c"),
        file("becomes-a-directory"),
        directory("becomes-a-file"),
        file("becomes-a-file/x"),
        file("x" * 120 + "/" + "y" * 120, b"long"),
    ],
    [
        directory("old"),
        file("old/.wh..wh..opq"),
        file("old/new", b"n"),
        directory("usr"),
        file("usr/.wh.missing"),
        directory("becomes-a-directory"),
        file("becomes-a-directory/x"),
        file("becomes-a-file", b"1"),
        file(".wh.pipe"),
        directory("bin", mode=0o700),
        file("bin/own"),
    ],
    [directory("old", mode=0o711, mtime=5), file("old/again", b"", uid=1000), file(".wh.tmp"), symlink("tmp", "/old")],
]


class Seen(NamedTuple):
    kind: int
    mode: int
    owner: tuple[int, int]
    device: int
    size: int
    link: bytes
    xattrs: dict[str, bytes]
    mtime_ns: int


def seen(root: Path) -> dict[bytes, Seen]:
    top = os.fsencode(root)
    return {path: look(os.path.join(top, path)) for path in [b".", *paths_below(root)]}


def look(path: bytes) -> Seen:
    found = os.lstat(path)
    is_link = stat.S_ISLNK(found.st_mode)
    return Seen(
        kind=stat.S_IFMT(found.st_mode),
        mode=stat.S_IMODE(found.st_mode),
        owner=(found.st_uid, found.st_gid),
        device=found.st_rdev,
        size=found.st_size if stat.S_ISREG(found.st_mode) else 0,
        link=os.readlink(path) if is_link else b"",
        xattrs={
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        },
        mtime_ns=found.st_mtime_ns,
    )


def hard_links(root: Path) -> set[frozenset[bytes]]:
    """The groups of paths that are one file."""
    groups = defaultdict(set)
    for path in paths_below(root):
        found = os.lstat(os.path.join(os.fsencode(root), path))
        if not stat.S_ISDIR(found.st_mode):
            groups[found.st_dev, found.st_ino].add(path)
    return {frozenset(group) for group in groups.values() if len(group) > 1}


def different_contents(one: Path, other: Path) -> list[bytes]:
    pairs = [
        (os.path.join(os.fsencode(one), path), os.path.join(os.fsencode(other), path)) for path in paths_below(one)
    ]
    return [a for a, b in pairs if stat.S_ISREG(os.lstat(a).st_mode) and not filecmp.cmp(a, b, shallow=False)]


def layers_of(layout: Path, tag: str) -> list[Layer]:
    def document(digest: str) -> dict[str, object]:
        return json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())

    index = json.loads((layout / "index.json").read_bytes())
    [target] = [m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == tag]
    manifest = document(target["digest"])
    diff_ids = document(manifest["config"]["digest"])["rootfs"]["diff_ids"]  # type: ignore[index]
    return [
        Layer(layer["digest"], diff_id, layer["mediaType"], layer["size"])
        for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True)  # type: ignore[call-overload]
    ]


def compare(layout: Path, tag: str, work: Path, driver: str, but_times_of: tuple[bytes, ...] = ()) -> None:
    subprocess.run(
        ["umoci", "unpack", "--image", f"{layout}:{tag}", str(work / "bundle")], check=True, capture_output=True
    )
    expected_root = work / "bundle" / "rootfs"

    def opened(digest: str) -> BinaryIO:
        return open(layout / "blobs" / digest.replace(":", "/"), "rb")

    snapshots = snapshots_at(work / "store", driver)  # type: ignore[arg-type]
    snapshots.prepare("c", snapshots.unpack(layers_of(layout, tag), opened))
    (work / "root").mkdir()
    with snapshots.mounted("c", str(work / "root")):
        ours, theirs = seen(work / "root"), seen(expected_root)
        assert sorted(ours) == sorted(theirs)
        for path in but_times_of:
            ours[path] = ours[path]._replace(mtime_ns=theirs[path].mtime_ns)
        assert {p: (ours[p], theirs[p]) for p in ours if ours[p] != theirs[p]} == {}
        assert hard_links(work / "root") == hard_links(expected_root)
        assert different_contents(work / "root", expected_root) == []
    snapshots.remove("c")


def test_a_small_image_of_everything_is_unpacked_as_umoci_does(tmp_path: Path, driver: str) -> None:
    oci_layout(tmp_path / "layout", [layer_tar(layer) for layer in SMALL], tag="test")
    made_up = b"x" * 120  # a parent without an entry: the time of unpacking
    changed = b"."  # umoci sets its time before it removes what later layers hide
    compare(tmp_path / "layout", "test", tmp_path, driver, (made_up, changed))


@pytest.mark.slow
def test_a_debian_image_is_unpacked_as_umoci_does(tmp_path: Path, driver: str) -> None:
    compare(debian_oci_layout(), TAG, tmp_path, driver)
