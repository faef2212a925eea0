"""Rules for tasks: exit statuses, waiting, killing and deleting, whatever the moment."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from prun.errors import PrunError
from prun.identity import start_time
from prun.testing.subject import LONG_S, SIGKILL, SOON_S, expect
from prun.types import Container, ExitStatus

if TYPE_CHECKING:
    from prun.testing.subject import Subject
    from prun.types import Task


def the_exit_status_is_the_commands(subject: Subject) -> None:
    """0, 1, 42 and 255 arrive as they are."""

    def examination(task: Task) -> None:
        task.start()
        expect("wait()", task.wait(SOON_S), ExitStatus(code))

    for code in (0, 1, 42, 255):
        subject.examine(subject.exits(code), examination)


def an_exit_right_after_start_is_not_lost(subject: Subject) -> None:
    """The process is gone before anybody waits for it."""

    def examination(task: Task) -> None:
        task.start()
        time.sleep(0.5)
        expect("wait() of a process long gone", task.wait(SOON_S), ExitStatus(7))

    subject.examine(subject.exits(7), examination)


def wait_may_be_repeated(subject: Subject) -> None:
    """Each gives the same status, with and without a timeout."""

    def examination(task: Task) -> None:
        task.start()
        for timeout_s in (SOON_S, None, 0.0, SOON_S):
            expect(f"wait({timeout_s})", task.wait(timeout_s), ExitStatus(3))

    subject.examine(subject.exits(3), examination)


def wait_ends_at_its_timeout(subject: Subject) -> None:
    """None while the process runs."""

    def examination(task: Task) -> None:
        task.start()
        began = time.monotonic()
        expect("wait(0.05) of a running process", task.wait(0.05), None)
        expect("wait(0) of a running process", task.wait(0.0), None)
        expect("the timeout was kept", time.monotonic() - began < SOON_S / 2, True)

    subject.examine(subject.sleeps(LONG_S), examination)


def kill_ends_the_process(subject: Subject) -> None:
    """SIGKILL makes the exit status 137."""

    def examination(task: Task) -> None:
        task.start()
        task.kill(SIGKILL)
        expect("wait() after SIGKILL", task.wait(SOON_S), ExitStatus(128 + SIGKILL))

    subject.examine(subject.sleeps(LONG_S), examination)


def kill_after_the_end_does_nothing(subject: Subject) -> None:
    """The status stays what it was."""

    def examination(task: Task) -> None:
        task.start()
        task.wait(SOON_S)
        task.kill(SIGKILL)
        expect("wait() after a late SIGKILL", task.wait(SOON_S), ExitStatus(5))

    subject.examine(subject.exits(5), examination)


def delete_ends_what_still_runs(subject: Subject) -> None:
    """And returns only then."""

    def examination(task: Task) -> None:
        task.start()
        pid = task.pid
        began = time.monotonic()
        task.delete()
        expect("delete() of a running process was quick", time.monotonic() - began < SOON_S, True)
        expect("the process is there after delete()", pid is not None and start_time(pid) is not None, False)

    subject.examine(subject.sleeps(LONG_S), examination)


def delete_may_be_repeated(subject: Subject) -> None:
    """By whoever cleans up, with no error (the run itself deletes once more)."""

    def examination(task: Task) -> None:
        task.start()
        task.wait(SOON_S)
        task.delete()
        task.delete()

    subject.examine(subject.exits(0), examination)


def a_task_that_never_started_can_be_deleted(subject: Subject) -> None:
    """As when something fails between create and start."""
    subject.examine(subject.exits(0), lambda task: task.delete())


def a_kill_while_it_starts_ends_it(subject: Subject) -> None:
    """Whoever waits is not left waiting; ``start`` may say, with a PrunError, that nothing was started."""

    def examination(task: Task) -> None:
        over = threading.Event()
        findings: list[BaseException] = []

        def kill() -> None:
            while not over.is_set():
                try:
                    task.kill(SIGKILL)
                except BaseException as error:  # noqa: BLE001  told by the thread that waits
                    findings.append(error)
                    return
                over.wait(0.001)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        try:
            with suppress(PrunError):
                task.start()
                expect("wait() of what was killed while it started", task.wait(SOON_S), ExitStatus(128 + SIGKILL))
        finally:
            over.set()
            killer.join()
        expect("kill() while it started raised", findings, [])

    subject.examine(subject.sleeps(LONG_S), examination)


def several_may_wait(subject: Subject) -> None:
    """In threads of their own; all see the same end."""

    def examination(task: Task) -> None:
        task.start()
        seen: list[ExitStatus | None] = []
        threads = [threading.Thread(target=lambda: seen.append(task.wait(SOON_S)), daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        task.kill(SIGKILL)
        for thread in threads:
            thread.join(SOON_S)
        expect("wait() of three threads", seen, [ExitStatus(128 + SIGKILL)] * 3)

    subject.examine(subject.sleeps(LONG_S), examination)


def a_task_that_was_loaded_can_be_deleted(subject: Subject) -> None:
    """``prun_load_task`` finds what another prun has made: its ``delete`` ends it, also when it is long gone, twice."""
    request = subject.request

    def examination(task: Task) -> None:
        task.start()
        pid = task.pid
        record = Container(
            request.id,
            request.runtime,
            subject.bundle,
            request.root,
            request.state,
            pid,
            request.options,
            (start_time(pid) or 0) if pid is not None else 0,
        )
        loaded = subject.hooks().load_task(record)
        loaded.delete()
        expect("its process is there after delete()", pid is not None and start_time(pid) is not None, False)
        loaded.delete()
        subject.hooks().load_task(record).delete()

    subject.examine(subject.sleeps(LONG_S), examination)
