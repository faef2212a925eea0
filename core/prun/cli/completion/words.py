"""What a command line says up to where its user stands, also where it is not finished or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.cli.grammar import Option


class Seen(NamedTuple):
    """Words that are no options, values of options by name, the option that the next word is the value of.

    ``ended``: no option can follow any more.
    """

    rest: tuple[str, ...]
    values: dict[str, str]
    pending: Option | None
    ended: bool


def seen(words: Sequence[str], options: Sequence[Option], *, interspersed: bool) -> Seen:
    """Read words that are complete; ``interspersed``: options may follow other words."""
    table = by_flag(options)
    rest: list[str] = []
    values: dict[str, str] = {}
    pending: Option | None = None
    ended = False
    for word in words:
        if pending:
            values[pending.key] = word
            pending = None
        elif ended or word == "-" or not word.startswith("-"):
            rest.append(word)
            ended = ended or not interspersed
        elif word == "--":
            ended = True
        else:
            pending = _read(word, table, values)
    return Seen(tuple(rest), values, pending, ended)


def by_flag(options: Sequence[Option]) -> dict[str, Option]:
    """Return the options by every spelling of them."""
    table = {f"--{name}": option for option in options for name in (option.name, *option.aliases)}
    return table | {f"-{option.short}": option for option in options if option.short}


def _read(word: str, table: dict[str, Option], values: dict[str, str]) -> Option | None:
    """Read a word of options; return the one whose value is to come."""
    flag, equals, value = word.partition("=")
    if word.startswith("--"):
        option = table.get(flag)
        if option and equals:
            values[option.key] = value
        return option if option and option.kind != "flag" and not equals and not option.bare else None
    for at, letter in enumerate(word[1:], start=2):
        option = table.get(f"-{letter}")
        if option and option.kind != "flag":
            values[option.key] = word[at:].removeprefix("=")
            return None if word[at:] else option
    return None


def words_of_line(line: str) -> tuple[list[str], bool]:
    """Take a line of a shell apart as far as it goes; also whether its last word is quoted.

    Nothing in it is expanded or executed.
    """
    import shlex

    for closing in ("", '"', "'"):
        try:
            words = shlex.split(f"{line}|{closing}")
        except ValueError:
            continue
        return [*words[:-1], words[-1][:-1]], bool(closing)
    return [""], False
