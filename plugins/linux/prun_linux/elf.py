"""The headers of an ELF program: for which machine it is, and which loader it asks for (elf(5))."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

MAGIC = b"\x7fELF"
PATH_LIMIT_BYTES = 4096  # PATH_MAX, the kernel's limit of PT_INTERP

_PT_INTERP = 3
_NARROW = ((28, 4), (42, 2), (44, 2))  # e_phoff, e_phentsize, e_phnum of a 32-bit header: offset and size
_WIDE = ((32, 8), (54, 2), (56, 2))


class Header:
    """The fields of an ELF header and of its program headers (elf(5)); nothing in it is believed to be in range."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self.wide = head[4:5] == b"\2"
        self._order: Literal["little", "big"] = "big" if head[5:6] == b"\2" else "little"
        self.type, self.machine = self._number(16, 2), self._number(18, 2)

    def _number(self, at: int, size: int, data: bytes | None = None) -> int:
        return int.from_bytes((self._head if data is None else data)[at : at + size], self._order)

    def interpreter(self, read: Callable[[int, int], bytes]) -> str:
        """Return the dynamic loader (PT_INTERP), empty where it needs none; ``read``: so many bytes, from where."""
        start, size, count = (self._number(*field) for field in (_WIDE if self.wide else _NARROW))
        if size != (56 if self.wide else 32) or size * count > 1 << 16:
            return ""
        table = self._head[start : start + size * count]
        if len(table) < size * count:
            table = read(size * count, start)
        for at in range(0, len(table) - size + 1, size):
            if self._number(at, 4, table) == _PT_INTERP:
                where = ((at + 8, 8), (at + 32, 8)) if self.wide else ((at + 4, 4), (at + 16, 4))
                offset, length = (self._number(*field, table) for field in where)
                if not 2 <= length <= PATH_LIMIT_BYTES:
                    return ""
                path = self._head[offset : offset + length]
                if len(path) < length:
                    path = read(length, offset)
                return os.fsdecode(path.partition(b"\0")[0]) if len(path) == length else ""
        return ""


def elf_interpreter(head: bytes) -> str:
    """Return the dynamic loader of an ELF program, empty where it needs none or its beginning does not show it."""
    if head[:4] != MAGIC or len(head) < 52:
        return ""
    return Header(head).interpreter(lambda _size, _offset: b"")
