"""``prun config``: what it prints, and how it fails."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from config_files import own, project, written

from prun.cli import command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("PRUN_RUNTIME", "PRUN_ENGINE", "PRUN_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def config(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0, before: tuple[str, ...] = ()) -> str:
    assert command([*before, "config", *words]) == code
    streams = capsys.readouterr()
    return streams.err if code else streams.out


FILE = """\
root = "/srv/prun"
[defaults]
env = ["A=1"]
[profiles.ci]
memory = "64m"
[run.web]
image = "busybox"
extends = "ci"
cap-add = ["CHOWN"]
[registries."a.example"]
blocked = true
"""


def test_show_says_each_value_in_force_and_where_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = own(tmp_path, FILE)
    other = written(tmp_path / "x.toml", '[defaults]\nenv = ["B=2"]\nrm = true\n[run.web]\nimage = "x"\n')
    monkeypatch.setenv("PRUN_RUNTIME", "fake")
    out = config(capsys, "show", "--origin", before=("--config", other, "--state", "/s"))
    assert out.splitlines() == [
        'default\tengine = "embedded"',
        f'{mine}:1\troot = "/srv/prun"',
        'PRUN_RUNTIME\truntime = "fake"',
        '--state\tstate = "/s"',
        f'{mine}:3\tdefaults.env = ["A=1"]',
        f'{other}:2\tdefaults.env = ["B=2"]',
        f"{other}:3\tdefaults.rm = true",
        f'{mine}:5\tprofiles.ci.memory = "64m"',
        f'{mine}:11\tregistries."a.example".blocked = true',
        f'{other}:5\trun.web.image = "x"',
    ]
    assert 'root = "/srv/prun"' in config(capsys, "show").splitlines()


def test_show_says_what_a_run_and_a_profile_get(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = own(tmp_path, FILE)
    assert config(capsys, "show", "--origin", "web").splitlines() == [
        f'{mine}:3\tenv = ["A=1"]', f'{mine}:5\tmemory = "64m"', f'{mine}:7\timage = "busybox"',
        f'{mine}:9\tcap_add = ["CHOWN"]',
    ]  # fmt: skip
    rows = json.loads(config(capsys, "show", "--profile", "ci", "--format", "json"))
    assert rows == [
        {"key": "env", "value": ["A=1"], "origin": f"{mine}:3"},
        {"key": "memory", "value": "64m", "origin": f"{mine}:5"},
    ]  # fmt: skip
    assert "no file has a [run.wep]" in config(capsys, "show", "wep", code=125)


def test_show_names_a_file_that_is_not_believed_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project(tmp_path, "[defaults]\nprivileged = true\n")
    out = config(capsys, "show")
    assert f"# {path}: nobody named or trusts it" in out
    assert "privileged" not in out
    os.chmod(path, 0o666)
    assert "may be changed by others" in config(capsys, "show")


def test_check_says_all_that_is_wrong_whether_it_is_asked_for_or_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert config(capsys, "check") == "there is no file\n"
    path = written(
        tmp_path / "x.toml",
        "[defaults]\nmemory = 'lots'\n[profiles.p]\ncpus = 'x'\nmemory_swap = '1g'\n[run.a]\nimage = 'x'\nuser = '${'\n"
        "[run.b]\n[run.c]\nimage = 'x'\nrm = true\nrestart = 'always'\n",
    )
    err = config(capsys, "check", path, code=125)
    places = [word for word in err.split() if word.startswith(path)]
    assert places == [f"{path}:2:10:", f"{path}:4:8:", f"{path}:8:8:"]
    path = written(tmp_path / "x.toml", "[run.b]\n[run.c]\nimage = 'x'\nrm = true\nrestart = 'always'\n")
    err = config(capsys, "check", path, code=125)
    assert f"{path}:1:6: [run.b] has no image" in err
    assert f"{path}:2:6: [run.c]: conflicting options: cannot specify both --restart and --rm" in err
    fine = written(tmp_path / "x.toml", "[profiles.p]\nmemory_swap = '1g'\n[run.a]\nimage = 'x'\n")
    assert config(capsys, "check", fine) == f"{fine}: 1 runs, 1 profiles, nothing is wrong\n"
    assert "does not exist" in config(capsys, "check", "nope.toml", code=125)


def test_check_looks_at_the_files_in_force_and_at_the_one_that_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = own(tmp_path, FILE), project(tmp_path, "[run.x]\nimage = 'x'\n")
    assert config(capsys, "check").splitlines() == [
        f"{mine}: 1 runs, 1 profiles, nothing is wrong",
        f"{theirs}: 1 runs, 0 profiles, nothing is wrong",
    ]
    project(tmp_path, "[run.x]\nimage = 'x'\nprivileged = true\n")
    assert "may not set privileged" in config(capsys, "check", code=125)


def test_init_writes_a_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert config(capsys, "init") == "prun.toml\n"
    assert (tmp_path / "here/prun.toml").stat().st_mode & 0o777 == 0o644
    assert "is there already" in config(capsys, "init", code=125)
    (tmp_path / "here/link.toml").symlink_to(tmp_path / "elsewhere")
    assert "is there already" in config(capsys, "init", "link.toml", code=125)
    assert not (tmp_path / "elsewhere").exists()
    assert config(capsys, "init", "--user") == f"{tmp_path}/home/prun/prun.toml\n"
    assert "both FILE and --user" in config(capsys, "init", "--user", "x", code=125)
    assert "No such file" in config(capsys, "init", "no/such/dir.toml", code=125)
    assert config(capsys, "check", "prun.toml").endswith("0 runs, 0 profiles, nothing is wrong\n")


def test_schema_and_from_docker_print(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(config(capsys, "schema"))["title"] == "prun.toml"
    expected = '[run.alpine]\nimage = "alpine"\ncommand = ["sh", "-c", "id"]\nrm = true\n'
    assert config(capsys, "from-docker", "docker run --rm alpine sh -c id") == expected
    assert config(capsys, "from-docker", "docker", "run", "--rm", "alpine", "sh", "-c", "id") == expected
    assert config(capsys, "from-docker", "--name", "x", "docker run alpine").startswith("[run.x]\n")
    assert "unknown flag: --publish" in config(capsys, "from-docker", "docker run --publish 80:80 x", code=125)


def test_a_broken_file_keeps_nobody_from_help_and_from_looking_at_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own(tmp_path, "nonsense")
    assert "expected '='" in config(capsys, "check", code=125)
    assert command(["config", "--help"]) == 0
    assert command(["version"]) == 0
    assert command(["ps", "--help"]) == 0
    capsys.readouterr()


def test_faults_are_data_for_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "x.toml", "rot = 1\n")
    assert command(["--error-format", "json", "--config", path, "config", "show"]) == 125
    error = json.loads(capsys.readouterr().err)
    assert error["error"] == "InvalidConfig"
    assert error["faults"] == [
        {"file": path, "line": 1, "column": 1, "text": "rot = 1", "message": "there is no key 'rot'",
         "hint": "did you mean 'root'?"},
    ]  # fmt: skip


def test_names_of_runs_and_profiles_are_completed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own(tmp_path, f"root = '{tmp_path}'\n[profiles.ci]\nhelp = 'for CI'\n[run.web]\nimage = 'x'\n")
    project(tmp_path, "[profiles.cx]\n")
    command(["__complete", "zsh", "run", "--profile", "c"])
    assert capsys.readouterr().out.splitlines() == ["none", "ci\tfor CI", "cx\t[profiles.cx]"]
    command(["__complete", "zsh", "run", "--rm", "w"])
    assert capsys.readouterr().out.splitlines() == ["files", "web\t[run.web]"]
    project(tmp_path, "nonsense")
    command(["__complete", "zsh", "run", "--profile", "c"])
    assert capsys.readouterr().out.splitlines() == ["none"]


def test_create_leaves_out_that_a_run_is_detached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own(tmp_path, "runtime = 'fake'\n[run.web]\nimage = 'scratch'\ncommand = ['true']\ndetach = true\n")
    places = ["--root", str(tmp_path / "root"), "--state", str(tmp_path / "state")]
    command([*places, "create", "web"])
    assert "unknown flag" not in capsys.readouterr().err
    assert command([*places, "create", "-d", "web"]) == 125
    assert "unknown flag: --detach" in capsys.readouterr().err
