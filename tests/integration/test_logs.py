"""Logs of real containers, behind a real conmon."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

import prun as library

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Prun


def run(prun: Prun, name: str, script: str, *options: str) -> str:
    done = prun("run", "-d", "--name", name, *options, "busybox", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ended(prun: Prun, name: str, script: str, *options: str) -> str:
    identity = run(prun, name, script, *options)
    assert prun("wait", name).returncode == 0
    return identity


def until(condition: Callable[[], object], timeout_s: float = 15) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_each_stream_comes_out_of_ours(prun: Prun) -> None:
    ended(prun, "both", "echo out; echo err >&2; printf half")
    done = prun("logs", "both")
    assert (done.stdout, done.stderr) == ("out\nhalf", "err\n")


def test_a_created_container_has_an_empty_log_and_a_started_one_what_start_showed(prun: Prun) -> None:
    """035.1, 035.2"""
    identity = prun("create", "busybox", "echo", "words").stdout.strip()
    assert prun("logs", identity).stdout == ""
    assert prun("start", "--attach", "--interactive", identity).stdout == "words\n"
    assert prun("logs", identity).stdout == "words\n"
    assert prun("logs", "--since", "1000", identity).stdout == "words\n"
    assert prun("logs", "--until", "1000", identity).stdout == ""


def test_timestamps_are_dockers_and_the_tail_is_that_of_the_last_start(prun: Prun) -> None:
    """035.3, 035.5"""
    ended(prun, "tailed", "echo test1; echo test2")
    first = prun("logs", "--tail", "1", "--timestamps", "tailed").stdout
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z test2\n", first)
    assert prun("restart", "tailed").returncode == 0
    prun("wait", "tailed")
    second = prun("logs", "-t", "-n", "1", "tailed").stdout
    assert second.endswith("Z test2\n")
    assert second != first
    assert prun("logs", "tailed").stdout == "test1\ntest2\n" * 2
    assert prun("logs", "--tail", "-1", "tailed").stdout == prun("logs", "--tail=all", "tailed").stdout
    assert prun("container", "logs", "--tail", "0", "tailed").stdout == ""


def test_since_and_until_choose_by_time(prun: Prun) -> None:
    """035.6, 035.8"""
    ended(prun, "timed", "echo before; sleep 1.2; echo after")
    lines = prun("logs", "-t", "timed").stdout.splitlines()
    between = lines[1].split()[0][:19] + "Z"  # the second in which the other one came
    assert prun("logs", "--since", between, "timed").stdout == "after\n"
    assert prun("logs", "--until", between, "timed").stdout == "before\n"
    assert prun("logs", "--since", lines[0].split()[0], "timed").stdout == "before\nafter\n"
    assert prun("logs", "--since", "10m", "timed").stdout == "before\nafter\n"
    assert prun("logs", "--since", "-1s", "-f", "timed").stdout == ""


def test_several_containers_have_their_ids_or_names_before_each_line(prun: Prun) -> None:
    """035.4"""
    ids = [ended(prun, name, f"echo {name}1; echo {name}2")[:12] for name in ("a", "b")]
    for follow in ([], ["-f"]):
        lines = prun("logs", *follow, "a", "b").stdout.splitlines()
        assert [line for line in lines if line.startswith(ids[0])] == [f"{ids[0]} a1", f"{ids[0]} a2"]
        assert [line for line in lines if line.startswith(ids[1])] == [f"{ids[1]} b1", f"{ids[1]} b2"]
    assert sorted(prun("logs", "--names", "a", "b").stdout.splitlines()) == ["a a1", "a a2", "b b1", "b b2"]
    assert "\x1b[31ma\x1b[0m a1\n" in prun("logs", "--color", "--names", "a", "b").stdout


def test_following_ends_with_the_container_and_loses_nothing(prun: Prun) -> None:
    """035.7"""
    run(prun, "followed", "for i in $(seq 40); do echo $i; sleep 0.02; done; echo end >&2")
    done = prun("logs", "-f", "followed", timeout=20)
    assert done.stdout.split() == [str(number) for number in range(1, 41)]
    assert done.stderr == "end\n"
    assert prun("logs", "-f", "followed").stdout == done.stdout  # of one that has ended


def test_who_follows_sees_what_comes_and_uses_no_processor_meanwhile(prun: Prun) -> None:
    run(prun, "slow", "echo there; exec sleep 60")
    process = prun.popen("logs", "slow", "-f")
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    time.sleep(0.3)
    before = _cpu_of(process.pid)
    time.sleep(1.5)
    assert _cpu_of(process.pid) - before <= 1  # ticks of 10 ms
    assert prun("kill", "slow").returncode == 0
    process.communicate(timeout=10)
    assert process.returncode == 0


def _cpu_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_following_goes_on_through_restarts_by_policy(prun: Prun) -> None:
    run(prun, "again", "echo up; exit 1", "--restart", "on-failure:2")
    assert prun("logs", "-f", "again", timeout=30).stdout == "up\n" * 3


def test_following_ends_at_a_time(prun: Prun) -> None:
    """035.9"""
    run(prun, "endless", "n=1; while :; do echo n--$n; n=$((n+1)); sleep 0.1; done")
    begin = time.monotonic()
    done = prun("logs", "--until", "1s", "-f", "endless", timeout=20)
    assert 0.9 < time.monotonic() - begin < 4
    assert done.stdout.startswith("n--1\nn--2\n")


def test_following_ends_when_the_monitor_was_killed_and_the_process_has_ended(prun: Prun) -> None:
    identity = run(prun, "orphan", "echo x; sleep 600")
    until(lambda: prun("logs", "orphan").stdout)
    os.kill(int((prun.state / "bundles" / identity / "conmon.pid").read_text()), signal.SIGKILL)
    process = prun.popen("logs", "-f", "orphan")
    time.sleep(0.5)
    os.kill(json.loads(prun("inspect", "orphan").stdout)[0]["State"]["Pid"], signal.SIGKILL)
    out, _ = process.communicate(timeout=15)
    assert out == b"x\n"


def test_max_size_bounds_the_log_and_following_goes_on_in_the_new_file(prun: Prun) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line-$i-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done; sleep 1"
    identity = run(prun, "bounded", script, "--log-opt", "max-size=20k")
    process = prun.popen("logs", "-f", "bounded")
    out, _ = process.communicate(timeout=60)
    path = prun.root / "containers" / identity / "ctr.log"
    assert path.stat().st_size <= 20 << 10
    assert out.splitlines()[-1].startswith(b"line-3000-")
    last = prun("logs", "--tail", "2", "bounded").stdout.split()
    assert [word.split("-")[1] for word in last] == ["2999", "3000"]
    assert listed_sizes(path) <= 2 * (20 << 10)


def listed_sizes(path: object) -> int:
    directory = os.path.dirname(str(path))
    return sum(os.stat(os.path.join(directory, name)).st_size for name in os.listdir(directory))


def test_hostile_output_comes_out_as_it_went_in(prun: Prun) -> None:
    ended(prun, "hostile", r"printf '\000\377\033[2J 2024-01-01T00:00:00.0Z stdout F x\n'; head -c 100000 /dev/zero")
    done = subprocess.run([*prun.words, "logs", "hostile"], capture_output=True, check=True)
    assert done.stdout == b"\0\xff\x1b[2J 2024-01-01T00:00:00.0Z stdout F x\n" + b"\0" * 100000


@pytest.mark.parametrize("driver", ["json-file", "k8s-file"])
def test_both_names_of_the_driver_keep_the_same_log(prun: Prun, driver: str) -> None:
    ended(prun, "named", "echo x", "--log-driver", driver)
    assert prun("logs", "named").stdout == "x\n"


def test_what_has_no_log_says_why(prun: Prun) -> None:
    ended(prun, "mute", "echo x", "--log-driver", "none")
    done = prun("logs", "mute")
    assert done.returncode == 125
    assert "configured logging driver does not support reading" in done.stderr
    process = prun.popen("run", "--rm", "--name", "direct", "busybox", "sleep", "60")
    until(lambda: "direct" in prun("ps", "--format", "{{.Names}}").stdout)
    done = prun("logs", "direct")
    assert done.returncode == 125
    assert "has no log" in done.stderr
    assert "--detach" in done.stderr
    assert prun("rm", "-f", "direct").returncode == 0
    process.communicate(timeout=20)
    done = prun("logs", "nobody")
    assert done.returncode == 125
    assert "no such container" in done.stderr
    for words in (["--tail", "x"], ["--since", "soon"], ["--until", "x"]):
        assert prun("logs", *words, "mute").returncode == 125


def test_the_library_reads_logs_too(prun: Prun) -> None:
    ended(prun, "read", "echo a; echo b >&2; echo c")
    runner = library.Runner(root=str(prun.root), state=str(prun.state))
    assert sorted((entry.stream, entry.text) for entry in runner.logs("read")) == [(1, b"a"), (1, b"c"), (2, b"b")]
    assert [entry.text for entry in runner.logs("read", tail=1, follow=True)] in ([b"c"], [b"b"])
