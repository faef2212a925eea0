from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

import prun_linux
from prun.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from prun.types import RunRequest
from prun_linux import cgroups, oci
from prun_linux.oci import OciRuntime, find_binary, open_runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Put an executable into the only directories that are looked into; they are empty at first."""
    directories = [tmp_path / "sbin", tmp_path / "bin"]
    for directory in directories:
        directory.mkdir()
    monkeypatch.setattr(oci, "DIRECTORIES", tuple(map(str, directories)))
    monkeypatch.setattr(cgroups, "split_controllers", lambda: False)

    def put(name: str, script: str = "exit 0", *, directory: int = 0, mode: int = 0o755) -> str:
        path = directories[directory] / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(mode)
        return str(path)

    return put


def test_runc_comes_before_crun(install: Callable[..., str]) -> None:
    crun = install("crun")
    assert find_binary("") == crun
    runc = install("runc", directory=1)
    assert find_binary("") == runc
    assert find_binary("crun") == crun


def test_a_file_that_is_not_executable_is_passed_over(install: Callable[..., str]) -> None:
    install("runc", mode=0o644)
    usable = install("runc", directory=1)
    assert find_binary("") == usable


def test_path_is_not_searched(install: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "runc").write_text("#!/bin/sh\n")
    (planted / "runc").chmod(0o755)
    monkeypatch.setenv("PATH", str(planted))
    monkeypatch.chdir(planted)
    with pytest.raises(NotFound):
        find_binary("")
    with pytest.raises(NotFound):
        find_binary("runc")


def test_an_absolute_path_is_taken_as_it_is(install: Callable[..., str]) -> None:
    path = install("my-runtime")
    assert find_binary(path) == path


@pytest.mark.parametrize("name", ["./runc", "bin/runc", "../runc"])
def test_a_relative_path_is_refused(install: Callable[..., str], name: str) -> None:
    with pytest.raises(InvalidArgument, match="relative"):
        find_binary(name)


def test_crun_is_refused_where_it_cannot_work(install: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    crun = install("crun")
    monkeypatch.setattr(cgroups, "split_controllers", lambda: True)
    for name in ("", "crun", crun):
        with pytest.raises(FailedPrecondition, match="hybrid") as caught:
            find_binary(name)
        assert "runc" in caught.value.hint
    runc = install("runc")
    assert find_binary("") == runc


def test_the_runtime_describes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    info = prun_linux.prun_describe_runtime()
    assert info.name == "linux"
    assert info.platforms[0].os == "linux"
    assert info.unavailable == ""
    assert "binary" in info.options


def test_without_root_it_needs_user_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("prun.rootless.why_not", lambda: ("", ""))
    info = prun_linux.prun_describe_runtime()
    assert (info.unavailable, info.needs_root) == ("", True)
    monkeypatch.setattr("prun.rootless.why_not", lambda: ("there are none", "use sudo"))
    info = prun_linux.prun_describe_runtime()
    assert (info.unavailable, info.remedy) == ("there are none", "use sudo")


def test_a_missing_oci_runtime_is_told_before_anything_is_unpacked(install: Callable[..., str], tmp_path: Path) -> None:
    wrapper = prun_linux.prun_prepare_rootfs(RunRequest("c1", "busybox"), "")
    with pytest.raises(NotFound, match="there is no OCI runtime") as caught:
        next(wrapper)
    assert "apt install runc" in caught.value.hint
    assert next(prun_linux.prun_prepare_rootfs(RunRequest("c1", "busybox", view_only=True), "")) is None
    named = install("my-runtime")
    assert (
        next(prun_linux.prun_prepare_rootfs(RunRequest("c1", "busybox", options={"binary": named}), str(tmp_path)))
        is None
    )


def test_elsewhere_than_on_linux_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "not Linux" in prun_linux.prun_describe_runtime().unavailable


def test_each_binary_has_a_state_directory_of_its_own(install: Callable[..., str]) -> None:
    install("runc"), install("crun")
    assert open_runtime("", "/state").root == "/state/runc"
    assert open_runtime("crun", "/state").root == "/state/crun"


def test_the_words_of_a_failure_are_the_last_error_in_the_log_on_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    log.write_text(
        '{"level":"error","msg":"first"}\n'
        '{"level":"error","msg":"runc run failed: unable to start container process: a\\nb \\u001b[31m c"}\n'
        '{"level":"warning","msg":"never mind"}\nnot json\n[1]\n'
    )
    runtime = OciRuntime("/usr/sbin/runc", str(tmp_path))
    assert runtime.failure(str(log)) == "a b  [31m c"
    assert runtime.failure(str(tmp_path / "none")) == ""


def test_a_binary_that_cannot_be_executed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runc").write_text("no program")
    (tmp_path / "runc").chmod(0o755)
    with pytest.raises(Unavailable, match="Exec format error"):
        OciRuntime(str(tmp_path / "runc"), str(tmp_path)).kill("x", 9)


def test_a_runtime_that_cannot_delete_is_an_error_that_says_how_to_go_on(
    install: Callable[..., str], tmp_path: Path
) -> None:
    runtime = OciRuntime(install("runc", "exit 1"), str(tmp_path / "state"))
    runtime.delete("c1")
    (tmp_path / "state/c1").mkdir(parents=True)
    with pytest.raises(Unavailable) as caught:
        runtime.delete("c1")
    assert "delete --force c1" in caught.value.hint


def test_a_state_that_is_no_json_object_is_no_state(install: Callable[..., str], tmp_path: Path) -> None:
    for script in ("echo junk", "echo '[]'", "exit 1"):
        assert OciRuntime(install("runc", script), str(tmp_path)).state("c1") == {}
