"""The task of a container that lives without us: that another prun made, or that this one makes to outlive it.

Nothing is needed but the container's id and its state directory: what its monitor has written into the bundle, the OCI
runtime's own state, the command line of a runtime process that still runs, and the container's cgroups say the rest.
"""

from __future__ import annotations

import json
import os
import signal
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, Unavailable
from prun.identity import start_time
from prun.types import Container, ExitStatus
from prun_linux import cgroups, monitor
from prun_linux.attachment import ConmonAttachment
from prun_linux.isolation import CGROUP_PARENT
from prun_linux.oci import BINARIES, OciRuntime, open_runtime
from prun_linux.task import END_TIMEOUT_S, has_ended, send

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prun.live import Attachment, ExecRequest, Session, TaskStats
    from prun.request.resources import Resources
    from prun.spec.document import Process
    from prun.types import Console, RunRequest
    from prun_linux.task import Launch

UNKNOWN = ExitStatus(255)
EXECVE_MS = 1000  # no execve takes that long


class LoadedTask:
    """Found again by its id (contract: ``prun.live.LiveTask``).

    Without a monitor ``wait`` returns 255 (as podman does): the exit status went to the process that started it.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._runtime = _runtime_of(container)

    @property
    def pid(self) -> int | None:
        found = self._container
        if found.pid and found.start_time:
            return found.pid if start_time(found.pid) == found.start_time else None
        state = self._runtime.state(found.id) if self._runtime else {}
        pid = state.get("pid")
        return pid if isinstance(pid, int) and state.get("status") != "stopped" and pid > 0 else None

    @property
    def start_time(self) -> int | None:
        return start_time(self.pid or 0) if self.pid else None

    @property
    def monitor_pid(self) -> int | None:
        return monitor.pid_of(self._container.bundle)

    def start(self) -> None:
        if self._runtime is None:
            raise FailedPrecondition(f"container {self._container.id} is not created")
        log = os.path.join(self._container.bundle, "log.json")
        if words := self._runtime.call("start", self._container.id, log=log):
            raise Unavailable(f"{self._runtime.name} could not start the container: {words}")

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        if (pidfd := self._open()) is not None:
            try:
                if not has_ended(pidfd, timeout_s):
                    return None
            finally:
                os.close(pidfd)
        return self._written_down()

    def exited(self) -> ExitStatus | None:
        return monitor.exit_status(self._container.bundle)

    @property
    def timed_out(self) -> bool:
        return monitor.timed_out(self._container.bundle)

    def out_of_memory(self) -> bool:
        return os.path.exists(os.path.join(self._container.bundle, "oom"))

    def kill(self, number: int) -> None:
        if (pidfd := self._open()) is not None:
            try:
                send(pidfd, number)
            finally:
                os.close(pidfd)

    def attach(self) -> Attachment:
        if not monitor.is_there(self._container.bundle):
            raise FailedPrecondition(
                f"the streams of container {self._container.id[:12]} are those of the prun that runs it",
                hint="run it with --detach, or without --rm, to attach to it and to have a log",
            )
        return ConmonAttachment(self._container.bundle)

    def exec(self, request: ExecRequest, directory: str, console: Console) -> Session:
        from prun_linux import session

        runtime, pid = self._reached()
        place = session.Place(runtime, self._container.id, self._container.bundle, directory, pid)
        return session.prepared(request, place, console)

    def process(self, request: ExecRequest) -> Process:
        """Return the process to be executed, for an engine that executes it (``prun.services.InsideView``)."""
        from prun_linux.process import process_of

        if (pid := self.pid) is None:
            raise FailedPrecondition(f"container {self._container.id[:12]} is not running")
        return process_of(request, self._container.bundle, pid)

    def session(self, directory: str) -> Session:
        from prun_linux.session import FoundSession

        return FoundSession(directory, self._container.id, self.pid)

    def pause(self) -> None:
        self._tell("pause")

    def resume(self) -> None:
        self._tell("resume")

    def stats(self) -> TaskStats:
        from prun_linux import stats

        pid = self.pid or self._reached()[1]  # an engine's is recorded, and no OCI runtime of ours knows it
        return stats.read(_cgroups_path(self._container), pid)

    def update(self, resources: Resources) -> None:
        from prun_linux.updating import runtime_document

        runtime, _ = self._reached()
        document = runtime_document(resources, _cgroups_path(self._container), runtime.binary)
        path = os.path.join(self._container.bundle, "update.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(document, file)
        try:
            self._tell("update", "--resources", path)
        finally:
            os.unlink(path)

    def pids(self) -> list[int]:
        return cgroups.pids(_cgroups_path(self._container)) or ([self.pid] if self.pid else [])

    def probe(self, words: Sequence[str], timeout_s: float) -> tuple[int | None, bytes]:
        from prun_linux.probe import probe

        runtime, _ = self._reached()
        return probe(runtime, self._container, words, timeout_s)

    def delete(self) -> None:
        """Kill the container, and a runtime process in whose foreground it runs; remove its state and its cgroups."""
        if self.exited() is None:
            self._end_makers()
        if self._runtime is None:
            self._runtime = _runtime_of(self._container)  # the process may have come so far just before it was killed
        if self._runtime:
            self._runtime.delete(self._container.id)
        cgroups.remove(_cgroups_path(self._container))

    def _end_makers(self) -> None:
        """End a monitor that would still make the container, or write into its bundle, and what runs it or makes it."""
        while monitors := _processes(self._container, _is_monitor):  # it forks when it starts
            _end(monitors, 0.0)
        known = self._runtime and self._runtime.kill(self._container.id, signal.SIGKILL)
        # It cleans up by itself when its container ends.  Where there is none yet, there shall be none.
        _end(_processes(self._container, _is_runtime_process), END_TIMEOUT_S if known else 0.0)

    def _open(self) -> int | None:
        """Return a pidfd of the container's process, None when it has ended."""
        pid = self.pid
        if pid is None:
            return None
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        if self.pid == pid:  # asked again: it could have become another process's before it was opened
            return pidfd
        os.close(pidfd)
        return None

    def _written_down(self) -> ExitStatus:
        """Return the exit status of a process that has ended; a monitor writes it down a moment later."""
        bundle = self._container.bundle
        deadline = time.monotonic() + END_TIMEOUT_S
        while (status := monitor.exit_status(bundle)) is None and monitor.pid_of(bundle):
            if time.monotonic() > deadline:
                break
            time.sleep(0.001)
        return status or monitor.exit_status(bundle) or UNKNOWN

    def _tell(self, verb: str, *options: str) -> None:
        container_id = self._container.id
        runtime, _ = self._reached()
        log = os.path.join(self._container.bundle, "log.json")
        if words := runtime.call(verb, *options, container_id, log=log):
            raise Unavailable(f"{runtime.name} could not {verb} container {container_id[:12]}: {words}")

    def _reached(self) -> tuple[OciRuntime, int]:
        """Return the OCI runtime and the pid of what runs; a container that is just being created gets the time.

        Raises:
            FailedPrecondition: it does not run.
        """
        container = self._container
        deadline = time.monotonic() + END_TIMEOUT_S
        while True:
            self._runtime = self._runtime or _runtime_of(container)
            if self._runtime and (pid := self.pid):
                return self._runtime, pid
            if not _is_in_runtime(container) or time.monotonic() > deadline:
                raise FailedPrecondition(f"container {container.id[:12]} is not running")
            time.sleep(0.005)


class MonitoredTask(LoadedTask):
    """A container that conmon creates for us now; it stays when this prun ends, unless ``delete`` is called."""

    def __init__(self, launch: Launch, request: RunRequest) -> None:
        state, options = os.path.dirname(launch.runtime.root), {"binary": launch.runtime.binary}
        self._launch = launch
        self._started = self._deleted = False
        self._early: list[int] = []
        made = Container(launch.id, "linux", launch.bundle, "", state, options=options)
        try:
            pid = monitor.spawn(launch, request, lambda: _is_in_runtime(made))
        except BaseException:
            LoadedTask(made).delete()
            self._wait_for_monitor()
            raise
        super().__init__(made._replace(pid=pid, start_time=start_time(pid) or 0))

    def start(self) -> None:
        if self._started:
            raise FailedPrecondition(f"container {self._launch.id} has been started already")
        self._launch.start_created()
        self._started = True
        for number in self._early:
            self.kill(number)

    def kill(self, number: int) -> None:
        if not self._started and number != signal.SIGKILL:
            self._early.append(number)  # the process is the runtime's yet: it would not know what to do with it
        else:
            super().kill(number)

    def delete(self) -> None:
        if self._deleted:
            return
        super().delete()
        self._wait_for_monitor()
        self._deleted = True

    def _wait_for_monitor(self) -> None:
        """Wait until conmon is gone; it goes by itself when the container has ended."""
        pid = monitor.pid_of(self._launch.bundle)
        if pid is None:
            return
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if monitor.pid_of(self._launch.bundle) == pid and not has_ended(pidfd, END_TIMEOUT_S):
                send(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


def _cgroups_path(container: Container) -> str:
    """Return the container's cgroup from its bundle's config.json (``--cgroup-parent``); the usual one without it."""
    try:
        with open(os.path.join(container.bundle, "config.json"), encoding="utf-8") as file:
            path = str(json.load(file)["linux"]["cgroupsPath"])
    except (OSError, ValueError, LookupError, TypeError):  # gone already, or not yet written to its end
        path = ""
    # Whatever is there gets killed: it must be this container's.  "prun-" is in a cgroup delegated to the user.
    names = (f"/{container.id}", f"/prun-{container.id}")
    known = path.startswith("/") and path.endswith(names) and ".." not in path.split("/")
    return path if known else f"{CGROUP_PARENT}/{container.id}"


def _runtime_of(container: Container) -> OciRuntime | None:
    """Return the OCI runtime that holds state of the container, None when none does."""
    for name in dict.fromkeys((container.options.get("binary", ""), *BINARIES)):
        if name and os.path.lexists(os.path.join(container.state, os.path.basename(name), container.id)):
            return open_runtime(name, container.state)
    return None


def _processes(container: Container, is_one: Callable[[str, Container], bool]) -> list[int]:
    """Return pidfds of the processes of ours that are such processes of this very bundle."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and is_one(name, container):
            try:
                pidfd = os.pidfd_open(int(name))
            except ProcessLookupError:
                continue
            if is_one(name, container):  # still: the pid could have become another's
                found.append(pidfd)
            else:
                os.close(pidfd)
    return found


def _is_in_runtime(container: Container) -> bool:
    """Tell whether a process of an OCI runtime is at work on the container, or runs it."""
    found = _processes(container, _is_runtime_process)
    for pidfd in found:
        os.close(pidfd)
    return bool(found)


def _end(pidfds: list[int], patience_s: float) -> None:
    """Wait for processes to end by themselves, then kill them."""
    for pidfd in pidfds:
        if not has_ended(pidfd, patience_s):
            send(pidfd, signal.SIGKILL)
            has_ended(pidfd, END_TIMEOUT_S)
        os.close(pidfd)


def _is_monitor(pid: str, container: Container) -> bool:
    """Tell whether it is the container's conmon, or one's child that is not the runtime yet."""
    try:
        mine = os.stat(f"/proc/{pid}").st_uid == os.geteuid()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read(1 << 16).split(b"\0") if mine else []
    except OSError:
        return False
    pairs = list(pairwise(line))
    own = [(b"--cid", os.fsencode(container.id)), (b"--bundle", os.fsencode(container.bundle))]
    return os.path.basename(line[0] if line else b"") == b"conmon" and all(pair in pairs for pair in own)


def _is_runtime_process(pid: str, container: Container) -> bool:
    try:
        mine = os.stat(f"/proc/{pid}").st_uid == os.geteuid()
        line = _command_line(pid, container) if mine else []
    except OSError:
        return False  # it has ended
    words = [b"--bundle", os.fsencode(container.bundle)]
    return line[-1:] == [os.fsencode(container.id)] and words in (line[i : i + 2] for i in range(len(line)))


def _command_line(pid: str, container: Container) -> list[bytes]:
    """Return the arguments of a process; of a runtime that is just being executed, as soon as it has some.

    Inside execve(2) there is a time with the new program and no arguments yet.
    """
    names = {os.path.basename(container.options.get("binary", "")), *BINARIES}
    for _ in range(EXECVE_MS):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read(1 << 16).rstrip(b"\0")
        if line or os.path.basename(os.readlink(f"/proc/{pid}/exe")) not in names:
            return line.split(b"\0")
        time.sleep(0.001)
    return []
