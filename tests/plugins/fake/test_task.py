"""A fake task keeps the contract of a real one."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from prun.errors import FailedPrecondition, Unavailable
from prun.types import ExitStatus
from prun_fake.scenario import parse
from prun_fake.task import NOTICE, FakeTask

if TYPE_CHECKING:
    from collections.abc import Iterator


class Pipe:
    """A console whose stdout and stderr are one pipe."""

    def __init__(self) -> None:
        self.reader, self.stdout = os.pipe()
        self.stderr = self.stdout

    def read(self) -> str:
        self.close()
        data = b""
        while chunk := os.read(self.reader, 65536):
            data += chunk
        return data.decode()

    def close(self) -> None:
        if self.stdout >= 0:
            os.close(self.stdout)
            self.stdout = -1


@pytest.fixture
def console() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()
    os.close(pipe.reader)


def task_of(console: object, *args: str, **options: str) -> FakeTask:
    return FakeTask("c1", parse(options).for_command(list(args)), console)  # type: ignore[arg-type]


def test_it_says_that_it_is_fake_before_anything_else(console: Pipe) -> None:
    task_of(console, "sh", stdout="scripted\n").start()
    assert console.read() == NOTICE + "scripted\n"


def test_it_says_what_would_run(console: Pipe) -> None:
    task_of(console, "echo", "hi").start()
    assert console.read() == NOTICE + 'fake: would run ["echo", "hi"]\n'


def test_output_goes_to_its_stream_in_order(console: Pipe) -> None:
    other = Pipe()
    streams = SimpleNamespace(stdout=console.stdout, stderr=other.stdout)
    task_of(streams, "sh", stdout="out", stderr="err").start()
    assert (console.read(), other.read()) == ("out", NOTICE + "err")
    os.close(other.reader)


def test_without_a_delay_there_is_no_thread(console: Pipe) -> None:
    before = threading.active_count()
    task = task_of(console, "exit", "3")
    task.start()
    assert threading.active_count() == before
    assert task.wait() == ExitStatus(3)


def test_it_writes_on_after_prun_has_closed_its_own_descriptors(console: Pipe) -> None:
    task = task_of(console, "sh", delay="50ms", stdout="late\n")
    task.start()
    assert console.read() == NOTICE + "late\n"
    assert task.wait(10) == ExitStatus(0)


def test_wait_gives_up_after_its_timeout_and_gets_the_status_later(console: Pipe) -> None:
    task = task_of(console, "exit", "4", delay="200ms")
    task.start()
    assert task.wait(0.01) is None
    assert task.wait() == task.wait() == task.wait(0) == ExitStatus(4)


@pytest.mark.parametrize("number", [1, 9, 15])
def test_kill_ends_it_at_once_with_128_and_the_number(console: Pipe, number: int) -> None:
    task = task_of(console, "sleep", "60")
    task.start()
    began = time.monotonic()
    task.kill(number)
    assert task.wait(10) == ExitStatus(128 + number)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("number", [0, signal.SIGWINCH, signal.SIGCHLD, signal.SIGCONT])
def test_a_signal_that_ends_no_process_does_not_end_it(console: Pipe, number: int) -> None:
    task = task_of(console, "exit", "0", delay="100ms")
    task.start()
    task.kill(number)
    assert task.wait(10) == ExitStatus(0)


def test_kill_before_start_leaves_nothing_to_start(console: Pipe) -> None:
    task = task_of(console, "sh")
    task.kill(15)
    assert task.wait() == ExitStatus(143)
    with pytest.raises(FailedPrecondition, match="cannot be started"):
        task.start()
    assert console.read() == ""


def test_kill_after_the_end_changes_nothing(console: Pipe) -> None:
    task = task_of(console, "exit", "5", delay="1ms")
    task.start()
    assert task.wait() == ExitStatus(5)
    task.kill(9)
    assert task.wait() == ExitStatus(5)


def test_delete_ends_what_runs_and_may_be_repeated(console: Pipe) -> None:
    task = task_of(console, "sleep", "60")
    task.start()
    task.delete()
    task.delete()
    assert task.wait(0) == ExitStatus(137)
    assert threading.active_count() == 1


def test_it_starts_once(console: Pipe) -> None:
    task = task_of(console, "sh")
    task.start()
    with pytest.raises(FailedPrecondition, match="cannot be started"):
        task.start()


def test_it_cannot_be_waited_for_before_it_starts(console: Pipe) -> None:
    with pytest.raises(FailedPrecondition, match="has not been started"):
        task_of(console, "sh").wait(0)


@pytest.mark.parametrize("delay", ["0", "1ms"])
def test_output_that_nobody_reads_is_the_processs_problem(console: Pipe, delay: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    task = task_of(SimpleNamespace(stdout=writer, stderr=writer), "sh", delay=delay)
    task.start()
    assert task.wait() == ExitStatus(1)
    os.close(writer)


def test_a_task_of_another_process_is_gone() -> None:
    task = FakeTask("c1", parse({"exit": "3"}))
    assert task.wait() == ExitStatus(3)
    task.kill(9)
    task.delete()
    assert task.wait() == ExitStatus(3)
    with pytest.raises(FailedPrecondition):
        task.start()


@pytest.mark.parametrize("stage", ["start", "wait", "delete"])
def test_each_method_fails_where_the_scenario_says(console: Pipe, stage: str) -> None:
    task = task_of(console, "sh", fail=f"{stage}:told so")
    reached = []
    for method in ("start", "wait", "delete"):
        try:
            getattr(task, method)()
        except (Unavailable, FailedPrecondition) as error:
            reached.append((method, str(error)))
    assert (stage, "told so") in reached
