"""How a chain of changes looks: a few lines for each field, cut to a terminal's width; or JSON, whole.

Everything is JSON in ASCII, so that nothing an image says can steer a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from prun.cli.output import printable
from prun.spec.provenance import ABSENT, plain, value_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prun.spec.provenance import Change, Explanation

_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_LEAST_WIDTH = 24


def fields(explanation: Explanation, pointer: str = "") -> list[tuple[str, tuple[Change, ...]]]:
    """Return every field at or below ``pointer`` with its chain.

    Raises:
        NotFound: there is no such field.
    """
    whole = explanation.chain(pointer) if pointer else ()
    below = [each for each in explanation.pointers() if each.startswith(f"{pointer}/")]
    if not below:
        return [(pointer, whole)]
    return [(each, explanation.chain(each)) for each in below]


def as_json(explanation: Explanation, pointer: str = "") -> list[dict[str, Any]]:
    """Return the same for a program: pointer, value, chain."""
    return [
        {"pointer": each, "value": value_at(explanation.spec, each), "chain": [plain(change) for change in chain]}
        for each, chain in fields(explanation, pointer)
    ]


def as_text(explanation: Explanation, pointer: str = "") -> Iterator[str]:
    """Yield lines for a person: the field, then each who changed it, and to what."""
    terminal = sys.stdout.isatty()
    width = max(_width(), _LEAST_WIDTH) if terminal else 0
    bold, dim, normal = (_BOLD, _DIM, _PLAIN) if terminal and not os.environ.get("NO_COLOR") else ("", "", "")
    for each, chain in fields(explanation, pointer):
        yield f"{bold}{printable(each)}{normal}"
        for change in chain:
            author = change.author
            said = ", ".join(dict.fromkeys(origin.words for origin in change.origins))
            who = author.plugin if author.tier == "plugin" else author.plugin.partition(" ")[2]
            words = [author.tier, who, author.option, f"({author.where})" if author.where else ""]
            yield _cut(f"  {' '.join(filter(None, words))}{f'  <- {said}' if said else ''}", width, dim, normal)
            yield _cut(f"      {_difference(change)}", 0 if pointer else width)


def _difference(change: Change) -> str:
    """Say what became of what: of an array, which elements came and went."""
    if change.new is ABSENT:
        return "taken away"
    new = json.dumps(change.new)
    if change.old is ABSENT:
        return new
    if isinstance(change.old, list) and isinstance(change.new, list):
        words = [*_not_in(change.new, change.old, "+"), *_not_in(change.old, change.new, "-")]
        if words:
            return "  ".join(words)
    return f"{json.dumps(change.old)} -> {new}"


def _not_in(these: Sequence[object], those: Sequence[object], sign: str) -> list[str]:
    return [f"{sign} {json.dumps(each)}" for each in these if each not in those]


def _width() -> int:
    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return 80


def _cut(line: str, width: int, before: str = "", after: str = "") -> str:
    """Cut a line that is longer than the terminal is wide, 0 for no limit."""
    line = printable(line)
    if width and len(line) > width:
        line = f"{line[: width - 3]}..."
    return f"{before}{line}{after}"
