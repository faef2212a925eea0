"""How values and errors look: tables for a person, JSON for a program; nothing untrusted reaches a terminal raw."""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def error_line(error: PrunError) -> str:
    """Say stage, plugin, cause and remedy in one line."""
    where = f"{error.stage}: " if error.stage else ""
    plugin = f"[{error.plugin}] " if error.plugin else ""
    hint = f" ({error.hint})" if error.hint else ""
    return printable(f"prun: {where}{plugin}{' '.join(str(error).split())}{' '.join(hint.split(chr(10)))}")


def error_json(error: PrunError) -> str:
    """Say the same for a program."""
    return json.dumps(
        {
            "error": type(error).__name__,
            "stage": error.stage,
            "plugin": error.plugin,
            "cause": str(error),
            "remedy": error.hint,
            "exit_code": error.exit_code,
        }
    )


def listing(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str], form: str) -> str:
    """Return rows as a table of ``columns`` (heading to key), or all of them as JSON."""
    if form == "json":
        return json.dumps(list(rows), indent=2)
    table = [list(columns), *([printable(str(row[key])) for key in columns.values()] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


def print_listing(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str], form: str) -> None:
    """Print what ``listing`` returns."""
    print(listing(rows, columns, form))


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
    if seconds_since_epoch is None:
        return ""
    seconds = max(0, int(time.time() - seconds_since_epoch))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return f"{seconds} seconds ago"


def timestamp(seconds_since_epoch: float | None) -> str:
    """Return the time as RFC 3339 in UTC, or docker's word for never."""
    if seconds_since_epoch is None:
        return "0001-01-01T00:00:00Z"
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds_since_epoch)) + "Z"


def warn(message: str) -> None:
    """Print a warning."""
    print(printable(f"prun: warning: {message}"), file=sys.stderr)
