"""Standard streams: inherited descriptors, pipes whose content is kept, or a connection to a task that lives."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Self, cast

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from prun.live import Attachment, ExecRequest, LiveTask
    from prun.types import RunRequest, Task

CHUNK_BYTES = 1 << 16


class Inherited:
    """The container reads and writes our own descriptors; without ``interactive`` its stdin is empty.

    Where ``attach`` names some of them only, what goes to the others is lost.
    """

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

    def follow(self) -> bool:
        return True

    def output(self) -> tuple[bytes, bytes]:
        return b"", b""


class Attached:
    """A task that outlives prun has streams of its own: here the caller's are connected to them, unless he leaves.

    ``detach``: he has left already.  Where ``attach`` names some of the streams only, the others are not carried.

    Raises:
        InvalidArgument: stdin is to be read, there is to be a terminal, and stdin is none.
    """

    stdin = stdout = stderr = -1

    def __init__(self, request: RunRequest | ExecRequest) -> None:
        if request.terminal and request.stdin is not None:
            raise InvalidArgument(
                "stdin was given as bytes, and a terminal was asked for", hint="leave one of them out"
            )
        reads = request.interactive and not request.detach and "stdin" in (request.attach or ("stdin",))
        if request.terminal and reads and not os.isatty(0):
            raise InvalidArgument("the input device is not a TTY", hint="leave out -t, or run prun in a terminal")
        self._request = request
        self._streams = request.attach or ("stdin", "stdout", "stderr")
        self._captured: dict[int, list[bytes]] = {1: [], 2: []}
        self._attachment: Attachment | None = None

    def __enter__(self) -> Self:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    @contextmanager
    def attach(self, task: Task) -> Iterator[object]:
        if self._request.detach:
            yield self
            return
        with cast("LiveTask", task).attach() as self._attachment:
            if self._request.terminal:
                from prun.carrying import resize_to_own

                resize_to_own(self._attachment)
            yield self

    def follow(self) -> bool:
        """Carry until the container has closed its streams, or the caller leaves."""
        if self._attachment is None:
            return False
        from prun.carrying import Caller, carry
        from prun.request.lifecycle import DETACH_KEYS, key_codes

        request = self._request
        stdin = request.stdin if request.stdin is not None or not request.interactive else 0
        keys = key_codes(DETACH_KEYS if request.detach_keys is None else request.detach_keys)
        wanted = stdin if "stdin" in self._streams else None
        return carry(
            self._attachment, Caller(wanted, self._deliver, request.terminal, keys if request.terminal else b"")
        )

    def output(self) -> tuple[bytes, bytes]:
        return b"".join(self._captured[1]), b"".join(self._captured[2])

    def _deliver(self, stream: int, data: bytes) -> None:
        if ("stdout", "stderr")[stream - 1] not in self._streams:
            return
        if self._request.capture:
            self._captured[stream].append(data)
            return
        from prun.carrying import write_to_own

        write_to_own(stream, data)


class Captured:
    """The container writes to pipes, whose content is kept; ``data`` is what it can read from its stdin.

    Where ``attach`` names some of the streams only, what goes to the others is lost.
    """

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

    def follow(self) -> bool:
        return True

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
