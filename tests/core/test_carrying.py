"""Carrying between a process's streams and the caller's, with a socket pair in the place of a monitor."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Self

import pytest

from prun.carrying import Caller, carry

if TYPE_CHECKING:
    from collections.abc import Iterator


class Streams:
    """An attachment (prun.live.Attachment) whose process is the test."""

    def __init__(self) -> None:
        self.process, self.client = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sizes: list[tuple[int, int]] = []

    def write(self, stream: int, data: bytes) -> None:
        self.process.send(bytes((stream,)) + data)

    def receive(self) -> tuple[int, bytes] | None:
        packet = self.client.recv(1 << 16)
        return (packet[0], packet[1:]) if packet else None

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), 8192):
            self.client.send(data[start : start + 8192])

    def end_input(self) -> None:
        self.client.shutdown(socket.SHUT_WR)

    def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))

    def stop(self) -> None:
        self.client.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.close()


class Taker:
    """What the caller gets."""

    def __init__(self) -> None:
        self.got: dict[int, bytes] = {1: b"", 2: b""}

    def __call__(self, stream: int, data: bytes) -> None:
        self.got[stream] += data


@pytest.fixture
def streams() -> Iterator[Streams]:
    with Streams() as made:
        yield made


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            continue


def test_both_streams_come_apart_and_in_order(streams: Streams) -> None:
    taker = Taker()
    for stream, data in ((1, b"a"), (2, b"x"), (1, b"b"), (2, b"y")):
        streams.write(stream, data)
    streams.process.close()
    assert carry(streams, Caller(None, taker)) is True
    assert taker.got == {1: b"ab", 2: b"xy"}


def test_what_the_caller_writes_arrives_and_so_does_its_end(streams: Streams, pipe: tuple[int, int]) -> None:
    taker = Taker()
    os.write(pipe[1], b"hello")
    os.close(pipe[1])

    def process() -> None:
        assert streams.process.recv(100) == b"hello"
        assert streams.process.recv(100) == b""
        streams.write(1, b"got it")
        streams.process.close()

    thread = threading.Thread(target=process)
    thread.start()
    assert carry(streams, Caller(pipe[0], taker)) is True
    thread.join()
    assert taker.got[1] == b"got it"


def test_bytes_are_given_whole_to_a_process_that_writes_meanwhile(streams: Streams) -> None:
    """Neither side may wait for the other: more than any buffer holds goes both ways."""
    data = os.urandom(4 << 20)
    taker = Taker()

    def echo() -> None:
        while chunk := streams.process.recv(1 << 16):
            streams.write(1, chunk)
        streams.process.close()

    thread = threading.Thread(target=echo)
    thread.start()
    assert carry(streams, Caller(data, taker)) is True
    thread.join()
    assert taker.got[1] == data


def test_the_keys_leave_and_are_not_passed_on(streams: Streams, pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"ls\n\x10\x11never")
    assert carry(streams, Caller(pipe[0], Taker(), keys=b"\x10\x11")) is False
    assert streams.process.recv(100) == b"ls\n"


def test_output_that_nobody_takes_does_not_stop_the_other_stream(streams: Streams) -> None:
    got = []

    def deliver(stream: int, data: bytes) -> None:
        if stream == 1:
            raise BrokenPipeError
        got.append(data)

    for stream in (1, 1, 2, 1, 2):
        streams.write(stream, b"x")
    streams.process.close()
    assert carry(streams, Caller(None, deliver)) is True
    assert got == [b"x", b"x"]


def test_a_process_that_ends_while_the_caller_types_is_the_end(streams: Streams, pipe: tuple[int, int]) -> None:
    streams.write(1, b"bye")
    streams.process.close()
    taker = Taker()
    assert carry(streams, Caller(pipe[0], taker)) is True
    assert taker.got[1] == b"bye"
