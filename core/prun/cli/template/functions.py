"""The functions of templates: Go's own, and docker's.

Go's: https://pkg.go.dev/text/template@go1.23.0#hdr-Functions; docker's: https://docs.docker.com/engine/cli/formatting/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prun.cli.template.printf import printf
from prun.cli.template.values import MISSING, Pairs, is_true, shown


class BadUse(Exception):
    """A function cannot use what it was given; says why, and becomes an error that says where."""


def _json(value: object) -> str:
    return json.dumps(None if value is MISSING else value, separators=(",", ":"))


def _index(value: object, *keys: object) -> object:
    for key in keys:
        if isinstance(value, Mapping):
            if not isinstance(key, str):
                raise BadUse(f"{_kind(key)} is no key")
            value = value.get(key, "" if isinstance(value, Pairs) else MISSING)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            at = _number(key)
            if not 0 <= at < len(value):
                raise BadUse(f"{at} is out of range: it has {len(value)}")
            value = value[at]
        else:
            raise BadUse(f"{_kind(value)} has no elements")
    return value


def _slice(value: object, *bounds: object) -> object:
    if not isinstance(value, Sequence):
        raise BadUse(f"{_kind(value)} has no parts")
    if len(bounds) > 2:
        raise BadUse("it takes where to begin and where to end")
    low, high = map(_number, [*bounds, *(0, len(value))[len(bounds) :]])
    if not 0 <= low <= high <= len(value):
        raise BadUse(f"{' '.join(map(shown, bounds))} is out of range: it has {len(value)}")
    return value[low:high]


def _len(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, str):
        return len(value.encode(errors="surrogateescape"))
    if not isinstance(value, Mapping | Sequence):
        raise BadUse(f"{_kind(value)} has no length")
    return len(value)


def _equal(first: object, *others: object) -> bool:
    if not others:
        raise BadUse("there is nothing to compare with")
    return any(_same(first, other) for other in others)


def _same(one: object, other: object) -> bool:
    if one is None or other is None:
        return one is other
    return _compared(one, other, lambda a, b: a == b)


def _less(one: object, other: object) -> bool:
    if isinstance(one, bool):
        raise BadUse("true and false have no order")
    return _compared(one, other, lambda a, b: a < b)


def _compared(one: object, other: object, compare: Callable[[Any, Any], bool]) -> bool:
    """Compare two values of one kind: numbers, strings, booleans; Go does not compare an int with a float."""
    if _kind(one) != _kind(other) or not isinstance(one, str | int | float):
        raise BadUse(f"{_kind(one)} and {_kind(other)} cannot be compared")
    return compare(one, other)


def _kind(value: object) -> str:
    for types, word in _KINDS:
        if isinstance(value, types):
            return word
    return "<no value>" if value is MISSING else "null"


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "a boolean"), (int, "a whole number"), (float, "a number with a point"), (str, "a string"),
    (Mapping, "an object"), (Sequence, "a list"),
)  # fmt: skip


def _print(*values: object) -> str:
    """Print with a space between two of which neither is a string, as Go's Sprint."""
    out = ""
    for i, value in enumerate(values):
        between = i and not isinstance(value, str) and not isinstance(values[i - 1], str)
        out += f"{' ' if between else ''}{shown(value)}"
    return out


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise BadUse(f"it takes a string, not {_kind(value)}")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadUse(f"it takes a whole number, not {_kind(value)}")
    return value


def _join(values: object, separator: object) -> str:
    if isinstance(values, Mapping) or not isinstance(values, Sequence) or isinstance(values, str):
        raise BadUse(f"it takes a list, not {_kind(values)}")
    return _string(separator).join(map(shown, values))


def _split(text: object, separator: object) -> list[str]:
    text, separator = _string(text), _string(separator)
    return text.split(separator) if separator else list(text)


def _title(text: object) -> str:
    """Make the first letter of every word a capital, and leave the others as they are."""
    before = " "
    out = ""
    for letter in _string(text):
        inside = before.isalnum() or before == "_" or not (before.isascii() or before.isspace())
        out += letter if inside else letter.title()
        before = letter
    return out


def _pad(text: object, before: object, after: object) -> str:
    """Put spaces around a string; an empty one stays empty."""
    return f"{' ' * _number(before)}{text}{' ' * _number(after)}" if _string(text) else ""


FUNCTIONS: Mapping[str, Callable[..., object]] = {
    # Decided by Execution, which stops at the first value that counts.
    "and": lambda *values: values[-1],
    "or": lambda *values: values[-1],
    "not": lambda value: not is_true(value),
    "index": _index,
    "slice": _slice,
    "len": _len,
    "print": _print,
    "printf": lambda form, *values: printf(_string(form), values),
    "println": lambda *values: " ".join(map(shown, values)) + "\n",
    "eq": _equal,
    "ne": lambda one, other: not _same(one, other),
    "lt": _less,
    "le": lambda one, other: _less(one, other) or _same(one, other),
    "gt": lambda one, other: not (_less(one, other) or _same(one, other)),
    "ge": lambda one, other: not _less(one, other),
    "json": _json,
    "join": _join,
    "split": _split,
    "lower": lambda text: _string(text).lower(),
    "upper": lambda text: _string(text).upper(),
    "title": _title,
    "pad": _pad,
    "truncate": lambda text, length: _string(text)[: max(0, _number(length))],
}
# A heading stays what it is, whatever is done to the values below it; `pad` and `printf` line it up.
HEADING_FUNCTIONS: Mapping[str, Callable[..., object]] = {
    "json": lambda text: text,
    "join": lambda text, _: text,
    "split": lambda text, _: [text],
    "lower": lambda text: text,
    "upper": lambda text: text,
    "title": lambda text: text,
    "truncate": lambda text, _: text,
    "slice": lambda text, *_: text,
    "index": lambda text, *keys: _last_of(keys) or text,
}


def _last_of(keys: Sequence[object]) -> str:
    """Return what docker puts over ``{{.Label "com.example.cpu-set"}}``: the last part of the key, in words."""
    key = keys[-1] if keys else ""
    return key.rpartition(".")[2].replace("-", " ").replace("_", " ") if isinstance(key, str) else ""
