"""A process that kills itself, as kill -9 would, at a place of our choice where it changes what is on the disk.

A command runs in a child of the test's own process, which costs no start-up.  The child watches itself (``sys.audit``,
and SQLite's trace): every distinct line of prun that makes, renames or removes a file, or writes to the database, is a
place to die at.  ``places`` finds them by running the command once.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

_EVENTS = ("os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate")
_WRITES = ("BEGIN", "COMMIT", "DELETE", "INSERT", "UPDATE")


class Ended(NamedTuple):
    """How a child ended: its exit code, minus the signal where one killed it, and what it said."""

    code: int
    out: str
    err: str


def run(words: list[str], notes: Path, die_at: str = "") -> Ended:
    """Run ``prun WORDS`` in a child, which dies just before it comes to ``die_at`` for the first time."""
    out, err = notes / "out", notes / "err"
    pid = os.fork()
    if not pid:
        code = 99
        try:
            code = _child(words, out, err, notes / "places", die_at)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return Ended(os.waitstatus_to_exitcode(status), out.read_text(), err.read_text())


def places(words: list[str], notes: Path) -> list[str]:
    """Run ``prun WORDS``, which must succeed, and return every place that it comes to, each once, in order."""
    done = run(words, notes)
    assert done.code == 0, done.err
    found: list[str] = json.loads((notes / "places").read_text())
    return found


def import_everything() -> None:
    """Import all of prun here, so that no child has to."""
    import prun

    for found in pkgutil.walk_packages(prun.__path__, "prun."):
        if not found.name.startswith(("prun.__main__", "prun.testing", "prun.engines.containerd", "prun.server")):
            importlib.import_module(found.name)


def _child(words: list[str], out: Path, err: Path, notes: Path, die_at: str) -> int:
    from prun.cli import command

    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    seen: dict[str, None] = {}

    def came_to(place: str) -> None:
        if place == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.setdefault(place)

    _watch(came_to)
    code = command(words)
    sys.stdout.flush()
    sys.stderr.flush()
    found = list(seen)
    notes.write_text(json.dumps(found))
    return code


def _watch(came_to: Callable[[str], None]) -> None:
    import prun.metadata

    connect = prun.metadata._connect

    def traced(path: str) -> sqlite3.Connection:
        db = connect(path)
        db.set_trace_callback(lambda sql: came_to(f"{_line()} {sql.split()[0]}") if sql.startswith(_WRITES) else None)
        return db

    prun.metadata._connect = traced

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if (event in _EVENTS or writes) and "__pycache__" not in str(arguments[0]):
            came_to(f"{_line()} {event}")

    sys.addaudithook(audit)


def _line() -> str:
    """Where prun is: the innermost lines of it, for one that writes is called from several."""
    frame, found = sys._getframe(1), list[str]()
    while frame and len(found) < 3:
        name = frame.f_code.co_filename
        if "/prun/" in name and "/tests/" not in name:
            found.append(f"{name.rpartition('/prun/')[2]}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return "<".join(found)
