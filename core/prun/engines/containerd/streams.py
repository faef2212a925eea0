"""The standard streams of a process as FIFOs, which its shim has open at the other end (seed S18).

The shim opens them when the process is made, and holds both ends of each: its output does not end, nor block, when
prun goes, and our end of its stdin is no end of file for it.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Self

from prun.errors import PrunError
from prun.live import STDERR, STDOUT
from prun_protos.containerd.v1.api_pb2 import CloseIO, ResizePty

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from prun.engines.containerd.client import Client

CHUNK_BYTES = 1 << 16
LINGER_S = 2.0  # what something that outlives the process may still write
_LOOK_MS = 250
_END_OF_TRANSMISSION = b"\x04"


class Fifos(NamedTuple):
    """The paths of the FIFOs of one process, empty where it has none: stdin is ``/dev/null`` then."""

    stdin: str
    stdout: str
    stderr: str


def make_fifos(directory: str, *, terminal: bool, reads: bool) -> Fifos:
    """Make FIFOs in a directory of our own, which is removed with what is in it; a terminal has no separate stderr."""
    names = ("stdin" if reads else "", "stdout", "" if terminal else "stderr")
    fifos = Fifos(*(os.path.join(directory, name) if name else "" for name in names))
    for path in filter(None, fifos):
        os.mkfifo(path, 0o600)
    return fifos


class FifoAttachment:
    """Our ends of the FIFOs of one process (contract: ``prun.live.Attachment``).

    Made before the process, since the shim waits for who reads.  ``has_ended`` tells whether the process has: what
    outlives it may keep its streams open for ever.
    """

    def __init__(self, client: Client, container_id: str, exec_id: str, fifos: Fifos, *, terminal: bool) -> None:
        self._client, self._container_id, self._exec_id = client, container_id, exec_id
        self._fifos, self._terminal = fifos, terminal
        self._stdin = -1
        self._woken, self._waker = os.pipe()
        self.has_ended: Callable[[], bool] = lambda: False
        self._stopped = False
        pairs = ((STDOUT, fifos.stdout), (STDERR, fifos.stderr))
        self._open = {
            os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC): stream for stream, path in pairs if path
        }

    def receive(self) -> tuple[int, bytes] | None:
        quiet_ms = 0
        while self._open and not self._stopped:
            ready = self._ready(_LOOK_MS)
            if self._woken in ready:
                return None
            for fd in ready:
                with suppress(BlockingIOError):
                    if data := os.read(fd, CHUNK_BYTES):
                        return self._open[fd], data
                    del self._open[fd]
                    os.close(fd)
            quiet_ms = 0 if ready else quiet_ms + _LOOK_MS
            if quiet_ms >= LINGER_S * 1000 and self.has_ended():
                return None
        return None

    def send(self, data: bytes) -> None:
        if not self._fifos.stdin:
            return
        if self._stdin < 0:
            self._stdin = os.open(self._fifos.stdin, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        view = memoryview(data)
        while view:
            poll = select.poll()
            poll.register(self._stdin, select.POLLOUT)
            poll.register(self._woken, select.POLLIN)
            ready = dict(poll.poll(_LOOK_MS))
            if self._woken in ready or (not ready and self.has_ended()):
                raise BrokenPipeError("the process has ended")  # the shim would keep the FIFO open still
            with suppress(BlockingIOError):
                view = view[os.write(self._stdin, view) :] if ready else view

    def end_input(self) -> None:
        if self._terminal:  # the shim would hang up
            self.send(_END_OF_TRANSMISSION)
            return
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1
        if self._fifos.stdin:
            request = CloseIO(container_id=self._container_id, exec_id=self._exec_id, stdin=True)
            with suppress(PrunError):  # it has ended
                self._client.tell("tasks.v1.Tasks/CloseIO", request)

    def resize(self, rows: int, columns: int) -> None:
        if not self._terminal or not rows or not columns:
            return
        request = ResizePty(container_id=self._container_id, exec_id=self._exec_id, height=rows, width=columns)
        with suppress(PrunError):  # it is not there yet, or has ended
            self._client.tell("tasks.v1.Tasks/ResizePty", request)

    def stop(self) -> None:
        self._stopped = True
        os.write(self._waker, b"\0")

    def close(self) -> None:
        """Let go of our ends."""
        fds = [*self._open, *(fd for fd in (self._stdin, self._woken, self._waker) if fd >= 0)]
        self._open, self._stdin, self._woken, self._waker = {}, -1, -1, -1
        for fd in fds:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self, timeout_ms: int) -> list[int]:
        poll = select.poll()
        for fd in (*self._open, self._woken):
            poll.register(fd, select.POLLIN)
        return [fd for fd, _ in poll.poll(timeout_ms)]
