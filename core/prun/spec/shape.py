"""Whether a document has the shape of a spec, as far as ``prun.spec.document`` says: for what comes from outside.

What plugins make has it by its types; a patch may put anything anywhere.  Unknown members are left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints, is_typeddict

from prun.errors import InvalidArgument
from prun.spec.provenance import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORDS = {bool: "true or false", int: "a whole number", str: "a text", list: "an array", dict: "an object"}


def check_shape(document: object, what: str) -> None:
    """Check that a document can be read as a spec.

    Raises:
        InvalidArgument: a value is of another kind than the OCI runtime spec says.
    """
    from prun.spec.document import Spec

    for pointer, kind in _faults(document, Spec, ""):
        raise InvalidArgument(f"{what}: {pointer or 'the document'} is not {_WORDS[kind]}", hint="see config.md of OCI")


def _faults(value: object, shape: Any, at: str) -> Iterator[tuple[str, type]]:
    if is_typeddict(shape):
        if not isinstance(value, dict):
            yield at, dict
            return
        for key, inner in get_type_hints(shape).items():
            if key in value:
                yield from _faults(value[key], inner, f"{at}/{escaped(key)}")
        return
    kind = get_origin(shape) or shape
    if kind not in _WORDS:  # Any
        return
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        yield at, kind
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _faults(each, get_args(shape)[0], f"{at}/{index}")
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _faults(each, get_args(shape)[1], f"{at}/{escaped(key)}")
