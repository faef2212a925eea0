"""Leaving a terminal without ending what runs in it: the keys that do it (``--detach-keys``)."""

from __future__ import annotations


class KeySequence:
    """Looks for a sequence of keys in what somebody types.

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
