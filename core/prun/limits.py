"""What code of a plugin may not do to the process that it runs in: take for ever, or end it.

In the main thread a timer (``SIGALRM``) raises ``TimedOut`` in whatever the plugin is doing, a call of the system
included, and again every second while the plugin goes on.  No limit is kept in other threads, which Python cannot
interrupt, for code in C that neither returns nor lets signals be handled, nor where the program that uses the library
has a timer of its own.  ``os._exit``, which no ``except`` sees, is an exception while the block runs.
"""

from __future__ import annotations

import os
import time
from _thread import get_ident
from typing import TYPE_CHECKING, NoReturn, Self

from prun.errors import Exited, TimedOut

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

_RAISED_AT_MOST = 3

really_exit = os._exit

#: What is done in a process of our own when a plugin goes on whatever is raised in it; it does not return.
last_resort: Callable[[str], NoReturn] | None = None


class Limited:
    """While the block runs it may take ``seconds`` (None: as many as it likes), and cannot end the process.

    ``what`` it is, for messages.  A block may be within another's: meanwhile only its own time counts.

    Raises:
        TimedOut: the block took longer.
        Exited: it called ``os._exit``.
    """

    __slots__ = ("_before", "_ends", "_raised", "_seconds", "_thread", "pid", "what")

    def __init__(self, what: str, seconds: float | None) -> None:
        self.what = what
        self._seconds = seconds or None
        self._raised = 0

    def __enter__(self) -> Self:
        self.pid, self._thread = os.getpid(), (thread := get_ident())
        self._before = _running.get(thread)
        _running[thread] = self
        os._exit = _refuse_exit
        if self._seconds is not None:
            self._ends = time.monotonic() + self._seconds
            if not _armed:
                _arm(min(self._seconds, 1.0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds = None
        if self._before is not None:
            _running[self._thread] = self._before
        else:
            _running.pop(self._thread, None)
        if not _running:
            os._exit = really_exit

    def ring(self) -> None:
        """Look at the clock, and raise if the time is up."""
        if self._seconds is None or time.monotonic() < self._ends:
            return
        self._raised += 1
        if self._raised > _RAISED_AT_MOST and last_resort is not None:
            last_resort(f"{self.what} took longer than {self._seconds:g} s and cannot be interrupted")
        raise TimedOut(f"it took longer than {self._seconds:g} s")

    def left_s(self) -> float | None:
        """Return how many seconds are left, None for any number."""
        return None if self._seconds is None else max(self._ends - time.monotonic(), 0.0)


_running: dict[int, Limited] = {}
# The thread that has the timer, and what was its handler before.
_armed: list[tuple[int, object]] = []


def seconds_left() -> float | None:
    """Return how many seconds the block has that this thread, whichever it is, is in; None where there is no limit."""
    running = _running.get(get_ident())
    return running.left_s() if running else None


def _arm(interval_s: float) -> None:
    """Start the timer, in the main thread and unless the program has one of its own."""
    import signal

    if not hasattr(signal, "setitimer") or signal.getitimer(signal.ITIMER_REAL)[0]:
        return
    try:
        _armed.append((get_ident(), signal.signal(signal.SIGALRM, _on_alarm)))
    except ValueError:  # another thread
        return
    signal.setitimer(signal.ITIMER_REAL, interval_s, interval_s)


def disarm() -> None:
    """Stop the timer, which goes on from one block to the next, because a hook has many; nothing where none runs."""
    if _armed and not _running and _armed[0][0] == get_ident():
        import signal

        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, _armed.pop()[1])  # type: ignore[arg-type]  # what signal.signal returned


def _on_alarm(_number: int, frame: FrameType | None) -> None:
    running = _running.get(get_ident())
    if running is not None and frame is not None and frame.f_code is not Limited.__exit__.__code__:
        running.ring()


def _refuse_exit(status: int) -> NoReturn:
    """Stand in for ``os._exit`` while plugins run; their children end as they like, and so may other threads."""
    running = _running.get(get_ident())
    if running is not None and running.pid == os.getpid():
        raise Exited(f"it called os._exit({status})")
    really_exit(status)
