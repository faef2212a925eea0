"""All options of a run together: those of no topic beside those of ``prun.request.TOPICS``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument
from prun.request import fields_of, flag, many, one
from prun.request.environment import from_files, from_host, labels_from_files, pairs, removed

if TYPE_CHECKING:
    from prun.request import Asked, Words

# Options of no topic that the library has, too.
PLAIN = frozenset(
    (
        *(
            "annotation",
            "entrypoint",
            "env",
            "explain",
            "hostname",
            "id",
            "label",
            "name",
            "network",
            "opt",
            "platform",
        ),
        *("explain", "read_only", "rm", "rootfs", "security_opt", "unsetenv", "user", "workdir"),
    )
)


def fields(asked: Asked) -> dict[str, object]:
    """Return the fields of a request that the given options make.

    Left to the caller: who the container is (``id``, ``name``), where and how it runs (``runtime``, ``engine``,
    ``opt``, ``platform``).

    Raises:
        InvalidArgument, NotFound: a value cannot be used, a file is not there.
    """
    rootfs = one(asked, "rootfs")
    environment = (*from_files(many(asked, "env_file")), *from_host(many(asked, "env")))
    return {
        "entrypoint": _entrypoint(asked["entrypoint"]) if "entrypoint" in asked else None,
        "env": (*removed(many(asked, "unsetenv")), *environment),
        "host_env": tuple(from_host(["*"])) if flag(asked, "env_host") else (),
        "user": one(asked, "user"),
        "workdir": one(asked, "workdir"),
        "hostname": one(asked, "hostname"),
        "network": one(asked, "network") or "none",
        "readonly": flag(asked, "read_only"),
        "terminal": flag(asked, "tty"),
        "interactive": flag(asked, "interactive"),
        "remove": flag(asked, "rm"),
        "labels": pairs("label", (*labels_from_files(many(asked, "label_file")), *many(asked, "label"))),
        "annotations": pairs("annotation", many(asked, "annotation")),
        "security": many(asked, "security_opt"),
        "explain": flag(asked, "explain"),
        "rootfs": os.path.abspath(rootfs) if rootfs else "",
        **fields_of(asked),
    }


def _entrypoint(word: Words) -> tuple[str, ...]:
    """Return one word, none for an empty one, or those of a JSON array (podman's form)."""
    if isinstance(word, tuple):
        return word
    if isinstance(word, bool):
        raise InvalidArgument(f"entrypoint={word} is neither a word nor a list of words")
    if word.startswith("["):
        import json

        try:
            words = json.loads(word)
        except ValueError:
            words = None
        if isinstance(words, list) and all(isinstance(each, str) for each in words):
            return tuple(words)
    return (word,) if word else ()
