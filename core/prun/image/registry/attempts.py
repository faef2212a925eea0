"""Trying again: with growing pauses, as long as it brings something, and not before the registry wants it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from prun.errors import Unavailable
from prun.image.registry.faults import Transient

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from prun.image.registry.progress import Reporter
    from prun.image.registry.transport import Transport

    T = TypeVar("T")

# A registry that hands out a byte at a time must not keep us for ever.
_WORTH_BYTES = 64 << 10
_MAX_FAILURES = 100


class Attempts:
    """Counts failures of one piece of work, and waits between them."""

    def __init__(self, transport: Transport, report: Reporter) -> None:
        self._transport = transport
        self._report = report
        self._failures = 0
        self._in_a_row = 0
        self._brought = 0

    def brought(self, size: int) -> None:
        """Some bytes of the work are done for good."""
        self._brought += size
        if self._brought >= _WORTH_BYTES:
            self._in_a_row = self._brought = 0

    def wait_after(self, error: Transient, digest: str = "") -> None:
        """Wait until it is time to try again.

        Raises:
            Transient: ``error`` itself, where this has been tried often enough.
            Unavailable: the work was given up meanwhile.
        """
        patience = self._transport.patience
        self._failures += 1
        self._in_a_row += 1
        if self._in_a_row >= patience.attempts or self._failures >= _MAX_FAILURES:
            raise error
        if error.after_s > patience.longest_delay_s:
            error.hint = f"it asks to wait for {error.after_s:.0f} seconds: try again then"
            raise error
        pause = patience.first_delay_s * 2 ** (self._in_a_row - 1) * random.uniform(0.75, 1.25)  # noqa: S311
        pause = max(error.after_s, min(pause, patience.longest_delay_s))
        self._report("retrying", digest, detail=f"{error}; again in {pause:.1f} s")
        if self._transport.cancelled.wait(pause):
            raise Unavailable(f"{error}; the work was given up") from error


def patiently(transport: Transport, report: Reporter, work: Callable[[], T]) -> T:
    """Do ``work`` until it succeeds, or fails for good."""
    attempts = Attempts(transport, report)
    while True:
        try:
            return work()
        except Transient as error:
            attempts.wait_after(error)
