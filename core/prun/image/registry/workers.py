"""Several pieces of work side by side, in threads that the interpreter does not wait for at its end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

JOBS = 4


class Workers:
    """Do ``jobs``, in their order as far as that goes; the first that fails is told to ``failed``, and is the last.

    Not an executor: whoever gives up must not have to wait for what these threads wait for, which is a registry.
    """

    def __init__(self, jobs: Iterable[Callable[[], None]], failed: Callable[[BaseException], None]) -> None:
        self._jobs = list(jobs)
        self._failed = failed
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._waiting = iter(self._jobs)
        self._threads = [
            threading.Thread(target=self._work, name=f"registry-{number}", daemon=True)
            for number in range(min(JOBS, len(self._jobs)))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Wait until all is done; raises what went wrong."""
        for thread in self._threads:
            thread.join()
        if self._error:
            raise self._error

    def abandon(self) -> None:
        """Give the threads the time to notice that nobody wants their work any more."""
        for thread in self._threads:
            thread.join(timeout=1)

    def _work(self) -> None:
        while True:
            with self._lock:
                job = None if self._error else next(self._waiting, None)
            if job is None:
                return
            try:
                job()
            except BaseException as error:  # noqa: BLE001  who waits for the work raises it
                with self._lock:
                    self._error = self._error or error
                self._failed(error)
                return
