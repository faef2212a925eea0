"""A runtime that is examined by running its containers.

A rule gets hold of the task inside of a real run: a plugin of the most specific tier puts an ``_Examined`` in its
place, whose ``wait`` lets the rule start, kill and delete the real one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from prun import hookimpl
from prun.pipeline import run
from prun.testing.hooks import hooks_with
from prun.types import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from prun.pipeline import Outcome
    from prun.plugins import Hooks
    from prun.types import RunRequest, Task

SIGKILL = 9
LONG_S = 60.0  # a command that takes that long is still running when a rule looks
SOON_S = 20.0  # anything that takes longer hangs, even on a busy machine


def _shell_exits(code: int) -> Sequence[str]:
    return ("sh", "-c", f"exit {code}")


def _sleeps(seconds: float) -> Sequence[str]:
    return ("sleep", f"{seconds:g}")


def _shell_writes(text: str) -> Sequence[str]:
    return ("sh", "-c", 'printf %s "$1"', "sh", text)


class Subject(NamedTuple):
    """A runtime to examine, and how.

    ``request`` names an image that has the commands and directories of the test's own (``root``, ``state``).
    ``exits``, ``sleeps`` and ``writes`` make the command that ends with a code, takes a number of seconds, or writes
    a text to its stdout (among other things, if need be).  ``copies`` writes what it reads from stdin to stdout, and
    ``missing`` does not exist; either is empty where the runtime's commands cannot read, or are never missing.
    """

    runtime: object
    request: RunRequest
    exits: Callable[[int], Sequence[str]] = _shell_exits
    sleeps: Callable[[float], Sequence[str]] = _sleeps
    engine: object | None = None
    writes: Callable[[str], Sequence[str]] = _shell_writes
    copies: Sequence[str] = ("cat",)
    missing: Sequence[str] = ("prun-has-no-such-command",)

    @property
    def bundle(self) -> str:
        """The directory of the container's bundle, while it runs."""
        return os.path.join(os.path.abspath(self.request.state), "bundles", self.request.id)

    def hooks(self, *plugins: object) -> Hooks:
        """Return the runtime's hooks, with plugins."""
        return hooks_with(self.runtime, *plugins, engine=self.engine)

    def run(self, args: Sequence[str], stdin: bytes | None = None) -> Outcome:
        """Run a container to its end and keep what it writes."""
        request = self.request._replace(args=tuple(args), remove=True, capture=True)
        if stdin is not None:
            request = request._replace(stdin=stdin, interactive=True)
        return run(request, self.hooks())

    def examine(self, args: Sequence[str], examination: Callable[[Task], None]) -> None:
        """Run a container with a created task in the hands of ``examination``.

        Raises:
            AssertionError: what the examination found.
        """
        examiner = _Examiner(examination)
        run(self.request._replace(args=tuple(args), remove=True, capture=True), self.hooks(examiner))
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


def expect(what: str, seen: object, wanted: object) -> None:
    """Compare what was seen with what the contract says.

    Raises:
        AssertionError: they differ.
    """
    if seen != wanted:
        raise AssertionError(f"{what}: {seen}, not {wanted}")
