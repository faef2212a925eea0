"""Runs from files on a real runtime: what they give, and what a repository's file does not get."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest
from command import bad, good
from config_files import own, project, written

if TYPE_CHECKING:
    from pathlib import Path

    from command import Prun


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_a_named_run_gets_what_its_file_says(prun: Prun, tmp_path: Path) -> None:
    path = project(
        tmp_path,
        '[profiles.small]\nmemory = "64m"\nenv = {WHO = "file"}\n[run.show]\nimage = "busybox"\nextends = "small"\n'
        'rm = true\nvolume = ["${config.dir}:/src:ro"]\n'
        'command = ["sh", "-c", "echo $WHO $1; cat /src/prun.toml", "sh"]\n',
    )
    out = good(prun("run", "-f", path, "show", "more"))
    assert out.splitlines()[0] == "file more"
    assert "[run.show]" in out
    assert good(prun("run", "-f", "prun.toml", "-e", "WHO=flag", "show", "--", "x")).startswith("flag x\n")
    explained = good(prun("spec", "--explain", "-f", path, "show"))
    assert f"[profiles.small] ({path}:2)" in explained


def test_a_repository_does_not_get_at_the_machine(prun: Prun, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host")
    path = project(
        tmp_path,
        f'[defaults]\nprivileged = true\nvolume = ["{tmp_path}:/host"]\nnetwork = "host"\n'
        f'[run.web]\nimage = "busybox"\nvolume = ["{tmp_path}:/data"]\n[run.busybox]\nimage = "evil"\n',
    )
    status = "grep CapEff /proc/self/status; ls /host 2>&1"
    out = good(prun("run", "--rm", "busybox:latest", "sh", "-c", f"{status}; true"))
    assert "a80425fb" in out
    assert "No such file" in out
    assert "may not set volume" in bad(prun("run", "--rm", "web", "cat", "/host/secret"))
    assert "there is an image of that name, too" in bad(prun("run", "--rm", "busybox", "true"))
    assert good(prun("run", "--rm", "-f", path, "web", "cat", "/data/secret")) == "of the host"


LINES = (
    "busybox",
    "-e A=b -u 1000:5 -w /tmp busybox sh -c 'echo $HOME ${A}'",
    "--cap-drop ALL --cap-add CHOWN --security-opt seccomp=unconfined --read-only --tmpfs /tmp:size=1m busybox true",
    "-m 64m --memory-swap 128m --cpus 0.5 --pids-limit 9 --ulimit nofile=99:100 busybox true",
    "--privileged --pid host --network host busybox true",
    "-h box --add-host a:10.0.0.1 --dns 1.1.1.1 --tz UTC --init busybox true",
    "--mount type=bind,src=/etc,dst=/e,readonly -v /usr:/u:ro --shm-size 1m busybox true",
    '--entrypoint \'["echo", "a b"]\' --umask 027 --annotation a=b -it busybox c',
)


@pytest.mark.parametrize("line", LINES)
def test_the_spec_of_the_file_is_that_of_the_words(prun: Prun, tmp_path: Path, line: str) -> None:
    table = good(prun("config", "from-docker", "--name", "it", f"docker run --id same {line}"))
    own(tmp_path, "")
    path = written(tmp_path / "it.toml", table)
    said = json.loads(good(prun("spec", "--id", "same", *shlex.split(line))))
    assert json.loads(good(prun("spec", "-f", path, "it"))) == said
