"""prun as it is installed: from wheels, with a third party's runtime beside its own."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest

import prun

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.packaging, pytest.mark.slow]


def run(environment: Path, directory: Path, *words: str, code: int = 0) -> str:
    """Run prun with directories of the test's own, and return what it wrote to stdout."""
    command = [environment / "prun", "--root", directory / "root", "--state", directory / "state", *words]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PRUN_")}
    env |= {"XDG_CACHE_HOME": str(directory / "cache")}
    result = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    return result.stdout


def test_the_wheel_holds_every_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    ours = {"prun_audit", "prun_fake", "prun_linux", "prun_policy", "prun_windows"}
    packages = {"prun", "prun_protos", "pytest_prun", *ours}
    assert {name.partition("/")[0] for name in names} == {*packages, f"prun-{prun.__version__}.dist-info"}
    assert {name.partition("/")[0] for name in names if name.endswith("/py.typed")} == packages
    assert "prun_protos/prun/v1/execution_pb2.py" in names
    assert [name for name in names if name.endswith((".pyc", ".proto"))] == []


def test_a_built_in_runtime_runs(environment: Path, tmp_path: Path) -> None:
    words = ("run", "--runtime", "fake", "scratch")
    assert run(environment, tmp_path, *words, "echo", "hi") == 'fake: would run ["echo", "hi"]\n'
    run(environment, tmp_path, *words, "exit", "7", code=7)


def test_a_third_partys_runtime_runs(environment: Path, tmp_path: Path) -> None:
    assert run(environment, tmp_path, "run", "--runtime", "hello", "scratch", "world") == "hello, world\n"
    words = ("run", "--runtime", "hello", "--opt", "greeting=welcome", "scratch", "world")
    assert run(environment, tmp_path, *words) == "welcome, world\n"


def test_a_third_partys_runtime_shapes_the_spec(environment: Path, tmp_path: Path) -> None:
    spec = json.loads(run(environment, tmp_path, "spec", "--runtime", "hello", "scratch", "world"))
    assert "GREETING=hello" in spec["process"]["env"]
    assert "/greetings" in [mount["destination"] for mount in spec["mounts"]]


def test_every_plugin_is_listed_with_its_distribution_and_version(environment: Path, tmp_path: Path) -> None:
    rows = json.loads(run(environment, tmp_path, "plugins", "--format", "json"))
    found = {(row["Name"], row["Distribution"], row["Version"]) for row in rows}
    assert found >= {
        ("hello", "prun-hello", "1.0"),
        *((name, "prun", prun.__version__) for name in ("fake", "linux", "windows", "embedded")),
    }


def test_the_scripts_for_shells_are_in_the_wheel(environment: Path, tmp_path: Path) -> None:
    for shell in ("bash", "fish", "zsh"):
        assert f"__complete {shell}" in run(environment, tmp_path, "completion", shell)


def test_an_unknown_runtime_is_answered_with_those_installed(environment: Path, tmp_path: Path) -> None:
    run(environment, tmp_path, "run", "--runtime", "nope", "scratch", "true", code=125)


def test_a_distribution_that_is_uninstalled_is_gone_at_once(environment: Path, tmp_path: Path) -> None:
    pip = [environment / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "uninstall", "--yes", "prun-hello"], check=True)
    run(environment, tmp_path, "run", "--runtime", "hello", "scratch", "world", code=125)
