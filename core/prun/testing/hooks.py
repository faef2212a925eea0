"""Hooks made of objects at hand, whatever is installed."""

from __future__ import annotations

from prun.plugins import Hooks


def hooks_with(runtime: object, *plugins: object, engine: object | None = None) -> Hooks:
    """Register ``runtime``, an engine (embedded unless another is given) and ``plugins``, each more specific.

    Raises:
        PluginError: one of them implements a hook or an argument that does not exist.
    """
    if engine is None:
        from prun.engines import embedded as engine
    # Plugins are sorted by name: the number keeps them in the order of the call.
    named = {f"{number:02}-{_name(plugin)}": plugin for number, plugin in enumerate(plugins)}
    return Hooks.of(runtime=runtime, engine=engine, plugins=named)


def _name(plugin: object) -> str:
    return str(getattr(plugin, "__name__", type(plugin).__name__))
