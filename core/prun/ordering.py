"""The order of tier 4: by name, and by what plugins and ``prun.toml`` say of ``before`` and ``after``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prun.errors import PluginError
from prun.types import NOTHING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from prun.config import PluginSettings


class Wish(NamedTuple):
    """One plugin is to come before another, because ``said_by`` says so: either of the two, or ``prun.toml``."""

    first: str
    then: str
    said_by: str


def wishes_of(plugins: Mapping[str, object], settings: Mapping[str, PluginSettings]) -> list[Wish]:
    """Return what plugins and the configuration say of the order, of plugins that are there.

    Raises:
        PluginError: a wish names a plugin that is not there (``NAME?`` may be absent).
    """
    found = []
    for name, plugin in sorted(plugins.items()):
        said = settings.get(name)
        for who, before, after in (
            (name, getattr(plugin, "prun_before", ()), getattr(plugin, "prun_after", ())),
            ("prun.toml", said.before if said else (), said.after if said else ()),
        ):
            found += [Wish(name, other, who) for other in _known(before, name, plugins)]
            found += [Wish(other, name, who) for other in _known(after, name, plugins)]
    return found


def ordered(
    plugins: Mapping[str, object],
    settings: Mapping[str, PluginSettings] = NOTHING,  # type: ignore[assignment]  # an empty mapping is one of anything
) -> list[tuple[str, object]]:
    """Sort plugins by name, and by what they and the configuration say of ``before`` and ``after``.

    Raises:
        PluginError: the wishes contradict each other, or name a plugin that is not there (``NAME?`` may be absent).
    """
    earlier: dict[str, set[str]] = {name: set() for name in sorted(plugins)}
    for wish in wishes_of(plugins, settings):
        earlier[wish.then].add(wish.first)
    result: list[tuple[str, object]] = []
    while earlier:
        ready = next((name for name, others in earlier.items() if not others & earlier.keys()), None)
        if ready is None:
            raise PluginError(f"plugins want to come before each other, in a circle: {' < '.join(_cycle(earlier))}")
        result.append((ready, plugins[ready]))
        del earlier[ready]
    return result


def _known(others: Iterable[str], name: str, plugins: Container[str]) -> list[str]:
    for other in others:
        if not other.endswith("?") and other not in plugins:
            raise PluginError(
                f"plugin {name!r} wants to be ordered by {other!r}, which is not loaded",
                hint=f"install or enable it; {other + '?'!r} would do without",
                plugin=name,
            )
    return [other.removesuffix("?") for other in others if other.removesuffix("?") in plugins]


def _cycle(earlier: Mapping[str, set[str]]) -> list[str]:
    """Return one circle of plugins, each before the next, the first again at the end."""
    path = [next(iter(earlier))]
    while path[-1] not in path[:-1]:
        path.append(min(earlier[path[-1]] & earlier.keys()))
    return path[path.index(path[-1]) :][::-1]
