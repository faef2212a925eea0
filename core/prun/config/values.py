"""One value of a file: whether it is of its key's kind, and what it is in the words of the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from prun.config.faults import nearest
from prun.config.schema import KINDS, MIRROR
from prun.config.variables import UNEXPANDED, expand

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prun.config.files import Document
    from prun.config.positions import Path
    from prun.config.schema import Key, Kind
    from prun.request import Words


class Wrong(NamedTuple):
    """What is wrong: of which key or item, with its value or (where not) with itself, and a remedy."""

    path: Path
    message: str
    hint: str = ""
    value: bool = True


def wrong(key: Key, value: object, path: Path) -> Iterator[Wrong]:
    """Yield what is wrong with a value, as far as its kind tells."""
    if key.kind == "any":
        return
    if not _is(key.kind, value):
        yield Wrong(path, f"{key.name} is {shown(value)}, not {KINDS[key.kind]}")
    elif key.choices and value not in key.choices:
        yield Wrong(path, f"{key.name} is {shown(value)}", " or ".join(shown(each) for each in key.choices))
    elif isinstance(value, list) and key.kind == "mirrors":
        yield from _wrong_mirrors(value, path)
    elif isinstance(value, list):
        item = "argv" if key.kind in ("argv", "names", "entrypoint") else "words"
        for index, each in enumerate(value):
            if not (isinstance(each, str) if item == "argv" else _is("word", each)):
                yield Wrong((*path, index), f"{key.name} has {shown(each)} in it, not {KINDS['text']}")
    elif isinstance(value, dict):
        for name, each in value.items():
            if not (_is("word", each) or isinstance(each, bool)):
                yield Wrong((*path, name), f"{key.name}: {name} is {shown(each)}, not a string, a number or a boolean")
            elif not name or "=" in name:
                yield Wrong((*path, name), f"{key.name}: {name!r} is no name", value=False)


def _wrong_mirrors(mirrors: list[object], path: Path) -> Iterator[Wrong]:
    keys = {key.name: key for key in MIRROR}
    for index, mirror in enumerate(mirrors):
        if isinstance(mirror, dict):
            for name, each in mirror.items():
                if name in keys:
                    yield from wrong(keys[name], each, (*path, index, name))
                else:
                    message = f"a mirror has no key {name!r}"
                    yield Wrong((*path, index, name), message, nearest(name, keys), value=False)
        elif not isinstance(mirror, str):
            yield Wrong((*path, index), f"mirrors has {shown(mirror)} in it, not a string or a table")


def shown(value: object) -> str:
    """Return a value as a file would have it, or what it is where that would be long."""
    if isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False)
    return "an array" if isinstance(value, list) else "a table" if isinstance(value, dict) else "a date or a time"


def words(key: Key, value: object, document: Document, environment: Mapping[str, str]) -> Words:
    """Return a value of the right kind in the words of the command line, its variables replaced.

    Raises:
        InvalidArgument: a variable cannot be replaced.
    """

    def text(each: object) -> str:
        if isinstance(each, bool):
            return str(each).lower()
        if key.name in UNEXPANDED or not isinstance(each, str):
            return str(each)
        return expand(each, document.directory, None if document.found else environment)

    if isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return tuple(f"{name}={text(each)}" for name, each in value.items())
    if isinstance(value, list):
        return json.dumps(value) if key.kind == "entrypoint" else tuple(text(each) for each in value)
    return text(value)


def names(value: object) -> tuple[str, ...]:
    """Return the names of a key that has one or several."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else ()


def _is(kind: Kind, value: object) -> bool:
    if kind in ("any", "flag"):
        return kind == "any" or isinstance(value, bool)
    if kind == "seconds":
        return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    if kind == "text":
        return isinstance(value, str)
    if kind == "word":
        return isinstance(value, str | int | float) and not isinstance(value, bool)
    if kind in ("names", "entrypoint") and isinstance(value, str):
        return True
    return isinstance(value, list) or (kind == "pairs" and isinstance(value, dict))
