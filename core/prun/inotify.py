"""Wait until a file changes, without looking at it again and again (inotify(7)).

Where the machine has no more of it to give, or is no Linux, the files are looked at five times a second.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

# linux/inotify.h.  A file that another takes the place of loses a link: that is a change of its attributes.
MODIFY, ATTRIB, MOVED_TO, CREATE, DELETE_SELF, MOVE_SELF = 0x2, 0x4, 0x80, 0x100, 0x400, 0x800
_MASK = MODIFY | ATTRIB | MOVED_TO | CREATE | DELETE_SELF | MOVE_SELF
_POLL_S = 0.2
# After a change, look again: SQLite writes a transaction to its file first, and lets others see it a moment later.
_LOOK_AGAIN_S = (0.02, 0.1, 0.5, 2.0)
_MOST_BYTES = 1 << 16


class Watch:
    """Tells when files, or what is directly in directories, change."""

    def __init__(self) -> None:
        self._fd, self._add = _opened()
        self._again: list[float] = []

    def add(self, path: str) -> None:
        """Look at this path from now on, at what is there now: one that is added again is looked at anew."""
        if self._add is not None and not self._add(path):
            self.close()  # it cannot be watched: rather look again and again than miss something

    def wait(self, timeout_s: float | None = None, others: Iterable[int] = ()) -> list[int]:
        """Return when something has changed, the time is up, or one of the descriptors ``others`` is ready: those.

        It also returns a few times in the two seconds after a change, although there is none.
        """
        if soon := [*([_POLL_S] if self._fd < 0 else []), *self._again[:1]]:
            timeout_s = min(*soon, float("inf") if timeout_s is None else timeout_s)
        self._again = self._again[1:]
        ready, _, _ = select.select([*others, *([self._fd] if self._fd >= 0 else [])], [], [], timeout_s)
        if self._fd in ready:
            ready.remove(self._fd)
            self._again = list(_LOOK_AGAIN_S)
            with suppress(BlockingIOError):
                while len(os.read(self._fd, _MOST_BYTES)) > _MOST_BYTES // 2:
                    pass
        return ready

    def close(self) -> None:
        """Give it back; ``wait`` then only waits a moment."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._add = -1, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened() -> tuple[int, Callable[[str], bool] | None]:
    if sys.platform != "linux":
        return -1, None
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        return -1, None
    return fd, lambda path: libc.inotify_add_watch(fd, os.fsencode(path), _MASK) >= 0
