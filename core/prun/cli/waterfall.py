"""``--timing``: where the time of a run went, one line for each stage and each hook, with a bar."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from prun.cli.output import printable

if TYPE_CHECKING:
    from prun.timeline import Span, Timeline

_USUAL = 100
_NAMES = 44
_LEAST = 20


def lines(timeline: Timeline, width: int = _USUAL) -> list[str]:
    r"""Return the waterfall: begin and length in milliseconds, the bar, the name; what is inside is indented.

    The time that a stage spent itself is what its hooks leave.
    """
    whole = max(timeline.end_ns - timeline.began_ns, 1)
    room = max(width - _NAMES - 22, _LEAST)
    found = [f"{'begin':>9}{'ms':>10}  {'|' + ' ' * room + '|'} {timeline.container_id[:12]}: {whole / 1e6:.1f} ms"]
    return found + [_line(span, timeline, whole, room) for span in timeline.spans if span.kind != "run"]


def _line(span: Span, timeline: Timeline, whole: int, room: int) -> str:
    begin = span.begin_ns - timeline.began_ns
    first = min(begin * room // whole, room - 1)
    last = max(first + 1, min(-(-(begin + round(span.milliseconds * 1e6)) * room // whole), room))
    bar = " " * first + "#" * (last - first) + " " * (room - last)
    name = f"{span.name} [{span.plugin}]" if span.plugin else span.name
    failed = f" !{span.error}" if span.error else ""
    indent = "  " * _depth(span, timeline)
    return printable(f"{begin / 1e6:9.1f}{span.milliseconds:10.2f}  |{bar}| {indent}{name}{failed}")


def _depth(span: Span, timeline: Timeline) -> int:
    """Return how many spans a span is in, the whole run apart."""
    depth, parent = 0, span.parent
    while parent is not None and timeline.spans[parent].kind != "run":
        depth, parent = depth + 1, timeline.spans[parent].parent
    return depth


def began_ns() -> int:
    """Return when this process began, as ``time.perf_counter_ns`` counts: so long ago as it has used the processor."""
    return time.perf_counter_ns() - time.process_time_ns()


def show(timeline: Timeline) -> None:
    """Print the waterfall to stderr, as wide as its terminal."""
    try:
        width = os.get_terminal_size(2).columns or _USUAL
    except OSError:
        width = _USUAL
    print(*lines(timeline, width), sep="\n", file=sys.stderr)
