from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from prun.errors import AlreadyExists, FailedPrecondition, PermissionDenied
from prun.identity import boot_id, start_time
from prun.record import is_alive, own_lease, remove_bundle
from prun.state import Store
from prun.types import ExitStatus, Image, Platform, RunRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUEST = RunRequest("a" * 64, "busybox", name="c", runtime="fake")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "root"), str(tmp_path / "state")) as opened:
        yield opened


def test_directories_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store(str(tmp_path / "root"), str(tmp_path / "state")):
            pass
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("root", "state")} == {0o700}


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionDenied, match="file/root cannot be made"), Store(str(tmp_path / "file/root"), "/x"):
        pass


def test_a_container_that_ran_stays_until_it_is_removed(store: Store) -> None:
    with store.container(REQUEST) as record:
        assert os.path.isdir(record.bundle)
        record.resolved(Image("busybox", "sha256:1", Platform("linux", "amd64"), {}))
        record.started(None, ["sh"])
        record.exited(ExitStatus(3))
    row = store.metadata.containers()[0]
    assert (row.status, row.exit_code, row.digest, list(row.command)) == ("stopped", 3, "sha256:1", ["sh"])
    assert store.metadata.leases() == []
    assert not os.path.exists(record.bundle)


@pytest.mark.parametrize("request_", [REQUEST._replace(remove=True), REQUEST])
def test_a_container_that_was_to_go_or_never_ran_leaves_nothing(store: Store, request_: RunRequest) -> None:
    with store.container(request_) as record:
        if request_.remove:
            record.started(None, [])
            record.exited(ExitStatus(0))
    assert store.metadata.containers() == []
    assert not os.path.exists(record.bundle)


def test_a_failure_between_start_and_exit_leaves_a_stopped_container_of_unknown_code(store: Store) -> None:
    def fail() -> None:
        with store.container(REQUEST) as record:
            record.started(None, [])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    row = store.metadata.containers()[0]
    assert (row.status, row.exit_code) == ("stopped", 255)


def test_a_name_in_use_is_refused_before_anything_is_made(store: Store) -> None:
    second = REQUEST._replace(id="b" * 64)
    with store.container(REQUEST), pytest.raises(AlreadyExists), store.container(second):
        pass
    assert os.listdir(os.path.join(store.state, "bundles")) == []


def test_a_lease_of_a_living_process_is_alive() -> None:
    lease = own_lease("c")
    assert is_alive(lease)
    assert not is_alive(lease._replace(boot_id="another boot"))
    assert not is_alive(lease._replace(start_time=lease.start_time + 1))


def test_a_lease_of_an_ended_process_is_dead_even_as_a_zombie() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    lease = own_lease("c")._replace(pid=process.pid, start_time=start_time(process.pid) or 0)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(lease)
    process.wait()
    assert not is_alive(lease)


def test_the_start_time_survives_a_process_name_that_looks_like_fields(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 2 (b"
    program.symlink_to(sys.executable)
    process = subprocess.Popen([str(program), "-c", "import time; time.sleep(10)"])
    try:
        assert start_time(process.pid) is not None
        assert abs((start_time(process.pid) or 0) - (start_time(os.getpid()) or 0)) < 100 * 3600
    finally:
        process.kill()
        process.wait()


def test_the_boot_has_an_id() -> None:
    assert boot_id() == boot_id() != ""


def test_a_bundle_is_removed_without_going_into_directories(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "rootfs" / "precious").mkdir(parents=True)
    (bundle / "config.json").write_text("{}")
    with pytest.raises(FailedPrecondition, match="cannot be removed"):
        remove_bundle(str(bundle))
    assert (bundle / "rootfs" / "precious").is_dir()
    (bundle / "rootfs" / "precious").rmdir()
    remove_bundle(str(bundle))
    remove_bundle(str(bundle))
    assert not bundle.exists()


def test_images_are_not_removed_while_they_are_looked_up(store: Store) -> None:
    code = (
        "import sys; from prun.state import Store\n"
        "with Store(*sys.argv[1:]) as s:\n"
        "    with s.removing_images(): print('removing', flush=True)\n"
    )
    with store.using_images():
        process = subprocess.Popen(
            [sys.executable, "-c", code, store.root, store.state], stdout=subprocess.PIPE, text=True
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.7)
    assert process.communicate(timeout=20)[0] == "removing\n"
