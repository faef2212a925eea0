"""Register the tiers of plugins and call their hooks, with types.

This is the only module that touches ``pm.hook``: pluggy checks the names of a hook's arguments but not their types,
so each call here says what comes back.  Around each hookimpl stands its plugin's guard (``prun.guard``).  The order of
plugins is decided in ``Hooks.of`` and in ``Hooks._all``, and nowhere else.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from pluggy import PluginManager, PluginValidationError

from prun import hookspecs
from prun.errors import PluginError, PrunError, Unimplemented
from prun.guard import DEFAULT_S, FAILURES, Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prun.attribution import Attributed
    from prun.config import PluginSettings
    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import (
        Console,
        Event,
        Image,
        Mount,
        PlanStep,
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
NO_SETTINGS: Mapping[str, PluginSettings] = {}
NO_GUARDS: Mapping[str, Guard] = {}
# Hooks that are given something to read, and do nothing else than answer.
_READERS = frozenset(("prun_spec_opts", "prun_mounts", "prun_check_spec", "prun_plan_steps", "prun_event"))


class Hooks:
    """Typed calls of every hook of the registered plugins; made by ``load``, or by ``of`` from objects at hand."""

    def __init__(self, pm: PluginManager, found: list[tuple[object, Guard]]) -> None:
        self._pm = pm
        self._found = [(guard, plugin) for plugin, guard in found if pm.has_plugin(guard.name)]
        #: What is told, in a sentence, what goes wrong or is dangerous and stops nothing.
        self.warn: Callable[[str], None] | None = None
        #: What ``prun.toml`` says of plugins.
        self.settings: Mapping[str, PluginSettings] = NO_SETTINGS
        #: The same without the hooks of one run.
        self.base = self
        self._guards = {guard.name: guard for guard, _ in self._found}
        self._others = not all(guard.ours for guard, _ in self._found)
        #: A plugin acts between create and start, so that the runtime may not do both in one call.
        self.two_step = any(getattr(plugin, "prun_two_step", False) for _, plugin in self._found)

    @classmethod
    def of(
        cls,
        *,
        runtime: object,
        engine: object = None,
        plugins: Mapping[str, object] | None = None,
        settings: Mapping[str, PluginSettings] = NO_SETTINGS,
        guards: Mapping[str, Guard] = NO_GUARDS,
    ) -> Hooks:
        """Put the runtime, the engine and the plugins between the built-in tiers.

        ``guards`` of plugins by their names, those of the runtime and the engine as ``--runtime`` and ``--engine``.

        Raises:
            PluginError: one implements a hook or an argument that does not exist, or their order is contradictory.
        """
        from prun.builtin import defaults, flags

        found: list[tuple[object, Guard]] = []
        tiers = [("defaults", defaults), ("--runtime", runtime), ("--engine", engine)]
        for tier, plugin in (*tiers, *_ordered(plugins or {}, settings), ("flags", flags)):
            if plugin is not None:
                guard = guards.get(tier) or Guard(tier, timeout_s=DEFAULT_S, ours=tier in ("defaults", "flags"))
                if tier.startswith("--"):  # what they do may take its time
                    name = f"{tier[2:]} {getattr(plugin, '__name__', type(plugin).__name__)}"
                    guard = guard._replace(name=name, timeout_s=None)
                found.append((plugin, guard._replace(tier_4=tier in (plugins or {}))))
        hooks = cls._registered(found)
        hooks.settings = settings
        return hooks

    @classmethod
    def _registered(cls, found: list[tuple[object, Guard]]) -> Hooks:
        pm = PluginManager("prun")
        pm.add_hookspecs(hookspecs)
        guards: dict[str, Guard] = {}
        for plugin, guard in found:
            guards[guard.name] = guard
            _register(pm, plugin, guard)
        _refuse_unknown_hooks(pm, guards)
        if os.environ.get("PRUN_TRACE_HOOKS") == "1":
            from prun.trace import trace_hooks

            trace_hooks(pm)
        for hook in hookspecs.NAMES:
            for impl in getattr(pm.hook, hook).get_hookimpls():
                impl.function = guards[impl.plugin_name].around(hook, impl)
        return cls(pm, found)

    def including(self, files: Iterable[str]) -> Hooks:
        """Return the same plugins, and after them, before the flags, the hookimpls of files (``--hook``).

        Raises: as ``prun.hookfile.load_hooks``; PluginError: one implements an unknown hook or argument.
        """
        from prun.hookfile import load_hooks

        *found, flags = [(plugin, guard) for guard, plugin in self._found]
        for number, (title, hooks) in enumerate(map(load_hooks, files)):
            name = title if title not in (guard.name for _, guard in found) else f"{title} ({number + 1})"
            found.append((hooks, Guard(name, timeout_s=DEFAULT_S)))
        included = self._registered([*found, flags])
        included.warn, included.base, included.settings = self.warn, self.base, self.settings
        return included

    def registered(self) -> list[tuple[Guard, object]]:
        """Return the plugins, from general to specific, each with its guard: its name, origin and limits."""
        return list(self._found)

    @property
    def plugins(self) -> frozenset[str]:
        """The names of tier 4."""
        return frozenset(guard.name for guard in self._guards.values() if guard.tier_4)

    def implemented_by(self, name: str) -> list[str]:
        """Return which hooks a plugin implements, in the order in which they are called."""
        impls = ((hook, impl) for hook in hookspecs.NAMES for impl in getattr(self._pm.hook, hook).get_hookimpls())
        return [hook for hook, impl in impls if impl.plugin_name == name]

    def names(self) -> list[str]:
        """Return the names of the registered plugins, from general to specific."""
        return [guard.name for guard, _ in self._found]

    def versions(self) -> dict[str, str]:
        """Return the distribution and version of each registered plugin that comes from one."""
        return {name: self._guards[name].origin for name in self.names() if self._guards[name].origin}

    def facts(self, request: RunRequest) -> dict[str, str]:
        """Return what the plugins say of this machine, with regard to a run: packages that have a module ``facts``."""
        from importlib import import_module
        from importlib.util import find_spec

        found: dict[str, str] = {}
        for guard, plugin in self._found:
            if isinstance(plugin, ModuleType) and hasattr(plugin, "__path__") and find_spec(f"{plugin.__name__}.facts"):
                with guard.limited("facts"):
                    told = import_module(f"{plugin.__name__}.facts").facts(request)
                    found |= {str(key): str(value) for key, value in told.items()}
        return found

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

    def attributed(self, name: str, *, every_line: bool, lines: bool = True, **arguments: object) -> list[Attributed]:
        """Return the answers of ``prun_spec_opts`` or ``prun_mounts`` with the plugin that each comes from."""
        from prun.attribution import attributed

        impls = getattr(self._pm.hook, name).get_hookimpls()
        return attributed(impls, lambda: self._all(name, **arguments), every_line=every_line, lines=lines)

    @property
    def may_disagree(self) -> bool:
        """Two plugins of tier 4 have a say in the spec."""
        hooks = (self._pm.hook.prun_spec_opts, self._pm.hook.prun_mounts)
        return (
            len(self.plugins) > 1
            and len(self.plugins.intersection(impl.plugin_name for hook in hooks for impl in hook.get_hookimpls())) > 1
        )

    def agreed(self, one: str, other: str) -> bool:
        """Tell whether somebody has said which of two plugins comes first, be it by way of others."""
        from prun.ordering import wishes_of

        wishes = wishes_of({guard.name: plugin for guard, plugin in self._found if guard.tier_4}, self.settings)
        seen, todo = set[str](), [one]
        while todo:
            seen.add(at := todo.pop())
            todo += [wish.then for wish in wishes if wish.first == at and wish.then not in seen]
        return other in seen

    def check_spec(self, request: RunRequest, spec: Spec) -> list[Problem]:
        return self._all("prun_check_spec", request=request, spec=spec)

    def plan_steps(self, request: RunRequest, image: Image, bundle: str, spec: Spec) -> list[PlanStep]:
        return self._all("prun_plan_steps", request=request, image=image, bundle=bundle, spec=spec)

    def order(self) -> dict[str, tuple[str, ...]]:
        """Return for each hook that a plugin implements who does, from general to specific."""
        found = {}
        for name in hookspecs.NAMES:
            if impls := getattr(self._pm.hook, name).get_hookimpls():
                found[name] = tuple(impl.plugin_name for impl in impls)
        return found

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
        return [item for answer in reversed(answers) for item in answer]

    def _call(self, name: str, **arguments: object) -> T:  # type: ignore[type-var]
        call = getattr(self._pm.hook, name)
        if not self._others:
            return call(**arguments)  # type: ignore[no-any-return]
        from prun import limits, pristine

        before = pristine.taken(arguments) if name in _READERS else {}
        try:
            answer: T = call(**arguments)
            if before:
                pristine.refuse_changed(name, before, arguments, call.get_hookimpls(), self._guards)
        finally:
            limits.disarm()
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
            raise self._blamed(error, stage) from error

    @contextmanager
    def applying(self) -> Iterator[None]:
        """While options change the spec: they are code of plugins', and may do no more than hookimpls."""
        if not self._others:
            yield
            return
        from prun import limits

        try:
            with limits.Limited("an option of the spec", DEFAULT_S):
                yield
        except PrunError:
            raise
        except FAILURES as error:
            raise self._blamed(error, "spec") from error
        finally:
            limits.disarm()

    def _blamed(self, error: BaseException, stage: Stage) -> PrunError:
        """Return the error that names the plugin in whose code, or on whose behalf, something else was raised."""
        modules: dict[str, Guard] = {}
        for guard, plugin in self._found:
            module = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
            modules[module if module.startswith("prun.") else module.partition(".")[0]] = guard
        blamed, last, frame = None, "", error.__traceback__
        while frame is not None:
            last = str(frame.tb_frame.f_globals.get("__name__", ""))
            blamed = modules.get(last) or modules.get(last.partition(".")[0]) or blamed
            frame = frame.tb_next
        failure = (blamed or Guard(last.partition(".")[0])).failure("code", error)
        failure.stage = stage
        return failure


class _Marked:
    """Stands for a module with its hookimpls: pluggy looks at an object's own attributes quicker, and at no others."""

    def __init__(self, module: ModuleType) -> None:
        self.__dict__.update((name, value) for name, value in vars(module).items() if hasattr(value, "prun_impl"))

    def __dir__(self) -> list[str]:
        return list(self.__dict__)


def _ordered(plugins: Mapping[str, object], settings: Mapping[str, PluginSettings]) -> list[tuple[str, object]]:
    if not plugins:
        return []
    from prun.ordering import ordered

    return ordered(plugins, settings)


def _register(pm: PluginManager, plugin: object, guard: Guard) -> None:
    """Register one plugin, unless it cannot be and may be left out."""
    try:
        pm.register(_Marked(plugin) if type(plugin) is ModuleType else plugin, guard.name)
    except (PluginValidationError, ValueError) as error:
        what = f"plugin {guard.name!r}" + (f" of {guard.origin}" if guard.origin else "")
        failure = PluginError(f"{what} cannot be registered: {' '.join(str(error).split())}", plugin=guard.name)
        if not guard.tolerated(failure):
            raise failure from error
        with suppress(AssertionError, ValueError):  # pluggy before 1.7 has kept half of it
            pm.unregister(name=guard.name)


def _refuse_unknown_hooks(pm: PluginManager, guards: Mapping[str, Guard]) -> None:
    while True:
        try:
            return pm.check_pending()
        except PluginValidationError as error:
            guard = guards[pm.get_name(error.plugin) or ""]
            what = f"plugin {guard.name!r}" + (f" of {guard.origin}" if guard.origin else "")
            failure = PluginError(f"{what}: {' '.join(str(error).split())}", plugin=guard.name)
            if not guard.tolerated(failure):
                raise failure from error
            pm.unregister(error.plugin)
