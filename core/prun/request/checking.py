"""Whether the fields of a request that comes from outside, out of a lock, have the types that they are said to have."""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from prun.errors import InvalidArgument
from prun.types import RunRequest

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_fields(request: RunRequest, names: Iterable[str], what: str) -> None:
    """Check the named fields.

    Raises:
        InvalidArgument: one is of another type.
    """
    hints = _hints()
    for name in names:
        if not fits(getattr(request, name), hints[name]):
            raise InvalidArgument(f"{what}: /request/{name} is of the wrong type", hint="it was not written by prun")


def fits(value: object, hint: Any) -> bool:
    """Tell whether a value is of a type, with all that is in it; text has no NUL."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in arguments)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(fits(each, arguments[0]) for each in value)
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            fits(key, arguments[0]) and fits(each, arguments[1]) for key, each in value.items()
        )
    if hint is None or hint is types.NoneType:
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hasattr(hint, "_fields"):
        own = get_type_hints(hint, localns=_names())
        return type(value) is hint and all(fits(getattr(value, name), own[name]) for name in own)
    return type(value) is hint and (not isinstance(value, str) or _is_text(value))


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in value


@cache
def _hints() -> dict[str, Any]:
    kept = {name: hint for name, hint in RunRequest.__annotations__.items() if name not in ("progress", "observation")}
    holder = type("Fields", (), {"__annotations__": kept, "__module__": RunRequest.__module__})
    return get_type_hints(holder, localns=_names())


@cache
def _names() -> dict[str, Any]:
    """Return what the annotations name that their modules import for a type checker only."""
    from prun.request.altering import Patch
    from prun.request.files import SecretRequest
    from prun.request.health import HealthRequest
    from prun.request.mounts import MountRequest
    from prun.request.resources import Resources
    from prun.request.supervision import LogRequest

    ours = (HealthRequest, LogRequest, MountRequest, Patch, Resources, SecretRequest)
    return {"Mapping": Mapping, **{each.__name__: each for each in ours}}
