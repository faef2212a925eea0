"""Logs as conmon writes them, and as nobody should: joined, cut, replaced, huge, hostile."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prun.errors import FailedPrecondition
from prun.inotify import Watch
from prun.logs import LogFile, parsed

if TYPE_CHECKING:
    from pathlib import Path

TIME = "2024-05-01T10:00:00.123456789+02:00"


def line(text: str, stream: str = "stdout", tag: str = "F") -> str:
    return f"{TIME} {stream} {tag} {text}\n"


def texts(path: Path, tail: int | None = None, *, last: bool = True) -> list[str]:
    """Return the lines of output, both streams together."""
    with LogFile(str(path), tail) as file:
        return b"".join(e.text + (b"\n" if e.ends else b"") for e in file.read(last=last)).decode().splitlines()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "ctr.log"


def test_an_entry_has_its_stream_its_time_and_its_text_with_blanks() -> None:
    entry = parsed(line(" a  b ", "stderr").encode())
    assert entry is not None
    assert (entry.stream, entry.text, entry.ends) == (2, b" a  b ", True)
    assert entry.time_ns == 1714550400_123456789


@pytest.mark.parametrize(
    ("word", "nanoseconds"),
    [("1970-01-01T00:00:01+00:00", 10**9), ("1970-01-01T00:00:00.5-01:30", 5400 * 10**9 + 5 * 10**8)],
)
def test_times_have_zones_and_fractions(word: str, nanoseconds: int) -> None:
    entry = parsed(f"{word} stdout F x".encode())
    assert entry is not None
    assert entry.time_ns == nanoseconds


def test_partial_lines_are_joined(log: Path) -> None:
    log.write_text(line("a", tag="P") + line("b", tag="P") + line("c") + line("d"))
    assert texts(log) == ["abc", "d"]


def test_the_tail_counts_joined_lines(log: Path) -> None:
    """035.10"""
    log.write_text(line("podman1\r") + line("podman2", tag="P") + line("\r") + line("podman3\r"))
    with LogFile(str(log), 2) as file:
        assert b"".join(entry.text for entry in file.read()) == b"podman2\rpodman3\r"
    assert [len(texts(log, count)) for count in (0, 1, 3, 5)] == [0, 1, 3, 3]


def test_a_line_that_is_not_finished_counts_for_the_tail(log: Path) -> None:
    log.write_text(line("a") + line("b") + line("half", tag="P"))
    assert texts(log, 1) == ["half"]
    assert texts(log, 2) == ["b", "half"]


def test_the_tail_is_the_same_at_every_border_of_blocks(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write_text("".join(line(f"text {i}") for i in range(20)))
    for size in range(1, 130):
        monkeypatch.setattr("prun.logs._BLOCK_BYTES", size)
        assert texts(log, 3) == ["text 17", "text 18", "text 19"]


def test_the_tail_of_a_large_log_is_read_from_its_end(log: Path) -> None:
    log.write_text(line("x" * 100) * 100)
    os.truncate(log, 1 << 32)  # 4 GB, with a hole in it
    with log.open("ab") as file:
        file.write(b"\n" + "".join(line(f"end {i}") for i in range(5)).encode())
    begin = time.monotonic()
    assert texts(log, 3) == ["end 2", "end 3", "end 4"]
    assert time.monotonic() - begin < 1


def test_a_last_line_that_is_cut_off_waits_for_its_rest(log: Path) -> None:
    log.write_text(line("a") + line("bcd")[:-3])
    with LogFile(str(log)) as file:
        assert [entry.text for entry in file.read()] == [b"a"]
        with log.open("a") as writer:
            writer.write("cd\n")
        assert [entry.text for entry in file.read()] == [b"bcd"]
    log.write_text(line("a") + line("bcd")[:-3])
    assert texts(log) == ["a", "b"]


def test_what_is_no_line_of_a_log_is_left_out(log: Path) -> None:
    hostile = [
        b"",
        b"x",
        b"2024 stdout F x",
        b"\0\xff\xfe",
        f"{TIME} stdin F x".encode(),
        f"{TIME} stdout X y".encode(),
    ]
    log.write_bytes(b"\n".join([*hostile, line("ok").encode(), *hostile, b""]))
    assert texts(log) == ["ok"]
    assert texts(log, 1) == ["ok"]


def test_a_line_without_end_costs_no_memory_and_hides_nothing(log: Path) -> None:
    log.write_bytes(line("before").encode() + f"{TIME} stdout F ".encode() + b"x" * (5 << 20) + b"\n")
    with log.open("a") as file:
        file.write(line("after"))
    assert texts(log) == ["before", "after"]
    assert texts(log, 1) == ["after"]
    assert texts(log, 2) == ["before", "after"]


def test_a_log_that_is_replaced_is_read_to_its_end_and_then_the_new_one(log: Path, tmp_path: Path) -> None:
    log.write_text(line("a"))
    with LogFile(str(log)) as file:
        assert [entry.text for entry in file.read()] == [b"a"]
        with log.open("a") as writer:
            writer.write(line("b"))
        (tmp_path / "new").write_text(line("c"))
        (tmp_path / "new").rename(log)
        assert [entry.text for entry in file.read()] == [b"b", b"c"]
        log.write_text(line("d")[:50])  # cut: begun anew
        os.truncate(log, 0)
        log.write_text(line("e"))
        assert [entry.text for entry in file.read()][-1:] in ([], [b"e"])


def test_a_log_that_is_not_there_yet_is_empty_until_it_is(log: Path) -> None:
    with LogFile(str(log), 5) as file:
        assert list(file.read()) == []
        log.write_text(line("a"))
        assert [entry.text for entry in file.read()] == [b"a"]


def test_a_fifo_in_place_of_a_log_is_refused_and_not_waited_for(log: Path) -> None:
    os.mkfifo(log)
    with pytest.raises(FailedPrecondition, match="regular"):
        LogFile(str(log))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 5))
def test_no_bytes_break_the_reader(data: bytes, count: int) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with LogFile(file.name, count) as log:
            list(log.read(last=True))


# prun.inotify


def test_a_watch_wakes_when_a_file_grows_or_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with Watch() as watch:
        watch.add(str(path))
        for change in (lambda: path.write_text("x"), lambda: (tmp_path / "n").touch() or (tmp_path / "n").rename(path)):
            timer = threading.Timer(0.05, change)
            begin = time.monotonic()
            timer.start()
            watch.wait(10)
            assert time.monotonic() - begin < 5
            timer.join()
        begin = time.monotonic()
        watch.wait(0)
        watch.wait(0.1)
        assert time.monotonic() - begin < 5


def test_where_nothing_can_be_watched_the_wait_is_short(tmp_path: Path) -> None:
    with Watch() as watch:
        watch.add(str(tmp_path / "nothing"))
        begin = time.monotonic()
        assert watch.wait() == []
        assert time.monotonic() - begin < 2
