"""kill -9 of prun at every stage and at random times: the next command works, and nothing stays."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from command import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun

STAGES = ("resolved", "prepared", "built", "created", "started", "exited", "deleted")
# A run whose process kills itself, as kill -9 would, at an event of its own.
SUICIDE = """
import os, signal, sys
import prun
from prun import hookimpl, plugins

class Dies:
    @hookimpl
    def prun_event(self, event):
        if event.kind == sys.argv[3]:
            os.kill(os.getpid(), signal.SIGKILL)

runner = prun.Runner(root=sys.argv[1], state=sys.argv[2])
import prun_linux, prun.engines.embedded
runner._hooks = plugins.Hooks.of(runtime=prun_linux, engine=prun.engines.embedded, plugins={"dies": Dies()})
runner.run("busybox", ["sleep", "100" if sys.argv[3] == "started" else "0"], remove=sys.argv[4] == "rm")
"""


def nothing_is_left(prun: Prun) -> None:
    """The next command works and clears what the dead process left."""
    done = prun("run", "--rm", "busybox", "echo", "works")
    assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr
    assert prun("system", "check").returncode == 0
    for container in prun("ps", "-aq").stdout.split():
        assert prun("rm", "-f", container).returncode == 0  # one that is kept lives on without its prun
    deadline = time.monotonic() + 10
    while prun.traces() != NOTHING and time.monotonic() < deadline:
        time.sleep(0.05)
    assert prun.traces() == NOTHING
    assert prun("system", "check").stdout == "nothing is left over\n"


def killed(process: subprocess.Popen[bytes]) -> None:
    """Kill prun; its container has the other end of the pipes, so that there is no end of them to wait for."""
    process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()


@pytest.mark.parametrize("keep", ["rm", "keep"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_at_a_stage_leaves_nothing(store: Prun, stage: str, keep: str) -> None:
    done = subprocess.run([sys.executable, "-c", SUICIDE, str(store.root), str(store.state), stage, keep], check=False)
    assert done.returncode == -signal.SIGKILL
    nothing_is_left(store)


@pytest.mark.parametrize("seed", range(12))
def test_a_run_killed_at_a_random_time_leaves_nothing(store: Prun, seed: int) -> None:
    process = subprocess.Popen(
        [*store.words, "run", "--rm", "busybox", "sleep", "5"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(random.Random(seed).uniform(0.0, 0.12))
    process.kill()
    process.wait()
    nothing_is_left(store)


@pytest.mark.parametrize("seed", range(10))
def test_a_load_killed_at_a_random_time_leaves_nothing(new_prun: Callable[[], Prun], archive: Path, seed: int) -> None:
    prun = new_prun()
    process = subprocess.Popen(
        [*prun.words, "load", "--tag", "busybox", str(archive)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(random.Random(seed).uniform(0.02, 0.3))
    process.kill()
    process.wait()
    assert prun("load", "--tag", "busybox", str(archive)).returncode == 0
    nothing_is_left(prun)


def test_a_stopped_prun_is_not_taken_for_a_dead_one(store: Prun) -> None:
    process = store.popen("run", "--rm", "--name", "mine", "busybox", "sh", "-c", "echo up; sleep 3; echo done")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGSTOP)
    assert "mine" in store("ps").stdout
    store("system", "check")
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"done\n")


def test_a_kept_container_whose_prun_died_lives_on_and_ends_as_any(store: Prun) -> None:
    process = store.popen("run", "--name", "orphan", "busybox", "sh", "-c", "echo up; sleep 100")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    killed(process)
    assert "orphan" in store("ps").stdout
    assert store("kill", "orphan").returncode == 0
    assert "Exited (137)" in store("ps", "-a").stdout
    assert store("rm", "orphan").returncode == 0
    nothing_is_left(store)


def test_only_the_dead_processs_container_is_ended(store: Prun) -> None:
    living = store.popen("run", "--rm", "--name", "living", "busybox", "sh", "-c", "echo up; read x; echo bye")
    dying = store.popen("run", "--rm", "--name", "dying", "busybox", "sh", "-c", "echo up; sleep 100")
    for process in (living, dying):
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
    killed(dying)
    assert store("ps", "-q").stdout.count("\n") <= 1
    living.communicate(timeout=20)
    assert living.returncode == 0
    nothing_is_left(store)
