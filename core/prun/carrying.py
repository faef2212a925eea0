"""Carry between the streams of a process that lives and the caller's own."""

from __future__ import annotations

import os
import select
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from prun.detach import KeySequence
from prun.live import STDERR, STDOUT

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from types import FrameType

    from prun.live import Attachment

CHUNK_BYTES = 1 << 16
STDIN = 0


class Caller(NamedTuple):
    """The caller's side.

    ``stdin``: a descriptor, what the process shall read, or None where it gets nothing.  ``deliver`` takes what it
    writes.  ``terminal``: it has one, which is kept as large as the caller's.  ``keys``, codes, are what the caller
    leaves with; empty for none.
    """

    stdin: int | bytes | None
    deliver: Callable[[int, bytes], None]
    terminal: bool = False
    keys: bytes = b""


def write_to_own(stream: int, data: bytes) -> None:
    """Write what came to our own stdout or stderr."""
    view = memoryview(data)
    while view:
        view = view[os.write(stream, view) :]


def resize_to_own(attachment: Attachment) -> None:
    """Give the process's terminal the size of ours, if we have one."""
    import termios

    terminal = next((fd for fd in (STDOUT, STDIN, STDERR) if os.isatty(fd)), None)
    if terminal is not None:
        with suppress(termios.error):  # it is gone, and SIGHUP will say so
            attachment.resize(*termios.tcgetwinsize(terminal))


def carry(attachment: Attachment, caller: Caller) -> bool:
    """Carry until the process has closed its streams; False when the caller leaves before, with his terminal restored.

    Two threads, so that a caller who is slow to read does not keep what he types from arriving.
    """
    left: list[bool] = []
    with ExitStack() as stack:
        is_terminal = caller.terminal and isinstance(caller.stdin, int) and os.isatty(caller.stdin)
        if is_terminal and isinstance(caller.stdin, int):
            stack.enter_context(_raw(caller.stdin))
        if caller.terminal:
            stack.enter_context(_same_size(attachment))
        stop, stopper = os.pipe()
        stack.callback(os.close, stop)
        stack.callback(os.close, stopper)
        if caller.stdin is not None:
            thread = _thread(lambda: left.append(_carry_input(attachment, caller, stop)))
            stack.callback(thread.join)
        stack.callback(os.write, stopper, b"\0")  # first on the way out: the thread ends, then is joined
        _carry_output(attachment, caller.deliver)
    return not any(left)


def _carry_output(attachment: Attachment, deliver: Callable[[int, bytes], None]) -> None:
    """Deliver what comes until the end; where nobody takes it any more, it is dropped: the process must not block."""
    taken = {STDOUT: True, STDERR: True}
    while (came := attachment.receive()) is not None:
        stream, data = came
        if taken[stream]:
            try:
                deliver(stream, data)
            except OSError:
                taken[stream] = False


def _carry_input(attachment: Attachment, caller: Caller, stop: int) -> bool:
    """Send what the caller writes until its end or ``stop``; True when he leaves, which ends the output too."""
    if not isinstance(caller.stdin, int):
        with suppress(OSError):  # it ended without reading all of it, as any reader may
            attachment.send(caller.stdin or b"")
            attachment.end_input()
        return False
    keys = KeySequence(caller.keys)
    while _ready(caller.stdin, stop):
        try:
            data = os.read(caller.stdin, CHUNK_BYTES)
            if not data:
                attachment.end_input()
                return False
            passed, left = keys.feed(data)
            attachment.send(passed)
        except OSError:  # the process is gone, or our terminal is (EIO)
            return False
        if left:
            attachment.stop()
            return True
    return False


def _ready(fd: int, stop: int) -> bool:
    """Wait until ``fd`` can be read, or is at its end; False as soon as ``stop`` can."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(stop, select.POLLIN)
    return stop not in dict(poll.poll())


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    """Put a terminal into raw mode, and back whatever happens."""
    import termios
    import tty

    saved = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSADRAIN)
    try:
        yield
    finally:
        with suppress(termios.error):  # it is gone: there is nothing left to restore
            termios.tcsetattr(fd, termios.TCSADRAIN, saved)


@contextmanager
def _same_size(attachment: Attachment) -> Iterator[None]:
    """Keep the process's terminal as large as the caller's, if there is one; handlers of SIGWINCH are kept.

    Only the main thread may set a handler: elsewhere the size is that of the beginning.
    """
    import signal
    import threading

    def resize(number: int, frame: FrameType | None) -> None:
        resize_to_own(attachment)
        if callable(before):
            before(number, frame)

    before = None
    resize(0, None)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGWINCH, resize)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before if before is not None else signal.SIG_DFL)


def _thread(target: Callable[[], None]) -> threading.Thread:
    import threading

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread
