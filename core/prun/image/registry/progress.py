"""What is going on while an image is pulled or pushed, for whoever wants to show it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    Status = Literal[
        "resolved", "waiting", "exists", "downloading", "retrying", "downloaded", "unpacking", "unpacked", "uploading",
        "uploaded", "mounted", "warning", "done",
    ]  # fmt: skip
    Listener = Callable[["Progress"], None]

# How often a listener hears of the same blob, at most.
_EVERY_S = 0.1


class Progress(NamedTuple):
    """One piece of news.

    ``digest`` is the blob's, or the image's (``done``), or empty; ``current`` of ``total`` bytes are done;
    ``detail`` is the full name (``resolved``, ``done``), where it comes from (``mounted``), or a sentence.
    """

    status: Status
    digest: str = ""
    current: int = 0
    total: int = 0
    detail: str = ""


class Reporter:
    """Tells a listener, from whichever thread, one thing at a time; of bytes not more often than anybody looks."""

    def __init__(self, listener: Listener | None = None) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._told: dict[str, float] = {}

    def __call__(self, status: Status, digest: str = "", current: int = 0, total: int = 0, detail: str = "") -> None:
        if self._listener is None:
            return
        with self._lock:
            if status in ("downloading", "uploading"):
                now = time.monotonic()
                if now - self._told.get(digest, -1.0) < _EVERY_S:
                    return
                self._told[digest] = now
            self._listener(Progress(status, digest, current, total, detail))
