"""What differs between two JSON documents, field by field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from prun.spec.provenance import ABSENT, escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 1000  # elements of an array that are matched with each other


class Difference(NamedTuple):
    """A field (a JSON pointer, RFC 6901) and its two values; a side that has none is ``ABSENT``.

    An element of an array is where the side that has it has it, the first of both.
    """

    pointer: str
    first: Any
    second: Any


def differences(first: Any, second: Any, at: str = "") -> Iterator[Difference]:
    """Yield what differs; elements that only one array has are those that are in no order of both."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in (*first, *(key for key in second if key not in first)):
            yield from differences(first.get(key, ABSENT), second.get(key, ABSENT), f"{at}/{escaped(key)}")
    elif isinstance(first, list) and isinstance(second, list) and max(len(first), len(second)) <= _LONGEST:
        yield from _of_arrays(first, second, at)
    elif type(first) is not type(second) or first != second:
        yield Difference(at, first, second)


def _of_arrays(first: list[Any], second: list[Any], at: str) -> Iterator[Difference]:
    from difflib import SequenceMatcher

    ours, theirs = ([json.dumps(each, sort_keys=True) for each in side] for side in (first, second))
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    for what, begin, end, other_begin, other_end in matcher.get_opcodes():
        if what == "equal":
            continue
        pairs = min(end - begin, other_end - other_begin)
        for step in range(pairs):
            yield from differences(first[begin + step], second[other_begin + step], f"{at}/{begin + step}")
        for index in range(begin + pairs, end):
            yield Difference(f"{at}/{index}", first[index], ABSENT)
        for index in range(other_begin + pairs, other_end):
            yield Difference(f"{at}/{index}", ABSENT, second[index])
