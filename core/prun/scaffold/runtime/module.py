"""The runtime TEMPLATE-NAME: a container's command as a process of this machine, which nothing isolates."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from subprocess import Popen, TimeoutExpired
from typing import TYPE_CHECKING

from prun import hookimpl
from prun.errors import CommandNotFound, CommandNotInvocable, FailedPrecondition
from prun.identity import is_process, start_time
from prun.image.platform import host_platform
from prun.types import ExitStatus, RuntimeInfo

if TYPE_CHECKING:
    from prun.spec.document import Spec
    from prun.types import Console, Container, Task


@hookimpl
def prun_describe_runtime() -> RuntimeInfo:
    """Say what it is; with ``executes=True`` prun unpacks and mounts the image's root file system for it."""
    return RuntimeInfo("TEMPLATE-NAME", (host_platform(),), executes=False)


@hookimpl
def prun_create_task(spec: Spec, console: Console) -> Task:
    """Make the container's process, without starting it."""
    return Process(spec, console)


@hookimpl
def prun_load_task(container: Container) -> Task:
    """Find what a prun that has died may have left."""
    return Orphan(container.pid or 0, container.start_time)


class Process:
    """A process and its children; the contract is that of ``prun.types.Task``."""

    def __init__(self, spec: Spec, console: Console) -> None:
        self._spec = spec["process"]
        self._console = console
        self._process: Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        if self._process:
            raise FailedPrecondition("it has been started already")
        streams = self._console
        env = dict(entry.split("=", 1) for entry in self._spec.get("env", []))
        env.setdefault("PATH", os.defpath)
        args = self._spec["args"]
        try:
            # A group of its own: whoever ends it ends its children too, who would keep the console open.
            self._process = Popen(
                args,
                stdin=streams.stdin,
                stdout=streams.stdout,
                stderr=streams.stderr,
                cwd=self._spec["cwd"],
                env=env,
                process_group=0,
            )
        except FileNotFoundError as error:
            raise CommandNotFound(f"command {args[0]!r} does not exist") from error
        except OSError as error:
            raise CommandNotInvocable(f"command {args[0]!r} cannot be executed: {error.strerror}") from error

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        if self._process is None:
            raise FailedPrecondition("it has not been started")
        try:
            code = self._process.wait(timeout_s)
        except TimeoutExpired:
            return None
        return ExitStatus(128 - code if code < 0 else code)

    def kill(self, number: int) -> None:
        # As long as nobody has waited for it, its number is nobody else's; another thread may do so at this moment.
        if self._process and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def delete(self) -> None:
        if self._process:
            self.kill(signal.SIGKILL)
            self._process.wait()


class Orphan:
    """A process that another prun has started: there is nothing to do with it but to end it."""

    def __init__(self, pid: int, started: int) -> None:
        self._pid, self._started = pid, started

    @property
    def pid(self) -> int | None:
        return self._pid if self._pid and is_process(self._pid, self._started) else None

    def start(self) -> None:
        raise FailedPrecondition("it has been started already")

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while self._pid and start_time(self._pid) == self._started:
            if end is not None and time.monotonic() >= end:
                return None
            time.sleep(0.01)
        return ExitStatus(128 + signal.SIGKILL)  # how it ended, nobody has seen

    def kill(self, number: int) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, number)

    def delete(self) -> None:
        self.kill(signal.SIGKILL)
        self.wait()
