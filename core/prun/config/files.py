"""The files themselves: which there are, whether they may be believed, what they say and where."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from prun.config.faults import Fault, InvalidConfig
from prun.errors import InvalidArgument, PermissionDenied

if TYPE_CHECKING:
    from prun.config.positions import Path, Positions

MAX_FILE_BYTES = 4 << 20


class Document:
    """One file: its path, and what tomli made of its text.

    ``found``: prun came upon it by itself, above the current directory, and nobody said that it is to be believed.
    """

    def __init__(self, path: str, text: str, table: dict[str, Any], *, found: bool = False) -> None:
        self.path = path
        self.table = table
        self.found = found
        self._text = text
        self._positions: Positions | None = None

    @property
    def directory(self) -> str:
        return os.path.dirname(self.path)

    @property
    def positions(self) -> Positions:
        """Where everything is; looked for when first asked for."""
        if self._positions is None:
            from prun.config.positions import positions

            self._positions = positions(self._text)
        return self._positions

    def line(self, path: Path) -> int:
        """Return the line of a key, or of the nearest table around it."""
        while path and path not in self.positions.keys:
            path = path[:-1]
        return self.positions.place(self.positions.keys[path].start)[0] if path else 1

    def fault(self, path: Path, message: str, hint: str = "", *, value: bool = False) -> Fault:
        """Return a fault at a key, or at its value."""
        found = self.positions
        span = (found.values.get(path) if value else None) or found.keys.get(path) or found.values.get(path)
        if span is None:
            return self.fault(path[:-1], message, hint) if path else self._fault(1, 1, message, hint)
        return self._fault(*found.place(span.start), message, hint)

    def _fault(self, line: int, column: int, message: str, hint: str) -> Fault:
        return fault_at(self.path, self._text, line, column, message, hint)


def fault_at(path: str, text: str, line: int, column: int, message: str, hint: str = "") -> Fault:
    """Return a fault in a line of a text."""
    lines = text.split("\n")
    shown = lines[line - 1].removesuffix("\r") if line <= len(lines) else ""
    return Fault(path, line, column, shown, message, hint)


def read(path: str, *, found: bool = False) -> Document:
    """Read one file.

    Raises:
        PermissionDenied: others may change it.
        InvalidConfig: it is no TOML; the fault has the place.
        InvalidArgument: it is no file, or longer than prun reads.
    """
    path = os.path.abspath(path)
    if found and (reason := distrusted(path)):
        raise PermissionDenied(f"config file {path} is not used: {reason}", hint="name it with -f or --config")
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:  # a FIFO makes nobody wait
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise InvalidArgument(f"config file {path} is no file")
        if reason := _changeable(info, _owners(path)):
            raise PermissionDenied(
                f"config file {path} may be changed by others ({reason})",
                hint=f"chown it to yourself or root, and chmod go-w {path}",
            )
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise InvalidArgument(f"config file {path} is longer than {MAX_FILE_BYTES} bytes")
    text = _decoded(path, data)
    return Document(path, text, parsed(path, text), found=found)


def parsed(path: str, text: str) -> dict[str, Any]:
    """Return what tomli makes of a text.

    Raises:
        InvalidConfig: it is no TOML.
    """
    import tomli

    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        message = f"{error.msg[0].lower()}{error.msg[1:]}"
        raise InvalidConfig([fault_at(path, text, error.lineno, error.colno, message)]) from error
    except RecursionError as error:
        raise InvalidConfig([Fault(path, 0, 0, "", "its tables and arrays are nested too deeply")]) from error


def _decoded(path: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        fault = fault_at(path, data.decode(errors="replace"), line, column, "this is not UTF-8")
        raise InvalidConfig([fault]) from error


def distrusted(path: str) -> str:
    """Say why a file that prun found by itself is not looked into; empty where nothing speaks against it.

    It and every directory on the way must belong to us or root, and nobody else may write there: who may rename a
    directory can put another file in its place.  A sticky directory (/tmp) does not let him, further up.
    """
    if not hasattr(os, "geteuid"):
        return ""
    real = os.path.realpath(path)
    try:
        if reason := _changeable(os.stat(real), (0, os.geteuid())):
            return f"{real} may be changed by others ({reason})"
        for start in dict.fromkeys((path, real)):  # where a link is, and what it leads to
            directory = start
            while directory != os.path.dirname(directory):
                directory = os.path.dirname(directory)
                if reason := _shared(directory, below=directory != os.path.dirname(start)):
                    return f"{directory} may be changed by others ({reason})"
    except OSError as error:
        return f"{path} cannot be looked at: {error.strerror}"
    return ""


def _shared(directory: str, *, below: bool) -> str:
    """Say who else may put something into a directory; ``below``: what of it matters is another directory of ours."""
    info = os.stat(directory)
    sticky = below and info.st_mode & stat.S_ISVTX
    owners = (0, os.geteuid(), *((65534,) if "PRUN_ROOTLESS" in os.environ else ()))
    return _whose(info) if info.st_uid not in owners or (info.st_mode & 0o022 and not sticky) else ""


def _changeable(info: os.stat_result, owners: tuple[int, ...]) -> str:
    if hasattr(os, "geteuid") and (info.st_uid not in owners or info.st_mode & 0o022):
        return _whose(info)
    return ""


def _whose(info: os.stat_result) -> str:
    return f"uid {info.st_uid}, mode {info.st_mode & 0o7777:o}"


def _owners(path: str) -> tuple[int, ...]:
    """Return the owners that a config file may have.

    In an ordinary user's namespace (``prun.rootless``) the system's root has no id; only it can put files into /etc.
    """
    if not hasattr(os, "geteuid"):
        return ()
    nobody = (65534,) if "PRUN_ROOTLESS" in os.environ and path.startswith("/etc/") else ()
    return (0, os.geteuid(), *nobody)
