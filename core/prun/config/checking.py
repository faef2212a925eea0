"""A file against the schema: everything that is wrong with it, at its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prun.config.faults import nearest
from prun.config.schema import TABLES, TOP, Key, checker, keys_of, run_options
from prun.config.values import shown, wrong
from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prun.config.faults import Fault
    from prun.config.files import Document
    from prun.config.positions import Path
    from prun.config.schema import Table

# As a container's: what has a slash or a colon is an image.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


def check(document: Document) -> list[Fault]:
    """Return what is wrong with a file, whatever is asked of it: keys, kinds, what contradicts itself in one table."""
    return sorted(_Check(document).faults(), key=lambda fault: (fault.line, fault.column))


class _Check:
    def __init__(self, document: Document) -> None:
        self._document = document

    def faults(self) -> Iterator[Fault]:
        top = {key.name: key for key in TOP}
        for name, value in self._document.table.items():
            if name in TABLES:
                yield from self._top_table(name, TABLES[name], value)
            elif name in top:
                yield from self._value(top[name], value, (name,), variables=False)
            else:
                yield self._document.fault((name,), f"there is no key {name!r}", nearest(name, (*top, *TABLES)))

    def _top_table(self, name: str, table: Table, value: object) -> Iterator[Fault]:
        keys = keys_of(table)
        if not isinstance(value, dict):
            yield self._document.fault((name,), f"{name} is {shown(value)}, not a table", value=True)
        elif not table.named:
            yield from self._table(value, table, keys, (name,))
        else:
            for each, inner in value.items():
                if isinstance(inner, dict):
                    if table.options and not _NAME.fullmatch(each):
                        hint = "letters, digits, '_', '.' and '-', a letter or digit first"
                        yield self._document.fault((name, each), f"{each!r} is no name", hint)
                    yield from self._table(inner, table, keys, (name, each))
                else:
                    message = f"[{name}] has {each} = {shown(inner)}, where a table has to be"
                    yield self._document.fault((name, each), message, f"[{name}.NAME]")

    def _table(self, value: dict[str, Any], table: Table, keys: Mapping[str, Key], path: Path) -> Iterator[Fault]:
        where = f"[{'.'.join(map(str, path))}]"
        sound = True
        seen: dict[str, str] = {}
        for name, each in value.items():
            word = name.replace("-", "_") if table.options else name
            key = keys.get(word) or (Key(name, table.other, "") if table.other else None)
            if key is None:
                yield self._document.fault((*path, name), f"{where} has no key {name!r}", nearest(name, keys))
                sound = False
                continue
            if word in seen:
                yield self._document.fault(
                    (*path, name), f"{where} has {seen[word]!r} and {name!r}, which are the same"
                )
                continue
            seen[word] = name
            wrong_here = list(self._value(key, each, (*path, name), variables=table.options))
            yield from wrong_here
            sound = sound and not wrong_here
        if table.options:
            yield from self._unset(value, path)
        if "image" in seen and "rootfs" in seen:
            yield self._document.fault((*path, seen["rootfs"]), f"{where} has both image and rootfs", "leave one out")
        if sound and (function := checker(table)):
            for name, each in ((str(path[-1]), value),) if table.named else value.items():
                at = path if table.named else (*path, name)
                try:
                    function({name: each})
                except InvalidArgument as error:
                    yield self._document.fault(at, str(error), error.hint)

    def _unset(self, table: dict[str, Any], path: Path) -> Iterator[Fault]:
        names = table.get("unset")
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if isinstance(name, str) and name.replace("-", "_") not in run_options():
                message, hint = f"unset: prun run has no option {name!r}", nearest(name, run_options())
                yield self._document.fault((*path, "unset", index), message, hint)

    def _value(self, key: Key, value: object, path: Path, *, variables: bool) -> Iterator[Fault]:
        for each in wrong(key, value, path):
            yield self._document.fault(each.path, each.message, each.hint, value=each.value)
        for text in value if isinstance(value, list) else [value]:
            if not variables and key.kind != "any" and isinstance(text, str) and "${" in text:
                hint = "they may stand in [defaults], [profiles.*] and [run.*]"
                yield self._document.fault(path, f"{key.name}: no variable is replaced here", hint, value=True)
