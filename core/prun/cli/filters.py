"""``--filter KEY=VALUE``, docker's rules: of filters with one key one has to fit, of different keys all have to.

``label`` and ``label!`` are the exception, as they are there: every one has to fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from prun.cli.grammar import FALSE, TRUE
from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = TypeVar("Row")
# Of a filter's value: what tells whether a row fits it.
Key = Callable[[str], Callable[[Row], bool]]
_ALL_FIT = ("label", "label!")


class Filter(click.types.StringParamType):
    """A filter on the command line; ``keys`` are those that the command knows."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = keys


def filter_option(*keys: str, short: str = "-f") -> Callable[[Any], Any]:
    """Return the option ``--filter`` of a command that knows these keys; its values come as ``filters``."""
    names = (short, "--filter", "filters") if short else ("--filter", "filters")
    text = f"By {', '.join(keys)}."
    return click.option(*names, type=Filter(keys), multiple=True, metavar="KEY=VALUE", help=text)


def parse_filters(words: Sequence[str], keys: Mapping[str, Key[Row]]) -> Callable[[Row], bool]:
    """Return what tells whether a row fits all the filters.

    ``keys`` are those there are: each makes of a filter's value what tells whether a row fits that one.

    Raises:
        InvalidArgument: a filter is not of this form, its key is not known, or its value is of no use.
    """
    wanted: dict[str, list[Callable[[Row], bool]]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in keys:
            raise InvalidArgument(f"invalid filter {word!r}", hint=f"KEY=VALUE with one of {', '.join(sorted(keys))}")
        try:
            wanted.setdefault(key, []).append(keys[key](value))
        except InvalidArgument as error:
            raise InvalidArgument(f"invalid filter {word!r}: {error}", hint=error.hint) from error

    def fits(row: Row) -> bool:
        return all((all if key in _ALL_FIT else any)(each(row) for each in found) for key, found in wanted.items())

    return fits


def word_of(get: Callable[[Row], str], among: Sequence[str] = ()) -> Key[Row]:
    """Return a key whose value is the very word that a row has, one of ``among`` where these are all there are."""

    def test(value: str) -> Callable[[Row], bool]:
        if among and value not in among:
            raise InvalidArgument(f"{value!r} is not one of {', '.join(among)}")
        return lambda row: get(row) == value

    return test


def pattern_in(get: Callable[[Row], str]) -> Key[Row]:
    """Return a key whose value is a regular expression that is found in what a row has."""

    def test(value: str) -> Callable[[Row], bool]:
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise InvalidArgument(str(error), hint="a regular expression") from error
        return lambda row: pattern.search(get(row)) is not None

    return test


def truth(get: Callable[[Row], bool]) -> Key[Row]:
    """Return a key that takes true or false."""

    def test(value: str) -> Callable[[Row], bool]:
        if value not in TRUE and value not in FALSE:
            raise InvalidArgument("it is true or false")
        return lambda row: get(row) == (value in TRUE)

    return test


def labelled(get: Callable[[Row], Mapping[str, str]], *, wanted: bool = True) -> Key[Row]:
    """Return a key that takes a label, or KEY=VALUE of one; ``wanted`` False: which a row must not have."""

    def test(value: str) -> Callable[[Row], bool]:
        key, equals, text = value.partition("=")

        def fits(row: Row) -> bool:
            labels = get(row)
            return (key in labels and (not equals or labels[key] == text)) == wanted

        return fits

    return test
