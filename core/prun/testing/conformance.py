"""The contract of ``prun.types.Task``, as rules that a runtime is held to by running containers.

A rule gets hold of the task inside of a real run: a plugin of the most specific tier puts an ``_Examined`` in its
place, whose ``wait`` lets the rule start, kill and delete the real one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from prun import hookimpl
from prun.errors import PrunError
from prun.identity import start_time
from prun.pipeline import run
from prun.testing.hooks import hooks_with
from prun.types import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from prun.types import RunRequest, Task

SIGKILL = 9
LONG_S = 60.0  # a command that takes that long is still running when a rule looks
SOON_S = 20.0  # anything that takes longer hangs, even on a busy machine


def _shell_exits(code: int) -> Sequence[str]:
    return ("sh", "-c", f"exit {code}")


def _sleeps(seconds: float) -> Sequence[str]:
    return ("sleep", f"{seconds:g}")


class Subject(NamedTuple):
    """A runtime to examine, and how.

    ``request`` names an image that has the commands and directories of the test's own (``root``, ``state``).
    ``exits`` and ``sleeps`` make the command that ends with a code, or takes a number of seconds.
    """

    runtime: object
    request: RunRequest
    exits: Callable[[int], Sequence[str]] = _shell_exits
    sleeps: Callable[[float], Sequence[str]] = _sleeps
    engine: object | None = None

    def examine(self, args: Sequence[str], examination: Callable[[Task], None]) -> None:
        """Run a container with a created task in the hands of ``examination``.

        Raises:
            AssertionError: what the examination found.
        """
        examiner = _Examiner(examination)
        request = self.request._replace(args=tuple(args), remove=True, capture=True)
        run(request, hooks_with(self.runtime, examiner, engine=self.engine))
        if examiner.finding is not None:
            raise examiner.finding


class _Examiner:
    def __init__(self, examination: Callable[[Task], None]) -> None:
        self.examination = examination
        self.finding: AssertionError | None = None

    @hookimpl(wrapper=True)
    def prun_create_task(self) -> Generator[None, Task | None, Task | None]:
        task = yield
        return task and _Examined(task, self)


class _Examined:
    """Stands in for a task: the pipeline's start does nothing, its wait is the examination."""

    def __init__(self, task: Task, examiner: _Examiner) -> None:
        self._task = task
        self._examiner = examiner

    @property
    def pid(self) -> int | None:
        return self._task.pid

    def start(self) -> None:
        return None

    def wait(self, timeout_s: float | None = None) -> ExitStatus:
        try:
            self._examiner.examination(self._task)
        except AssertionError as finding:
            self._examiner.finding = finding
        finally:
            self._task.delete()  # what still runs would keep the console open
        return ExitStatus(0)

    def kill(self, signal: int) -> None:
        self._task.kill(signal)

    def delete(self) -> None:
        self._task.delete()


def the_exit_status_is_the_commands(subject: Subject) -> None:
    """0, 1, 42 and 255 arrive as they are."""

    def examination(task: Task) -> None:
        task.start()
        _expect("wait()", task.wait(SOON_S), ExitStatus(code))

    for code in (0, 1, 42, 255):
        subject.examine(subject.exits(code), examination)


def an_exit_right_after_start_is_not_lost(subject: Subject) -> None:
    """The process is gone before anybody waits for it."""

    def examination(task: Task) -> None:
        task.start()
        time.sleep(0.5)
        _expect("wait() of a process long gone", task.wait(SOON_S), ExitStatus(7))

    subject.examine(subject.exits(7), examination)


def wait_may_be_repeated(subject: Subject) -> None:
    """Each gives the same status, with and without a timeout."""

    def examination(task: Task) -> None:
        task.start()
        for timeout_s in (SOON_S, None, 0.0, SOON_S):
            _expect(f"wait({timeout_s})", task.wait(timeout_s), ExitStatus(3))

    subject.examine(subject.exits(3), examination)


def wait_ends_at_its_timeout(subject: Subject) -> None:
    """None while the process runs."""

    def examination(task: Task) -> None:
        task.start()
        began = time.monotonic()
        _expect("wait(0.05) of a running process", task.wait(0.05), None)
        _expect("wait(0) of a running process", task.wait(0.0), None)
        _expect("the timeout was kept", time.monotonic() - began < SOON_S / 2, True)

    subject.examine(subject.sleeps(LONG_S), examination)


def kill_ends_the_process(subject: Subject) -> None:
    """SIGKILL makes the exit status 137."""

    def examination(task: Task) -> None:
        task.start()
        task.kill(SIGKILL)
        _expect("wait() after SIGKILL", task.wait(SOON_S), ExitStatus(128 + SIGKILL))

    subject.examine(subject.sleeps(LONG_S), examination)


def kill_after_the_end_does_nothing(subject: Subject) -> None:
    """The status stays what it was."""

    def examination(task: Task) -> None:
        task.start()
        task.wait(SOON_S)
        task.kill(SIGKILL)
        _expect("wait() after a late SIGKILL", task.wait(SOON_S), ExitStatus(5))

    subject.examine(subject.exits(5), examination)


def delete_ends_what_still_runs(subject: Subject) -> None:
    """And returns only then."""

    def examination(task: Task) -> None:
        task.start()
        pid = task.pid
        began = time.monotonic()
        task.delete()
        _expect("delete() of a running process was quick", time.monotonic() - began < SOON_S, True)
        _expect("the process is there after delete()", pid is not None and start_time(pid) is not None, False)

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


RULES: tuple[Callable[[Subject], None], ...] = (
    the_exit_status_is_the_commands,
    an_exit_right_after_start_is_not_lost,
    wait_may_be_repeated,
    wait_ends_at_its_timeout,
    kill_ends_the_process,
    kill_after_the_end_does_nothing,
    delete_ends_what_still_runs,
    delete_may_be_repeated,
    a_task_that_never_started_can_be_deleted,
)


def runtime_conformance(subject: Subject) -> None:
    """Hold a runtime to every rule; ``pytest.mark.parametrize("rule", RULES)`` makes a test of each instead.

    Raises:
        AssertionError: the rules that do not hold, with what was seen.
    """
    findings = []
    for rule in RULES:
        try:
            rule(subject)
        except (AssertionError, PrunError) as finding:  # what a task raises counts, too
            findings.append(f"{rule.__name__.replace('_', ' ')}: {finding}")
    if findings:
        raise AssertionError("\n".join(findings))


def _expect(what: str, seen: object, wanted: object) -> None:
    if seen != wanted:
        raise AssertionError(f"{what}: {seen}, not {wanted}")
