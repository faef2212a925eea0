"""Limits on cgroup v2: what stands in its files, as docker and podman convert it, and that it holds."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from command import Prun
    from vm.guest.conftest import Run

DISK = "/dev/vda"
LIMITS = (
    *("-m", "64m", "--memory-swap", "96m", "--memory-reservation", "32m"),
    *("--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "1", "--cpuset-mems", "0", "--pids-limit", "10"),
    *("--blkio-weight", "500", "--device-read-bps", f"{DISK}:1mb", "--device-write-iops", f"{DISK}:100"),
    *("--device", DISK),
)
FILES = {
    "memory.max": str(64 << 20),
    "memory.swap.max": str((96 - 64) << 20),  # of v1 it is the sum
    "memory.low": str(32 << 20),
    "cpu.max": "50000 100000",
    "cpu.weight": str(1 + (512 - 2) * 9999 // 262142),
    "cpuset.cpus": "1",
    "cpuset.mems": "0",
    "pids.max": "10",
    "io.max": "254:0 rbps=1048576 wbps=max riops=max wiops=100",
    "io.weight": f"default {1 + (500 - 10) * 9999 // 990}",
}
# A container takes seconds here, so one does it all; each line is "name:value".
WORK = f"""
cd /sys/fs/cgroup
grep . {" ".join(FILES)}
timeout 1 sh -c 'while :; do :; done'
echo throttled:$(grep nr_throttled cpu.stat)
read begin idle </proc/uptime
dd if={DISK} of=/dev/null bs=1M count=3 iflag=direct
read end idle </proc/uptime
echo read:$begin $end
(i=0; while [ $i -lt 30 ]; do sleep 60 & i=$((i+1)); done)
# The shell's own "read": a command would be one more process.
read events <pids.events
read current <pids.current
echo forks:$events, current $current
tail /dev/zero
echo oom:$?, $(grep oom_kill memory.events)
exec tail /dev/zero
"""


@pytest.fixture(scope="module")
def done(run: Run) -> subprocess.CompletedProcess[str]:
    """One container that has all the limits, and tries to have more."""
    return run(*LIMITS, "busybox", "sh", "-c", WORK)


@pytest.fixture(scope="module")
def limited(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    lines = done.stdout.splitlines()
    assert len(lines) == len(FILES) + 4, done
    return dict(line.split(":", 1) for line in lines)


@pytest.mark.parametrize("name", FILES)
def test_a_limit_stands_in_its_file(limited: dict[str, str], name: str):
    assert os.stat(DISK).st_rdev == os.makedev(254, 0)
    assert limited[name] == FILES[name]


def test_more_cpu_time_than_allowed_is_not_had(limited: dict[str, str]):
    assert int(limited["throttled"].split()[1]) > 0


def test_reading_from_a_device_takes_the_time_that_its_limit_says(limited: dict[str, str]):
    begin, end = map(float, limited["read"].split())
    assert end - begin > 1.5


def test_a_fork_loop_ends_at_the_limit(limited: dict[str, str], done: subprocess.CompletedProcess[str]):
    assert limited["forks"] == "max 1, current 9"
    assert "can't fork" in done.stderr


def test_out_of_memory_kills_who_takes_it(limited: dict[str, str], done: subprocess.CompletedProcess[str]):
    assert limited["oom"] == "137, oom_kill 1"
    assert done.returncode == 137


def test_without_options_nothing_is_limited(run: Run):
    files = "memory.max memory.swap.max memory.low cpu.max cpu.weight pids.max cpuset.cpus"
    done = run("busybox", "sh", "-c", f"cd /sys/fs/cgroup; cat {files}")
    assert done.stdout.split("\n") == ["max", "max", "0", "max 100000", "100", "max", "", ""], done.stderr


def test_memory_alone_allows_as_much_of_swap_and_no_limit_is_one_that_can_be_asked_for(run: Run):
    done = run(
        "-m", "64m", "--pids-limit", "-1", "busybox", "sh", "-c", "cd /sys/fs/cgroup; cat memory.swap.max pids.max"
    )
    assert done.stdout == f"{64 << 20}\nmax\n", done.stderr


def test_swap_may_be_unlimited(run: Run):
    done = run("-m", "64m", "--memory-swap", "-1", "busybox", "cat", "/sys/fs/cgroup/memory.swap.max")
    assert done.stdout == "max\n", done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--memory-swappiness", "10", "--oom-kill-disable", "-m", "64m"), "cgroup v2 has nothing like it"),
        (("--cpuset-cpus", "7", "--cpuset-mems", "7"), "there is no {} 7"),
        (("--blkio-weight-device", f"{DISK}:500"), "a scheduler without weights"),
    ],
)
def test_what_this_machine_cannot_give_is_refused_by_name(store: Prun, words: tuple[str, ...], reason: str):
    done = store("run", "--rm", *words, "busybox", "true")
    assert done.returncode == 125
    for option in words[:3:2]:
        assert option in done.stderr
    for what in ("CPU", "memory node"):
        assert reason.format(what) in done.stderr


def test_a_parent_with_processes_of_its_own_is_refused_for_a_limit(store: Prun):
    """The kernel lets a cgroup have processes or hand down controllers, not both (cgroup-v2.rst)."""
    parent = Path("/sys/fs/cgroup/busy")
    parent.mkdir()
    try:
        with subprocess.Popen(["sleep", "100"]) as process:
            (parent / "cgroup.procs").write_text(str(process.pid))
            done = store("run", "--rm", "--cgroup-parent", "/busy", "--pids-limit", "50", "busybox", "true")
            process.kill()
        assert done.returncode == 125
        assert "/sys/fs/cgroup/busy has processes, so that it cannot hand down pids" in done.stderr
        assert list(parent.glob("*/")) == []
    finally:
        parent.rmdir()
