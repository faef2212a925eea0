"""The task of a container that another prun made, and may have left behind when it was killed.

Nothing is needed but the container's id and its state directory: the OCI runtime's own state, the command line of a
runtime process that still runs, and the container's cgroups say the rest.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, Unavailable
from prun.types import ExitStatus
from prun_linux import cgroups
from prun_linux.isolation import CGROUP_PARENT
from prun_linux.oci import BINARIES, OciRuntime, open_runtime
from prun_linux.task import END_TIMEOUT_S, has_ended, send

if TYPE_CHECKING:
    from prun.types import Container

UNKNOWN = ExitStatus(255)
EXECVE_MS = 1000  # no execve takes that long


class LeftoverTask:
    """Found again by its id.

    ``wait`` returns 255 (as podman does): the exit status went to the process that started it.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._runtime = _runtime_of(container)

    @property
    def pid(self) -> int | None:
        state = self._runtime.state(self._container.id) if self._runtime else {}
        pid = state.get("pid")
        return pid if isinstance(pid, int) and state.get("status") != "stopped" and pid > 0 else None

    def start(self) -> None:
        if self._runtime is None:
            raise FailedPrecondition(f"container {self._container.id} is not created")
        log = os.path.join(self._container.bundle, "log.json")
        if words := self._runtime.call("start", self._container.id, log=log):
            raise Unavailable(f"{self._runtime.name} could not start the container: {words}")

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        pid = self.pid
        if pid is None:
            return UNKNOWN
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return UNKNOWN
        try:
            # Asked again, because the pid could have become another process's before it was opened.
            return UNKNOWN if self.pid != pid or has_ended(pidfd, timeout_s) else None
        finally:
            os.close(pidfd)

    def kill(self, number: int) -> None:
        runtime, container_id = self._runtime, self._container.id
        if runtime and not runtime.kill(container_id, number) and self.pid is not None:
            raise Unavailable(f"{runtime.name} could not send signal {number} to container {container_id}")

    def delete(self) -> None:
        """Kill the container, and a runtime process in whose foreground it runs; remove its state and its cgroups."""
        known = self._runtime and self._runtime.kill(self._container.id, signal.SIGKILL)
        for pidfd in _runtime_processes(self._container):
            # It cleans up by itself when its container ends.  Where there is none yet, there shall be none.
            if not (known and has_ended(pidfd, END_TIMEOUT_S)):
                send(pidfd, signal.SIGKILL)
                has_ended(pidfd, END_TIMEOUT_S)
            os.close(pidfd)
        if self._runtime is None:
            self._runtime = _runtime_of(self._container)  # the process may have come so far just before it was killed
        if self._runtime:
            self._runtime.delete(self._container.id)
        cgroups.remove(_cgroups_path(self._container))


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


def _runtime_processes(container: Container) -> list[int]:
    """Return pidfds of runtime processes of ours that were called to run or create this very bundle."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and _is_runtime_process(name, container):
            try:
                pidfd = os.pidfd_open(int(name))
            except ProcessLookupError:
                continue
            if _is_runtime_process(name, container):  # still: the pid could have become another's
                found.append(pidfd)
            else:
                os.close(pidfd)
    return found


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
