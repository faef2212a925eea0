"""The words of a template: text, and what stands between ``{{`` and ``}}``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from prun.cli.template.nodes import fault

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_WORDS = re.compile(
    r"""
      (?P<space>    [ \t\r\n]+)
    | (?P<number>   [+-]?(?:\d|\.\d)(?:[eEpP][+-]|[\w.])*)
    | (?P<field>    \.[^\W\d]\w*)
    | (?P<dot>      \.)
    | (?P<variable> \$\w*)
    | (?P<string>   "(?:[^"\\\n]|\\.)*" | `[^`]*`)
    | (?P<rune>     '(?:[^'\\\n]|\\.)+')
    | (?P<name>     [^\W\d]\w*)
    | (?P<sign>     :=|[=,|()])
    """,
    re.VERBOSE,
)
_COMMENT = re.compile(r"(?:-[ \t\r\n]+)?/\*.*?\*/(?P<trim>[ \t\r\n]+-)?\}\}", re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}


class Word(NamedTuple):
    """``kind``: text, action (``{{``), end (``}}``), or a group of ``_WORDS``; ``glued``: no space is before it."""

    kind: str
    text: str
    at: int
    glued: bool = False


def words(text: str) -> Iterator[Word]:
    """Yield the words; between an action and an end, those of a pipeline.

    Raises:
        InvalidArgument: an action is not closed, or has what is no word.
    """
    at, trim = 0, False
    while True:
        start = text.find("{{", at)
        plain = text[at:] if start < 0 else text[at:start]
        plain = plain.lstrip(" \t\r\n") if trim else plain
        opens = start + 2
        trim_before = start >= 0 and re.compile(r"-[ \t\r\n]").match(text, opens) is not None
        plain = plain.rstrip(" \t\r\n") if trim_before else plain
        if plain:
            yield Word("text", plain.replace("\\t", "\t").replace("\\n", "\n"), at)
        if start < 0:
            return
        if re.compile(r"(?:-[ \t\r\n]+)?/\*").match(text, opens):
            comment = _COMMENT.match(text, opens)
            if not comment:
                raise fault(text, start, "the comment is not closed", hint="{{/* it ends so: */}}")
            at, trim = comment.end(), bool(comment["trim"])
            continue
        yield Word("action", "{{", start)
        at, trim = yield from _action(text, opens + trim_before)


def _action(text: str, at: int) -> Generator[Word, None, tuple[int, bool]]:
    """Yield the words of an action, its end among them; return where it ends, and whether space after it goes."""
    glued = False
    while at < len(text):
        closing = re.compile(r"[ \t\r\n]+-\}\}|\}\}").match(text, at)
        if closing:
            yield Word("end", "}}", at)
            return closing.end(), "-" in closing[0]
        word = _WORDS.match(text, at)
        if not word or not word.lastgroup:
            message = "a string is not closed" if text[at] in "\"'`" else f"unexpected {text[at]!r}"
            raise fault(text, at, message, hint="an action is closed with }}")
        if word.lastgroup != "space":
            yield Word(word.lastgroup, word[0], at, glued)
        glued = word.lastgroup != "space"
        at = word.end()
    raise fault(text, len(text), "an action is not closed", hint="it is closed with }}")


def unquoted(text: str, word: Word) -> str:
    """Return what a string or a rune stands for."""
    if word.text[0] == "`":
        return word.text[1:-1].replace("\r", "")

    def replaced(match: re.Match[str]) -> str:
        code = match[1]
        if code in _ESCAPED:
            return _ESCAPED[code]
        if len(code) == 1:
            raise fault(text, word.at, f"{match[0]} is no escape of Go's strings")
        number = int(code, 8) if code.isdigit() and len(code) == 3 else int(code[1:], 16)
        if number > 0x10FFFF:
            raise fault(text, word.at, f"{match[0]} is no character")
        return chr(number)

    return _ESCAPE.sub(replaced, word.text[1:-1])


def number(text: str, word: Word) -> float:
    """Return what a number stands for: an int, or a float where it has a point or an exponent."""
    digits = word.text.replace("_", "")
    octal = re.fullmatch(r"([+-]?)0(\d+)", digits)
    readings = [lambda: int(octal[1] + octal[2], 8)] if octal else [lambda: int(digits, 0), lambda: float(digits)]
    for reading in readings:
        try:
            return reading()
        except ValueError:
            continue
    raise fault(text, word.at, f"bad number {word.text!r}")
