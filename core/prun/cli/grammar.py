"""The grammar of docker's command lines, which is pflag's: what click's cannot say.

Parsing stops at the first word that is no flag: all that follows belongs to the container.  Short flags bundle
(``-it``), take their value at once (``-eA=b``, ``-e=A=b``) or from the next word, and a boolean may be given a value
(``--rm=false``).  Long names are never abbreviated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class Option(NamedTuple):
    """One option: its long name, what it takes, its one-line help.

    ``kind``: ``flag`` takes nothing, ``value`` the last one given counts, ``list`` all count.  ``aliases`` are further
    long names, ``default`` is a flag's when it is not given.  ``bare`` is the value of one that is given without, and
    never takes the next word.  The value stands under ``name`` with ``-`` for ``_``.
    """

    name: str
    kind: Literal["flag", "value", "list"]
    help: str
    short: str = ""
    metavar: str = ""
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    default: bool = False
    bare: str = ""

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")


class Parsed(NamedTuple):
    """Flags, last values (empty when not given), all values, the words that are left, and the options given."""

    flags: Mapping[str, bool]
    values: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]
    rest: tuple[str, ...]
    given: frozenset[str]

    @property
    def asked(self) -> dict[str, bool | str | tuple[str, ...]]:
        """What was given, in one mapping (``prun.request.Asked``)."""
        every: dict[str, bool | str | tuple[str, ...]] = {**self.flags, **self.values, **self.lists}
        return {key: every[key] for key in every if key in self.given}


def parse(words: Sequence[str], options: Sequence[Option], command: str) -> Parsed:
    """Parse options up to the first other word or ``--``; every option has an entry in the result.

    Raises:
        InvalidArgument: an unknown flag, a missing or a superfluous value; the message names the flag.
    """
    table = {f"--{name}": option for option in options for name in (option.name, *option.aliases)}
    table |= {f"-{option.short}": option for option in options if option.short}
    flags = {option.key: option.default for option in options if option.kind == "flag"}
    values = {option.key: "" for option in options if option.kind == "value"}
    lists: dict[str, list[str]] = {option.key: [] for option in options if option.kind == "list"}
    given: set[str] = set()
    left = list(words)
    while left and left[0].startswith("-") and left[0] != "-":
        word = left.pop(0)
        if word == "--":
            break
        for flag, attached in _split(word, table, command):
            option = table[flag]
            given.add(option.key)
            if option.kind == "flag":
                flags[option.key] = _boolean(flag, attached)
                continue
            attached = option.bare or None if attached is None else attached
            if attached is None and not left:
                raise InvalidArgument(f"flag needs an argument: {flag}", hint=f"see {_help(command)}")
            value = left.pop(0) if attached is None else attached
            if option.choices and value not in option.choices:
                raise InvalidArgument(f"{flag} {value!r} is not one of {', '.join(option.choices)}")
            if option.kind == "value":
                values[option.key] = value
            else:
                lists[option.key].append(value)
    return Parsed(flags, values, {key: tuple(value) for key, value in lists.items()}, tuple(left), frozenset(given))


def options_of(words: Sequence[str], options: Sequence[Option]) -> Sequence[str]:
    """Return the words before the first that is no option and no option's value, also where they cannot be parsed."""
    valued = [option for option in options if option.kind != "flag" and not option.bare]
    takes = {f"--{name}" for option in valued for name in (option.name, *option.aliases)}
    letters = {option.short for option in valued if option.short}
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] not in ("-", "--"):
        word = words[at]
        has_value = (
            word in takes if word.startswith("--") else bool(word[-1] in letters and not letters & set(word[1:-1]))
        )
        at += 2 if has_value else 1
    return words[:at]


def _split(word: str, table: Mapping[str, Option], command: str) -> list[tuple[str, str | None]]:
    """Take one word apart: a long flag, or a bundle of short ones; with the value attached to the last."""
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
        _known(flag, table, command)
        return [(flag, value if equals else None)]
    result: list[tuple[str, str | None]] = []
    at = 1
    while at < len(word):
        flag = f"-{word[at]}"
        _known(flag, table, command, inside=word)
        at += 1
        if word[at : at + 1] == "=":
            return [*result, (flag, word[at + 1 :])]
        if table[flag].kind != "flag" and at < len(word):
            return [*result, (flag, word[at:])]
        result.append((flag, None))
    return result


def _known(flag: str, table: Mapping[str, Option], command: str, inside: str = "") -> None:
    if flag in table:
        return
    import difflib

    where = f" in {inside}" if inside and inside != flag else ""
    near = difflib.get_close_matches(flag, table, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InvalidArgument(f"unknown flag: {flag}{where}", hint=f"{hint}see {_help(command)}")


def _help(command: str) -> str:
    return f"prun {command} --help" if command else "prun --help"


def _boolean(flag: str, value: str | None) -> bool:
    if value is None or value in TRUE:
        return True
    if value in FALSE:
        return False
    raise InvalidArgument(f"{flag} takes true or false, not {value!r}")
