"""Values of records: what they are to a template, and how Go's ``%v`` shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal


class Pairs(dict[str, str]):
    """A mapping whose keys are a user's, labels for example: shown as docker's lists do, JSON to a program.

    >>> str(Pairs(a="1", b=""))
    'a=1,b='
    """

    def __str__(self) -> str:
        return ",".join(f"{key}={value}" for key, value in sorted(self.items()))


class Words(list[str]):
    """A list that is shown as docker's lists do: with commas."""

    def __str__(self) -> str:
        return ",".join(self)


class Bytes(int):
    """A number of bytes, shown as docker does (``output.size``)."""

    def __str__(self) -> str:
        from prun.cli.output import size

        return size(int(self))


class Headings(dict[str, str]):
    """The headings of columns, in place of a record: field to heading, which for most is the field's name in words."""

    def __missing__(self, name: str) -> str:
        return heading(name)


class Heading(str):
    """One heading, of which any field is a heading too."""

    __slots__ = ()


class Missing:
    """What stands for a key that is not there."""


MISSING = Missing()


def heading(name: str) -> str:
    """Return a field's name as the heading of a column.

    >>> heading("CreatedAt"), heading("ID"), heading("ImageID")
    ('CREATED AT', 'ID', 'IMAGE ID')
    """
    words = ""
    for before, letter in zip(" " + name, name, strict=False):
        words += f" {letter}" if letter.isupper() and before.islower() else letter
    return words.upper()


def is_true(value: object) -> bool:
    """Tell whether Go takes it for true: not false, not 0, not empty, not nil."""
    return value is not MISSING and bool(value)


def shown(value: object) -> str:
    """Return what Go's ``%v`` makes of it.

    >>> shown([1, "a", None, True]), shown({"b": 1.5, "a": []})
    ('[1 a <nil> true]', 'map[a:[] b:1.5]')
    """
    if isinstance(value, str | Pairs | Words | Bytes):
        return str(value)
    if value is MISSING:
        return "<no value>"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return shown_float(value)
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{shown(each)}' for key, each in sorted(value.items()))}]"
    if isinstance(value, Sequence):
        return f"[{' '.join(map(shown, value))}]"
    return str(value)


def shown_float(value: float) -> str:
    """Return the shortest digits that mean it, with an exponent below 1e-4 and from 1e6 on.

    >>> shown_float(100000.0), shown_float(1234567.0), shown_float(0.00001)
    ('100000', '1.234567e+06', '1e-05')
    """
    if value != value or value in (float("inf"), float("-inf")):
        return {"inf": "+Inf", "-inf": "-Inf"}.get(repr(value), "NaN")
    sign, digits, _ = Decimal(repr(value)).normalize().as_tuple()
    exponent = Decimal(repr(value)).adjusted()
    if value and not -4 <= exponent < 6:
        mantissa = "".join(map(str, digits))
        point = f"{mantissa[0]}.{mantissa[1:]}" if len(mantissa) > 1 else mantissa
        return f"{'-' if sign else ''}{point}e{exponent:+03d}"
    return f"{Decimal(repr(value)).normalize():f}"
