"""The JSON Schema of ``prun.toml``, for editors: made from the definitions that files are checked against.

https://json-schema.org/draft-07/schema
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prun.config.schema import MIRROR, TABLES, TOP, Key, keys_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prun.config.schema import Table

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_WORD = {"type": ["string", "number"]}
_WORDS = {"type": "array", "items": _WORD}
_NAME = "^[a-zA-Z0-9][a-zA-Z0-9_.-]*$"
_OPTION = "#/definitions/option/"


def json_schema() -> dict[str, Any]:
    """Return the schema of a whole file."""
    definitions = {key.name: _described(key) for key in keys_of(TABLES["defaults"]).values()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "prun.toml",
        "description": "Configuration of prun: docs/configuration.md.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **{key.name: _described(key) for key in TOP},
            **{name: _table(table) for name, table in TABLES.items()},
        },
        "definitions": {"option": definitions},
    }


def _table(table: Table) -> dict[str, Any]:
    own = {key.name for key in table.keys}
    found: dict[str, Any] = {}
    for name, key in keys_of(table).items():
        found[name] = _described(key) if name in own else {"$ref": f"{_OPTION}{name}"}
        if table.options and "_" in name:  # --cap-add is cap_add or cap-add
            found[name.replace("_", "-")] = found[name]
    others = _kind(Key("", table.other, "")) if table.other else False
    one = {"type": "object", "properties": found, "additionalProperties": others}
    if not table.named:
        return {"description": table.help, **one}
    names = {"propertyNames": {"pattern": _NAME}} if table.options else {}
    return {"description": table.help, "type": "object", **names, "additionalProperties": one}


def _described(key: Key) -> dict[str, Any]:
    return {"description": key.help, **_kind(key)}


def _kind(key: Key) -> dict[str, Any]:
    if key.kind == "mirrors":
        return {"type": "array", "items": {"anyOf": [_TEXT, _object(MIRROR)]}}
    pair = {"type": ["string", "number", "boolean"]}
    kinds: dict[str, dict[str, Any]] = {
        "text": _TEXT,
        "flag": {"type": "boolean"},
        "word": _WORD,
        "words": _WORDS,
        "pairs": {"anyOf": [_WORDS, {"type": "object", "additionalProperties": pair}]},
        "names": {"anyOf": [_TEXT, _TEXTS]},
        "argv": _TEXTS,
        "entrypoint": {"anyOf": [_TEXT, _TEXTS]},
        "seconds": {"type": "number", "minimum": 0},
        "any": {},
    }
    return {**kinds[key.kind], "enum": list(key.choices)} if key.choices else kinds[key.kind]


def _object(keys: Iterable[Key]) -> dict[str, Any]:
    return {"type": "object", "properties": {key.name: _described(key) for key in keys}, "additionalProperties": False}
