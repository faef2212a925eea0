"""Pass signals on to the container instead of ending prun, and let them end prun before there is one."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from prun.types import Task

# What a user or a supervisor sends; not what the kernel says about prun itself (SIGCHLD, SIGPIPE, SIGSEGV, ...).
NAMES = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCONT", "SIGIO")


class Interrupted(BaseException):
    """A signal ended prun before the container's process was there to get it.

    Not an ``Exception``, for the same reason as ``KeyboardInterrupt``: only the command line may catch it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by signal {number}")
        self.exit_code = 128 + number


class ForwardedSignals:
    """While the context lasts, signals to prun become signals to a task: the one given to ``to``.

    Before ``hold``, a signal raises ``Interrupted`` so that everything opened so far is closed.  After ``to``, the
    handlers stay until the context ends, so that a second Ctrl-C does not break the clean-up.
    """

    def __init__(self) -> None:
        self._task: Task | None = None
        self._held: list[int] | None = None
        self._ending = False
        self._before: dict[int, object] = {}

    def hold(self) -> None:
        """Keep what arrives from now on for the task that is about to be made: half a container is nobody's."""
        self._held = []

    def to(self, task: Task | None) -> None:
        """Send what was held, and what arrives from now on, to ``task``; None: it is for prun alone again."""
        self._task = task
        held, self._held = self._held or (), None
        for number in held:
            if task is None:
                raise Interrupted(number)
            task.kill(number)

    def __enter__(self) -> Self:
        for name in NAMES:
            if number := getattr(signal, name, None):
                self._before[number] = signal.signal(number, self._forward)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if self._task is not None:
            self._task.kill(number)
        elif self._held is not None:
            self._held.append(number)
        elif not self._ending and number not in _IGNORED_BY_DEFAULT:
            self._ending = True
            raise Interrupted(number)


_IGNORED_BY_DEFAULT = frozenset(getattr(signal, name) for name in ("SIGCONT", "SIGIO") if hasattr(signal, name))
