"""The log of a container: what its monitor has written of its streams, and what it will write.

A line of the file (k8s-file) is ``TIME STREAM TAG TEXT``: the stream is stdout or stderr, the tag F, or P where the
text goes on in the stream's next line.  The file can be large, can be replaced by a new one at any time (``max-size``),
can end in the middle of a line, and where ``--log-opt path`` names it, can hold anything: what is no such line is
left out.
"""

from __future__ import annotations

import calendar
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, Self

from prun.errors import FailedPrecondition, Unavailable
from prun.live import STDERR, STDOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import BinaryIO

    from prun.metadata import ContainerRow
    from prun.state import Store

_STREAMS = {b"stdout": STDOUT, b"stderr": STDERR}
_LINE_BYTES = 1 << 20  # conmon's have 8 KiB; a longer one is not of its making
_BLOCK_BYTES = 1 << 18


class Entry(NamedTuple):
    """A piece of output: ``stream`` is 1 or 2, ``time`` RFC 3339 as it was written.

    ``text`` has no line feed; ``ends`` tells whether one follows, or the line goes on in the stream's next entry.
    """

    stream: int
    time: bytes
    text: bytes
    ends: bool

    @property
    def time_ns(self) -> int:
        """The time in nanoseconds since 1970."""
        return _nanoseconds(self.time)


def log_path(store: Store, row: ContainerRow) -> str:
    """Return the path of a container's log.

    Raises:
        FailedPrecondition: it has none.
    """
    from prun.request.stored import loaded
    from prun.request.supervision import LogRequest, settled_log

    request = loaded(row.request) if row.request else None
    if request is None or not row.monitored:
        raise FailedPrecondition(
            f"container {row.name} has no log: its output goes to the streams of the prun that runs it",
            hint="run it with --detach, or without --rm, to have one",
        )
    log = request.log or LogRequest()
    if log.driver == "none":
        raise FailedPrecondition(
            f"container {row.name}: configured logging driver does not support reading",
            hint="it was run with --log-driver none",
        )
    return settled_log(log, store.directory(row.id)).path


def parsed(line: bytes) -> Entry | None:
    """Return the entry of a line of the file, None where it is none."""
    parts = line.rstrip(b"\n").split(b" ", 3)
    if len(parts) != 4 or parts[1] not in _STREAMS or parts[2] not in (b"F", b"P") or not _is_time(parts[0]):
        return None
    return Entry(_STREAMS[parts[1]], parts[0], parts[3], parts[2] == b"F")


class LogFile:
    """Reads a log from its beginning, or from its last ``tail`` lines, as far as it is written.

    ``read`` gives what has come since it was called last.
    """

    def __init__(self, path: str, tail: int | None = None) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self._skips = False  # in the middle of a line that is too long
        if self._reopened() and tail is not None:
            self._go_to_tail(tail)

    def read(self, *, last: bool = False) -> Iterator[Entry]:
        """Return entries up to the end of the file, and of one that has taken its place.

        ``last``: nothing more will come, and a line that is cut off there is all that there is of it.
        """
        while True:
            yield from self._entries()
            if not self._reopened():
                break
        if last and self._rest and not self._skips:
            entry, self._rest = parsed(self._rest), b""
            if entry:
                yield entry

    def close(self) -> None:
        """Let go of the file."""
        if self._file:
            self._file.close()
        self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _go_to_tail(self, count: int) -> None:
        if self._file:
            self._file.seek(_start_of_tail(self._file, count))

    def _entries(self) -> Iterator[Entry]:
        if self._file is None:
            return
        while block := self._file.read(_BLOCK_BYTES):
            *lines, self._rest = (self._rest + block).split(b"\n")
            for line in lines:
                if not self._skips and len(line) <= _LINE_BYTES and (entry := parsed(line)):
                    yield entry
                self._skips = False
            if len(self._rest) > _LINE_BYTES:
                self._rest, self._skips = b"", True

    def _reopened(self) -> bool:
        """Open the file that is there now, if it is another one, or has been cut; the old one is read to its end."""
        import stat

        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise Unavailable(f"log {self.path} cannot be read: {error.strerror}") from error
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(fd)
            raise FailedPrecondition(f"log {self.path} is no regular file")
        new = os.fdopen(fd, "rb")
        if self._file is not None:
            old = os.fstat(self._file.fileno())
            if (old.st_dev, old.st_ino) == (info.st_dev, info.st_ino) and info.st_size >= self._file.tell():
                new.close()
                return False
            if old.st_size > self._file.tell() and (old.st_dev, old.st_ino) != (info.st_dev, info.st_ino):
                new.close()
                return True  # it has grown after we had read it and before the new one came
        self.close()
        self._file, self._rest, self._skips = new, b"", False
        return True


class Window(NamedTuple):
    """Of which time entries are wanted, in nanoseconds since 1970; None is without bound."""

    since_ns: int | None = None
    until_ns: int | None = None

    def shows(self, entry: Entry) -> bool:
        """Tell whether an entry is of this time."""
        if self.since_ns is None and self.until_ns is None:
            return True
        time_ns = entry.time_ns
        return (self.since_ns is None or time_ns >= self.since_ns) and (
            self.until_ns is None or time_ns <= self.until_ns
        )


class Follower:
    """Reads the log of a container until the container has ended for good: restarts by its policy are none.

    ``wake`` are descriptors that are ready when there is something to look for that no file tells.
    """

    def __init__(self, store: Store, row: ContainerRow, tail: int | None = None) -> None:
        self.row = row
        self._store = store
        self._stack = ExitStack()
        self._pidfd = -1
        self._dead = False
        self.file = self._stack.enter_context(LogFile(log_path(store, row), tail))

    @property
    def wake(self) -> tuple[int, ...]:
        """The descriptor of the container's process, where it is known and lives."""
        if self._pidfd < 0 and not self._dead and self.row.pid and self.row.status in ("running", "paused"):
            from prun.identity import is_process

            try:
                self._pidfd = os.pidfd_open(self.row.pid)
            except OSError:
                self._ended()
            else:
                if not is_process(self.row.pid, self.row.start_time):
                    self._ended()
        return (self._pidfd,) if self._pidfd >= 0 else ()

    def process_ended(self) -> None:
        """Look for the end in the record only, from now on: it is there in a moment, unless the monitor is gone."""
        self._ended()

    @property
    def needs_look(self) -> bool:
        """Whether the process has ended, and the record does not say so yet."""
        return self._dead

    def is_over(self) -> bool:
        """Tell whether nothing more will be written."""
        from prun.ending import LIVING
        from prun.record import is_alive
        from prun.recovery import recover

        lease = self._store.metadata.lease(self.row.id)
        held = lease is not None and is_alive(lease)
        if self._dead and not held:
            recover(self._store)
        now = self._store.metadata.container(self.row.id)
        if now is None:
            return True
        if now.status not in LIVING:
            self._ended()
            return not held  # who is at work on it may be about to start it again
        if now.pid != self.row.pid or now.status != self.row.status:
            self._close_pidfd()
            self._dead = False
        self.row = now
        return False

    def close(self) -> None:
        """Let go of what is open."""
        self._close_pidfd()
        self._stack.close()

    def _ended(self) -> None:
        self._close_pidfd()
        self._dead = True

    def _close_pidfd(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pidfd = -1


def follow(
    store: Store, followers: list[Follower], until_ns: int | None = None
) -> Iterator[tuple[ContainerRow, Entry] | None]:
    """Return the entries of all, as they come, until all are over or it is ``until_ns``; None before each wait."""
    import time

    from prun.inotify import Watch

    with ExitStack() as stack:
        watch = stack.enter_context(Watch())
        for each in followers:
            stack.callback(each.close)
        watch.add(store.root)  # the database's files: a container's state has changed
        going = list(followers)
        while going:
            for each in list(going):
                if os.path.exists(each.file.path):
                    watch.add(each.file.path)
                over = each.is_over()  # asked before the file is read to its end
                yield from ((each.row, entry) for entry in each.file.read(last=over))
                if over:
                    going.remove(each)
            left_s = None if until_ns is None else (until_ns - time.time_ns()) / 10**9
            if not going or (left_s is not None and left_s <= 0):
                return
            yield None
            soon = 0.2 if any(each.needs_look for each in going) else None
            times = [each for each in (left_s, soon) if each is not None]
            owners = {fd: each for each in going for fd in each.wake}
            for fd in watch.wait(min(times) if times else None, owners):
                owners[fd].process_ended()


def _start_of_tail(file: BinaryIO, count: int) -> int:
    """Return where the last ``count`` lines of output begin; the file is read from its end only as far as needed.

    A line of output ends with an entry F; what follows the last one counts as a line.
    """
    end = position = file.seek(0, os.SEEK_END)
    if count == 0:
        return end
    found, rest, is_last, is_long = 0, b"", True, False
    while position > 0:
        size = min(_BLOCK_BYTES, position)
        position -= size
        file.seek(position)
        block = file.read(size) + rest
        first, *lines = block.split(b"\n")
        if position == 0:
            lines.insert(0, first)
        after = position + len(block)  # where the line that is looked at ends, its line feed included
        for line in reversed(lines):
            start = after - len(line)
            entry = parsed(line) if len(line) <= _LINE_BYTES and not is_long else None
            is_long = False
            if entry and (entry.ends or is_last):
                found += 1
                if found > count:
                    return min(after + 1, end)
            is_last = is_last and not entry
            after = start - 1
        is_long = (is_long and not lines) or len(first) > _LINE_BYTES
        rest = b"" if is_long else first
    return 0


def _is_time(word: bytes) -> bool:
    return len(word) > 19 and word[:4].isdigit() and word[10:11] == b"T" and word[4:5] == b"-"


_SECONDS: dict[bytes, int] = {}


def _nanoseconds(word: bytes) -> int:
    """Return a time of conmon's, ``2024-05-01T10:00:00.123456789+02:00``; 0 for one that cannot be read."""
    whole, rest = word[:19], word[19:]
    zone = rest.lstrip(b".0123456789")
    key = whole + zone
    if key not in _SECONDS:
        _SECONDS.clear()  # lines of the same second follow each other
        _SECONDS[key] = _seconds(whole, zone)
    fraction = rest[1 : len(rest) - len(zone)]
    return _SECONDS[key] * 10**9 + int(fraction[:9].ljust(9, b"0") or 0)


def _seconds(whole: bytes, zone: bytes) -> int:
    try:
        fields = tuple(
            int(whole[start:stop]) for start, stop in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))
        )
        offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60 if zone[:1] in (b"+", b"-") else 0
        seconds = calendar.timegm((*fields, 0, 0, 0))
    except (ValueError, OverflowError):
        return 0
    return seconds + offset if zone[:1] == b"-" else seconds - offset
