"""Every value that files put in force, and where each stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from prun.config.schema import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prun.config.files import Document


class Shown(NamedTuple):
    """One value: its key, what it is, and where it comes from: FILE:LINE, a flag, a variable or ``default``."""

    key: tuple[str, ...]
    value: object
    origin: str


def in_force(documents: Sequence[Document]) -> list[Shown]:
    """Return what files say together, without the keys at the top.

    Of a run the last file that has it counts, and so does that of a registry; of ``[defaults]`` and of a profile, a
    list of each file.  Every other value is that of the last file.
    """
    found: dict[object, Shown] = {}
    for number, document in enumerate(documents):
        for name in document.table:
            if name in TABLES:
                for path, value in _values(name, document.table[name]):
                    appended = name in ("defaults", "profiles") and isinstance(value, list | dict)
                    found[(path, number) if appended else path] = Shown(
                        path, value, f"{document.path}:{document.line(path)}"
                    )
        for kind in ("registries", "run"):
            for each in document.table.get(kind, {}):
                for key in [key for key, shown in found.items() if shown.key[:2] == (kind, each)]:
                    if not found[key].origin.startswith(f"{document.path}:"):
                        del found[key]
    return sorted(found.values(), key=lambda shown: shown.key)


def _values(name: str, table: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield the values of a table at the top with their keys; an empty table is a value, too."""
    if not TABLES[name].named:
        yield from (((name, key), value) for key, value in table.items())
        return
    for each, inner in table.items():
        if not inner:
            yield (name, each), {}
        yield from (((name, each, key), value) for key, value in inner.items())
