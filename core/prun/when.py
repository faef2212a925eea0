"""Times and durations as users write them: Go's durations, and the points in time of ``--since`` and ``--until``.

Everything is in whole nanoseconds: a log's times are, and a float of seconds since 1970 is not that exact.
"""

from __future__ import annotations

import re
import time

from prun.errors import InvalidArgument

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?)?)? ?([Zz]|[+-]\d\d:\d\d)?",
    re.ASCII,
)
_SECONDS = re.compile(r"-?\d+(?:\.(\d{1,9}))?", re.ASCII)
# What a signed 64-bit number of nanoseconds holds, as Go's time.Duration: 292 years.
_LONGEST = 1 << 63


def duration_ns(word: str) -> int:
    """Return a duration, Go's spelling of one: ``1h30m``, ``1.5s``, ``-10ms``, ``0``.

    >>> duration_ns("1m0.5s")
    60500000000

    https://pkg.go.dev/time@go1.23.0#ParseDuration

    Raises:
        InvalidArgument: it is none, or longer than 292 years.
    """
    digits = word.removeprefix("-") if word.startswith("-") else word.removeprefix("+")
    if digits == "0":
        return 0
    if not re.fullmatch(f"(?:{_PART})+", digits, re.ASCII):
        raise InvalidArgument(f"{word!r} is no duration", hint="as in 10s, 1h30m, 500ms")
    total: int = sum(_nanoseconds(number, _UNITS[unit]) for number, unit in re.findall(_PART, digits, re.ASCII))
    if total >= _LONGEST:
        raise InvalidArgument(f"duration {word!r} is too long", hint="at most 292 years")
    return -total if word.startswith("-") else total


def point_ns(word: str) -> int:
    """Return a point in time, in nanoseconds since 1970: a date, a number of seconds since then, or how long ago.

    Dates are RFC 3339's, or the beginning of one (``2024-05-01``, ``2024-05-01T10:00``): without a zone, the machine's
    own.  A word that is a duration (``10m``) is that long before now, as docker has it.

    Raises:
        InvalidArgument: it is none of them.
    """
    if _SECONDS.fullmatch(word):
        whole, _, fraction = word.partition(".")
        nanoseconds = int(fraction.ljust(9, "0") or 0)
        return int(whole) * 10**9 + (-nanoseconds if word.startswith("-") else nanoseconds)
    if found := _TIME.fullmatch(word):
        return _date_ns(word, found)
    try:
        return time.time_ns() - duration_ns(word)
    except InvalidArgument as error:
        raise InvalidArgument(
            f"{word!r} is no time",
            hint="as in 2024-05-01T10:00:00Z, 2024-05-01, 1714557600, or 10m for ten minutes ago",
        ) from error


def _nanoseconds(number: str, unit_ns: int) -> int:
    whole, _, fraction = number.partition(".")
    parts: int = int(fraction or 0) * unit_ns // 10 ** len(fraction)
    return int(whole or 0) * unit_ns + parts


def _date_ns(word: str, found: re.Match[str]) -> int:
    import calendar

    *parts, fraction, zone = found.groups()
    year, month, day, hour, minute, second = (int(part or 0) for part in parts)
    ok = 1 <= month <= 12 and 1 <= day <= calendar.monthrange(max(year, 1), month)[1] and hour < 24
    if not ok or minute > 59 or second > 60:
        raise InvalidArgument(f"{word!r} is no time", hint="there is no such day, or no such time of day")
    fields = (year, month, day, hour, minute, second)
    if not zone:
        try:
            seconds = int(time.mktime((*fields, 0, 0, -1)))
        except OverflowError as error:
            raise InvalidArgument(f"{word!r} is no time that this machine can count") from error
    else:
        seconds = calendar.timegm((*fields, 0, 0, 0))
        if zone not in "Zz":
            offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
            seconds += offset if zone[0] == "-" else -offset
    return seconds * 10**9 + int((fraction or "").ljust(9, "0") or 0)
