"""What changes a finished spec, for one run: ``--patch`` and ``--hook``.

``--patch POINTER=VALUE`` sets one field, ``--patch FILE`` is a JSON Patch (an array, RFC 6902) or a merge patch (an
object, RFC 7396); ``@FILE`` is a file whatever its name looks like.  They are applied in the order in which they are
given, after all plugins.  ``prun.spec.patching`` applies them.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from prun.errors import InvalidArgument, NotFound
from prun.request import many
from prun.spec.provenance import parts_of

if TYPE_CHECKING:
    from prun.request import Asked

LIMIT_BYTES = 1 << 20
OPERATIONS = {
    "add": ("value",),
    "remove": (),
    "replace": ("value",),
    "move": ("from",),
    "copy": ("from",),
    "test": ("value",),
}


class Patch(NamedTuple):
    """One change of the finished spec: ``document`` is JSON text, for ``set`` the value of the field at ``pointer``.

    ``said`` are the words of the user, ``origin`` where they stand, if not on the command line (``prun.toml:12``).
    """

    kind: Literal["set", "json", "merge"]
    pointer: str
    document: str
    said: str
    origin: str = ""


def fields(asked: Asked) -> dict[str, object]:
    """Return ``patches`` and ``hook_files``.

    Raises:
        InvalidArgument: a patch is none, or not JSON.
        NotFound: a file cannot be read.
    """
    return {
        "patches": tuple(map(parse_patch, many(asked, "patch"))),
        "hook_files": tuple(map(parse_hook, many(asked, "hook"))),
    }


def parse_patch(word: str) -> Patch:
    """Understand the word of ``--patch``; a file is read now."""
    if word.startswith("/") and "=" in word:
        pointer, _, value = word.partition("=")
        parts_of(pointer)
        return Patch("set", pointer, _normal(value, f"--patch {word!r}", _QUOTES), word)
    path = word.removeprefix("@")
    text = _read(path)
    what = f"--patch {path}"
    return patch_of(json.loads(_normal(text, what, "a JSON Patch is an array, a merge patch an object")), path, what)


_QUOTES = """VALUE is JSON: a text has quotes, --patch '/hostname="web"'; a file of such a name is @FILE"""


def patch_of(document: Any, said: str, what: str, origin: str = "") -> Patch:
    """Return the patch that a document is, told by its kind.

    Raises:
        InvalidArgument: it is neither an object nor an array of operations.
    """
    if isinstance(document, dict):
        return Patch("merge", "", json.dumps(document), said, origin)
    if not isinstance(document, list):
        raise InvalidArgument(f"{what} is neither an array nor an object", hint="RFC 6902 or RFC 7396")
    for number, operation in enumerate(document, 1):
        _check_operation(operation, f"{what}: operation {number}")
    return Patch("json", "", json.dumps(document), said, origin)


def parse_hook(word: str) -> str:
    """Return ``FILE[:HOOK]`` with an absolute path.

    Raises:
        NotFound: there is no such file.
    """
    path, colon, hook = word.rpartition(":")
    if not colon or "/" in hook or not path:
        path, hook = word, ""
    if not os.path.isfile(path):
        raise NotFound(
            f"--hook {word!r}: there is no file {path!r}", hint="a Python file with hookimpls, FILE.py[:HOOK]"
        )
    return f"{os.path.abspath(path)}:{hook}"


def _check_operation(operation: Any, what: str) -> None:
    if not isinstance(operation, dict) or not isinstance(name := operation.get("op"), str) or name not in OPERATIONS:
        raise InvalidArgument(f"{what} has no 'op' of {', '.join(OPERATIONS)}", hint="RFC 6902, section 4")
    for member in ("path", *OPERATIONS[name]):
        if member not in operation:
            raise InvalidArgument(f"{what} ({name}) has no {member!r}", hint="RFC 6902, section 4")
    for member in ("path", "from"):
        if member in operation:
            if not isinstance(operation[member], str):
                raise InvalidArgument(f"{what}: {member} {operation[member]!r} is no JSON pointer")
            parts_of(operation[member])


def _normal(text: str, what: str, hint: str) -> str:
    """Return JSON as text of our own."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    try:
        return json.dumps(json.loads(text, parse_constant=refuse))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what} is not JSON: {error}", hint=hint) from error


def _read(path: str) -> str:
    hint = "/JSON/POINTER=VALUE, or a file with a JSON Patch or a merge patch"
    try:
        with open(path, "rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise NotFound(f"--patch {path!r} cannot be read: {error.strerror}", hint=hint) from error
    if len(data) > LIMIT_BYTES:
        raise InvalidArgument(f"--patch {path!r} is longer than {LIMIT_BYTES >> 20} MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"--patch {path!r} is not UTF-8: {error}", hint=hint) from error
