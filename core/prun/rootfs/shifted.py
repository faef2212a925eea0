"""A root file system with other owners than its image has: a whole copy, for who cannot mount idmapped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from prun.rootfs import mount
from prun.rootfs.claims import remove_directory
from prun.rootfs.copytree import copy_open_tree
from prun.rootfs.idmap import IdMaps, IdRange

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARK = "shift"  # a link whose text is the maps
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def copy_shifted(
    lower: Sequence[str], target: str, shift: IdMaps, temporary: str, kind: mount.Kind | Literal[""]
) -> None:
    """Copy into the directory ``target`` what ``lower``, topmost first, show together through an overlay.

    Without a ``kind`` of overlay the first of ``lower`` is a whole tree.  Nothing in ``lower``: nothing to copy, only
    the root changes its owner.  What is needed for a moment is made in the directory ``temporary``.

    Raises:
        FailedPrecondition: a file belongs to an id that ``shift`` has not.
    """
    if lower and not kind:
        _copy(os.open(lower[0], _OPEN_DIRECTORY), target, shift)
        return
    upper, work, merged = (os.path.join(temporary, name) for name in ("upper", "work", "merged"))
    for made in (upper, work, merged):
        os.mkdir(made)
    if kind and lower:
        source = mount.detached_overlay(lower, upper, work, merged, kind)
    else:
        os.chmod(upper, 0o755)  # noqa: S103  the root of a file system; its parents are 0700
        source = os.open(upper, _OPEN_DIRECTORY)
    _copy(source, target, shift)
    for made in (upper, work, merged):
        remove_directory(made)


def record_shift(directory: str, shift: IdMaps) -> None:
    """Write down in the directory of a container's root which owners its files have."""
    words = ["/".join(":".join(map(str, each)) for each in ranges) for ranges in shift]
    os.symlink(",".join(words), os.path.join(directory, _MARK))


def recorded_shift(directory: str) -> IdMaps | None:
    """Return what ``record_shift`` has written, None where it has not."""
    try:
        uids, gids = os.readlink(os.path.join(directory, _MARK)).split(",")
    except FileNotFoundError:
        return None
    return IdMaps(_ranges(uids), _ranges(gids))


def _ranges(words: str) -> tuple[IdRange, ...]:
    return tuple(IdRange(*map(int, word.split(":"))) for word in words.split("/"))


def _copy(source: int, target: str, shift: IdMaps) -> None:
    """Copy the open directory ``source`` and close it."""
    try:
        target_fd = os.open(target, _OPEN_DIRECTORY)
        try:
            copy_open_tree(source, target_fd, shift)
        finally:
            os.close(target_fd)
    finally:
        os.close(source)
