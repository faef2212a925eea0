"""A timeline as a file for Perfetto (ui.perfetto.dev) and chrome://tracing.

Format: Trace Event Format, "JSON Object Format"; complete events (``X``), instants (``i``), names (``M``).
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument, NotFound, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Callable

    from prun.timeline import Timeline


def trace_file(path: str) -> Callable[[Timeline], str]:
    """Open a file for a trace, and return what writes one into it, and says what went wrong.

    Raises:
        NotFound, PermissionDenied, InvalidArgument: it cannot be opened for writing.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOCTTY, 0o644)
    except OSError as error:
        kind = {FileNotFoundError: NotFound, PermissionError: PermissionDenied}.get(type(error), InvalidArgument)
        raise kind(f"--trace {path!r} cannot be written: {error.strerror}") from error

    def write(timeline: Timeline) -> str:
        try:
            with open(fd, "w", encoding="utf-8") as file:
                json.dump(document(timeline), file)
        except OSError as error:
            return error.strerror or "it cannot be written"
        return ""

    return write


def document(timeline: Timeline) -> dict[str, object]:
    """Return the trace: times are microseconds since 1970, ``cat`` is the kind of a span."""
    pid = os.getpid()
    events: list[dict[str, object]] = [
        {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": f"prun run {timeline.container_id[:12]}"}}
    ]
    for span in timeline.spans:
        arguments = {"plugin": span.plugin, "error": span.error}
        events.append(
            {
                "ph": "X", "name": f"{span.name} [{span.plugin}]" if span.plugin else span.name, "cat": span.kind,
                "ts": timeline.wall_ns(span.begin_ns) / 1000, "dur": span.milliseconds * 1000, "pid": pid, "tid": pid,
                "args": {key: value for key, value in arguments.items() if value},
            }
        )  # fmt: skip
    for event, at_ns in timeline.instants:
        detail = event.detail if not isinstance(event.detail, dict) else None  # the spec is no trace's
        events.append(
            {
                "ph": "i", "s": "p", "name": event.kind, "cat": "event", "ts": timeline.wall_ns(at_ns) / 1000,
                "pid": pid, "tid": pid, "args": {"detail": detail},
            }
        )  # fmt: skip
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"container": timeline.container_id}}
