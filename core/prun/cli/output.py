"""How values and errors look: tables for a person, JSON for a program; nothing untrusted reaches a terminal raw."""

from __future__ import annotations

import json
import re
import sys
import time
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.errors import PrunError


def printable(text: str) -> str:
    r"""Escape what could steer a terminal or hide text: control and format characters (CWE-150).

    >>> printable("a\x1b]0;b\x07")
    'a\\x1b]0;b\\x07'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if unicodedata.category(c)[0] not in "C" else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def printable_lines(text: str) -> str:
    """Escape the same, and leave ends of lines and tabs."""
    return re.sub(r"[^\n\t]+", lambda match: printable(match[0]), text)


def error_line(error: PrunError) -> str:
    """Say stage, plugin, cause, evidence and remedy in one line."""
    where = f"{error.stage}: " if error.stage else ""
    plugin = f"[{error.plugin}] " if error.plugin else ""
    evidence = f"; {error.evidence}" if error.evidence else ""
    hint = f" ({error.hint})" if error.hint else ""
    from prun.config.faults import InvalidConfig

    if isinstance(error, InvalidConfig):  # each fault with its line
        return printable_lines(f"prun: {error}")
    return printable("prun: " + " ".join(f"{where}{plugin}{error}{evidence}{hint}".split()))


def error_json(error: PrunError) -> str:
    """Say the same for a program, in one line; ``docs/output.md`` has the fields."""
    from prun.config.faults import InvalidConfig

    return json.dumps(
        {
            "error": type(error).__name__,
            "stage": error.stage,
            "plugin": error.plugin,
            "cause": str(error),
            "evidence": error.evidence,
            "remedy": error.hint,
            "exit_code": error.exit_code,
            **({"faults": [fault._asdict() for fault in error.faults]} if isinstance(error, InvalidConfig) else {}),
        }
    )


def tell(error: PrunError, settings: Mapping[str, str]) -> None:
    """Print an error to stderr, in the form that ``--error-format`` asks for."""
    print(error_json(error) if settings.get("error_format") == "json" else error_line(error), file=sys.stderr)


def size(size_bytes: float) -> str:
    """Say a size as docker does: powers of 1000, three digits.

    >>> size(1234567)
    '1.23MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g}{unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g}TB"


def ago(seconds_since_epoch: float | None) -> str:
    """Say how long ago something was.

    >>> ago(time.time() - 7300)
    '2 hours ago'
    """
    return "" if seconds_since_epoch is None else f"{lasted(time.time() - seconds_since_epoch)} ago"


def lasted(seconds: float) -> str:
    """Say a time in docker's words.

    >>> lasted(0.5), lasted(30), lasted(100), lasted(5400), lasted(8 * 86400), lasted(20 * 86400)
    ('Less than a second', '30 seconds', 'About a minute', '2 hours', '8 days', '2 weeks')
    """
    minutes, hours = int(seconds // 60), int(seconds / 3600 + 0.5)
    if seconds < 1:
        return "Less than a second"
    if seconds < 120:
        whole = int(seconds)
        return "About a minute" if whole >= 60 else f"{whole} second{'s' if whole > 1 else ''}"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    for unit, length, below in (("hours", 1, 48), ("days", 24, 336), ("weeks", 168, 1440), ("months", 720, 17520)):
        if hours < below:
            return f"{hours // length} {unit}"
    return f"{hours // 8760} years"


def timestamp(seconds_since_epoch: float | None) -> str:
    """Return the time as RFC 3339 in UTC, to the microsecond, or docker's word for never.

    >>> timestamp(1.25)
    '1970-01-01T00:00:01.25Z'
    """
    if seconds_since_epoch is None:
        return "0001-01-01T00:00:00Z"
    whole, fraction = divmod(round(seconds_since_epoch * 10**6), 10**6)
    digits = f".{fraction:06d}".rstrip("0").rstrip(".")
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}{digits}Z"


def local_time(seconds_since_epoch: float) -> str:
    """Return the time as docker's lists say it: the machine's own, with its zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds_since_epoch))


def warn(message: str) -> None:
    """Print a warning."""
    print(printable(f"prun: warning: {message}"), file=sys.stderr)
