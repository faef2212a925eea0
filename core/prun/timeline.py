"""Where the time of a run went: stages, and in them the hooks of every plugin, each with its begin and its end.

Times are nanoseconds of ``time.perf_counter_ns``; ``Timeline.wall_ns`` tells what the clock on the wall said then.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.types import Event

Kind = Literal["run", "start-up", "stage", "hook"]


class Span(NamedTuple):
    """One thing that took time: ``plugin`` at work, empty for prun itself; ``parent`` is the number of another span.

    ``error`` is the class of what it ended with, empty if all was well; ``end_ns`` None: it has not ended.
    """

    name: str
    kind: Kind
    begin_ns: int
    end_ns: int | None = None
    plugin: str = ""
    parent: int | None = None
    error: str = ""

    @property
    def milliseconds(self) -> float:
        return ((self.end_ns or self.begin_ns) - self.begin_ns) / 1e6


class Instant(NamedTuple):
    """An event of the run, and when it was."""

    event: Event
    at_ns: int


class Timeline:
    """The spans of one run, in the order of their begin, and its events; ``began_ns``: if it was before this."""

    def __init__(self, container_id: str, began_ns: int | None = None) -> None:
        now = time.perf_counter_ns()
        self.container_id = container_id
        self.began_ns = now if began_ns is None else began_ns
        self.spans: list[Span] = []
        self.instants: list[Instant] = []
        self._offset_ns = time.time_ns() - now
        self._thread = threading.get_ident()
        self._open: list[int] = []
        if self.began_ns < now:
            self.spans.append(Span("start-up", "start-up", self.began_ns, now))

    @property
    def end_ns(self) -> int:
        """When the last of it ended."""
        return max((span.end_ns or span.begin_ns for span in self.spans), default=self.began_ns)

    def wall_ns(self, at_ns: int) -> int:
        """Return a time as nanoseconds since 1970."""
        return at_ns + self._offset_ns

    @contextmanager
    def span(self, name: str, kind: Kind, plugin: str = "") -> Iterator[None]:
        """Note how long the block takes; what begins in it, in the same thread, is part of it."""
        number = len(self.spans)
        nests = threading.get_ident() == self._thread
        parent = self._open[-1] if self._open else None
        self.spans.append(Span(name, kind, time.perf_counter_ns(), None, plugin, parent))
        if nests:
            self._open.append(number)
        error = ""
        try:
            yield
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            if nests:
                self._open.pop()
            self.spans[number] = self.spans[number]._replace(end_ns=time.perf_counter_ns(), error=error)

    def happened(self, event: Event) -> int:
        """Note an event, and return when it was."""
        at_ns = time.perf_counter_ns()
        self.instants.append(Instant(event, at_ns))
        return at_ns
