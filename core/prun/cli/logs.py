"""``logs``: what containers have written, each stream to ours."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import click

from prun.cli.images import opened
from prun.errors import InvalidArgument
from prun.logs import Follower, LogFile, Window, follow, log_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prun.logs import Entry
    from prun.metadata import ContainerRow
    from prun.state import Store

_COLORS = (31, 32, 33, 34, 35, 36)
_BUFFER_BYTES = 1 << 16


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the containers have ended.")
@click.option("--since", default="", metavar="TIME", help="What came since then (a date, seconds, or 10m: ago).")
@click.option("--until", default="", metavar="TIME", help="What came until then.")
@click.option("-n", "--tail", default="all", metavar="N", help="The last N lines (default: all).")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line came.")
@click.option("--names", "named", is_flag=True, help="Of several containers: show their names, not their ids.")
@click.option("--color", is_flag=True, help="Of several containers: show each in a color.")
@click.pass_obj
def logs(
    settings: Mapping[str, str],
    names: tuple[str, ...],
    following: bool,
    since: str,
    until: str,
    tail: str,
    timestamps: bool,
    named: bool,
    color: bool,
) -> None:
    """Show what containers have written."""
    from prun.when import point_ns

    window = Window(point_ns(since) if since else None, _until(until, following) if until else None)
    count = _tail(tail)
    with opened(settings) as store:
        rows = [store.find(name) for name in names]
        heads = _heads(rows, named, color) if len(rows) > 1 else {}
        printer = _Printer(heads, timestamps)
        if not following:
            for row in rows:
                with LogFile(log_path(store, row), count) as file:
                    for entry in file.read(last=True):
                        if window.shows(entry):
                            printer.print(row, entry)
            printer.flush()
            return
        for item in _followed(store, rows, count, window):
            if item is None:
                printer.flush()
            elif window.shows(item[1]):
                printer.print(*item)
        printer.flush()


def _followed(
    store: Store, rows: list[ContainerRow], count: int | None, window: Window
) -> Iterator[tuple[ContainerRow, Entry] | None]:
    return follow(store, [Follower(store, row, count) for row in rows], window.until_ns)


class _Printer:
    """Writes entries to our streams: text as it came, in the order in which it came."""

    def __init__(self, heads: Mapping[str, bytes], timestamps: bool) -> None:
        self._heads = heads
        self._timestamps = timestamps
        self._inside: set[tuple[str, int]] = set()  # a line of that container and stream goes on
        self._stream, self._pieces, self._size = 1, list[bytes](), 0
        sys.stdout.flush()

    def print(self, row: ContainerRow, entry: Entry) -> None:
        """Write one entry."""
        if entry.stream != self._stream:
            self.flush()
            self._stream = entry.stream
        piece = entry.text + b"\n" if entry.ends else entry.text
        if self._heads or self._timestamps:
            where = (row.id, entry.stream)
            if where not in self._inside:
                piece = self._heads.get(row.id, b"") + (_stamp(entry) if self._timestamps else b"") + piece
            (self._inside.discard if entry.ends else self._inside.add)(where)
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        data = memoryview(b"".join(self._pieces))
        self._pieces, self._size = [], 0
        while data:
            data = data[os.write(self._stream, data) :]


def _stamp(entry: Entry) -> bytes:
    """Return when an entry came, in docker's words: UTC, nine digits after the second."""
    seconds, nanoseconds = divmod(entry.time_ns, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09}Z ".encode()


def _heads(rows: list[ContainerRow], named: bool, color: bool) -> dict[str, bytes]:
    """Return what stands before each line of a container: podman's, where there are several."""
    heads = {}
    for number, row in enumerate(rows):
        head = row.name if named else row.id[:12]
        heads[row.id] = (f"\x1b[{_COLORS[number % len(_COLORS)]}m{head}\x1b[0m " if color else f"{head} ").encode()
    return heads


def _until(word: str, following: bool) -> int:
    """Return when to stop; a duration is that long ago, and for who follows, that long from now (podman)."""
    from prun.when import duration_ns, point_ns

    if following:
        try:
            return time.time_ns() + abs(duration_ns(word))
        except InvalidArgument:
            pass
    return point_ns(word)


def _tail(word: str) -> int | None:
    """Return a number of lines, None for all: docker takes a negative one for that, too."""
    if word == "all":
        return None
    try:
        count = int(word)
    except ValueError as error:
        raise InvalidArgument(f"--tail {word!r} is no number of lines", hint="a number, or all") from error
    return count if count >= 0 else None
