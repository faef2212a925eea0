"""One more process in a container that runs: ``RUNTIME exec``, our child, or with a terminal or detached a conmon's.

A session has a directory of its own, so that nothing of it is in the container's bundle:

    process.json  what is executed     log.json  the runtime's words      pid   the process
    conmon.pid, exit, attach, ctl      as in a bundle, see ``prun_linux.monitor``

runc gives the process the umask that it has itself (1.1.5; its ``run`` and crun that of ``process.user``).
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import FailedPrecondition, Unavailable
from prun.identity import start_time
from prun.types import ExitStatus
from prun_linux import monitor
from prun_linux.attachment import ConmonAttachment
from prun_linux.oci import UMASK
from prun_linux.process import process_of
from prun_linux.refused import failed
from prun_linux.task import END_TIMEOUT_S, has_ended, send

if TYPE_CHECKING:
    import subprocess

    from prun.errors import PrunError
    from prun.live import Attachment, ExecRequest, Session
    from prun.types import Console
    from prun_linux.oci import OciRuntime

UNKNOWN = ExitStatus(255)
_FAILED = 255  # of both runtimes, where they did not come to execute the command
_LINE_BYTES = 1 << 16
# A prun that has the directory locked does by itself what the exit command does, which locks it, too.
_UNLESS_LOCKED = 'flock -n "$0/." true || exit 0; exec "$@"'


class Place(NamedTuple):
    """Where to execute a process: in the container whose first one is ``pid``; ``directory`` is for its files."""

    runtime: OciRuntime
    container_id: str
    bundle: str
    directory: str
    pid: int

    @property
    def log(self) -> str:
        return os.path.join(self.directory, "log.json")

    @property
    def has_user_namespace(self) -> bool:
        return os.readlink(f"/proc/{self.pid}/ns/user") != os.readlink("/proc/self/ns/user")

    def failed(self, words: str, command: str) -> PrunError:
        return failed(words, command, self.runtime.name, "the process")


def prepared(request: ExecRequest, place: Place, console: Console) -> Session:
    """Write down what is to be executed, and get ready to do so; raises as ``process_of``."""
    process = process_of(request, place.bundle, place.pid)
    path = os.path.join(place.directory, "process.json")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(process))
    umask = process["user"].get("umask", UMASK)
    if request.monitored:
        return MonitoredSession(request, place, umask)
    return DirectSession(request, place, umask, console)


class FoundSession:
    """A session of which nothing is known but its directory (contract: ``prun.live.Session``)."""

    def __init__(self, directory: str, container_id: str, init: int | None) -> None:
        self._directory, self._container_id, self._init = directory, container_id, init

    @property
    def pid(self) -> int | None:
        """Its process, if that is one of the container, and as old as the file that names it."""
        path = os.path.join(self._directory, "pid")
        try:
            with open(path, encoding="ascii") as file:
                pid = int(file.read())
            written = os.stat(path).st_mtime
            with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
                is_of_container = self._container_id in file.read()
        except (OSError, ValueError):
            return None
        started = start_time(pid)
        if started is None or not (is_of_container or _same_namespace(pid, self._init)):
            return None
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
        return pid if time.time() - age <= written + 1 else None

    @property
    def monitor_pid(self) -> int | None:
        return monitor.pid_of(self._directory)

    def start(self) -> None:
        raise FailedPrecondition("the process has been started already")

    def exited(self) -> ExitStatus | None:
        return monitor.exit_status(self._directory)

    def leave(self) -> None:
        return

    def attach(self) -> Attachment:
        return ConmonAttachment(self._directory)

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        pidfd = _opened(self.pid)
        if pidfd is not None:
            try:
                if not has_ended(pidfd, timeout_s):
                    return None
            finally:
                os.close(pidfd)
        return monitor.exit_status(self._directory) or UNKNOWN

    def kill(self, number: int) -> None:
        if (pidfd := _opened(self.pid)) is not None:
            try:
                send(pidfd, number)
            finally:
                os.close(pidfd)

    def delete(self) -> None:
        self.kill(signal.SIGKILL)
        self._let_monitor_go()

    def _let_monitor_go(self) -> None:
        """Wait for conmon, which ends with the process."""
        pid = self.monitor_pid
        if (pidfd := _opened(pid)) is not None:
            try:
                if self.monitor_pid == pid and not has_ended(pidfd, END_TIMEOUT_S):
                    send(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)


class DirectSession(FoundSession):
    """``RUNTIME exec`` as our child, on the console's descriptors; it passes signals on to the process."""

    def __init__(self, request: ExecRequest, place: Place, umask: int, console: Console) -> None:
        super().__init__(place.directory, place.container_id, place.pid)
        self._request, self._place, self._umask, self._console = request, place, umask, console
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._early: list[int] = []
        self._status: ExitStatus | None = None
        self._error: PrunError | None = None

    def start(self) -> None:
        place, console = self._place, self._console
        words = ["exec", "--process", os.path.join(place.directory, "process.json")]
        words += ["--pid-file", os.path.join(place.directory, "pid")]
        if self._request.preserve_fds:
            words += ["--preserve-fds", str(self._request.preserve_fds)]
        with ExitStack() as stack:
            streams = (console.stdin, console.stdout, console.stderr)
            if place.runtime.name == "crun" and place.has_user_namespace:
                from prun_linux.streams import guarded

                streams = stack.enter_context(guarded(streams))
            self._process = place.runtime.spawn(
                [*words, place.container_id],
                log=place.log,
                stdio=streams,
                preserve_fds=self._request.preserve_fds,
                bound=True,
                umask=self._umask,
            )
        self._pidfd = os.pidfd_open(self._process.pid)
        for number in self._early:
            self.kill(number)

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        if self._process is None:
            raise FailedPrecondition("the process has not been started")
        if self._status is None and self._error is None:
            if not has_ended(self._pidfd, timeout_s):
                return None
            self._end(self._process.wait())
        if self._error:
            raise self._error
        return self._status

    def kill(self, number: int) -> None:
        if self._process is None:
            self._early.append(number)
        elif self._status is None and self._error is None:
            if number == signal.SIGKILL:  # which the runtime could not pass on
                super().kill(number)
            else:
                send(self._pidfd, number)

    def leave(self) -> None:
        raise FailedPrecondition("the process is ours: nobody else would wait for it")

    def delete(self) -> None:
        if self._process is None:
            return
        if self._status is None and self._error is None:
            super().kill(signal.SIGKILL)
            if not has_ended(self._pidfd, 1.0):  # there was no process yet
                self._process.kill()
            self._end(self._process.wait())
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _end(self, code: int) -> None:
        words = self._place.runtime.failure(self._place.log) if code == _FAILED else ""
        if words:
            self._error = self._place.failed(words, self._request.args[0])
        else:
            self._status = ExitStatus(128 - code if code < 0 else code)


class MonitoredSession(FoundSession):
    """``RUNTIME exec`` by a conmon of its own, which keeps its streams and its exit code; it may outlive us."""

    def __init__(self, request: ExecRequest, place: Place, umask: int) -> None:
        super().__init__(place.directory, place.container_id, place.pid)
        self._request, self._place, self._umask = request, place, umask
        self._waits = not request.detach  # for our connection, before it starts anything
        self._early: list[int] = []
        self._started = False
        self._status: ExitStatus | None = None
        self._said = self._start_pipe = self._opened = -1
        if self._waits:
            try:
                self._spawn()
            except BaseException:
                self.leave()  # it ends when nobody tells it to start
                raise

    def start(self) -> None:
        if self._waits:
            os.write(self._start_pipe, b"\0")
        else:
            self._spawn()
        answer = self._answer()
        pid = answer.get("data", -1)
        if not isinstance(pid, int) or pid <= 0:
            words = self._place.runtime.failure(self._place.log) or str(answer.get("message", "")) or "conmon has ended"
            raise self._place.failed(words, self._request.args[0])
        self._started = True
        for number in self._early:
            self.kill(number)

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        if self._status is None:
            if not select.select([self._said], [], [], timeout_s)[0]:
                return None
            code = self._answer().get("data")
            known = monitor.exit_status(self._directory)
            self._status = known or (ExitStatus(code) if isinstance(code, int) and code >= 0 else UNKNOWN)
        return self._status

    def kill(self, number: int) -> None:
        if self._started:
            super().kill(number)
        else:
            self._early.append(number)

    def delete(self) -> None:
        self._started = True
        if self._status is None:
            FoundSession.kill(self, signal.SIGKILL)
        self.leave()
        self._let_monitor_go()

    def leave(self) -> None:
        """Let go of conmon, which stays."""
        for fd in (self._start_pipe, self._said, self._opened):
            if fd >= 0:
                os.close(fd)
        self._start_pipe = self._said = self._opened = -1

    def _answer(self) -> dict[str, object]:
        """Return the next line that conmon says; an empty answer where it is gone."""
        line = bytearray()
        while not line.endswith(b"\n") and len(line) < _LINE_BYTES and (piece := os.read(self._said, 1)):
            line += piece
        return monitor.parsed(bytes(line))

    def _spawn(self) -> None:
        """Start conmon; with ``_waits`` it listens for us when this returns, and the process is not there yet."""
        place = self._place
        with ExitStack() as stack:
            theirs: dict[str, int] = {}
            self._said, theirs["_OCI_SYNCPIPE"] = os.pipe()
            if self._waits:
                theirs["_OCI_STARTPIPE"], self._start_pipe = os.pipe()
                listening, theirs["_OCI_ATTACHPIPE"] = os.pipe()
                stack.callback(os.close, listening)
            with ExitStack() as inherited:
                for fd in theirs.values():
                    inherited.callback(os.close, fd)
                self._opened = os.open(place.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                process = monitor.started(self._words(), self._opened, theirs, self._request.preserve_fds)
            if self._waits:
                os.write(self._start_pipe, b"\0")  # it waits for this once before it forks, and once after
            if code := process.wait():  # the one that forks
                raise Unavailable(f"conmon exited with {code}")
            if self._waits:
                os.read(listening, _LINE_BYTES)

    def _words(self) -> list[str]:
        place, request, directory = self._place, self._request, self._place.directory
        runtime = monitor.runtime_words(
            place.runtime, place.log, directory, terminal=request.terminal, user_namespace=place.has_user_namespace
        )
        if self._umask != UMASK:  # of the runtime only: conmon and what it executes at the end write files of ours
            runtime = ["/bin/sh", "-c", 'umask "$0"; exec "$@"', f"{self._umask:04o}", *runtime]
        binary, *for_runtime = runtime
        words = [monitor.find_conmon(), "--api-version", "1", "--cid", place.container_id, "--cuuid", request.id]
        words += ["--name", place.container_id, "--runtime", binary, *(f"--runtime-arg={word}" for word in for_runtime)]
        words += ["--bundle", directory, "--persist-dir", directory, "--full-attach", "--log-path", "none:"]
        words += ["--container-pidfile", os.path.join(directory, "pid")]
        words += ["--conmon-pidfile", os.path.join(directory, "conmon.pid")]
        words += ["--exec", "--exec-process-spec", os.path.join(directory, "process.json")]
        words += ["--exec-attach"] if self._waits else []
        if request.preserve_fds:
            words += [f"--runtime-opt=--preserve-fds={request.preserve_fds}"]
        words += ["--terminal"] if request.terminal else []
        arguments = ("-c", _UNLESS_LOCKED, directory, *request.exit_command)
        return [*words, "--exit-command", "/bin/sh", *(f"--exit-command-arg={word}" for word in arguments)]


def _opened(pid: int | None) -> int | None:
    """Return a pidfd, None where there is no process."""
    try:
        return os.pidfd_open(pid) if pid else None
    except ProcessLookupError:
        return None


def _same_namespace(pid: int, other: int | None) -> bool:
    """Tell whether two processes share a pid namespace that is not ours."""
    try:
        own, its, others = (os.readlink(f"/proc/{each}/ns/pid") for each in ("self", pid, other))
    except OSError:
        return False
    return its == others != own
