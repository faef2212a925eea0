"""A container made by two calls of the OCI runtime, create and start, so that something can happen between them.

Lifecycle: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/runtime.md#lifecycle
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, PrunError
from prun.types import ExitStatus
from prun_linux.oci import finish
from prun_linux.task import END_TIMEOUT_S, has_ended, send

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun_linux.task import Launch

PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37


class TwoStepTask:
    """``RUNTIME create``, then ``RUNTIME start``: between them the container is there and its command is not running.

    While ``create`` runs, prun is the subreaper of its descendants: the runtime exits, the container's first process
    becomes our child, and its exit status cannot be lost, however soon it ends after ``start``.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._status: ExitStatus | None = None
        self._started = False
        self._error: PrunError | None = None
        self._killed = False
        self._early: list[int] = []
        self._reaping = threading.Lock()
        try:
            with subreaper():
                code = finish(launch.spawn("create"))
            pid = launch.pid()
            if code or pid is None:
                raise launch.failed(launch.runtime.failure(launch.log) or f"exit status {code}")
            self._pid, self._pidfd = pid, os.pidfd_open(pid)
        except BaseException:  # nobody has this task yet who could delete it
            self._abandon()
            raise

    @property
    def pid(self) -> int | None:
        return None if self._status else self._pid

    def start(self) -> None:
        if self._started:
            raise FailedPrecondition(f"container {self._launch.id} has been started already")
        self._launch.start_created()
        self._started = True
        for number in self._early:
            self.kill(number)

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        if self._status is None and has_ended(self._pidfd, timeout_s):
            with self._reaping:  # a process can be reaped once, and several threads may wait for it
                if self._status is None:
                    unexecuted = self._started and self._is_runtimes()
                    self._status = self._reap()
                    if unexecuted and self._status.code and not self._killed:
                        self._error = self._launch.not_executed()
        if self._error:
            raise self._error
        return self._status

    def kill(self, number: int) -> None:
        if not self._started and number != signal.SIGKILL:
            self._early.append(number)  # the process is the runtime's yet: it would not know what to do with it
        elif self._status is None:
            self._killed = True
            send(self._pidfd, number)

    def delete(self) -> None:
        if self._pidfd < 0:
            return
        self.kill(signal.SIGKILL)
        with suppress(PrunError):  # that of an execve, which ``wait`` has told, or will
            self.wait(END_TIMEOUT_S)
        self._launch.forget()
        with suppress(PrunError):
            self.wait(0)
        os.close(self._pidfd)
        self._pidfd = -1

    def _is_runtimes(self) -> bool:
        """Tell whether the process ended as the runtime's own: execve gives a process the name of what it executes.

        runc has closed its pipe by then, prints the error on the container's stderr, and exits 1 or 255.
        """
        try:
            with open(f"/proc/{self._pid}/comm", encoding="utf-8", errors="replace") as file:
                return file.read().startswith("runc:[")
        except OSError:
            return False

    def _abandon(self) -> None:
        """Remove a container that is created, half created, or about to be."""
        self._launch.find_and_delete()
        if (pid := self._launch.pid()) is not None:
            with suppress(ChildProcessError):  # not ours: it never came so far
                os.waitpid(pid, 0)

    def _reap(self) -> ExitStatus:
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        if result is None or result.si_code == os.CLD_EXITED:
            return ExitStatus(result.si_status if result else 0)
        return ExitStatus(128 + result.si_status)


class _Subreaper:
    """Whether orphans among our descendants become our children: a setting of the whole process, shared by threads.

    PR_SET_CHILD_SUBREAPER(2const).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: set[object] = set()
        self._before = ctypes.c_int()
        self._prctl = ctypes.CDLL(None).prctl

    @contextmanager
    def __call__(self) -> Iterator[None]:
        user = object()
        try:
            with self._lock:
                if not self._users:
                    self._prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(self._before), 0, 0, 0)
                self._users.add(user)
                self._prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            yield
        finally:
            with self._lock:
                self._users.discard(user)
                if not self._users:
                    self._prctl(PR_SET_CHILD_SUBREAPER, self._before.value, 0, 0, 0)


subreaper = _Subreaper()
