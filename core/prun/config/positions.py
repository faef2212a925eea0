"""Where in a TOML text each key and each value stands, which tomli does not tell.

``positions`` reads the text once, after tomli has accepted it: it has no opinion of its own on what is right, skips
what it does not understand to the end of the line, and never raises.  Offsets are those of the text that it is given.

Spec: https://toml.io/en/v1.0.0, and the line ends and trailing commas that 1.1 allows in inline tables.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

# The parts of a key; a number is the place in an array.
Path = tuple[str | int, ...]

_BLANKS = re.compile(r"[ \t]*+")
_LINES = re.compile(r"(?:[ \t\r\n]|#[^\n]*+)*+")
_REST = re.compile(r"[^\n]*+")
_BARE = re.compile(r"[A-Za-z0-9_-]++")
_STRING = re.compile(
    r'"""(?:[^\\"]++|\\.|"(?!""))*+"""(?:"{0,2})'
    r"|'''(?:[^']++|'(?!''))*+'''(?:'{0,2})"
    r'|"(?:[^"\\\n]++|\\[^\n])*+"'
    r"|'[^'\n]*+'",
    re.DOTALL,
)
_OTHER = re.compile(r"[^,\[\]{}#\"'\r\n]*+")
_HEADER = re.compile(r"\[\[?")
_DEEPEST = 100  # arrays and tables in each other; what lies deeper, and behind it, is not looked for


class Span(NamedTuple):
    """A part of the text: the offsets of its beginning and behind its end."""

    start: int
    end: int


class Positions(NamedTuple):
    """The spans of keys (of each its last part, where it is named first) and of values (of arrays' items, too).

    ``starts`` are the offsets at which the lines begin.
    """

    keys: dict[Path, Span]
    values: dict[Path, Span]
    starts: list[int]

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset, both from 1, in characters, as tomli counts."""
        line = bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1


def positions(text: str) -> Positions:
    """Return where every key and every value of a TOML text is.

    >>> found = positions('a.b = [1, 2]')
    >>> found.keys["a", "b"], found.values["a", "b", 1]
    (Span(start=2, end=3), Span(start=10, end=11))
    """
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._found = Positions({}, {}, [0, *(match.end() for match in re.finditer("\n", text))])
        self._last: dict[Path, int] = {}  # arrays of tables, and which of them is the last

    def scan(self) -> Positions:
        table: Path = ()
        while self._at < len(self._text):
            self._skip(_LINES)
            if header := _HEADER.match(self._text, self._at):
                self._at = header.end()
                table = self._table(self._key(), array=header[0] == "[[")
            elif self._at < len(self._text):
                self._pair(table)
            self._skip(_REST)
        return self._found

    def _skip(self, what: re.Pattern[str]) -> None:
        match = what.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _key(self) -> list[tuple[str, Span]]:
        """Read a dotted key: its parts, each with its span."""
        parts: list[tuple[str, Span]] = []
        while True:
            self._skip(_BLANKS)
            match = _BARE.match(self._text, self._at) or _STRING.match(self._text, self._at)
            if not match:
                return parts
            self._at = match.end()
            parts.append((_word(match[0]), Span(*match.span())))
            self._skip(_BLANKS)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _table(self, parts: list[tuple[str, Span]], *, array: bool) -> Path:
        """Enter the table of a header: a part that is an array of tables means its last one."""
        path: Path = ()
        for index, (word, span) in enumerate(parts):
            path = (*path, word)
            self._found.keys.setdefault(path, span)
            if array and index == len(parts) - 1:
                self._last[path] = self._last.get(path, -1) + 1
                self._found.keys.setdefault((*path, self._last[path]), span)
            if path in self._last:
                path = (*path, self._last[path])
        return path

    def _pair(self, table: Path, depth: int = 0) -> None:
        """Read ``key = value``; a key with dots makes the tables before its last part."""
        path = table
        for word, span in self._key():
            path = (*path, word)
            self._found.keys.setdefault(path, span)
        if path != table and self._text.startswith("=", self._at):
            self._at += 1
            self._skip(_BLANKS)
            self._value(path, depth)

    def _value(self, path: Path, depth: int) -> None:
        start = self._at
        if match := _STRING.match(self._text, self._at):
            self._at = match.end()
        elif self._text.startswith(("[", "{"), self._at):
            if depth == _DEEPEST:
                self._at = len(self._text)
            else:
                self._items(path, depth + 1)
        else:
            match = _OTHER.match(self._text, self._at)
            self._at = start + len(match[0].rstrip()) if match else start
        self._found.values[path] = Span(start, self._at)

    def _items(self, path: Path, depth: int) -> None:
        """Read an array or an inline table, over its lines, up to its end."""
        array = self._text[self._at] == "["
        self._at += 1
        index = 0
        while True:
            self._skip(_LINES)
            before = self._at
            if self._text.startswith("]" if array else "}", self._at) or self._at >= len(self._text):
                self._at += 1
                return
            if array:
                self._value((*path, index), depth)
                index += 1
            else:
                self._pair(path, depth)
            self._skip(_LINES)
            if self._text.startswith(",", self._at):
                self._at += 1
            elif self._at == before:  # nothing that we know: leave it
                return


def _word(text: str) -> str:
    """Return what a part of a key says."""
    if text[0] not in "\"'":
        return text
    if text[0] == "'" or "\\" not in text:
        return text[1:-1]
    import tomli

    try:
        return str(tomli.loads(f"word = {text}")["word"])
    except tomli.TOMLDecodeError:
        return text[1:-1]
