"""Values and keys as TOML has them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_WIDTH = 100


def toml_key(parts: Iterable[str]) -> str:
    """Return a key with dots, its parts quoted where they must be.

    >>> toml_key(("run", "web", "a.b"))
    'run.web."a.b"'
    """
    return ".".join(part if _BARE.fullmatch(part) else _text(part) for part in parts)


def toml_value(value: object) -> str:
    """Return a value in one line; an array that is long for one gets a line for each item.

    >>> toml_value(["a", 1, True])
    '["a", 1, true]'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml_key((key,))} = {toml_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        items = [toml_value(each) for each in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) < _WIDTH else "[\n" + "".join(f"  {item},\n" for item in items) + "]"
    if isinstance(value, str):
        return _text(value)
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
