"""Register the tiers of plugins and call their hooks, with types.

This is the only module that touches ``pm.hook``: pluggy checks the names of a hook's arguments but not their types,
so each call here says what comes back.  The order of plugins is decided in ``register`` and in ``Hooks._all``, and
nowhere else.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from pluggy import PluginManager, PluginValidationError

from prun import hookspecs
from prun.errors import InvalidArgument, NotFound, PluginError, PrunError, Unimplemented

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from prun.attribution import Attributed
    from prun.config import PluginSettings
    from prun.discovery import EntryPoint
    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import (
        Console,
        Event,
        Image,
        Mount,
        Platform,
        Problem,
        Rootfs,
        RunRequest,
        RuntimeInfo,
        Stage,
        Task,
    )
    from prun.types import Container as ContainerRecord

T = TypeVar("T")

RUNTIMES, ENGINES, PLUGINS = "prun.runtimes", "prun.engines", "prun.plugins"
_NO_SETTINGS: Mapping[str, PluginSettings] = MappingProxyType({})


class Hooks:
    """Typed calls of every hook of the registered plugins; made by ``load``, or by ``of`` from objects at hand."""

    def __init__(self, pm: PluginManager) -> None:
        self._pm = pm
        #: What is told, in a sentence, what goes wrong or is dangerous and stops nothing.
        self.warn: Callable[[str], None] | None = None
        #: The same without the hooks of one run.
        self.base = self
        #: A plugin acts between create and start, so that the runtime may not do both in one call.
        self.two_step = any(getattr(plugin, "prun_two_step", False) for plugin in pm.get_plugins())

    @classmethod
    def of(
        cls,
        *,
        runtime: object,
        engine: object = None,
        plugins: Mapping[str, object] | None = None,
        settings: Mapping[str, PluginSettings] = _NO_SETTINGS,
    ) -> Hooks:
        """Put the runtime, the engine and the plugins between the built-in tiers.

        Raises:
            PluginError: one implements a hook or an argument that does not exist, or their order is contradictory.
        """
        from prun.builtin import defaults, flags

        pm = PluginManager("prun")
        pm.add_hookspecs(hookspecs)
        tiers = [("defaults", defaults), ("runtime", runtime), ("engine", engine), *ordered(plugins or {}, settings)]
        for name, plugin in (*tiers, ("flags", flags)):
            if plugin is not None:
                register(pm, plugin, name)
        _check_pending(pm)
        if os.environ.get("PRUN_TRACE_HOOKS") == "1":
            from prun.trace import trace_hooks

            trace_hooks(pm)
        return cls(pm)

    def including(self, files: Iterable[str]) -> Hooks:
        """Return the same plugins, and after them, before the flags, the hookimpls of files (``--hook``).

        Raises: as ``prun.hookfile.load_hooks``; PluginError: one implements an unknown hook or argument.
        """
        from prun.hookfile import load_hooks

        pm = PluginManager("prun")
        pm.add_hookspecs(hookspecs)
        for name, plugin in self._pm.list_name_plugin():
            if name == "flags":
                for number, (title, hooks) in enumerate(map(load_hooks, files)):
                    register(pm, hooks, title if pm.get_plugin(title) is None else f"{title} ({number + 1})")
            register(pm, plugin, name)
        _check_pending(pm)
        found = Hooks(pm)
        found.warn, found.base = self.warn, self.base
        return found

    def names(self) -> list[str]:
        """Return the names of the registered plugins, from general to specific."""
        return [name for name, _ in self._pm.list_name_plugin()]

    def describe_runtime(self) -> RuntimeInfo:
        return self._first("prun_describe_runtime")

    def resolve_image(self, request: RunRequest, platform: Platform) -> Image:
        return self._first("prun_resolve_image", request=request, platform=platform)

    def prepare_rootfs(self, request: RunRequest, image: Image, bundle: str) -> Rootfs:
        return self._first("prun_prepare_rootfs", request=request, image=image, bundle=bundle)

    def spec_opts(self, request: RunRequest, image: Image, rootfs: Rootfs) -> list[SpecOpt]:
        return self._all("prun_spec_opts", request=request, image=image, rootfs=rootfs)

    def mounts(self, request: RunRequest, image: Image) -> list[Mount]:
        return self._all("prun_mounts", request=request, image=image)

    def attributed(self, name: str, **arguments: object) -> list[Attributed]:
        """Return the answers of ``prun_spec_opts`` or ``prun_mounts`` with the plugin that each comes from."""
        from prun.attribution import attributed

        return attributed(getattr(self._pm.hook, name).get_hookimpls(), lambda: self._all(name, **arguments))

    def check_spec(self, request: RunRequest, spec: Spec) -> list[Problem]:
        return self._all("prun_check_spec", request=request, spec=spec)

    def open_console(self, request: RunRequest, spec: Spec) -> Console:
        return self._first("prun_open_console", request=request, spec=spec)

    def create_task(self, request: RunRequest, bundle: str, spec: Spec, console: Console) -> Task:
        return self._first("prun_create_task", request=request, bundle=bundle, spec=spec, console=console)

    def load_task(self, container: ContainerRecord) -> Task:
        return self._first("prun_load_task", container=container)

    def event(self, event: Event) -> None:
        self._call("prun_event", event=event)

    # The answers below are of the types that hookspecs.py states; pluggy itself knows none (pluggy #191).

    def _first(self, name: str, **arguments: object) -> T:  # type: ignore[type-var]
        answer: T | None = self._call(name, **arguments)
        if answer is None:
            raise Unimplemented(f"no plugin answers {name}", hint=f"registered: {', '.join(self.names())}")
        return answer

    def _all(self, name: str, **arguments: object) -> list[T]:
        """Join everyone's answers: pluggy asks the most specific first, and the last word shall be theirs."""
        answers: list[list[T]] = self._call(name, **arguments)
        for answer in answers:
            if not isinstance(answer, list):
                raise PluginError(f"{name} answered {answer!r}, not a list")
        return [item for answer in reversed(answers) for item in answer]

    def _call(self, name: str, **arguments: object) -> T:  # type: ignore[type-var]
        try:
            answer: T = getattr(self._pm.hook, name)(**arguments)
        except PrunError as error:
            error.plugin = error.plugin or self._culprit(name, error)
            raise
        except Exception as error:
            plugin = self._culprit(name, error)
            raise PluginError(
                f"{name} failed: {type(error).__name__}: {_one_line(error)}",
                hint=f"report it to the author of {plugin!r}, or leave it out (--plugins)" if plugin else "",
                plugin=plugin,
            ) from error
        return answer

    @contextmanager
    def at(self, stage: Stage) -> Iterator[None]:
        """Let errors of the block say at which stage they happened; those of a plugin's objects become PluginErrors."""
        try:
            yield
        except PrunError as error:
            error.stage = error.stage or stage
            raise
        except Exception as error:
            raise PluginError(
                f"{type(error).__name__}: {_one_line(error)}", stage=stage, plugin=_module(error)
            ) from error

    def _culprit(self, name: str, error: BaseException) -> str:
        """Name the plugin whose hookimpl the error passed through last; pluggy does not say."""
        plugins = {}
        for impl in getattr(self._pm.hook, name).get_hookimpls():
            function = getattr(impl.function, "__wrapped__", impl.function)
            plugins[getattr(function, "__func__", function).__code__] = impl.plugin_name
        found, frame = "", error.__traceback__
        while frame is not None:
            found = plugins.get(frame.tb_frame.f_code, found)
            frame = frame.tb_next
        return found


def load(
    runtime: str,
    *,
    engine: str = "embedded",
    only: Sequence[str] | None = None,
    settings: Mapping[str, PluginSettings] = _NO_SETTINGS,
    warn: Callable[[str], None] | None = None,
) -> Hooks:
    """Import one runtime, one engine and the plugins: those installed and those of ``settings``, or only ``only``.

    A plugin that does not load stops the run, since a policy that is silently missing would fail open; where
    ``on_error`` is ``warn``, ``warn`` is told and it is left out.

    Raises:
        NotFound: no installed distribution offers that runtime, engine or plugin.
        PluginError: a module did not import, or implements an unknown hook or argument.
        InvalidArgument: a plugin has not such an option.
    """
    from prun import discovery

    found, plugins = discovery.entry_points(PLUGINS), {}
    for name in chosen(found, only, settings):
        wishes = settings.get(name)
        try:
            plugin = _import(_named("plugin", (wishes and wishes.use) or name, found))
            plugins[name] = configured(plugin, name, wishes.options if wishes else {})
        except (PluginError, NotFound) as error:
            if wishes is None or wishes.on_error == "fail":
                raise
            if wishes.on_error == "warn" and warn is not None:
                warn(f"plugin {name} is left out: {error}")
    hooks = Hooks.of(
        runtime=_import(_named("runtime", runtime, discovery.entry_points(RUNTIMES))),
        engine=_import(_named("engine", engine, discovery.entry_points(ENGINES))),
        plugins=plugins,
        settings=settings,
    )
    hooks.warn = warn
    return hooks


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


def configured(plugin: object, name: str, options: Mapping[str, object]) -> object:
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
                f"plugin {name} has no option {key!r}", hint=f"it knows: {', '.join(sorted(known)) or 'none'}"
            )
    if configure is None:
        return plugin
    try:
        return configure(options) or plugin
    except PrunError as error:
        error.plugin = error.plugin or name
        raise
    except Exception as error:
        raise PluginError(f"prun_configure failed: {type(error).__name__}: {_one_line(error)}", plugin=name) from error


def _check_pending(pm: PluginManager) -> None:
    try:
        pm.check_pending()
    except PluginValidationError as error:
        raise PluginError(_one_line(error), plugin=getattr(error.plugin, "__name__", "")) from error


def register(pm: PluginManager, plugin: object, tier: str) -> None:
    """Register one plugin under its module's name, or under that of its tier."""
    name = tier if tier not in ("runtime", "engine") else f"{tier} {getattr(plugin, '__name__', type(plugin).__name__)}"
    try:
        pm.register(plugin, name)
    except (PluginValidationError, ValueError) as error:
        raise PluginError(f"plugin {name!r} cannot be registered: {_one_line(error)}", plugin=name) from error


def ordered(
    plugins: Mapping[str, object], settings: Mapping[str, PluginSettings] = _NO_SETTINGS
) -> list[tuple[str, object]]:
    """Sort plugins by name, and by what they and the configuration say of ``before`` and ``after``.

    Raises:
        PluginError: the wishes contradict each other, or name a plugin that is not there (``NAME?`` may be absent).
    """
    earlier: dict[str, set[str]] = {name: set() for name in sorted(plugins)}
    for name, plugin in plugins.items():
        wishes = settings.get(name)
        after = (*getattr(plugin, "prun_after", ()), *(wishes.after if wishes else ()))
        before = (*getattr(plugin, "prun_before", ()), *(wishes.before if wishes else ()))
        earlier[name].update(_known(after, name, earlier))
        for other in _known(before, name, earlier):
            earlier[other].add(name)
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


def _named(kind: str, name: str, found: Mapping[str, EntryPoint]) -> EntryPoint:
    if name not in found:
        installed = ", ".join(sorted(found)) or "none"
        raise NotFound(f"no {kind} is called {name!r}", hint=f"installed: {installed} (prun plugins)")
    return found[name]


def _import(entry: EntryPoint) -> object:
    """Import a plugin; as root only from a place that no other user can change."""
    from prun import discovery
    from prun.state import is_root

    if entry.path and is_root():
        ours = os.stat(os.path.dirname(__file__)).st_uid
        info = os.stat(entry.path)
        if info.st_uid not in (0, ours) or (info.st_mode & 0o022 and info.st_uid != ours):
            raise PluginError(
                f"plugin {entry.name!r} of {entry.distribution} is not loaded as root: {entry.path} may be changed "
                f"by uid {info.st_uid} or its group",
                hint="install it into root's own environment",
                plugin=entry.name,
            )
    return discovery.load(entry)


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


def _module(error: BaseException) -> str:
    """Return the package whose code raised an error."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0] if frame else ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
