"""The process of a fake container: it exists only in prun, and in a thread only if it takes time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition
from prun.types import ExitStatus
from prun_fake.journal import note

if TYPE_CHECKING:
    import threading
    from queue import SimpleQueue

    from prun.types import Console
    from prun_fake.scenario import Scenario

NOTICE = "fake: nothing was executed (runtime fake)\n"
SIGKILL = 9  # Windows' signal module does not have it


class FakeTask:
    """One fake process; without a console, one that is long gone.  The contract is that of ``prun.types.Task``.

    Once started, only the player sets the exit status; ``kill`` asks it to.  So a process that ends by itself while
    it is killed has one exit status all the same.
    """

    pid = None

    def __init__(self, container_id: str, scenario: Scenario, console: Console | None = None) -> None:
        self._id = container_id
        self._scenario = scenario
        self._console = console
        self._started = console is None
        self._status = ExitStatus(scenario.code) if console is None else None
        self._player: threading.Thread | None = None
        self._signals: SimpleQueue[int] | None = None

    def start(self) -> None:
        note(self._id, "Task.start")
        self._scenario.reach("start")
        if self._console is None or self._started or self._status is not None:
            raise FailedPrecondition(f"container {self._id} cannot be started: it has been started, or has ended")
        self._started = True
        streams = (self._console.stdout, self._console.stderr)
        if any(step.delay_s for step in self._scenario.steps):
            self._play_in_a_thread(*streams)
        else:
            self._play(*streams)

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        note(self._id, "Task.wait", timeout_s=timeout_s)
        self._scenario.reach("wait")
        if self._player is not None:
            self._player.join(timeout_s)
        elif self._status is None:
            raise FailedPrecondition(f"container {self._id} cannot be waited for: it has not been started")
        return self._status

    def kill(self, signal: int) -> None:
        note(self._id, "Task.kill", signal=signal)
        self._end(signal)

    def delete(self) -> None:
        note(self._id, "Task.delete")
        self._scenario.reach("delete")
        self._end(SIGKILL)
        if self._player is not None:
            self._player.join()

    def _end(self, signal: int) -> None:
        if not _ends_a_process(signal):
            return
        if self._signals is not None:
            self._signals.put(signal)
        elif self._status is None:
            self._status = ExitStatus(128 + signal)

    def _play_in_a_thread(self, stdout: int, stderr: int) -> None:
        from queue import SimpleQueue  # its put may be called from a signal handler
        from threading import Thread

        # A process has descriptors of its own: prun may close the console's while it runs.
        own = os.dup(stdout), os.dup(stderr)

        def play() -> None:
            try:
                self._play(*own)
            finally:
                for fd in own:
                    os.close(fd)

        self._signals = SimpleQueue()
        self._player = Thread(target=play, name=f"fake {self._id}", daemon=True)
        self._player.start()

    def _play(self, stdout: int, stderr: int) -> None:
        code = 1  # that of most programs when they cannot write
        try:
            if not self._scenario.replay:  # whoever asks for a replay knows what it is, and compares what comes
                _write(stderr, NOTICE)
            for step in self._scenario.steps:
                if signal := self._signal_within(step.delay_s):
                    code = 128 + signal
                    return
                _write(stdout, step.stdout)
                _write(stderr, step.stderr)
            code = self._scenario.code
        except OSError:
            pass  # nobody reads any more: the process's problem, not prun's
        finally:
            self._status = ExitStatus(code)

    def _signal_within(self, seconds: float) -> int:
        """Return the signal that arrives within the time, 0 if none does."""
        if self._signals is None:
            return 0
        from queue import Empty

        try:
            return self._signals.get(timeout=seconds)
        except Empty:
            return 0


def _write(fd: int, text: str) -> None:
    data = text.encode(errors="surrogateescape")
    while data:
        data = data[os.write(fd, data) :]


def _ends_a_process(number: int) -> bool:
    """Tell whether a signal ends a process that does nothing about it (signal(7))."""
    import signal

    others = ("SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH")
    return number not in (0, *(getattr(signal, name, 0) for name in others))
