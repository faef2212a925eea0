"""Names in a layer that stand for no file: whiteouts, and what aufs left behind.

Spec: https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts
"""

from __future__ import annotations

from prun.errors import InvalidArgument
from prun.rootfs.tarheader import shown

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
_AUFS = (b".wh..wh.aufs", b".wh..wh.orph", b".wh..wh.plnk")


def whiteout_of(name: bytes) -> bytes | None:
    """Return what the entry ``name`` hides beside itself, empty for everything (opaque), None if it is no whiteout.

    Raises:
        InvalidArgument: a whiteout of ``.``, ``..`` or nothing, or an entry below an opaque mark.
    """
    parent, _, base = name.rstrip(b"/").rpartition(b"/")
    if OPAQUE in parent.split(b"/"):
        raise InvalidArgument(f"tar entry {shown(name)} is below a mark that is no directory")
    if not base.startswith(PREFIX):
        return None
    if base == OPAQUE:
        return b""
    hidden = base[len(PREFIX) :]
    if hidden in (b"", b".", b".."):
        raise InvalidArgument(f"tar entry {shown(name)} is a whiteout of no file")
    return hidden


def is_aufs_mark(name: bytes) -> bool:
    """Whether the entry is, or is in, one of aufs's own files, which are no part of an image."""
    return b".wh..wh." in name and any(part in _AUFS for part in name.split(b"/"))
