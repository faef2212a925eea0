"""Adapters in real runs: OCI hooks of hooks.d, and a plugin that is a program."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from command import Prun

EXTERNAL = """#!/bin/sh
read -r question
case "$question" in
  *'"hook":"hello"'*) echo '{"prun":1,"hooks":["prun_spec_opts","prun_mounts","prun_check_spec","prun_event"]}' ;;
  *'"hook":"prun_spec_opts"'*) echo '{"prun":1,"patch":[{"op":"add","path":"/process/env/-","value":"SITE=here"}]}' ;;
  *'"hook":"prun_mounts"'*) echo '{"prun":1,"mounts":[{"destination":"/site","type":"tmpfs","source":"tmpfs"}]}' ;;
  *'"kind":"started"'*) WHEN_STARTED ;;
  *) echo '{"prun":1}' ;;
esac
"""


def configured(tmp_path: Path, text: str) -> str:
    config = tmp_path / "prun.toml"
    config.write_text(text)
    config.chmod(0o600)
    return str(config)


def test_hooks_of_hooks_d_are_executed_by_the_oci_runtime(prun: Prun, tmp_path: Path) -> None:
    hook, told, directory = tmp_path / "hook", tmp_path / "told", tmp_path / "hooks.d"
    hook.write_text(f'#!/bin/sh\nread -r state; echo "$WHAT $state" >> {told}\n')
    hook.chmod(0o755)
    directory.mkdir()
    for name, command in (("a", "^true$"), ("b", "^false$")):
        document = {
            "version": "1.0.0", "hook": {"path": str(hook), "env": [f"WHAT={name}"]},
            "when": {"commands": [command]}, "stages": ["createRuntime"],
        }  # fmt: skip
        (directory / f"{name}.json").write_text(json.dumps(document))
    config = configured(tmp_path, f'[plugins.oci-hooks]\nhooks-dir = ["{directory}"]\n')
    done = prun("--config", config, "run", "--rm", "busybox", "true", PRUN_PLUGINS="")
    assert done.returncode == 0, done.stderr
    (line,) = told.read_text().splitlines()
    assert line.startswith("a {")
    done = prun("--hooks-dir", str(directory), "run", "--rm", "busybox", "false", PRUN_PLUGINS="")
    assert done.returncode == 1, done.stderr
    assert told.read_text().splitlines()[1].startswith("b {")
    done = prun("--config", config, "--hooks-dir", str(tmp_path / "none"), "spec", "busybox", PRUN_PLUGINS="")
    assert done.returncode == 125
    assert f"oci-hooks: {tmp_path}/none is no directory" in done.stderr


def site(tmp_path: Path, when_started: str) -> str:
    program = tmp_path / "site"
    program.write_text(EXTERNAL.replace("WHEN_STARTED", when_started))
    program.chmod(0o755)
    table = f'[plugins.site]\nuse = "external"\ncommand = ["{program}"]\nuser = "root"\ntimeout_s = 1\n'
    return configured(tmp_path, table)


def test_a_program_has_its_part_in_a_run(prun: Prun, tmp_path: Path) -> None:
    config = site(tmp_path, "echo '{\"prun\":1}'")
    done = prun("--config", config, "run", "--rm", "busybox", "sh", "-c", "echo $SITE; mount", PRUN_PLUGINS="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("here\n")
    assert "tmpfs on /site type tmpfs" in done.stdout


@pytest.mark.parametrize(
    ("when_started", "message"),
    [("exit 7", "site exited with 7"), ("exec yes", "writes more than 1048576 bytes"), ("exec sleep 60", "took longer"),
     ("echo no", "what is not one JSON text")],
)  # fmt: skip
def test_one_that_breaks_while_a_container_runs_ends_it_and_leaves_nothing(
    prun: Prun, tmp_path: Path, when_started: str, message: str
) -> None:
    config = site(tmp_path, when_started)
    done = prun("--config", config, "run", "--rm", "busybox", "sleep", "100", PRUN_PLUGINS="", timeout=30)
    assert done.returncode == 125
    assert message in done.stderr
    assert "[site]" in done.stderr
    assert prun("ps", "-aq").stdout == ""
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and _is(pid, str(tmp_path / "site"))]


def _is(pid: str, word: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            return word in file.read().split("\0")
    except OSError:
        return False
