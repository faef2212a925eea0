"""Containers that another prun made: their own process is killed, or still there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import prun_linux
from prun.errors import FailedPrecondition
from prun.types import ExitStatus

from .conftest import BINARY, both, make_spec, until

if TYPE_CHECKING:
    from .conftest import Machine

pytestmark = pytest.mark.root

STARTER = """
import sys, time
sys.path[:0] = {path!r}
from prun.console import Captured
import prun_linux, json
from prun.types import RunRequest
options = {{"binary": {binary!r}}}
request = RunRequest({id!r}, args=("sleep", "60"), state={state!r}, two_step={two_step}, options=options)
spec = json.load(open({bundle!r} + "/config.json"))
with Captured() as console:
    task = prun_linux.prun_create_task(request, {bundle!r}, spec, console)
    task.start()
    print("started", flush=True)
    time.sleep(60)
"""


@both
@pytest.mark.parametrize("delay_s", [0, 0.005, 0.01, 0.015, 0.02, 0.3])
@pytest.mark.parametrize("bundle_stays", [True, False])
def test_a_container_whose_prun_was_killed_is_found_and_deleted(
    machine: Machine, two_step: bool, delay_s: float, bundle_stays: bool
) -> None:
    request = machine.request("sleep", "60", two_step=two_step)
    bundle = machine.bundle(request, make_spec(request))
    fields = {"id": request.id, "state": request.state, "two_step": two_step, "binary": BINARY, "bundle": bundle}
    code = STARTER.format(path=sys.path, **fields)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as starter:
        assert starter.stdout
        assert starter.stdout.readline() == b"started\n"
        time.sleep(delay_s)
        if delay_s > 0.1:
            until(lambda: os.path.exists(os.path.join(bundle, "pid")))
        starter.kill()
    if not bundle_stays and delay_s > 0.1:
        os.rename(bundle, bundle + "-gone")
    task = prun_linux.prun_load_task(machine.container(request.id))
    if delay_s > 0.1:
        assert task.pid
        assert task.wait(0) is None
    task.delete()
    task.delete()
    assert task.pid is None
    assert task.wait() == ExitStatus(255)
    task.kill(signal.SIGKILL)


@both
def test_another_process_may_kill_a_container_and_its_owner_sees_the_status(machine: Machine, two_step: bool) -> None:
    with machine.task("sleep", "60", two_step=two_step) as task:
        task.start()
        until(lambda: task.pid is not None)
        other = prun_linux.prun_load_task(machine.container(machine.ids[-1], options={}))
        assert other.pid == task.pid
        assert other.wait(0.1) is None
        other.kill(signal.SIGKILL)
        assert task.wait(10) == ExitStatus(137)
        assert other.wait() == ExitStatus(255)


def test_another_process_may_delete_a_running_container_and_its_owner_sees_the_status(machine: Machine) -> None:
    with machine.task("sleep", "60") as task:
        task.start()
        until(lambda: task.pid is not None)
        prun_linux.prun_load_task(machine.container(machine.ids[-1])).delete()
        assert task.wait(10) == ExitStatus(137)


def test_a_container_that_nobody_knows_is_deleted_without_a_word(machine: Machine) -> None:
    task = prun_linux.prun_load_task(machine.container("0" * 64))
    task.kill(signal.SIGTERM)
    task.delete()
    assert task.wait() == ExitStatus(255)
    with pytest.raises(FailedPrecondition):
        task.start()
