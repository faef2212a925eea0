"""Leaving a terminal without ending what runs in it: the keys that do it, and what it takes to go on alone."""

from __future__ import annotations

import os


class KeySequence:
    """Looks for a sequence of keys in what somebody types (``--detach-keys``).

    Keys that may be the beginning of it are held back until it is known that they are not.
    """

    def __init__(self, codes: bytes) -> None:
        self._codes = codes
        self._held = 0  # how many keys of the sequence have been typed last

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what is to be passed on, and whether the sequence is complete; nothing after it counts."""
        passed = bytearray()
        for code in data if self._codes else ():
            typed = self._codes[: self._held] + bytes((code,))
            if typed == self._codes:
                self._held = 0
                return bytes(passed), True
            # Keep the longest end of it that the sequence begins with.
            self._held = next(n for n in range(len(typed), -1, -1) if typed.endswith(self._codes[:n]))
            passed += typed[: len(typed) - self._held]
        return bytes(passed) if self._codes else data, False


def go_on_alone(client: int) -> None:
    """Let go of the caller's streams and directory, and tell ``client``, who waits for us, that he may go."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for stream in (0, 1, 2):
            os.dup2(null, stream)
    finally:
        os.close(null)
    os.chdir("/")
    try:
        os.write(client, b"d")
    except BrokenPipeError:
        return  # he is gone already
