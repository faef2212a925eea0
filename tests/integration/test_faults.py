"""kill -9 of all that has to do with a container that lives: the truth in ``ps``, ``rm`` works, nothing stays."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest
from command import NOTHING, cgroups_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun

STAGES = ("run", "create", "start", "stop", "kill", "restart", "rm")


def until(condition: Callable[[], object], timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def record(prun: Prun, name: str) -> dict[str, object]:
    state: dict[str, object] = json.loads(prun("inspect", name).stdout)[0]["State"]
    return state


def detached(prun: Prun, name: str, *options: str, command: str = "sleep 100") -> str:
    done = prun("run", "-d", "--name", name, *options, "busybox", "sh", "-c", command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def conmon_of(prun: Prun, container: str) -> int:
    return int((prun.state / "bundles" / container / "conmon.pid").read_text())


def removed(prun: Prun, name: str) -> None:
    """It can be removed, and no trace of it stays."""
    done = prun("rm", "-f", name)
    assert done.returncode == 0, done.stderr
    until(lambda: prun.traces() == NOTHING)
    assert name not in prun("ps", "-a", "--format", "{{.Names}}").stdout.split()
    assert prun("system", "check").stdout == "nothing is left over\n"


def columns(prun: Prun, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(prun.root / "metadata.db", timeout=20)) as db, db:
        db.execute(sql, values)


# What stays with a container


def test_without_its_monitor_a_container_is_up_until_it_ends_and_then_nobody_knows_how(prun: Prun) -> None:
    container = detached(prun, "alone", command="trap 'exit 4' TERM; while :; do sleep 0.05; done")
    os.kill(conmon_of(prun, container), signal.SIGKILL)
    assert "Up" in prun("ps").stdout
    assert prun("stop", "alone").returncode == 0
    assert record(prun, "alone")["ExitCode"] == 255
    assert record(prun, "alone")["Error"] == "its monitor was killed: how it ended is not known"
    assert prun("wait", "alone").stdout == "255\n"
    assert prun("start", "alone").returncode == 0  # as good as any other
    assert "Up" in prun("ps").stdout
    removed(prun, "alone")


def test_a_monitor_killed_after_it_has_written_the_exit_code_leaves_it_known(prun: Prun) -> None:
    container = detached(prun, "known", command="exit 9")
    prun("wait", "known")
    assert prun("start", "known").returncode == 0
    assert prun("wait", "known").stdout == "9\n"
    assert container in prun("ps", "-aq", "--no-trunc").stdout
    removed(prun, "known")


def test_a_container_without_its_monitor_can_be_killed_and_removed(prun: Prun) -> None:
    for how in (["kill", "alone"], ["rm", "-f", "alone"], ["stop", "-t", "0", "alone"]):
        container = detached(prun, "alone")
        os.kill(conmon_of(prun, container), signal.SIGKILL)
        assert prun(*how).returncode == 0
        removed(prun, "alone")


def test_the_process_itself_is_killed(prun: Prun) -> None:
    detached(prun, "shot")
    os.kill(int(str(record(prun, "shot")["Pid"])), signal.SIGKILL)
    assert prun("wait", "shot").stdout == "137\n"
    assert "Exited (137)" in prun("ps", "-a").stdout
    removed(prun, "shot")


@pytest.mark.parametrize("what", ["bundle", "bundles", "state"])
def test_where_the_bundle_is_wiped_ps_tells_what_is(prun: Prun, what: str) -> None:
    container = detached(prun, "wiped")
    path = {"bundle": f"bundles/{container}", "bundles": "bundles", "state": "."}[what]
    subprocess.run(["umount", "-l", str(prun.state / "bundles" / container / "rootfs")], check=True)
    shutil.rmtree((prun.state / path).resolve())
    assert "Up" in prun("ps").stdout
    pid = int(str(record(prun, "wiped")["Pid"]))
    os.kill(pid, signal.SIGKILL)
    assert prun("wait", "wiped").stdout == "255\n"
    assert "Exited (255)" in prun("ps", "-a").stdout
    assert prun("start", "wiped").returncode == 0
    removed(prun, "wiped")


def test_a_log_on_a_full_disk_keeps_no_container_from_ending(prun: Prun, tmp_path: Path) -> None:
    full = str(tmp_path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "full", full], check=True)
    try:
        detached(prun, "full", "--log-opt", f"path={full}/log", command="yes | head -c 300000; exit 3")
        assert prun("wait", "full").stdout == "3\n"
        removed(prun, "full")
    finally:
        subprocess.run(["umount", full], check=True)


# The machine is restarted


def restarted(prun: Prun, *containers: str) -> None:
    """Make it so as if the machine had been: no process, no mount, nothing in the state directory, another boot."""
    for container in containers:
        os.kill(conmon_of(prun, container), signal.SIGKILL)
        os.kill(int((prun.state / "bundles" / container / "pid").read_text()), signal.SIGKILL)
        subprocess.run(["umount", "-l", str(prun.state / "bundles" / container / "rootfs")], check=True)
        for cgroup in cgroups_of(container):
            until(lambda path=cgroup: gone(path))
    shutil.rmtree(prun.state)
    columns(prun, "UPDATE leases SET boot_id = 'another'")


def gone(cgroup: str) -> bool:
    """Remove a cgroup, once the processes in it have gone."""
    return subprocess.run(["rmdir", cgroup], check=False, capture_output=True).returncode == 0


def test_after_a_restart_of_the_machine_what_ran_has_ended_and_policies_bring_it_back(prun: Prun) -> None:
    policies = {"always": "always", "unless": "unless-stopped", "failing": "on-failure:3", "plain": "no"}
    running = [detached(prun, name, "--restart", policy) for name, policy in policies.items()]
    detached(prun, "stopped", "--restart", "always")
    assert prun("stop", "-t", "0", "stopped").returncode == 0
    detached_rm = detached(prun, "gone", "--rm")
    restarted(prun, *running, detached_rm)
    assert prun("ps", "-q").stdout == ""
    assert "gone" not in prun("ps", "-a").stdout
    for name in policies:
        state = record(prun, name)
        assert (state["Status"], state["ExitCode"]) == ("exited", 255)
        assert state["Error"] == "the machine was restarted: how it ended is not known"
    assert record(prun, "stopped")["ExitCode"] == 137
    done = prun("start", "--all", "--filter", "restart-policy=always")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2
    assert sorted(prun("ps", "--format", "{{.Names}}").stdout.split()) == ["always", "stopped"]
    for name in (*policies, "stopped"):
        assert prun("rm", "-f", name).returncode == 0


def test_a_pid_that_another_process_has_after_a_restart_is_not_the_containers(prun: Prun) -> None:
    """Pid and start time are counted anew by each boot."""
    container = detached(prun, "before")
    restarted(prun, container)
    with subprocess.Popen(["sleep", "60"]) as other:
        started = int(open(f"/proc/{other.pid}/stat").read().rpartition(")")[2].split()[19])  # noqa: SIM115
        columns(prun, "UPDATE containers SET pid = ?, start_time = ?", other.pid, started)
        columns(prun, "UPDATE leases SET pid = ?, start_time = ?", other.pid, started)
        assert prun("ps", "-q").stdout == ""
        assert record(prun, "before")["ExitCode"] == 255
        removed(prun, "before")
        assert other.poll() is None
        other.kill()


def test_a_restart_that_was_pending_is_not_after_a_restart_of_the_machine(prun: Prun) -> None:
    container = detached(prun, "pending", "--restart", "always", command="exit 6")
    until(lambda: "Restarting" in prun("ps", "-a").stdout)
    until(lambda: not (prun.state / "bundles" / container).exists())
    end_of_pending(prun, container)
    assert "Exited (6)" in prun("ps", "-a").stdout
    removed(prun, "pending")


def end_of_pending(prun: Prun, container: str) -> None:
    """Kill the shell that waits to start a container again: it has the lease."""
    while True:
        with closing(sqlite3.connect(prun.root / "metadata.db", timeout=20)) as db:
            sql = "SELECT l.pid FROM leases l JOIN containers ON id = container_id WHERE id = ? AND status = ?"
            found = db.execute(sql, (container, "restarting")).fetchone()
        if found:
            try:
                os.kill(found[0], signal.SIGKILL)
            except ProcessLookupError:
                continue
            return
        time.sleep(0.005)


# prun itself, and what it calls


def words_of(stage: str, name: str) -> list[str]:
    long = ["busybox", "sleep", "100"]
    return {
        "run": ["run", "-d", "--name", name, *long],
        "create": ["create", "--name", name, *long],
        "start": ["start", name],
        "stop": ["stop", "-t", "0", name],
        "kill": ["kill", name],
        "restart": ["restart", "-t", "0", name],
        "rm": ["rm", "-f", name],
    }[stage]


def prepared(prun: Prun, stage: str, name: str) -> None:
    if stage == "start":
        assert prun("create", "--name", name, "busybox", "sleep", "100").returncode == 0
    elif stage not in ("run", "create"):
        detached(prun, name)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_prun_killed_at_any_time_leaves_the_truth(prun: Prun, stage: str) -> None:
    """Whatever ``ps`` says of it is so, the same command finishes, and nothing stays."""
    chance = random.Random(stage)
    for number in range(3):
        name = f"{stage}{number}"
        prepared(prun, stage, name)
        process = subprocess.Popen(
            [*prun.words, *words_of(stage, name)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(chance.uniform(0.05, 0.45))
        process.kill()
        process.wait()
        truth(prun, name)
        if name in prun("ps", "-a", "--format", "{{.Names}}").stdout.split():
            done = prun(*words_of("stop" if stage in ("run", "create") else stage, name))
            assert done.returncode == 0 or "is not running" in done.stderr, done.stderr
            truth(prun, name)
        removed(prun, name)


def truth(prun: Prun, name: str) -> None:
    """A container that is said to run has a process, one that is not has none."""

    def is_so() -> bool:
        shown = prun("ps", "-a", "--no-trunc", "--filter", f"name=^{name}$", "--format", "{{.State}} {{.ID}} {{.Pid}}")
        if not shown.stdout:
            return True
        state, container, pid = shown.stdout.split()
        if state == "running":
            return os.path.isdir(f"/proc/{pid}") and pid != "0"
        return pid == "0" and not [line for line in prun.traces()["processes"] if container in line]

    until(is_so)  # what has just been killed is being written down


@pytest.mark.slow
@pytest.mark.parametrize("program", ["runc", "conmon", "flock"])
def test_what_prun_calls_is_killed(prun: Prun, program: str) -> None:
    """At any time of ``run -d`` of a process that ends at once: a clear error or a container, nothing between."""
    chance = random.Random(program)
    for number in range(5):
        process = prun.popen("run", "-d", "--name", f"victim{number}", "busybox", "sh", "-c", "exit 5")
        deadline = time.monotonic() + chance.uniform(0.1, 0.5)
        killed = False
        while process.poll() is None or time.monotonic() < deadline:
            for line in prun.traces()["processes"]:
                pid, words = line.split(": ", 1)
                if os.path.basename(words.split()[0]) == program and time.monotonic() > deadline - 0.2 and not killed:
                    try:
                        os.kill(int(pid), signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    killed = True
            if time.monotonic() > deadline + 10:
                break
        _, err = process.communicate(timeout=30)
        assert process.returncode in (0, 125), err
        if process.returncode == 0:
            assert prun("wait", f"victim{number}").stdout in ("5\n", "255\n")
            removed(prun, f"victim{number}")
        else:
            assert err.startswith(b"prun: ")
            assert err.count(b"\n") == 1, err
            assert prun("ps", "-aq").stdout == ""
            until(lambda: prun.traces() == NOTHING)


@pytest.mark.slow
def test_the_exit_command_killed_at_any_time_leaves_the_exit_code(prun: Prun) -> None:
    chance = random.Random(4)
    for number in range(12):
        container = detached(prun, f"end{number}", command="sleep 0.2; exit 7")
        end = time.monotonic() + 5
        found = False
        while not found and time.monotonic() < end:
            for line in prun.traces()["processes"]:
                if f"container cleanup {container}" in line and "conmon" not in line and "flock" not in line:
                    time.sleep(chance.uniform(0.0, 0.15))
                    with suppress(ProcessLookupError):
                        os.kill(int(line.split(":")[0]), signal.SIGKILL)
                    found = True
                    break
        assert prun("wait", f"end{number}").stdout == "7\n"
        assert "Exited (7)" in prun("ps", "-a").stdout
        removed(prun, f"end{number}")


@pytest.mark.slow
def test_runc_killed_when_the_container_is_there_already(prun: Prun, tmp_path: Path) -> None:
    """conmon then waits for the container's output to end, for ever: prun does not."""
    wrapper = tmp_path / "runc"
    wrapper.write_text(
        '#!/bin/sh\n/usr/sbin/runc "$@"\ncode=$?\ncase " $* " in *" create "*) kill -9 $$ ;; esac\nexit $code\n'
    )
    wrapper.chmod(0o755)
    done = prun("run", "-d", "--opt", f"binary={wrapper}", "busybox", "sleep", "100")
    assert done.returncode == 125
    assert "the OCI runtime ended without a word while it created the container" in done.stderr
    until(lambda: prun.traces() == NOTHING)
    assert prun("ps", "-aq").stdout == ""
