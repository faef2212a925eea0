"""What this machine executes besides ELF and scripts: the handlers of binfmt_misc, as qemu-user registers them.

A handler with flag F was opened when it was registered; any other's interpreter is looked for in the container, when
the command is executed.

Files: https://docs.kernel.org/admin-guide/binfmt-misc.html
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

DIRECTORY = "/proc/sys/fs/binfmt_misc"
FILE_SYSTEMS = "/proc/filesystems"
UID_MAP = "/proc/self/uid_map"
LIMIT_BYTES = 4096
_ALL_IDS = ["0", "0", str(2**32 - 1)]
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Handled(NamedTuple):
    """Whether a handler takes a file, or may; ``note`` is about one that would, if its interpreter were there."""

    maybe: bool
    note: str = ""


def handled(head: bytes, name: str, is_there: Callable[[str], bool]) -> Handled:
    """Tell whether a handler takes the file that begins with ``head``; ``is_there`` looks for its interpreter."""
    try:
        if "binfmt_misc" not in _text(os.open(FILE_SYSTEMS, os.O_RDONLY | os.O_CLOEXEC)).split():
            return Handled(False)
        directory = _opened()
        if directory is None:
            return Handled(True)
        try:
            return _handled(directory, head, name, is_there)
        finally:
            os.close(directory)
    except OSError:
        return Handled(True)


def _opened() -> int | None:
    """Open the directory of the handlers, None where it cannot be seen; what is not mounted still has its handlers."""
    try:
        fd = os.open(DIRECTORY, _OPEN)
        if "status" in os.listdir(fd):
            return fd
        os.close(fd)
        if _text(os.open(UID_MAP, os.O_RDONLY | os.O_CLOEXEC)).split() != _ALL_IDS:
            return None  # in a user namespace it would be a new one, with no handlers, that hides the machine's
        from prun.rootfs.syscalls import make_mount

        mount = make_mount("binfmt_misc", [])
        try:
            return os.open(".", _OPEN, dir_fd=mount)
        finally:
            os.close(mount)
    except OSError:
        return None


def _handled(directory: int, head: bytes, name: str, is_there: Callable[[str], bool]) -> Handled:
    def read(entry: str) -> str:
        return _text(os.open(entry, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory))

    if read("status").strip() != "enabled":
        return Handled(False)
    note = ""
    for entry in sorted({*os.listdir(directory)} - {"status", "register"}):
        first, *lines = read(entry).splitlines() or [""]
        words = {key: value for key, _, value in (line.partition(" ") for line in lines)}
        if first != "enabled" or not _matches(words, head, name):
            continue
        interpreter = words.get("interpreter", "")
        if "F" in words.get("flags:", "") or is_there(interpreter):
            return Handled(True)
        note = f"binfmt_misc has {entry} for it, whose {interpreter} is not in the container (no flag F)"
    return Handled(False, note)


def _matches(words: dict[str, str], head: bytes, name: str) -> bool:
    if extension := words.get("extension"):
        return name.endswith(extension)
    try:
        offset = int(words.get("offset", "0"))
        magic = bytes.fromhex(words["magic"])
        mask = bytes.fromhex(words["mask"]) if "mask" in words else b"\xff" * len(magic)
    except (KeyError, ValueError):
        return True  # of a newer kernel: what it takes is not known
    part = head[offset : offset + len(magic)]
    return len(part) == len(magic) and all(a & m == b & m for a, b, m in zip(part, magic, mask, strict=True))


def _text(fd: int) -> str:
    with open(fd, encoding="utf-8", errors="replace") as file:
        return file.read(LIMIT_BYTES)
