"""What is wrong with config files: every fault at its place, reported together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WIDTH = 100  # of what is shown of a long line


class Fault(NamedTuple):
    """One thing that is wrong: where (line and column from 1; 0: the whole file), the line, what, a remedy."""

    file: str
    line: int
    column: int
    text: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        first = f"{self.file}{place}: {self.message}{f' ({self.hint})' if self.hint else ''}"
        if not self.line:
            return first
        start = max(0, self.column - _WIDTH + 20) if len(self.text) > _WIDTH else 0
        shown = self.text[start : start + _WIDTH].replace("\t", " ")
        return f"{first}\n    {shown}\n    {' ' * (self.column - 1 - start)}^"


class InvalidConfig(InvalidArgument):
    """Config files say what they cannot; the message has three lines for each fault: what, the line, and a mark."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the remedy for a word that is not known: the nearest one, or all where there are few."""
    import difflib

    words = list(known)
    near = difflib.get_close_matches(word.replace("-", "_"), words, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"it knows: {', '.join(words)}" if 0 < len(words) <= 12 else ""
