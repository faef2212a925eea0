"""What is different between two JSON documents, by JSON pointer (RFC 6901)."""

from __future__ import annotations

import json
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 200  # characters of a value in a line


def differences(old: object, new: object, pointer: str = "") -> Iterator[str]:
    """Return a line for each place where ``new`` differs: what changed, what was added (``+``) or is gone (``-``).

    Items of lists are compared with those that they correspond to, so that one more item is one line, not one for
    each that comes after it; the pointers are those of ``new``, of what is gone those of ``old``.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            place = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in new:
                yield f"{place}: - {_shown(old[key])}"
            elif key not in old:
                yield f"{place}: + {_shown(new[key])}"
            else:
                yield from differences(old[key], new[key], place)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _of_lists(old, new, pointer)
    elif type(old) is not type(new) or old != new:
        yield f"{pointer or '(all)'}: {_shown(old)} -> {_shown(new)}"


def _of_lists(old: list[object], new: list[object], pointer: str) -> Iterator[str]:
    keys, new_keys = ([json.dumps(item, sort_keys=True) for item in items] for items in (old, new))
    for kind, start, end, new_start, new_end in SequenceMatcher(None, keys, new_keys, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        both = min(end - start, new_end - new_start)
        for offset in range(both):
            yield from differences(old[start + offset], new[new_start + offset], f"{pointer}/{new_start + offset}")
        for index in range(start + both, end):
            yield f"{pointer}/{index}: - {_shown(old[index])}"
        for index in range(new_start + both, new_end):
            yield f"{pointer}/{index}: + {_shown(new[index])}"


def _shown(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"
