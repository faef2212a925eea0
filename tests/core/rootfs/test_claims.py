"""Locks and temporary directories that end with their owner."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from prun.rootfs.claims import claimed, is_unclaimed, locked, temporary_directory

if TYPE_CHECKING:
    from pathlib import Path


def test_only_one_holds_a_lock_at_a_time(tmp_path: Path) -> None:
    inside = []
    most = []

    def work() -> None:
        for _ in range(20):
            with locked(str(tmp_path / "lock")):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 160


def test_a_shared_lock_is_shared_and_keeps_out_who_wants_it_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    order = []

    def alone() -> None:
        with locked(path):
            order.append("alone")

    thread = threading.Thread(target=alone)
    with locked(path, shared=True), locked(path, shared=True):
        thread.start()
        time.sleep(0.05)
        order.append("shared")
    thread.join()
    assert order == ["shared", "alone"]


def test_a_lock_that_its_holder_removes_is_taken_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    taken = []

    def wait() -> None:
        with locked(path):
            taken.append(os.path.exists(path))

    thread = threading.Thread(target=wait)
    with locked(path):
        thread.start()
        time.sleep(0.05)
        os.unlink(path)
    thread.join()
    assert taken == [True]


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(str(tmp_path / "lock")):
        raise ZeroDivisionError
    with locked(str(tmp_path / "lock")):
        assert os.listdir(tmp_path) == ["lock"]


def test_a_lock_does_not_follow_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), locked(str(tmp_path / "lock")):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_temporary_directory_is_private_and_goes_with_its_content(tmp_path: Path) -> None:
    with temporary_directory(str(tmp_path)) as path:
        assert os.stat(path).st_mode & 0o777 == 0o700
        os.makedirs(os.path.join(path, "a", "b"))
        assert not is_unclaimed(path)
    assert os.listdir(tmp_path) == []


def test_a_temporary_directory_may_be_moved_away(tmp_path: Path) -> None:
    with temporary_directory(str(tmp_path)) as path:
        os.rename(path, tmp_path / "kept")
    assert os.listdir(tmp_path) == ["kept"]


def test_what_is_gone_or_claimed_cannot_be_claimed(tmp_path: Path) -> None:
    with claimed(str(tmp_path)) as first, claimed(str(tmp_path)) as second, claimed(str(tmp_path / "gone")) as third:
        assert (first, second, third) == (True, False, False)
    assert is_unclaimed(str(tmp_path))
