"""What stays with a detached container: the shim starts it, it writes the log and has the end cleaned up after.

``python -P -m prun.engines.containerd.monitor BUNDLE LOG COMMAND...``, with the container's stdout and stderr as
descriptors 3 and 4; closing 5 lets the container be made.  An empty LOG keeps nothing.  It speaks no gRPC, so that it
stays small: that the process has ended it sees by itself, how, ``prun container cleanup`` asks.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from prun.identity import is_process, start_time

if TYPE_CHECKING:
    from types import FrameType

STREAMS = {3: b"stdout", 4: b"stderr"}
READY = 5
CHUNK_BYTES = 1 << 13
LINGER_S = 2.0  # what outlives the process may hold its streams for ever
_LOOK_MS = 20  # for the file that names the process: it comes a moment after the streams


def monitor_file(bundle: str) -> str:
    """Return the path of the file that says who the monitor is."""
    return os.path.join(bundle, "monitor.pid")


def process_file(bundle: str) -> str:
    """Return the path of the file that says which the container's process is."""
    return os.path.join(bundle, "pid")


def write_identity(path: str, pid: int) -> None:
    """Write down a process: its pid and its start time."""
    unfinished = f"{path}.part"
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(f"{pid} {start_time(pid) or 0}")
    os.rename(unfinished, path)


def read_identity(path: str) -> int | None:
    """Return the pid of the process that was written down, None where it is not there any more."""
    try:
        with open(path, encoding="ascii") as file:
            pid, started = map(int, file.read().split())
    except (FileNotFoundError, ValueError):
        return None
    return pid if is_process(pid, started) else None


class Log:
    """A log in the form of ``prun.logs``; without a path, none."""

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600) if path else -1

    def write(self, stream: bytes, data: bytes) -> None:
        """Write what came, a line each; the last one goes on in what comes next unless it has ended."""
        if self._fd < 0:
            return
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        now = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}+00:00".encode()
        pieces = data.split(b"\n")
        lines = [b"%s %s F %s\n" % (now, stream, piece) for piece in pieces[:-1]]
        if pieces[-1]:
            lines.append(b"%s %s P %s\n" % (now, stream, pieces[-1]))
        view = memoryview(b"".join(lines))
        while view:
            view = view[os.write(self._fd, view) :]


class Monitor:
    """The monitor of one container; ``told``: whoever deletes its task cleans up by himself."""

    def __init__(self, bundle: str, log: str) -> None:
        self._process_file, self._log = process_file(bundle), Log(log)
        self._open = set(STREAMS)
        self._pidfd = -1
        self.told = False
        self._woken, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGTERM, self._tell)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def carry(self) -> bool:
        """Write the log until the process has ended; False where there never was one."""
        while self._open and not os.path.exists(self._process_file):
            self._carry(_LOOK_MS)
        seen = os.path.exists(self._process_file)
        if pid := read_identity(self._process_file):
            self._pidfd = os.pidfd_open(pid)
        while self._pidfd >= 0 and not self.told:
            self._carry(None)
        deadline = time.monotonic() + LINGER_S
        while self._open and (left := deadline - time.monotonic()) > 0:
            self._carry(round(left * 1000) + 1)
        return seen

    def _tell(self, number: int, frame: FrameType | None) -> None:
        """Take SIGTERM: the task is being deleted."""
        self.told = True

    def _carry(self, timeout_ms: int | None) -> None:
        """Wait for something to happen, and write what has come."""
        poll = select.poll()
        for fd in (*self._open, self._woken, *([self._pidfd] if self._pidfd >= 0 else [])):
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(timeout_ms):
            if fd == self._pidfd:
                os.close(fd)
                self._pidfd = -1
            elif data := os.read(fd, CHUNK_BYTES):
                if fd in STREAMS:
                    self._log.write(STREAMS[fd], data)
            else:
                self._open.discard(fd)
                os.close(fd)


def main() -> None:
    """Be the monitor of a container."""
    bundle, log, *command = sys.argv[1:]
    monitor = Monitor(bundle, log)
    write_identity(monitor_file(bundle), os.getpid())
    os.close(READY)
    if monitor.carry() and not monitor.told:
        # In our place: whoever waits for the monitor waits until all is cleaned up, or sees that it deletes the task.
        null = os.open(os.devnull, os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
        os.posix_spawn(command[0], command, os.environ, file_actions=actions, setsid=True)


if __name__ == "__main__":
    main()
