"""A connection to conmon's ``attach`` socket: SOCK_SEQPACKET, each packet from it begins with a byte for the stream."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from prun.errors import FailedPrecondition

if TYPE_CHECKING:
    from types import TracebackType

_STREAMS = {2: 1, 3: 2}  # STDOUT_PIPE, STDERR_PIPE of conmon's utils.h
_RECEIVE_BYTES = 1 << 16  # conmon sends at most 8192 and the byte
_SEND_BYTES = 8192  # what the smallest buffer of any conmon takes at once
_RESIZE = 1  # WIN_RESIZE_EVENT
_LARGEST = 1000  # rows or columns that conmon takes


class ConmonAttachment:
    """One client of a container's streams (contract: ``prun.live.Attachment``); ``directory`` has the socket.

    Raises:
        FailedPrecondition: nobody listens there.
    """

    def __init__(self, directory: str) -> None:
        import socket

        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # A socket's path may have 107 bytes, which the directory's may exceed.
            self._socket.connect(f"/proc/self/fd/{self._directory}/attach")
        except OSError as error:
            self.close()
            raise FailedPrecondition(
                f"the streams of the container cannot be reached: {error.strerror}", hint="prun ps shows if it runs"
            ) from error

    def receive(self) -> tuple[int, bytes] | None:
        while True:
            try:
                packet = self._socket.recv(_RECEIVE_BYTES)
            except ConnectionResetError:
                return None
            if not packet:
                return None
            if packet[0] in _STREAMS and len(packet) > 1:
                return _STREAMS[packet[0]], packet[1:]

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), _SEND_BYTES):
            self._socket.send(data[start : start + _SEND_BYTES])

    def end_input(self) -> None:
        import socket

        self._socket.shutdown(socket.SHUT_WR)

    def resize(self, rows: int, columns: int) -> None:
        try:
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open("ctl", flags, dir_fd=self._directory)
        except OSError:
            return  # it has ended
        try:
            os.write(fd, b"%d %d %d\n" % (_RESIZE, min(rows, _LARGEST), min(columns, _LARGEST)))
        finally:
            os.close(fd)

    def stop(self) -> None:
        import socket

        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go; the container does not notice."""
        self._socket.close()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
