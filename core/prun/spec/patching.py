"""Patches of a finished spec: one field, a JSON Patch (RFC 6902), a JSON Merge Patch (RFC 7396)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from prun.errors import FailedPrecondition, InvalidArgument
from prun.spec.provenance import ABSENT, parts_of, value_at
from prun.spec.shape import check_shape

if TYPE_CHECKING:
    from prun.spec import SpecOpt
    from prun.spec.document import Spec


def with_field(pointer: str, value: str) -> SpecOpt:
    """Set the field at a JSON pointer to a value of JSON text; ``/-`` appends to an array (RFC 6901, section 4)."""
    *above, key = parts_of(pointer)

    def opt(spec: Spec) -> None:
        parent = "/".join(pointer.split("/")[:-1])
        target = value_at(spec, parent)
        if target is ABSENT:
            raise InvalidArgument(f"--patch {pointer}: the spec has no {parent}", hint=_there(spec, above))
        if isinstance(target, dict):
            target[key] = json.loads(value)
        elif isinstance(target, list) and key == "-":
            target.append(json.loads(value))
        elif isinstance(target, list) and key.isascii() and key.isdigit() and int(key) < len(target):
            target[int(key)] = json.loads(value)
        else:
            what = f"has {len(target)} elements" if isinstance(target, list) else "is neither an object nor an array"
            raise InvalidArgument(f"--patch {pointer}: {parent} {what}", hint=f"{parent}/- appends to an array")
        check_shape(spec, f"--patch {pointer}")

    return opt


def with_json_patch(operations: str, said: str) -> SpecOpt:
    """Do the operations of a JSON Patch, all of them or none."""

    def opt(spec: Spec) -> None:
        from jsonpatch import JsonPatch, JsonPatchException, JsonPatchTestFailed
        from jsonpointer import JsonPointerException

        document: Any = json.loads(json.dumps(spec))
        for number, operation in enumerate(json.loads(operations), 1):
            what = f"--patch {said}: operation {number} ({operation['op']} {operation['path']})"
            try:
                document = JsonPatch([operation]).apply(document)
            except JsonPatchTestFailed as error:
                raise FailedPrecondition(f"{what}: the spec has another value there") from error
            except (JsonPatchException, JsonPointerException, TypeError, KeyError, IndexError) as error:
                parts = parts_of(operation["path"])
                hint = _there(spec, parts[:-1] if operation["op"] in ("add", "copy", "move") else parts)
                raise InvalidArgument(f"{what}: {' '.join(str(error).split())}", hint=hint) from error
        _replace(spec, document, f"--patch {said}")

    return opt


def with_merge_patch(patch: str, said: str) -> SpecOpt:
    """Merge a JSON Merge Patch into the spec: members are set, null takes them away, an array is one value."""

    def opt(spec: Spec) -> None:
        _replace(spec, _merged(spec, json.loads(patch)), f"--patch {said}")

    return opt


def _merged(target: Any, patch: Any) -> Any:
    """Return what RFC 7396, section 2, makes of both."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _replace(spec: Spec, document: Any, what: str) -> None:
    check_shape(document, what)
    ours = cast("dict[str, Any]", spec)
    ours.clear()
    ours.update(document)


def _there(spec: Spec, parts: list[str]) -> str:
    """Name the nearest fields there are on the way to one that is not."""
    import difflib

    at, value = "", cast("Any", spec)
    for part in parts:
        pointer = f"{at}/{part.replace('~', '~0').replace('/', '~1')}"
        below = value_at(spec, pointer)
        if below is ABSENT:
            members = [str(key) for key in value] if isinstance(value, dict) else []
            near = difflib.get_close_matches(part, members, n=3, cutoff=0.5) or members[:5]
            return f"{at or 'the spec'} has {', '.join(near)}" if near else f"set {pointer} first"
        at, value = pointer, below
    return ""
