"""The file of an audit log: lines are only ever appended, each with one write."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

from prun.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping


def append(path: str, record: Mapping[str, object]) -> None:
    """Append one line.

    The file is opened for each, so that it may be renamed at any time (logrotate(8)) and the next line makes a new one;
    with O_APPEND and one write, lines of several processes do not mix.

    Raises:
        Unavailable: it cannot be written, or not whole; or it is no regular file, or others may change it.
    """
    line = json.dumps(record).encode() + b"\n"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"):  # a link or a FIFO in its place is refused, not waited for
        flags |= getattr(os, name, 0)
    try:
        fd = os.open(path, flags, 0o600)
        try:
            _check(path, os.fstat(fd))
            written = os.write(fd, line)
        finally:
            os.close(fd)
    except OSError as error:
        raise Unavailable(f"audit log {path} cannot be written: {error.strerror}") from error
    if written != len(line):
        raise Unavailable(f"audit log {path} cannot be written: {written} of {len(line)} bytes went in")


def _check(path: str, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise Unavailable(f"audit log {path} is no regular file")
    if hasattr(os, "geteuid") and (info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022):
        raise Unavailable(
            f"audit log {path} may be changed by others (uid {info.st_uid}, mode {info.st_mode & 0o777:o})",
            hint=f"chown it to root, and chmod go-w {path}",
        )
