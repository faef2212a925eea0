"""Environment variables and labels: from the command line, from files, from the host.

The files are docker's: UTF-8, one ``KEY=value`` a line, without quotes, interpolation or trimming at the end.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def from_host(entries: Iterable[str]) -> list[str]:
    """Give a bare ``KEY`` the host's value, ``KEY*`` all that begin so; leave out what the host has not."""
    result = []
    for entry in entries:
        key, equals, _ = entry.partition("=")
        if not key:
            raise InvalidArgument(f"--env {entry!r} has no name", hint="KEY=VALUE, or KEY to take the host's value")
        if equals:
            result.append(entry)
        elif key.endswith("*"):
            result += [f"{name}={value}" for name, value in os.environ.items() if name.startswith(key[:-1])]
        elif key in os.environ:
            result.append(f"{key}={os.environ[key]}")
    return result


def removed(keys: Iterable[str]) -> list[str]:
    """Return the entries that remove variables (``--unsetenv``)."""
    result = list(keys)
    for key in result:
        if not key or "=" in key:
            raise InvalidArgument(f"--unsetenv {key!r} is no variable's name")
    return result


def from_files(paths: Iterable[str]) -> list[str]:
    """Read ``--env-file``; a bare ``KEY`` takes the host's value.

    Raises:
        NotFound: there is no such file.
        InvalidArgument: a line has no usable name; the message says which.
    """
    return [variable for path in paths for line in _lines("env", path) for variable in from_host([line])]


def labels_from_files(paths: Iterable[str]) -> list[str]:
    """Read ``--label-file``; a bare ``KEY`` is a label without a value.

    Raises: as ``from_files``.
    """
    return [line for path in paths for line in _lines("label", path)]


def pairs(option: str, entries: Iterable[str], *, need_value: bool = False) -> dict[str, str]:
    """Split ``KEY=VALUE`` entries; a later one wins."""
    result = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not key or (need_value and not equals):
            raise InvalidArgument(f"--{option} {entry!r} is not KEY=VALUE")
        result[key] = value
    return result


def _lines(kind: str, path: str) -> Iterator[str]:
    """Yield the entries of a file: no comments, no blank lines, no blanks before them."""
    try:
        # Only a line feed ends a line, with or without a carriage return; str.splitlines knows eight more.
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            lines = [line.removesuffix("\n").removesuffix("\r") for line in file]
    except OSError as error:
        raise NotFound(f"{kind} file {path!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{kind} file {path!r} is not UTF-8") from error
    for number, line in enumerate(lines, 1):
        entry = line.lstrip()
        if not entry or entry.startswith("#"):
            continue
        key = entry.partition("=")[0]
        if not key or any(c.isspace() for c in key):
            raise InvalidArgument(f"{kind} file {path}:{number}: {key!r} is no name")
        yield entry
