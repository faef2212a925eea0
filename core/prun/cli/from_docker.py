"""A command line of ``docker run``, or of podman's, as a ``[run.NAME]`` of ``prun.toml``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prun.cli.command_line import template, words_of
from prun.cli.grammar import parse
from prun.cli.options import RUN
from prun.config.schema import WORDS_ONLY
from prun.config.variables import UNEXPANDED, expand
from prun.config.writing import toml_key, toml_value
from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.cli.grammar import Parsed

PROGRAMS = ("docker", "nerdctl", "podman", "prun")


def from_docker(words: Sequence[str], name: str = "") -> str:
    """Return the table for a command line: one text that a shell would take apart, or words that one has.

    Raises:
        InvalidArgument: it is no such command line, has an option that ``prun run`` has not, or needs a shell.
    """
    line = words_of(words[0]) if len(words) == 1 else [template(word) for word in words]
    parsed = parse(_options(line), RUN, "run")
    for key in sorted(WORDS_ONLY & parsed.given):
        raise InvalidArgument(f"--{key} is prun's own", hint="it names a file, and cannot stand in one")
    table = _table(parsed)
    name = name or _literal(parsed.values["name"], "name") or _of_image(str(table.get("image", "")))
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", name):
        raise InvalidArgument(f"{name!r} cannot be the name of a run", hint="--name NAME")
    lines = [f"[{toml_key(('run', name))}]", *(f"{key} = {toml_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _options(words: Sequence[str]) -> Sequence[str]:
    """Return the words behind ``docker run``; a prompt and ``sudo`` may stand before it."""
    left = list(words)
    while left[:1] in (["$"], ["#"], ["sudo"]):
        del left[0]
    if left and left[0].rpartition("/")[2] in PROGRAMS:
        del left[0]
        if left[:1] == ["container"]:
            del left[0]
        if left[:1] in (["run"], ["create"]):
            return left[1:]
    raise InvalidArgument(
        f"this is no command line of docker run: {' '.join(words)[:60]!r}", hint="docker run [OPTIONS] IMAGE [ARG...]"
    )


def _table(parsed: Parsed) -> dict[str, object]:
    rest = [_literal(word, "the command") for word in parsed.rest]
    table: dict[str, object] = {}
    if "rootfs" not in parsed.given:
        if not parsed.rest or not parsed.rest[0]:
            raise InvalidArgument("IMAGE is missing", hint="docker run [OPTIONS] IMAGE [ARG...]")
        table["image"], rest = parsed.rest[0], rest[1:]
    if rest:
        table["command"] = rest
    for option in RUN:
        if option.key in parsed.given:
            value = parsed.asked[option.key]
            text = option.key in UNEXPANDED and isinstance(value, str)
            table[option.key] = _literal(str(value), f"--{option.name}") if text else value
    return table


def _literal(text: str, what: str) -> str:
    """Return the text of a template that has no variables."""
    try:
        return expand(text, "", {})
    except InvalidArgument as error:
        raise InvalidArgument(
            f"{what}: {text!r} has a variable, which a shell here would have replaced",
            hint="write its value, or put it in single quotes for a shell in the container",
        ) from error


def _of_image(image: str) -> str:
    """Return a name for the run of an image: the last part of its own, without tag and digest."""
    last = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return re.sub(r"[^a-zA-Z0-9_.-]|^[^a-zA-Z0-9]+", "", last) or "main"
