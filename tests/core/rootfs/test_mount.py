"""Overlays of any number of layers, on every way that a kernel may offer."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from prun.errors import FailedPrecondition, PermissionDenied
from prun.rootfs import mount, syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root


class Layers:
    def __init__(self, path: Path, count: int) -> None:
        self.lower = []
        for number in range(count, 0, -1):
            (path / str(number) / "fs").mkdir(parents=True)
            (path / str(number) / "fs" / f"file{number}").write_text(str(number))
            self.lower.append(str(path / str(number) / "fs"))
        for name in ("upper", "work", "target"):
            (path / name).mkdir()
        self.upper, self.work, self.target = (str(path / name) for name in ("upper", "work", "target"))
        self.overlay = mount.Overlay(self.lower, self.upper, self.work, volatile=False)


def mounts() -> str:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return file.read()


@contextmanager
def cleaned_up(target: str) -> Iterator[None]:
    try:
        yield
    finally:
        mount.unmount(target)
        assert target not in mounts()


@pytest.mark.parametrize("count", [1, 2, 120, 499])
def test_an_overlay_shows_every_layer(tmp_path: Path, count: int) -> None:
    layers = Layers(tmp_path, count)
    with cleaned_up(layers.target):
        mount.mount_overlay(layers.lower, layers.upper, layers.work, layers.target)
        assert len(os.listdir(layers.target)) == count
        (tmp_path / "target" / "new").write_text("1")
    assert os.listdir(layers.upper) == ["new"]


@pytest.mark.parametrize("count", [2, 120, 450])
def test_an_old_kernel_takes_many_layers_by_short_names(tmp_path: Path, count: int) -> None:
    layers = Layers(tmp_path, count)
    cwd = os.getcwd()
    with cleaned_up(layers.target):
        mount.mount_with_short_names(layers.overlay, layers.target)
        assert len(os.listdir(layers.target)) == count
    assert os.getcwd() == cwd


def test_an_old_kernel_falls_back_to_short_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = Layers(tmp_path, 120)

    def missing(*_: object) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(syscalls, "make_mount", missing)
    with cleaned_up(layers.target):
        mount.mount_overlay(layers.lower, layers.upper, layers.work, layers.target)
        assert len(os.listdir(layers.target)) == 120


def test_more_layers_than_the_kernel_takes_are_refused_with_a_remedy(tmp_path: Path) -> None:
    layers = Layers(tmp_path, 600)
    with pytest.raises(FailedPrecondition) as caught:
        mount.mount_overlay(layers.lower, layers.upper, layers.work, layers.target)
    assert "PRUN_SNAPSHOTTER=copy" in caught.value.hint


@pytest.mark.parametrize("name", ["with:colon", "with,comma", "with\\backslash", "with space", "caf\udce9", 'q"uote'])
@pytest.mark.parametrize("count", [2, 150])
def test_a_path_may_have_any_character(tmp_path: Path, name: str, count: int) -> None:
    layers = Layers(tmp_path / name, count)
    with cleaned_up(layers.target):
        mount.mount_overlay(layers.lower, layers.upper, layers.work, layers.target)
        assert len(os.listdir(layers.target)) == count


def test_a_layer_cannot_point_at_files_outside_of_itself(tmp_path: Path) -> None:
    """``trusted.overlay.redirect`` of a layer is not followed."""
    layers = Layers(tmp_path, 2)
    (tmp_path / "1" / "fs" / "hidden").mkdir()
    (tmp_path / "1" / "fs" / "hidden" / "x").write_text("1")
    (tmp_path / "2" / "fs" / "dir").mkdir()
    os.setxattr(tmp_path / "2" / "fs" / "dir", "trusted.overlay.redirect", b"/hidden")
    with cleaned_up(layers.target):
        mount.mount_overlay(layers.lower, layers.upper, layers.work, layers.target)
        with suppress(PermissionError):  # the kernel's answer to a redirect that may not be followed
            assert os.listdir(tmp_path / "target" / "dir") == []


def test_the_options_switch_off_what_a_distribution_may_have_switched_on(tmp_path: Path) -> None:
    layers = Layers(tmp_path, 1)
    assert mount.overlay_options(layers.lower, layers.upper, layers.work) == (
        f"lowerdir={layers.lower[0]}",
        f"upperdir={layers.upper}",
        f"workdir={layers.work}",
        "redirect_dir=nofollow",
        "metacopy=off",
        "index=off",
    )


def test_a_volatile_overlay_is_one(tmp_path: Path) -> None:
    layers = Layers(tmp_path, 1)
    with cleaned_up(layers.target):
        mount.mount_overlay(layers.lower, layers.upper, layers.work, layers.target, volatile=True)
        assert any(layers.target in line and "volatile" in line for line in mounts().splitlines())


@pytest.mark.parametrize("make", [mount.detached_overlay, mount.attached_for_a_moment])
def test_a_detached_overlay_is_writable_and_nowhere_to_be_seen(tmp_path: Path, make: object) -> None:
    layers = Layers(tmp_path, 3)
    before = mounts()
    fd = make(layers.lower, layers.upper, layers.work, layers.target)  # type: ignore[operator]
    try:
        assert mounts() == before
        assert len(os.listdir(fd)) == 3
        os.unlink("file1", dir_fd=fd)
        os.link("file2", "linked", src_dir_fd=fd, dst_dir_fd=fd)
    finally:
        os.close(fd)
    assert sorted(os.listdir(layers.upper)) == ["file1", "file2", "linked"]


def test_a_bind_mount_shows_the_same_directory(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "x").write_text("1")
    (tmp_path / "target").mkdir()
    target = str(tmp_path / "target")
    with cleaned_up(target):
        mount.bind(str(tmp_path / "source"), target)
        assert os.listdir(target) == ["x"]


def test_unmounting_what_is_not_mounted_does_nothing(tmp_path: Path) -> None:
    mount.unmount(str(tmp_path))
    mount.unmount(str(tmp_path / "missing"))


def test_unmounting_does_not_wait_for_who_still_looks(tmp_path: Path) -> None:
    layers = Layers(tmp_path, 1)
    mount.mount_overlay(layers.lower, layers.upper, layers.work, layers.target)
    with open(tmp_path / "target" / "file1", encoding="utf-8") as file:
        mount.unmount(layers.target)
        assert layers.target not in mounts()
        assert file.read() == "1"


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EPERM, PermissionDenied),
        (errno.ENODEV, FailedPrecondition),
        (errno.EINVAL, FailedPrecondition),
        (errno.EBUSY, FailedPrecondition),
        (errno.E2BIG, FailedPrecondition),
    ],
)
def test_what_the_kernel_says_becomes_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    layers = Layers(tmp_path, 1)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(syscalls, "old_mount", refuse)
    with pytest.raises(error) as caught:
        mount.mount_overlay(layers.lower, layers.upper, layers.work, layers.target)
    assert caught.value.hint  # type: ignore[attr-defined]


def test_threads_that_mount_keep_the_working_directory_of_the_process(tmp_path: Path) -> None:
    sets = [Layers(tmp_path / str(number), 120) for number in range(4)]
    cwd = os.getcwd()
    threads = [threading.Thread(target=mount.mount_with_short_names, args=(s.overlay, s.target)) for s in sets]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
            assert os.getcwd() == cwd
        assert [len(os.listdir(s.target)) for s in sets] == [120] * 4
    finally:
        for s in sets:
            mount.unmount(s.target)
