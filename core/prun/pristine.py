"""What a plugin is given to read and may not change: the request, the image's config, the spec that is checked."""

from __future__ import annotations

import marshal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from prun.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pluggy import HookImpl

    from prun.guard import Guard

# The argument and, where it is a named tuple, its field.
_Place = tuple[str, str]


def taken(arguments: Mapping[str, Any]) -> dict[_Place, bytes]:
    """Return copies of what can be changed in the arguments of a hook, to be compared with those taken later.

    What is no plain JSON is not watched.
    """
    copies = {}
    for place, value in _changeable(arguments):
        with suppress(ValueError):
            copies[place] = marshal.dumps(value, 2)  # the later formats depend on who else has a reference
    return copies


def refuse_changed(
    hook: str,
    before: Mapping[_Place, bytes],
    arguments: Mapping[str, Any],
    impls: Sequence[HookImpl],
    guards: Mapping[str, Guard],
) -> None:
    """Find out which plugin has changed an argument: each is asked again, with arguments of its own.

    Raises:
        PluginError: one has.
    """
    if taken(arguments) == before:
        return
    for impl in reversed(impls):
        own = _as_before(before, arguments)
        if not impl.wrapper:
            impl.function(*(own[name] for name in impl.argnames))
        now = taken(own)
        if now != before:
            changed = next(name for name, field in before if now.get((name, field)) != before[name, field])
            raise PluginError(
                f"{guards[impl.plugin_name].of(hook)} has changed the {changed}, which it may only read",
                hint=f"report it to the author of {impl.plugin_name!r}, or leave it out (--plugins)",
                plugin=impl.plugin_name,
            )
    raise PluginError(f"a wrapper of {hook} has changed what plugins may only read", hint="leave it out (--plugins)")


def _changeable(arguments: Mapping[str, Any]) -> Iterator[tuple[_Place, dict[str, Any]]]:
    for name, value in arguments.items():
        if name in ("request", "image", "event"):
            for field, part in zip(value._fields, value, strict=True):
                if isinstance(part, dict):
                    yield (name, field), part
        elif name == "spec":
            yield (name, ""), value


def _as_before(before: Mapping[_Place, bytes], arguments: Mapping[str, Any]) -> dict[str, Any]:
    again = dict(arguments)
    for (name, field), copy in before.items():
        value = marshal.loads(copy)  # noqa: S302  our own
        again[name] = again[name]._replace(**{field: value}) if field else value
    return again
