"""What has happened to containers, images and volumes, and what happens now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.metadata import EventRow
    from prun.state import Store


def past(store: Store, since_ns: int | None = None, until_ns: int | None = None) -> Iterator[EventRow]:
    """Return the events of that time that are still known, the oldest first."""
    for row in store.metadata.events():
        if until_ns is not None and row.time_ns > until_ns:
            return
        if since_ns is None or row.time_ns >= since_ns:
            yield row


def coming(store: Store, after: int, until_ns: int | None = None) -> Iterator[EventRow | None]:
    """Return the events after that number as they come, until that time or for ever; None before each wait."""
    from prun.inotify import Watch

    with Watch() as watch:
        watch.add(store.root)  # the database's files
        while True:
            for row in store.metadata.events(after):
                if until_ns is not None and row.time_ns > until_ns:
                    return
                after = row.id
                yield row
            left_s = None if until_ns is None else (until_ns - time.time_ns()) / 10**9
            if left_s is not None and left_s <= 0:
                return
            yield None
            watch.wait(left_s)
