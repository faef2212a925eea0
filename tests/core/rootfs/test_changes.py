"""diff against a model, and overlayfs's own directory against a comparison of whole trees."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import directory, file, layer_tar, symlink
from unpacking import Blobs, snapshots_at

from prun.errors import InvalidArgument
from prun.rootfs.changes import Change, changes
from prun.rootfs.idmap import IdMaps, IdRange
from prun.rootfs.views import Layer, container_layer, container_tree, image_layer, image_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

# A tree: name to the content of a file (bytes), the target of a link (str) or a directory (a dict).
Tree = dict[str, "bytes | str | Tree"]
NAMES = st.sampled_from(["a", "b", "c-", "wh.", "é"])
LEAVES = st.one_of(st.sampled_from([b"", b"1", b"22"]), st.sampled_from(["a", "/b"]))
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=4),
    lambda inner: st.dictionaries(NAMES, st.one_of(LEAVES, inner), max_size=4),
    max_leaves=12,
)


def make(path: Path, tree: Tree) -> None:
    path.mkdir()
    for name, content in tree.items():
        if isinstance(content, bytes):
            (path / name).write_bytes(content)
            os.utime(path / name, ns=(0, 0))
        elif isinstance(content, str):
            (path / name).symlink_to(content)
        else:
            make(path / name, content)


def model(new: Tree, old: Tree, path: str = "") -> dict[str, str]:
    """What the rules say, from the trees as they are in memory."""
    found: dict[str, str] = {}
    for name, now in new.items():
        child = f"{path}/{name}" if path else name
        before = old.get(name)
        inside: dict[str, str] = {}
        if isinstance(now, dict):
            inside = model(now, before if isinstance(before, dict) else {}, child)
        if name not in old:
            found[child] = "A"
        elif inside or (now != before and not (isinstance(now, dict) and isinstance(before, dict))):
            found[child] = "C"
        found.update(inside)
    found.update({f"{path}/{name}" if path else name: "D" for name in old if name not in new})
    return found


@contextmanager
def opened(*paths: Path) -> Iterator[list[int]]:
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in paths]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def compared(new: Path, old: Path, maps: IdMaps | None = None, mount_points: tuple[bytes, ...] = ()) -> dict[str, str]:
    with opened(new, old) as (new_fd, old_fd):
        found = changes(Layer(new_fd, old_fd), maps=maps, mount_points=mount_points)
    assert found == sorted(found, key=lambda change: change.path.split(b"/"))
    return {os.fsdecode(change.path): change.kind for change in found}


@given(TREES, TREES)
def test_the_changes_are_the_models(new: Tree, old: Tree) -> None:
    with tempfile.TemporaryDirectory() as base:
        make(Path(base, "new"), new)
        make(Path(base, "old"), old)
        assert compared(Path(base, "new"), Path(base, "old")) == model(new, old)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (lambda path: path.chmod(0o600), "C"),
        (lambda path: os.utime(path, ns=(5, 5)), "C"),
        (lambda path: os.setxattr(path, "user.note", b"1"), "C"),
        (lambda path: (path.unlink(), path.mkdir()), "C"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "C"),
        (lambda path: os.utime(path, ns=(5, 0)), None),
    ],
)
def test_what_makes_a_file_another(tmp_path: Path, what: object, kind: str | None) -> None:
    make(tmp_path / "old", {"d": {"f": b"x"}})
    make(tmp_path / "new", {"d": {"f": b"x"}})
    what(tmp_path / "new" / "d" / "f")  # type: ignore[operator]
    assert compared(tmp_path / "new", tmp_path / "old") == ({"d": kind, "d/f": kind} if kind else {})


def test_the_root_is_a_change_only_if_it_is_another_itself(tmp_path: Path) -> None:
    make(tmp_path / "old", {})
    make(tmp_path / "new", {"f": b""})
    assert compared(tmp_path / "new", tmp_path / "old") == {"f": "A"}
    (tmp_path / "new").chmod(0o711)
    assert compared(tmp_path / "new", tmp_path / "old") == {"": "C", "f": "A"}


def test_empty_mount_points_and_what_leads_to_them_are_no_change(tmp_path: Path) -> None:
    make(tmp_path / "old", {"etc": {}})
    make(tmp_path / "new", {"etc": {"hosts": b"", "mtab": "/proc/mounts"}, "a": {"b": {"c": {}}}, "x": {"y": b"1"}})
    points = (b"etc/hosts", b"a/b/c", b"x/y")
    assert compared(tmp_path / "new", tmp_path / "old", mount_points=points) == {"x": "A", "x/y": "A"}
    (tmp_path / "new" / "a" / "b" / "f").touch()
    found = compared(tmp_path / "new", tmp_path / "old", mount_points=points)
    assert found == {"x": "A", "x/y": "A", "a": "A", "a/b": "A", "a/b/f": "A"}


def test_owners_are_compared_as_the_container_knows_them(tmp_path: Path) -> None:
    make(tmp_path / "old", {"f": b""})
    make(tmp_path / "new", {"f": b""})
    own = os.geteuid(), os.getegid()
    same = IdMaps((IdRange(own[0], own[0], 1),), (IdRange(own[1], own[1], 1),))
    other = IdMaps((IdRange(own[0] + 1, own[0], 1),), (IdRange(own[1], own[1], 1),))
    assert compared(tmp_path / "new", tmp_path / "old", same) == {}
    assert compared(tmp_path / "new", tmp_path / "old", other) == {"": "C", "f": "C"}


def test_directories_nested_too_deep_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "old", {})
    deep = tmp_path / "new"
    for _ in range(300):
        deep = deep / "d"
    os.makedirs(deep)
    with pytest.raises(InvalidArgument, match="levels deep"):
        compared(tmp_path / "new", tmp_path / "old")


# On overlayfs

LOWER = [
    directory("d"), file("d/a", b"1"), file("d/b", b"2"), directory("d/sub"), file("d/sub/x"), symlink("l", "d"),
    directory("gone"), file("gone/f"), file("f", b"ff"),
]  # fmt: skip
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "append", "chmod", "unlink", "rmtree", "mkdir", "symlink", "rename", "touch"]),
        st.sampled_from(["d", "d/a", "d/sub", "d/sub/x", "d/new", "gone", "gone/f", "f", "l", "n", "n/m"]),
        st.sampled_from(["d/a", "d/moved", "f", "n", "gone"]),
    ),
    max_size=8,
)


def step(root: Path, verb: str, name: str, other: str) -> None:
    path = root / name
    with suppress(OSError):
        if verb == "write":
            path.write_bytes(b"new")
        elif verb == "append":
            with path.open("ab"):  # copied up, and nothing changed
                pass
        elif verb == "chmod":
            path.chmod(0o700)
        elif verb == "unlink":
            path.unlink()
        elif verb == "rmtree":
            shutil.rmtree(path)
        elif verb == "mkdir":
            path.mkdir()
        elif verb == "symlink":
            path.symlink_to(other)
        elif verb == "rename":
            path.rename(root / other)
        else:
            os.utime(path, ns=(1, 1))


@pytest.mark.root
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_an_overlays_directory_says_the_same_as_both_whole_trees(steps: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as base:
        blobs = Blobs()
        snapshots = snapshots_at(Path(base, "store"), "overlayfs")
        lower = [layer_tar(LOWER[:5]), layer_tar(LOWER[5:])]
        chain = snapshots.unpack([blobs.add(tar) for tar in lower], blobs.open)
        snapshots.prepare("key", chain)
        root = Path(base, "root")
        root.mkdir()
        with snapshots.mounted("key", str(root)):
            for words in steps:
                step(root, *words)
        with container_layer(snapshots, "key") as layer:
            assert layer.opaque
            found = changes(layer)
        with container_tree(snapshots, "key") as new, image_tree(snapshots, chain) as old:
            assert found == changes(Layer(new, old))


@pytest.mark.root
@pytest.mark.parametrize("driver", ["overlayfs", "copy", "fuse"])
def test_an_images_changes_are_its_topmost_layers(tmp_path: Path, driver: str) -> None:
    blobs = Blobs()
    snapshots = snapshots_at(tmp_path, driver)  # type: ignore[arg-type]
    top = [file("d/.wh.a"), file("d/new", b"1"), file("gone/.wh..wh..opq"), file("gone/g"), file("f", b"other")]
    layers = [blobs.add(layer_tar(LOWER)), blobs.add(layer_tar(top))]
    parent = snapshots.unpack(layers[:1], blobs.open)
    chain = snapshots.unpack(layers, blobs.open)
    with image_layer(snapshots, chain, parent) as layer:
        assert bool(layer.opaque) == (driver == "overlayfs")
        found = changes(layer)
    assert [(change.kind, change.path.decode()) for change in found] == [
        ("C", "d"), ("D", "d/a"), ("A", "d/new"), ("C", "f"), ("C", "gone"), ("D", "gone/f"), ("A", "gone/g"),
    ]  # fmt: skip
    with image_layer(snapshots, parent, "") as layer:
        assert Change("A", b"d/sub/x") in changes(layer)
    assert not [name for name in os.listdir(tmp_path / "snapshots") if name.startswith("new-")]
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
