"""A run of a real OCI runtime is recorded, and done again without one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import NOTHING

import prun_policy
from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

    from command import Prun

    from prun.testing import FakeRunner


def test_a_recorded_run_is_replayed_with_other_plugins(prun: Prun, prun_fake: FakeRunner, tmp_path: Path) -> None:
    config, recording, policy = tmp_path / "prun.toml", tmp_path / "run.jsonl", tmp_path / "policy.toml"
    config.write_text(f'[plugins.recorder]\nfile = "{recording}"\n')
    words = ("--config", str(config), "--plugins", "recorder", "run", "--rm")
    script = "echo out; sleep 0.1; echo err >&2; head -c 200000 /dev/zero; exit 3"
    done = prun(*words, "-v", f"{tmp_path}:/x", "-u", "nobody", "-e", "A=b", "busybox", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (3, "err\n")
    assert prun.traces() == NOTHING

    result = prun_fake.replay(recording)
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n" + b"\0" * 200_000, b"err\n")
    policy.write_text('[[rule]]\nname = "r"\ndeny = "user"\nvalues = ["1-70000"]\n')
    with pytest.raises(InvalidArgument, match=r"/process/user/uid: user \d+ is denied: rule 'r'"):
        prun_fake.with_plugins(prun_policy.prun_configure({"file": str(policy)})).replay(recording)
    events = [line["event"] for line in map(json.loads, recording.read_text().splitlines()) if "event" in line]
    assert events == ["resolved", "prepared", "built", "created", "started", "exited", "deleted"]


def test_a_recorded_failure_is_replayed(prun: Prun, prun_fake: FakeRunner, tmp_path: Path) -> None:
    config, recording = tmp_path / "prun.toml", tmp_path / "run.jsonl"
    config.write_text(f'[plugins.recorder]\nfile = "{recording}"\n')
    words = ("--config", str(config), "--plugins", "recorder", "run", "--rm", "busybox")
    assert prun(*words, "/no/such/command").returncode == 127
    with pytest.raises(Exception, match="/no/such/command") as caught:
        prun_fake.replay(recording)
    assert caught.value.exit_code == 127  # type: ignore[attr-defined]
    assert "cannot be recorded" in prun(*words[:4], "run", "-d", "busybox", "true").stderr
    assert prun.traces() == NOTHING
