"""Waiting for the disk while other work goes on."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from prun.image.storage import sync_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future, ThreadPoolExecutor

_MAX_WAITING = 16


class BackgroundSync:
    """Syncs files in one thread, in the order in which it is told to; ``finish`` reports what went wrong."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()
        self._lock = threading.Lock()

    def start(self, descriptor: int) -> Future[None]:
        """Begin to sync what has been written to an open file so far."""
        return self._submit(os.fdatasync, descriptor)

    def close_file(self, descriptor: int, *, sync: bool) -> None:
        """Close the file once it has been synced, and once all that was started before has ended."""
        if sync:
            self._submit(_sync_and_close, descriptor)
        elif self._executor:
            self._submit(os.close, descriptor)
        else:
            os.close(descriptor)

    def finish(self, paths: Iterable[str] = ()) -> None:
        """Sync the files at ``paths`` and wait for everything else.

        Raises:
            OSError: something could not be written to the disk.
        """
        for path in paths:
            sync_file(path)
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Wait until every file that was handed over is closed."""
        if self._executor:
            self._executor.shutdown()

    def _submit(self, work: Callable[[int], None], descriptor: int) -> Future[None]:
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            if not self._executor:
                self._executor = ThreadPoolExecutor(1, "sync")
            future = self._executor.submit(work, descriptor)
            self._waiting.append(future)
            oldest = self._waiting.popleft() if len(self._waiting) > _MAX_WAITING else None
        if oldest:  # each holds an open file: no more of them
            oldest.result()
        return future


def _sync_and_close(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
