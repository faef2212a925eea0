"""Snapshots: unpacked once, shared, made again when lost, nothing half-made to be seen."""

from __future__ import annotations

import os
import pickle
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from images import directory, file, layer_tar
from unpacking import Blobs, snapshots_at, unpacked

from prun.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PrunError,
    ResourceExhausted,
)
from prun.image.identity import chain_ids
from prun.metadata import Metadata
from prun.rootfs import mount, syscalls
from prun.rootfs.claims import temporary_directory
from prun.rootfs.snapshots import Snapshots

if TYPE_CHECKING:
    import io
    from collections.abc import Sequence

    from prun.types import Layer

pytestmark = pytest.mark.root


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def layers(blobs: Blobs) -> list[Layer]:
    tars = [
        layer_tar([directory("etc", mode=0o711), file("etc/a", b"1")]),
        layer_tar([file("etc/b", b"2"), file("etc/.wh.a")]),
        layer_tar([file("etc/c", b"3")]),
    ]
    return [blobs.add(tar, "gzip") for tar in tars]


@pytest.fixture
def snapshots(tmp_path: Path, driver: str) -> Snapshots:
    return snapshots_at(tmp_path, driver)  # type: ignore[arg-type]


def listed(snapshots: Snapshots, key: str, target: Path) -> list[str]:
    target.mkdir(exist_ok=True)
    with snapshots.mounted(key, str(target)):
        return sorted(os.listdir(target / "etc"))


def test_layers_are_unpacked_once(snapshots: Snapshots, blobs: Blobs, layers: list[Layer], tmp_path: Path) -> None:
    chain = snapshots.unpack(layers, blobs.open)
    assert chain == chain_ids([layer.diff_id for layer in layers])[-1]
    assert blobs.opened == [layer.digest for layer in layers]
    assert snapshots.unpack(layers, blobs.open) == chain
    assert len(blobs.opened) == 3
    snapshots.prepare("c", chain)
    assert listed(snapshots, "c", tmp_path / "root") == ["b", "c"]


def test_an_image_that_shares_layers_unpacks_only_its_own(
    snapshots: Snapshots, blobs: Blobs, layers: list[Layer]
) -> None:
    snapshots.unpack(layers[:2], blobs.open)
    snapshots.unpack([*layers[:2], blobs.add(layer_tar([file("x")]))], blobs.open)
    assert len(blobs.opened) == 3


def test_nothing_is_created_before_it_is_needed(tmp_path: Path, blobs: Blobs) -> None:
    snapshots = snapshots_at(tmp_path)
    assert snapshots.unpack([], blobs.open) == ""
    assert snapshots.leftovers() == snapshots.keys() == []
    snapshots.remove("c")
    assert not (tmp_path / "snapshots").exists()


def test_nobody_but_root_may_enter(snapshots: Snapshots, blobs: Blobs, layers: list[Layer]) -> None:
    """moby CVE-2021-41091: setuid programs of an image in reach of every user."""
    old = os.umask(0)
    try:
        snapshots.unpack(layers, blobs.open)
        snapshots.prepare("c", snapshots.unpack(layers, blobs.open))
    finally:
        os.umask(old)
    for path in (snapshots.path, os.path.join(snapshots.path, "1"), os.path.join(snapshots.path, "active", "c")):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700, path


def test_a_wrong_diff_id_keeps_nothing(snapshots: Snapshots, blobs: Blobs, layers: list[Layer]) -> None:
    wrong = blobs.add(layer_tar([file("x")]), diff_id="sha256:" + "0" * 64)
    with pytest.raises(DataLoss, match="diff ID"):
        snapshots.unpack([layers[0], wrong], blobs.open)
    assert not [name for name in os.listdir(snapshots.path) if name not in ("active", "locks", "driver")]
    assert snapshots.leftovers() == []


def test_a_blob_that_cannot_be_opened_keeps_nothing(snapshots: Snapshots, layers: list[Layer]) -> None:
    def missing(name: str) -> io.BytesIO:
        raise NotFound(f"blob {name} is missing")

    with pytest.raises(NotFound, match="blob"):
        snapshots.unpack(layers, missing)
    assert snapshots.leftovers() == []


def test_a_snapshot_whose_directory_has_vanished_is_made_again(
    snapshots: Snapshots, blobs: Blobs, layers: list[Layer], tmp_path: Path
) -> None:
    chain = snapshots.unpack(layers, blobs.open)
    subprocess.run(["rm", "-r", os.path.join(snapshots.path, "2")], check=True)
    assert snapshots.unpack(layers, blobs.open) == chain
    assert blobs.opened[3:] == [layers[1].digest]
    snapshots.prepare("c", chain)
    assert listed(snapshots, "c", tmp_path / "root") == ["b", "c"]


def test_a_container_over_a_missing_layer_is_refused(snapshots: Snapshots, blobs: Blobs, layers: list[Layer]) -> None:
    with pytest.raises(NotFound):
        snapshots.prepare("c", "sha256:" + "0" * 64)
    assert snapshots.keys() == []


def test_two_containers_do_not_see_each_other(
    snapshots: Snapshots, blobs: Blobs, layers: list[Layer], tmp_path: Path
) -> None:
    chain = snapshots.unpack(layers, blobs.open)
    for key in ("one", "two"):
        snapshots.prepare(key, chain)
    target = tmp_path / "root"
    target.mkdir()
    with snapshots.mounted("one", str(target)):
        (target / "etc" / "mine").write_text("1")
        (target / "etc" / "b").unlink()
        (target / "etc" / "c").write_text("changed")
    assert listed(snapshots, "two", target) == ["b", "c"]
    with snapshots.mounted("two", str(target)):
        assert (target / "etc" / "c").read_text() == "3"
    assert listed(snapshots, "one", target) == ["c", "mine"]
    assert sorted(snapshots.keys()) == ["one", "two"]


def test_prepare_may_be_repeated(snapshots: Snapshots, blobs: Blobs, layers: list[Layer], tmp_path: Path) -> None:
    """Seed S8: AlreadyExists is not an error."""
    chain = snapshots.unpack(layers, blobs.open)
    first = snapshots.prepare("c", chain)
    target = tmp_path / "root"
    target.mkdir()
    with snapshots.mounted("c", str(target)):
        (target / "mine").write_text("1")
    assert snapshots.prepare("c", chain) == first == snapshots.mounts("c")
    with snapshots.mounted("c", str(target)):
        assert (target / "mine").read_text() == "1"


def test_a_key_in_use_for_another_image_is_refused(snapshots: Snapshots, blobs: Blobs, layers: list[Layer]) -> None:
    snapshots.prepare("c", snapshots.unpack(layers, blobs.open))
    with pytest.raises(AlreadyExists):
        snapshots.prepare("c", snapshots.unpack(layers[:1], blobs.open))


def test_mounts_are_what_containerd_takes(tmp_path: Path, blobs: Blobs, layers: list[Layer]) -> None:
    snapshots = snapshots_at(tmp_path, "overlayfs")
    [found] = snapshots.prepare("c", snapshots.unpack(layers, blobs.open))
    at = snapshots.path
    assert (found.type, found.source) == ("overlay", "overlay")
    assert f"lowerdir={at}/3/fs:{at}/2/fs:{at}/1/fs" in found.options
    assert f"upperdir={at}/active/c/fs" in found.options
    [empty] = snapshots.prepare("scratch", "")
    assert (empty.type, empty.source, empty.options) == ("bind", f"{at}/active/scratch/fs", ("rbind", "rw"))


def test_a_container_without_an_image_has_an_empty_root(snapshots: Snapshots, tmp_path: Path) -> None:
    snapshots.prepare("c", "")
    target = tmp_path / "root"
    target.mkdir()
    with snapshots.mounted("c", str(target)):
        (target / "x").write_text("1")
        assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert os.listdir(target) == []


@pytest.mark.parametrize("volatile", [False, True])
def test_the_mount_ends_with_the_context_whatever_happens(
    snapshots: Snapshots, blobs: Blobs, layers: list[Layer], tmp_path: Path, volatile: bool
) -> None:
    snapshots.prepare("c", snapshots.unpack(layers, blobs.open))
    target = tmp_path / "root"
    target.mkdir()

    def fail_inside() -> None:
        with snapshots.mounted("c", str(target), volatile=volatile):
            assert os.listdir(target)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert os.listdir(target) == []
    assert str(target) not in Path("/proc/self/mountinfo").read_text()


def test_removing_a_container_removes_everything_of_it(
    snapshots: Snapshots, blobs: Blobs, layers: list[Layer], tmp_path: Path
) -> None:
    snapshots.prepare("c", snapshots.unpack(layers, blobs.open))
    target = tmp_path / "root"
    target.mkdir()
    with snapshots.mounted("c", str(target)):
        (target / "x").write_text("1")
    snapshots.remove("c")
    snapshots.remove("c")
    assert snapshots.keys() == []
    assert snapshots.leftovers() == []
    with pytest.raises(NotFound):
        snapshots.mounts("c")


def test_a_tree_that_a_container_has_nested_very_deep_can_be_removed(snapshots: Snapshots) -> None:
    snapshots.prepare("c", "")
    fd = os.open(os.path.join(snapshots.path, "active", "c", "fs"), os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d", dir_fd=fd)
        child = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = child
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    snapshots.remove("c")
    assert snapshots.leftovers() == []


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "../x", "/x", "a\0b", ".hidden", "x" * 300])
def test_a_key_that_is_no_file_name_is_refused(snapshots: Snapshots, key: str) -> None:
    for call in (lambda: snapshots.prepare(key, ""), lambda: snapshots.mounts(key), lambda: snapshots.remove(key)):
        with pytest.raises(InvalidArgument, match="key"):
            call()


def test_a_layer_is_removed_only_when_nothing_stands_on_it(
    snapshots: Snapshots, blobs: Blobs, layers: list[Layer]
) -> None:
    chains = chain_ids([layer.diff_id for layer in layers])
    snapshots.prepare("c", snapshots.unpack(layers, blobs.open))
    with pytest.raises(FailedPrecondition, match="another layer"):
        snapshots.remove_chain(chains[0])
    with pytest.raises(FailedPrecondition, match="container 'c'"):
        snapshots.remove_chain(chains[2])
    snapshots.remove("c")
    for chain in reversed(chains):
        snapshots.remove_chain(chain)
        snapshots.remove_chain(chain)
    assert sorted(os.listdir(snapshots.path)) == ["active", "locks"]
    assert os.listdir(os.path.join(snapshots.path, "locks")) == []


def test_a_layer_is_not_removed_while_another_is_unpacked_on_top_of_it(
    snapshots: Snapshots, blobs: Blobs, layers: list[Layer]
) -> None:
    bottom = snapshots.unpack(layers[:1], blobs.open)
    refused = []

    def remove() -> None:
        try:
            snapshots.remove_chain(bottom)
        except FailedPrecondition as error:
            refused.append(error)

    remover = ThreadPoolExecutor(1)
    removed = []

    def open_slowly(name: str) -> io.BytesIO:
        removed.append(remover.submit(remove))
        time.sleep(0.1)
        assert not removed[0].done()
        return blobs.open(name)

    snapshots.unpack(layers[:2], open_slowly)
    removed[0].result()
    remover.shutdown()
    assert len(refused) == 1


def test_a_snapshot_in_the_making_is_no_leftover_and_one_of_a_dead_process_is(
    snapshots: Snapshots, blobs: Blobs, layers: list[Layer]
) -> None:
    snapshots.unpack(layers, blobs.open)
    with temporary_directory(snapshots.path):
        dead = os.path.join(snapshots.path, "new-dead")
        os.makedirs(os.path.join(dead, "fs", "etc"))
        os.mkdir(os.path.join(snapshots.path, "99"))
        expected = [os.path.join(snapshots.path, "99"), dead]
        assert snapshots.leftovers() == expected
        assert snapshots.clear_leftovers() == expected
        assert snapshots.leftovers() == []
    assert len(snapshots.unpack(layers, blobs.open)) == 71


def test_a_mount_that_a_dead_process_has_left_in_a_leftover_is_ended(tmp_path: Path) -> None:
    snapshots = snapshots_at(tmp_path)
    snapshots.prepare("c", "")
    paths = [os.path.join(snapshots.path, "new-dead", name) for name in ("lower", "fs", "work", "merged")]
    for path in paths:
        os.makedirs(path)
    mount.mount_overlay(paths[:1], *paths[1:])
    snapshots.clear_leftovers()
    assert paths[3] not in Path("/proc/self/mountinfo").read_text()
    assert snapshots.leftovers() == []


def test_an_unknown_driver_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="zfs"):
        snapshots_at(tmp_path, "zfs")  # type: ignore[arg-type]


def test_overlayfs_is_chosen_where_it_works_and_remembered(tmp_path: Path, blobs: Blobs, layers: list[Layer]) -> None:
    snapshots = snapshots_at(tmp_path)
    snapshots.unpack(layers, blobs.open)
    assert os.readlink(os.path.join(snapshots.path, "driver")) == "overlayfs"
    assert os.path.isdir(os.path.join(snapshots.path, "1", "fs"))


def test_copies_are_chosen_where_overlayfs_does_not_work(
    tmp_path: Path, blobs: Blobs, layers: list[Layer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An overlay is no file system for the upper directory of another one; there is no fuse-overlayfs either."""
    monkeypatch.setattr(mount, "FUSE_OVERLAYFS", str(tmp_path / "none"))
    paths = [tmp_path / name for name in ("lower", "upper", "work", "store", "root")]
    for path in paths:
        path.mkdir()
    mount.mount_overlay([str(paths[0])], str(paths[1]), str(paths[2]), str(paths[3]))
    try:
        snapshots = snapshots_at(paths[3])
        snapshots.prepare("c", snapshots.unpack(layers, blobs.open))
        assert os.readlink(os.path.join(snapshots.path, "driver")) == "copy"
        assert listed(snapshots, "c", paths[4]) == ["b", "c"]
        with pytest.raises(PrunError) as caught:
            snapshots_at(paths[3], "overlayfs").unpack(layers, blobs.open)
        assert "copy" in caught.value.hint
    finally:
        mount.unmount(str(paths[3]))


def test_a_store_can_be_used_with_either_driver(tmp_path: Path, blobs: Blobs, layers: list[Layer]) -> None:
    for driver in ("overlayfs", "copy", "overlayfs"):
        snapshots = snapshots_at(tmp_path, driver)  # type: ignore[arg-type]
        snapshots.prepare(driver, snapshots.unpack(layers, blobs.open))
        assert listed(snapshots, driver, tmp_path / "root") == ["b", "c"]
    assert len(blobs.opened) == 6


@pytest.mark.parametrize("count", [120, 400])
def test_an_image_of_many_layers_is_unpacked_and_mounted(tmp_path: Path, count: int) -> None:
    tars = [layer_tar([file(f"f{n}", b"%d" % n), *([file(f".wh.f{n - 1}")] if n % 2 else [])]) for n in range(count)]
    with unpacked(tmp_path, tars, "overlayfs") as root:
        assert len(os.listdir(root)) == count // 2


def unpack_in_a_process(
    path: str, layers: Sequence[Layer], blobs: dict[str, bytes], key: str
) -> subprocess.Popen[bytes]:
    script = """
import io, os, sys, pickle
with open(sys.argv[1], "rb") as job:
    path, layers, blobs, key = pickle.load(job)
from prun.metadata import Metadata
from prun.rootfs.snapshots import Snapshots
from prun.types import Layer
def opened(name):
    os.write(1, b"opened " + name.encode() + b"\\n")
    return io.BytesIO(blobs[name])
snapshots = Snapshots(path + "/snapshots", Metadata(path + "/metadata.db"))
chain = snapshots.unpack([Layer(*layer) for layer in layers], opened)
snapshots.prepare(key, chain)
os.mkdir(path + "/" + key)
with snapshots.mounted(key, path + "/" + key):
    print(*sorted(os.listdir(path + "/" + key)))
snapshots.remove(key)
"""
    job = Path(path, f"{key}.job")
    job.write_bytes(pickle.dumps((path, [tuple(layer) for layer in layers], blobs, key)))
    return subprocess.Popen([sys.executable, "-c", script, str(job)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_twenty_processes_unpack_an_image_once(tmp_path: Path, blobs: Blobs) -> None:
    layers = [blobs.add(layer_tar([file(f"{n}-{m}", b"x" * 1000) for m in range(200)]), "gzip") for n in range(3)]
    Metadata(str(tmp_path / "metadata.db")).close()
    processes = [unpack_in_a_process(str(tmp_path), layers, blobs.data, f"c{n}") for n in range(20)]
    outputs = [process.communicate() for process in processes]
    assert [(process.returncode, error) for process, (_, error) in zip(processes, outputs, strict=True)] == [
        (0, b"")
    ] * 20
    lines = [line for output, _ in outputs for line in output.splitlines()]
    assert sum(line.startswith(b"opened") for line in lines) == 3
    assert len({line for line in lines if not line.startswith(b"opened")}) == 1
    snapshots = snapshots_at(tmp_path)
    assert (snapshots.leftovers(), snapshots.keys()) == ([], [])


def test_threads_of_one_process_unpack_an_image_once(
    snapshots: Snapshots, tmp_path: Path, driver: str, blobs: Blobs, layers: list[Layer]
) -> None:
    def unpack(_: int) -> str:
        mine = Snapshots(snapshots.path, Metadata(str(tmp_path / "metadata.db")), driver)  # type: ignore[arg-type]
        return mine.unpack(layers, blobs.open)

    with ThreadPoolExecutor(8) as executor:
        assert len(set(executor.map(unpack, range(8)))) == 1
    assert len(blobs.opened) == 3


@pytest.mark.parametrize("delay_s", [0.12, 0.16, 0.2, 0.25, 0.3, 0.4])
def test_a_process_that_is_killed_leaves_nothing_that_is_not_found(
    tmp_path: Path, blobs: Blobs, delay_s: float
) -> None:
    layers = [blobs.add(layer_tar([file(f"{n}-{m}", b"x" * 5000) for m in range(1500)])) for n in range(3)]
    Metadata(str(tmp_path / "metadata.db")).close()
    process = unpack_in_a_process(str(tmp_path), layers, blobs.data, "killed")
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    mount.unmount(str(tmp_path / "killed"))
    snapshots = snapshots_at(tmp_path)
    snapshots.clear_leftovers()
    assert snapshots.leftovers() == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    chain = snapshots.unpack(layers, blobs.open)
    snapshots.prepare("next", chain)
    (tmp_path / "root").mkdir()
    with snapshots.mounted("next", str(tmp_path / "root")):
        assert len(os.listdir(tmp_path / "root")) == 4500


def test_a_full_disk_is_said_and_keeps_nothing(tmp_path: Path, blobs: Blobs, driver: str) -> None:
    layers = [blobs.add(layer_tar([file("a", b"1" * 100_000)]))]
    layers.append(blobs.add(layer_tar([file(str(n), b"1" * 100_000) for n in range(30)])))
    store = tmp_path / "store"
    store.mkdir()
    syscalls.old_mount("tmpfs", str(store), "tmpfs", 0, "size=2m")
    try:
        snapshots = Snapshots(str(store), Metadata(str(tmp_path / "metadata.db")), driver)  # type: ignore[arg-type]
        with pytest.raises(ResourceExhausted) as caught:
            snapshots.unpack(layers, blobs.open)
        assert caught.value.hint
        assert not [name for name in os.listdir(store) if name not in ("active", "locks", "driver")]
    finally:
        mount.unmount(str(store))


def test_who_is_not_root_is_told_so(tmp_path: Path, blobs: Blobs, layers: list[Layer]) -> None:
    snapshots = snapshots_at(tmp_path)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionDenied) as caught:
            snapshots.unpack(layers, blobs.open)
    finally:
        os.seteuid(0)
    assert "root" in caught.value.hint
