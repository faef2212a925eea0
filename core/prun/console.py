"""Standard streams without a terminal: inherited descriptors, or pipes whose content is kept."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from prun.types import Task

CHUNK_BYTES = 1 << 16


class Inherited:
    """The container reads and writes our own descriptors; without ``interactive`` its stdin is empty.

    Where ``attach`` names some of them only, what goes to the others is lost.
    """

    socket = ""

    def __init__(self, *, interactive: bool, attach: Sequence[str] = ()) -> None:
        self._carried = (interactive, not attach or "stdout" in attach, not attach or "stderr" in attach)
        self._null = -1
        self.stdin, self.stdout, self.stderr = 0, 1, 2

    def __enter__(self) -> Self:
        # What was printed before must come before what the container prints.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        if not all(self._carried):
            self._null = os.open(os.devnull, os.O_RDWR)
        own = zip((0, 1, 2), self._carried, strict=True)
        self.stdin, self.stdout, self.stderr = (number if carried else self._null for number, carried in own)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._null >= 0:
            os.close(self._null)
            self._null = -1

    def attach(self, task: Task) -> AbstractContextManager[object]:
        return nullcontext()

    def output(self) -> tuple[bytes, bytes]:
        return b"", b""


class Captured:
    """The container writes to pipes, whose content is kept; ``data`` is what it can read from its stdin.

    Where ``attach`` names some of the streams only, what goes to the others is lost.
    """

    socket = ""

    def __init__(self, data: bytes = b"", *, attach: Sequence[str] = ()) -> None:
        self._data = data
        self._attach = attach or ("stdout", "stderr")
        self._open: list[int] = []
        self._out: list[bytes] = []
        self._err: list[bytes] = []

    def __enter__(self) -> Self:
        self.stdin, self._feed = self._pipe()
        self._read_out, self.stdout = self._pipe()
        self._read_err, self.stderr = self._pipe()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in list(self._open):
            self._close(fd)

    @contextmanager
    def attach(self, task: Task) -> Iterator[object]:
        readers = [
            _thread(lambda: self._collect(self._read_out, self._out)),
            _thread(lambda: self._collect(self._read_err, self._err)),
        ]
        writer = _thread(self._write)
        try:
            yield self
        finally:
            # Ours were the last copies: the readers see the end once the container's are gone too.
            for fd in (self.stdin, self.stdout, self.stderr):
                self._close(fd)
            for thread in (*readers, writer):
                thread.join()

    def output(self) -> tuple[bytes, bytes]:
        kept = (("stdout", self._out), ("stderr", self._err))
        out, err = (b"".join(chunks) if name in self._attach else b"" for name, chunks in kept)
        return out, err

    def _pipe(self) -> tuple[int, int]:
        pair = os.pipe()
        self._open += pair
        return pair

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.remove(fd)
            os.close(fd)

    def _collect(self, fd: int, into: list[bytes]) -> None:
        while chunk := os.read(fd, CHUNK_BYTES):
            into.append(chunk)

    def _write(self) -> None:
        view = memoryview(self._data)
        try:
            while view:
                view = view[os.write(self._feed, view) :]
        except BrokenPipeError:
            pass  # the process ended without reading all of it, as any reader may
        finally:
            self._close(self._feed)


def _thread(target: Callable[[], None]) -> threading.Thread:
    import threading

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread
