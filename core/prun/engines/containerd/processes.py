"""One process of containerd's: how it ends, and the signals that it gets."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from prun.engines.containerd.client import Gone
from prun.errors import CommandNotFound, CommandNotInvocable, NotFound, PrunError, Unavailable
from prun.types import ExitStatus
from prun_protos.containerd.v1.api_pb2 import (
    CREATED,
    STOPPED,
    Deleted,
    KillTask,
    Process,
    ProcessBox,
    TaskOf,
    Waited,
)

if TYPE_CHECKING:
    from prun.engines.containerd.client import Client, Pending

UNKNOWN = ExitStatus(255)  # podman's, where nobody knows how a process ended
SIGKILL = 9
END_S = 10.0
RETURN_S = 30.0  # a containerd that is restarted comes back within
_DELETE_S = 120.0  # one that is cut short can leave a shim behind (containerd#11392)
_MISSING = ("executable file not found", "no such file or directory")


class RemoteProcess:
    """The first process of a container, or with ``exec_id`` a further one."""

    def __init__(self, client: Client, container_id: str, exec_id: str = "") -> None:
        self.client = client
        self.of = TaskOf(container_id=container_id, exec_id=exec_id)
        self._status: ExitStatus | None = None
        self._pending: Pending[Waited] | None = None

    def look(self) -> Process | None:
        """Return what containerd knows of it, None where it knows nothing."""
        try:
            return self.client.call("tasks.v1.Tasks/Get", self.of, ProcessBox).process
        except NotFound:
            return None

    def appear(self, timeout_s: float) -> None:
        """Wait until containerd knows it, at most so long: a creation that was cut short may still be going on."""
        deadline = time.monotonic() + timeout_s
        while self.look() is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def expect(self) -> None:
        """Begin to wait: from now on its end is not missed, whoever deletes it."""
        self._pending = self.client.start_call("tasks.v1.Tasks/Wait", self.of, Waited)

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        """Return how it ended, None when the time is up first.

        Raises:
            Gone: containerd has gone, and has not come back for half a minute.
        """
        if timeout_s == 0 and self._status is None:
            return self.state()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        gone_since = None
        while self._status is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                if self._pending is None:
                    self.expect()
                answer = self._pending.result(left) if self._pending else None
                if answer is None:
                    return None
                self._status = ExitStatus(answer.exit_status)
            except NotFound:
                self._status = UNKNOWN  # it ended while containerd was down, or somebody has deleted it
            except Gone:
                self._pending = None
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > RETURN_S or (left is not None and left <= 0):
                    raise
                time.sleep(0.2)
            except Unavailable:  # its shim has gone
                self._pending = None
                found = self.look()
                if found is None or found.status == STOPPED:
                    self._status = ExitStatus(found.exit_status) if found else UNKNOWN
                time.sleep(0.05)
        return self._status

    def state(self) -> ExitStatus | None:
        """Return how it ended, None while it has not."""
        found = self.look()
        if found is None:
            return UNKNOWN
        return ExitStatus(found.exit_status) if found.status == STOPPED else None

    def has_ended(self) -> bool:
        """Tell whether its end is known, without asking."""
        if self._status is None and self._pending is not None:
            with suppress(PrunError):
                answer = self._pending.result(0)
                self._status = ExitStatus(answer.exit_status) if answer else None
        return self._status is not None

    def kill(self, number: int) -> None:
        """Send it a signal; one that has ended gets none."""
        request = KillTask(container_id=self.of.container_id, exec_id=self.of.exec_id, signal=number)
        try:
            self.client.tell("tasks.v1.Tasks/Kill", request)
        except NotFound:
            return
        except Gone:
            raise
        except Unavailable:  # of the runtime: it has just ended
            found = self.look()
            if found is not None and found.status != STOPPED:
                raise

    def end(self) -> None:
        """Kill what still runs of it, and let containerd forget it."""
        found = self.look()
        if found is None:
            return
        if found.status not in (CREATED, STOPPED):
            self.kill(SIGKILL)
            self.wait(END_S)
        method = "DeleteProcess" if self.of.exec_id else "Delete"
        with suppress(NotFound):
            self.client.call(f"tasks.v1.Tasks/{method}", self.of, Deleted, timeout_s=_DELETE_S)


def command_failure(error: PrunError, command: str) -> PrunError:
    """Return the error of a command that cannot be executed, where the OCI runtime says so; else the one given."""
    words = str(error)
    if f'exec: "{command}"' not in words and f"exec {command}" not in words:
        return error
    if any(each in words for each in _MISSING):
        return CommandNotFound(f"command {command!r} is not in the image: {_reason(words)}")
    if "permission denied" in words or "exec format error" in words or "is a directory" in words:
        return CommandNotInvocable(f"command {command!r} cannot be executed: {_reason(words)}")
    return error


def _reason(words: str) -> str:
    return words.removesuffix(": unknown").rpartition("exec: ")[2]
