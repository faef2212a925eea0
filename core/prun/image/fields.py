"""Typed reads of JSON that somebody else wrote: bounded, and never an exception but ours."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from prun.errors import InvalidArgument

# json accepts lone surrogates, which nothing after it can encode.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def load_object(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object; a null member is as good as absent, so it is left out.

    Raises:
        InvalidArgument: it is no JSON object, has one key twice (readers would differ in which counts), nests too
            deep, or has text that is no text.
    """
    return as_object(load_json(data, what), what)


def load_json(data: bytes, what: str) -> object:
    """Parse JSON text; raises InvalidArgument as ``load_object`` does."""
    try:
        value: object = json.loads(data.decode(), object_pairs_hook=_members, parse_constant=_no_constant)
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what} is not valid JSON: {_reason(error)}") from error
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return {key: member for key, member in pairs if member is not None}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _reason(error: Exception) -> str:
    return "it nests too deep" if isinstance(error, RecursionError) else str(error)[:200]


def as_object(value: object, what: str) -> dict[str, Any]:
    """Return ``value`` if it is a JSON object, else raise InvalidArgument."""
    if not isinstance(value, dict):
        raise InvalidArgument(f"{what} is {_kind(value)}, not an object")
    return value


def as_list(value: object, what: str, limit: int) -> list[Any]:
    """Return ``value`` if it is a list of at most ``limit`` members, else raise InvalidArgument."""
    if not isinstance(value, list):
        raise InvalidArgument(f"{what} is {_kind(value)}, not a list")
    if len(value) > limit:
        raise InvalidArgument(f"{what} has {len(value)} members; {limit} is the limit")
    return value


def as_string(value: object, what: str) -> str:
    """Return ``value`` if it is a string without NUL, else raise InvalidArgument."""
    if not isinstance(value, str):
        raise InvalidArgument(f"{what} is {_kind(value)}, not a string")
    if "\0" in value:
        raise InvalidArgument(f"{what} {value[:200]!r} contains a NUL byte")
    return value


def as_strings(value: object, what: str, limit: int = 10_000) -> list[str]:
    """Return ``value`` if it is a list of strings, else raise InvalidArgument."""
    return [as_string(member, f"{what}[{n}]") for n, member in enumerate(as_list(value, what, limit))]


def as_string_map(value: object, what: str) -> dict[str, str]:
    """Return ``value`` if it is an object whose members are strings, else raise InvalidArgument."""
    return {key: as_string(member, f"{what}[{key[:200]!r}]") for key, member in as_object(value, what).items()}


def as_size(value: object, what: str) -> int:
    """Return ``value`` if it is a number of bytes that a file can have, else raise InvalidArgument."""
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise InvalidArgument(f"{what} {str(value)[:200]} is not a size in bytes")
    return value


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    return "null" if value is None else "a number"
