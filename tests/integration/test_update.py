"""``prun update``: in the cgroup of what runs, and for the next start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import cgroups_of

if TYPE_CHECKING:
    from command import Prun


def number(identity: str, *names: str) -> str:
    """Return what a file of one of the container's cgroups says; names of v1 and v2."""
    return next(
        file.read_text().strip()
        for path in cgroups_of(identity)
        for name in names
        if (file := Path(path, name)).is_file()
    )


def host_config(prun: Prun, name: str) -> dict[str, object]:
    config: dict[str, object] = json.loads(prun("inspect", name).stdout)[0]["HostConfig"]
    return config


def test_limits_change_at_once_and_stay_for_the_next_start(prun: Prun, binary: str) -> None:
    """280.1"""
    words = ("run", "-d", "--opt", f"binary={binary}", "--name", "u", "-m", "64m", "--pids-limit", "100")
    started = prun(*words, "busybox", "sleep", "100")
    if binary == "crun" and "hybrid" in started.stderr:
        assert started.returncode == 125  # crun does not work here at all, and says so
        return
    identity = started.stdout.strip()
    done = prun("update", "-m", "96m", "--memory-swap", "-1", "--cpus", "0.5", "--cpu-shares", "512", "u")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "u\n"
    for again in (False, True):
        if again:
            assert prun("restart", "-t", "0", "u").returncode == 0
        assert number(identity, "memory.limit_in_bytes", "memory.max") == str(96 << 20)
        assert number(identity, "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
        assert number(identity, "pids.max") == "100"  # 280.5: what was not asked for stays
    assert number(identity, "cpu.shares", "cpu.weight") in ("512", "20")
    config = host_config(prun, "u")
    assert (config["Memory"], config["PidsLimit"], config["NanoCpus"]) == (96 << 20, 100, 500_000_000)


def test_one_that_does_not_run_is_changed_for_its_start(prun: Prun) -> None:
    identity = prun("create", "--name", "later", "busybox", "sleep", "100").stdout.strip()
    assert prun("update", "--pids-limit", "33", "--cpuset-cpus", "0", "later").returncode == 0
    assert prun("start", "later").returncode == 0
    assert number(identity, "pids.max") == "33"
    assert number(identity, "cpuset.cpus") == "0"
    assert prun("update", "--pids-limit", "-1", "later").returncode == 0
    assert number(identity, "pids.max") == "max"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "one or more flags"),
        (["-m", "200m"], "already set memoryswap limit"),
        (["-m", "1m"], "too little"),
        (["--memory-swap", "10m"], "under --memory"),
        (["--cpus", "1", "--cpu-quota", "5000"], "exclude each other"),
        (["--cpu-quota", "5000"], "exclude each other"),
        (["--cpus", "5000"], "more than this machine has"),
        (["--cpuset-cpus", "999"], "999"),
        (["--pids-limit", "x"], "--pids-limit"),
        (["--restart", "sometimes"], "no restart policy"),
        (["--unknown", "1"], "--unknown"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(prun: Prun, words: list[str], said: str) -> None:
    run = (
        "run",
        "-d",
        "--name",
        "same",
        "-m",
        "64m",
        "--memory-swap",
        "128m",
        "--cpus",
        "0.5",
        "busybox",
        "sleep",
        "100",
    )
    identity = prun(*run).stdout.strip()
    before = host_config(prun, "same")
    more = () if not words or "--pids-limit" in words else ("--pids-limit", "50")
    done = prun("update", *more, *words, "same")
    assert done.returncode == 125
    assert said in done.stderr
    assert host_config(prun, "same") == before
    assert number(identity, "pids.max") != "50"
    assert number(identity, "memory.limit_in_bytes", "memory.max") == str(64 << 20)


def test_the_restart_policy_changes_for_one_that_runs(prun: Prun) -> None:
    """280.2, 280.3"""
    prun("run", "-d", "--name", "again", "busybox", "sh", "-c", "sleep 1; exit 1")
    assert prun("update", "--restart", "on-failure:1", "again").returncode == 0
    assert host_config(prun, "again")["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 1}
    assert prun("logs", "-f", "again", timeout=30).returncode == 0
    assert json.loads(prun("inspect", "again").stdout)[0]["RestartCount"] == 1
    prun("run", "-d", "--rm", "--name", "gone", "busybox", "sleep", "100")
    done = prun("update", "--restart", "always", "gone")
    assert done.returncode == 125
    assert "--rm" in done.stderr


def test_an_update_is_an_event(prun: Prun) -> None:
    prun("create", "--name", "told", "busybox", "true")
    prun("container", "update", "--pids-limit", "5", "told")
    found = prun("events", "--no-stream", "-f", "container=told", "--format", "{{.Action}}").stdout.split()
    assert found == ["create", "update"]
