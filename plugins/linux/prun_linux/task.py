"""A container's process on this machine, made by an OCI runtime binary.

Ordinarily one spawn does it all: ``RUNTIME run`` in the foreground, our child, whose exit status is the container's.
Where a plugin acts between create and start, there are two calls (``prun_linux.two_step``); where the container is to
outlive prun, or has a terminal, conmon makes them (``prun_linux.loaded``, ``prun_linux.monitor``).

Lifecycle: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/runtime.md#lifecycle
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

from prun.errors import CommandNotInvocable, FailedPrecondition, PrunError
from prun.types import Container, ExitStatus
from prun_linux import cgroups
from prun_linux.command import check_command, without_init
from prun_linux.oci import OciRuntime, open_runtime

if TYPE_CHECKING:
    import subprocess

    from prun.spec.document import Spec
    from prun.types import Console, RunRequest, Task

END_TIMEOUT_S = 10.0
# What a runtime process cannot pass on: the kernel acts on it at once, or the runtime needs it for itself.
_NOT_FORWARDED = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGURG, signal.SIGPIPE)


def create_task(request: RunRequest, bundle: str, spec: Spec, console: Console) -> Task:
    """Create the container of ``bundle``, or get ready to create it in ``start``.

    Raises:
        CommandNotFound, CommandNotInvocable: as a look into the root file system tells.
        FailedPrecondition: the root file system is a trap, or the OCI runtime cannot work here.
        Unavailable: the OCI runtime failed.
    """
    runtime = open_runtime(request.options.get("binary", ""), request.state)
    launch = Launch(runtime, request.id, bundle, spec, console, request.preserve_fds)
    launch.check_root(look=request.precheck)
    if "uidMappings" in spec.get("linux", {}):
        from prun_linux import hostfiles

        hostfiles.give(request, bundle, spec)
    if request.monitored:
        from prun_linux.loaded import MonitoredTask

        return MonitoredTask(launch, request)
    if not request.two_step and request.precheck:
        return OneStepTask(launch)
    from prun_linux.two_step import TwoStepTask

    return TwoStepTask(launch)


class Launch:
    """What it takes to make one container: the runtime, the bundle, the spec, and the files the runtime writes."""

    def __init__(
        self,
        runtime: OciRuntime,
        container_id: str,
        bundle: str,
        spec: Spec,
        console: Console,
        preserve_fds: int = 0,
    ) -> None:
        self.preserve_fds = preserve_fds
        self.runtime, self.id, self.bundle, self.spec, self.console = runtime, container_id, bundle, spec, console
        self.command = without_init(spec.get("process", {}).get("args", [""]))[0]
        self.log = os.path.join(bundle, "log.json")
        self.pid_file = os.path.join(bundle, "pid")

    def check_root(self, *, look: bool = True) -> None:
        """Look into the root file system before a runtime, or the image's code, has been at work in it.

        ``look`` False leaves the command to the kernel (``--precheck=false``), and nothing that is about safety.
        """
        from prun.rootfs.safepath import Root, real_directory_problems
        from prun_linux.places import check_places

        path = os.path.join(self.bundle, self.spec.get("root", {}).get("path", "rootfs"))
        if problems := real_directory_problems(path):
            raise FailedPrecondition(f"root file system {path}: {'; '.join(problems)}", hint="make it a directory")
        with Root(path) as root:
            mounted = check_places(self.spec, path, root)
            if look:
                check_command(self.spec, root, mounted)

    def words(self, verb: str, *words: str) -> list[str]:
        """Return the words of the runtime's ``run`` or ``create`` for the bundle."""
        passed = ["--preserve-fds", str(self.preserve_fds)] if self.preserve_fds else []
        return [verb, "--bundle", self.bundle, "--pid-file", self.pid_file, *passed, *words, self.id]

    def spawn(self, verb: str, *words: str) -> subprocess.Popen[bytes]:
        """Call ``run`` or ``create`` for the bundle; the console's descriptors become the container's."""
        console = self.console
        with ExitStack() as stack:
            streams = (console.stdin, console.stdout, console.stderr)
            if self.runtime.name == "crun" and "uidMappings" in self.spec.get("linux", {}):
                from prun_linux.streams import guarded

                streams = stack.enter_context(guarded(streams))
            return self.runtime.spawn(
                self.words(verb, *words),
                log=self.log,
                stdio=streams,
                preserve_fds=self.preserve_fds,
            )

    def pid(self) -> int | None:
        """Return the pid that the runtime has written, None before it has."""
        try:
            with open(self.pid_file, encoding="ascii") as file:
                return int(file.read())
        except (FileNotFoundError, ValueError):
            return None

    def start_created(self) -> None:
        """Let the container's process execute its command; it was created before.

        Raises: as ``failed`` says.
        """
        if words := self.runtime.call("start", self.id, log=self.log):
            raise self.failed(words)

    def failed(self, words: str) -> PrunError:
        """Return the error for what the runtime said."""
        from prun_linux.refused import failed

        return failed(words, self.command, self.runtime.name)

    def not_executed(self) -> PrunError:
        """Return the error for a command that the kernel has refused without the runtime telling why."""
        try:
            self.check_root()
        except PrunError as error:
            reason = error
        else:
            reason = CommandNotInvocable(
                f"command {self.command!r} cannot be executed: the kernel refused it",
                evidence=f"{self.runtime.name} has written why to the container's stderr",
            )
        reason.stage = "start"
        return reason

    def find_and_delete(self) -> None:
        """Delete the container although the runtime's process is not known."""
        from prun_linux.loaded import LoadedTask

        state, name = os.path.split(self.runtime.root)
        options = {"binary": self.runtime.binary}
        LoadedTask(Container(self.id, name, self.bundle, "", state, options=options)).delete()

    def forget(self) -> None:
        """Remove what a runtime that failed or was killed has left."""
        self.runtime.delete(self.id)
        if path := self.spec.get("linux", {}).get("cgroupsPath", ""):
            cgroups.remove(path)


class OneStepTask:
    """``RUNTIME run`` in the foreground: created and started by the same call, in ``start``.

    A signal goes to the runtime's process, which passes it on.  In the first milliseconds, before the runtime
    listens, the signal ends it instead: then there was no container yet, and the status is that of the signal.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._status: ExitStatus | None = None
        self._error: PrunError | None = None
        self._early: list[int] = []
        self._killed = False
        self._passed_on = 0
        self._tried = False

    @property
    def pid(self) -> int | None:
        return self._launch.pid() if self._process and not self._ended else None

    def start(self) -> None:
        if self._process:
            raise FailedPrecondition(f"container {self._launch.id} has been started already")
        self._tried = True
        process = self._launch.spawn("run")
        self._pidfd = os.pidfd_open(process.pid)
        self._process = process
        for number in self._early:
            self.kill(number)

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        if self._process is None:
            raise FailedPrecondition(f"container {self._launch.id} has not been started")
        if not self._ended:
            if not has_ended(self._pidfd, timeout_s):
                return None
            self._end(self._process.wait())
        if self._error:
            raise self._error
        return self._status

    def kill(self, number: int) -> None:
        self._killed = self._killed or number == signal.SIGKILL
        if self._process is None:
            self._early.append(number)  # a handler may call this while start is at work
        elif self._ended or (number in _NOT_FORWARDED and self._launch.runtime.kill(self._launch.id, number)):
            return
        elif number not in _NOT_FORWARDED or number == signal.SIGKILL:
            self._passed_on = number
            send(self._pidfd, number)

    def delete(self) -> None:
        if self._process is None:
            if self._tried:  # an exception came just between the process and us
                self._launch.find_and_delete()
            return
        if not self._ended:
            self.kill(signal.SIGKILL)
            if not has_ended(self._pidfd, END_TIMEOUT_S):
                self._process.kill()
            self._end(self._process.wait())
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        # After an ordinary end the runtime has forgotten the container by itself: no need to call it again.
        if self._error or self._launch.runtime.knows(self._launch.id):
            self._launch.forget()

    @property
    def _ended(self) -> bool:
        return bool(self._status or self._error)

    def _end(self, code: int) -> None:
        """Tell the container's exit code from the runtime's own: only the latter comes with an error in the log."""
        words = self._launch.runtime.failure(self._launch.log) if code > 0 else ""
        # crun writes the pid before the last execve, which may still fail; any other error comes before there is one.
        if words and self._killed:
            self._status = ExitStatus(128 + signal.SIGKILL)  # it complains that we were quicker than it
        elif words and (self._launch.pid() is None or words.startswith("exec ")):
            self._error = self._launch.failed(words)
            self._error.stage = "start"  # although ``wait`` is the first that can raise it
        elif code > 0 and self._passed_on and self._launch.pid() is None:
            self._status = ExitStatus(128 + self._passed_on)  # runc's Go exits 2 where it cannot end by the signal
        else:
            self._status = ExitStatus(128 - code if code < 0 else code)


def has_ended(pidfd: int, timeout_s: float | None) -> bool:
    """Wait until the process of a pidfd has ended, at most ``timeout_s`` seconds."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else max(0, round(timeout_s * 1000))))


def send(pidfd: int, number: int) -> None:
    """Send a signal to the process of a pidfd; one that has ended gets none."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return
