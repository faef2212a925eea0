"""Find, choose and import plugins, and put them together with one runtime and one engine."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, NoReturn, cast

from prun import discovery
from prun.config import PluginSettings
from prun.errors import InvalidArgument, NotFound, PluginError
from prun.guard import DEFAULT_S, Guard
from prun.plugins import ENGINES, NO_SETTINGS, PLUGINS, RUNTIMES, Hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prun.discovery import EntryPoint
    from prun.services import EngineModule
    from prun.trust import Trust


def load(
    runtime: str,
    *,
    engine: str = "embedded",
    only: Sequence[str] | None = None,
    settings: Mapping[str, PluginSettings] = NO_SETTINGS,
    warn: Callable[[str], None] | None = None,
    last_resort: Callable[[str], NoReturn] | None = None,
) -> Hooks:
    """Import one runtime, one engine and the plugins: those installed and those of ``settings``, or only ``only``.

    A plugin that does not load stops the run, since a policy that is silently missing would fail open; where
    ``on_error`` is ``warn``, ``warn`` is told and it is left out.  ``last_resort`` ends a process of our own in which
    a plugin goes on whatever is raised in it.

    Raises:
        NotFound: no installed distribution offers that runtime, engine or plugin.
        PluginError: a module did not import, or implements an unknown hook or argument.
        InvalidArgument: a plugin has not such an option.
    """
    found = discovery.entry_points(PLUGINS)
    if last_resort is not None and any(entry.distribution != "prun" for entry in found.values()):
        from prun import limits

        limits.last_resort = last_resort
    trust = functools.cache(trust_of_root)
    plugins: dict[str, object] = {}
    guards: dict[str, Guard] = {}
    for name in chosen(found, only, settings):
        wishes = settings.get(name) or PluginSettings()
        guard = Guard(name, "", wishes.on_error, DEFAULT_S if wishes.timeout_s is None else wishes.timeout_s, warn)
        try:
            entry = _named("plugin", wishes.use or name, found)
            guard = guard._replace(origin=f"{entry.distribution} {entry.version}")
            plugins[name] = plugin = configured(_import(entry, guard, trust), guard, wishes.options)
        except (PluginError, NotFound) as error:
            if not guard.tolerated(error):
                raise
            continue
        if wishes.timeout_s is None:
            guard = guard._replace(timeout_s=getattr(plugin, "prun_timeout_s", DEFAULT_S))
        guards[name] = guard
    chosen_ones: list[object] = []
    for kind, name, group in (("runtime", runtime, RUNTIMES), ("engine", engine, ENGINES)):
        entry = _named(kind, name, discovery.entry_points(group))
        guards[f"--{kind}"] = Guard(
            name, f"{entry.distribution} {entry.version}", timeout_s=DEFAULT_S, ours=entry.distribution == "prun"
        )
        chosen_ones.append(_import(entry, guards[f"--{kind}"], trust))
    hooks = Hooks.of(runtime=chosen_ones[0], engine=chosen_ones[1], plugins=plugins, settings=settings, guards=guards)
    hooks.warn = warn
    return hooks


def engine_options(engine: str, given: Mapping[str, str]) -> Mapping[str, str]:
    """Return the options of an engine as they will be used (``prun.services.EngineModule``).

    Raises:
        NotFound: no installed distribution offers that engine.
        InvalidArgument: it has no such option, or the option cannot be used.
    """
    module = engine_module(engine)
    if module is not None:
        return module.options(given)
    for key in given:
        raise InvalidArgument(f"engine {engine} has no option {key!r}", hint="--engine names one that has")
    return given


def engine_module(engine: str) -> EngineModule | None:
    """Return what an engine offers beside its hooks, None where it works on our own store.

    Raises:
        NotFound: no installed distribution offers that engine.
    """
    entry = _named("engine", engine, discovery.entry_points(ENGINES))
    guard = Guard(engine, f"{entry.distribution} {entry.version}", timeout_s=DEFAULT_S)
    module = _import(entry, guard, trust_of_root)
    return cast("EngineModule", module) if hasattr(module, "options") else None


def chosen(
    found: Mapping[str, EntryPoint], only: Sequence[str] | None, settings: Mapping[str, PluginSettings]
) -> list[str]:
    """Return the names of the plugins to load.

    Those that come with prun itself are loaded where they are configured or asked for, all others where they are
    installed.  One that tables of other names use is not loaded under its own, unless that has a table too.
    """
    if only is not None:
        return list(dict.fromkeys(only))
    used = {wishes.use for wishes in settings.values() if wishes.use}
    names = [name for name, entry in found.items() if entry.distribution != "prun" and name not in used]
    return [name for name in dict.fromkeys((*names, *settings)) if name not in settings or settings[name].enabled]


def configured(plugin: object, guard: Guard, options: Mapping[str, object]) -> object:
    """Give a plugin its options: what ``prun_configure`` makes of them is the plugin, or that itself if it is None.

    Raises:
        InvalidArgument: it has not such an option (``prun_options``), or cannot use a value.
        PluginError: ``prun_configure`` failed.
    """
    configure = getattr(plugin, "prun_configure", None)
    known = getattr(plugin, "prun_options", {}) if configure else {}
    for key in options:
        if key not in known:
            raise InvalidArgument(
                f"plugin {guard.name} has no option {key!r}", hint=f"it knows: {', '.join(sorted(known)) or 'none'}"
            )
    if configure is None:
        return plugin
    from prun.limits import disarm

    try:
        with guard.limited("prun_configure"):
            return configure(options) or plugin
    finally:
        disarm()


def _named(kind: str, name: str, found: Mapping[str, EntryPoint]) -> EntryPoint:
    if name not in found:
        installed = ", ".join(sorted(found)) or "none"
        raise NotFound(f"no {kind} is called {name!r}", hint=f"installed: {installed} (prun plugins)")
    return found[name]


def _import(entry: EntryPoint, guard: Guard, trust: Callable[[], Trust | None]) -> object:
    """Import a plugin; as root only what no other user can change."""
    if entry.distribution == "prun":  # who could change it could change prun
        return discovery.load(entry)
    spec = None
    if entry.path and (eyes := trust()) is not None:
        from prun.trust import code_of

        spec = discovery.spec_of(entry)
        why = eyes.why_not(os.path.join(entry.path, "entry_points.txt"))
        if why := why or next(filter(None, map(eyes.why_not_below, code_of(spec) if spec else ())), ""):
            raise PluginError(
                f"plugin {entry.name!r} of {guard.origin} is not loaded as root: {why}",
                hint="install it into root's own environment",
                plugin=entry.name,
            )
    from prun.limits import disarm

    try:
        with guard.limited("the import"):
            return discovery.load(entry, spec)
    finally:
        disarm()


def imported(entry: EntryPoint) -> object:
    """Import one plugin to look at it, with the care that a run takes.

    Raises:
        PluginError: it does not import, hangs, or is not trusted.
    """
    guard = Guard(entry.name, f"{entry.distribution} {entry.version}", timeout_s=DEFAULT_S)
    return _import(entry, guard, trust_of_root)


def trust_of_root() -> Trust | None:
    """Return whom root trusts: itself, and the owner of prun's own files. None where this process is not root."""
    from prun.state import is_root

    if not is_root():
        return None
    from prun.trust import Trust

    return Trust(frozenset((0, os.stat(os.path.dirname(__file__)).st_uid)))


def names_of(value: str | None) -> list[str] | None:
    """Read ``--plugins`` or ``PRUN_PLUGINS``: names separated by commas, ``none`` for none, empty for all.

    Raises:
        InvalidArgument: a name is empty.
    """
    if not value:
        return None
    if value == "none":
        return []
    names = [name.strip() for name in value.split(",")]
    if "" in names:
        raise InvalidArgument(f"plugins {value!r} names an empty one", hint="NAME,NAME,... or none")
    return names
