"""What may stand in ``prun.toml``: the one definition that files are checked against and the JSON Schema is made from.

To add a key, add a row: a ``Key`` to the table it belongs to, or a ``Table`` to ``TABLES``.  The options of
``prun run`` are not repeated here: they come from the table that the command line is parsed by.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prun.cli.grammar import Option

# text: a string.  flag: true or false.  word: a string or a number.  words: an array of those.
# pairs: words, or a table, of which each entry is one KEY=VALUE.  names: a string or an array of strings.
# argv: an array of strings.  entrypoint: a string or an argv.  seconds: a number, 0 or more.
# mirrors: what ``[registries.*]`` has under that name.  any: whatever its plugin takes.
Kind = Literal["text", "flag", "word", "words", "pairs", "names", "argv", "entrypoint", "seconds", "mirrors", "any"]

KINDS: Mapping[Kind, str] = {
    "text": "a string",
    "flag": "true or false",
    "word": "a string or a number",
    "words": "an array of strings",
    "pairs": "an array of strings or a table",
    "names": "a string or an array of strings",
    "argv": "an array of strings",
    "entrypoint": "a string or an array of strings",
    "seconds": "a number of seconds, 0 or more",
    "mirrors": "an array of strings and tables",
    "any": "a value",
}


class Key(NamedTuple):
    """One key: its name, what its value is, a line of help; ``choices`` are all its values, where they are few."""

    name: str
    kind: Kind
    help: str
    choices: tuple[str, ...] = ()


class Table(NamedTuple):
    """One table at the top of a file.

    ``named``: it holds tables, each under a name of the user's (``[run.NAME]``), and ``keys`` are theirs.  ``options``:
    every option of ``prun run`` is a key, too.  ``other`` is the kind of any further key, None where there are none.
    ``check``: a function, as ``module:name``, that is called with the table (a named one: with each alone, under its
    name) and raises InvalidArgument for what no kind can say.
    """

    help: str
    keys: tuple[Key, ...] = ()
    named: bool = False
    options: bool = False
    other: Kind | None = None
    check: str = ""


MIRROR = (
    Key("insecure", "flag", "true: no certificate is checked, and plain HTTP will do."),
    Key("location", "text", "The mirror: HOST[:PORT][/PATH]."),
    Key("pull_from_mirror", "text", "For which references.", ("all", "digest-only", "tag-only")),
)
_UNSET = Key("unset", "words", "Options to forget that were said before: of extended profiles, of [defaults].")
_EXTENDS = Key("extends", "names", "Profiles that come first.")
_HELP = Key("help", "text", "What it is for, in a line.")

TOP = (
    Key("engine", "text", "Where images, snapshots and tasks live (--engine, PRUN_ENGINE)."),
    Key("root", "text", "Where images and containers are kept (--root, PRUN_ROOT)."),
    Key("runtime", "text", "How processes are isolated (--runtime, PRUN_RUNTIME)."),
    Key("state", "text", "Where is kept what ends with the machine's uptime (--state, PRUN_STATE)."),
    Key("trust", "names", "Directories whose prun.toml, or one below, is believed as if --config named it."),
)

TABLES: Mapping[str, Table] = {
    "aliases": Table("Short names for images.", other="text", check="prun.image.registry.settings:parse_aliases"),
    "defaults": Table("Options of every prun run, create and spec.", (_UNSET,), options=True),
    "engines": Table("Options of an engine.", named=True, other="word"),
    "plugins": Table(
        "How a plugin is loaded, and its own options.",
        (
            Key("after", "argv", "Names of plugins that come before it; NAME?: only if there is one."),
            Key("before", "argv", "Names of plugins that come after it."),
            Key("enabled", "flag", "false: it is not loaded."),
            Key("on_conflict", "text", "What to do where another sets a field differently.", ("fail", "warn", "skip")),
            Key("on_error", "text", "What to do where it fails.", ("fail", "warn", "skip")),
            Key("timeout_s", "seconds", "How long one of its hooks may take; 0: as long as it takes."),
            Key("use", "text", "The installed plugin that this is one of."),
        ),
        named=True,
        other="any",
    ),
    "profiles": Table("Options under a name: --profile NAME, extends.", (_EXTENDS, _HELP, _UNSET), True, options=True),
    "registries": Table(
        "Registries: mirrors, plain HTTP and the like, by the beginning of a reference.",
        (
            Key("blocked", "flag", "true: nothing is pulled from there."),
            Key("insecure", "flag", "true: no certificate is checked, and plain HTTP will do."),
            Key("location", "text", "What the beginning of the reference is replaced by."),
            Key("mirrors", "mirrors", "Where to ask first."),
        ),
        named=True,
        check="prun.image.registry.settings:parse_rules",
    ),
    "run": Table(
        "A run under a name: prun run NAME.",
        (
            Key("command", "argv", "The words after IMAGE."),
            _EXTENDS,
            _HELP,
            Key("image", "text", "IMAGE: a reference, an id, an archive or a layout."),
            _UNSET,
        ),
        named=True,
        options=True,
    ),
    "signatures": Table(
        "Which images may come in.",
        (Key("policy", "text", "The file of a signature policy (policy.json, --signature-policy)."),),
        check="prun.image.signing.policy:check_settings",
    ),
    "runtimes": Table("Options of a runtime, for every run (--opt KEY=VALUE).", named=True, other="word"),
}

# About the command line itself, which no file can say.
WORDS_ONLY = frozenset(("dry_run", "file", "profile"))


def run_options() -> dict[str, Option]:
    """Return every option of ``prun run`` that a file may have, by its key."""
    from prun.cli.options import RUN

    return {option.key: option for option in RUN if option.key not in WORDS_ONLY}


def kind_of(option: Option) -> Kind:
    """Return what the value of an option of ``prun run`` is in a file."""
    if option.key == "entrypoint":
        return "entrypoint"
    if option.kind == "flag":
        return "flag"
    if option.kind == "value":
        return "word"
    # KEY=VALUE, KEY[=VALUE], NAME=SOFT[:HARD]; not --mount's KEY=VALUE,... which has several.
    head, equals, _ = option.metavar.partition("=")
    return "pairs" if equals and head.removesuffix("[").isalpha() and "," not in option.metavar else "words"


def keys_of(table: Table) -> dict[str, Key]:
    """Return the keys of a table, or of each of its named ones."""
    keys = {key.name: key for key in table.keys}
    if table.options:
        keys |= {key: Key(key, kind_of(option), option.help, option.choices) for key, option in run_options().items()}
    return keys


def checker(table: Table) -> Callable[[Mapping[str, object]], object] | None:
    """Return the function that checks what is in a table beyond its keys and kinds."""
    if not table.check:
        return None
    module, _, name = table.check.partition(":")
    check: Callable[[Mapping[str, object]], object] = getattr(importlib.import_module(module), name)
    return check
