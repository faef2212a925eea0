"""A root file system with other owners than its image has: a whole copy, for who cannot mount idmapped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, NamedTuple

from prun.rootfs import mount
from prun.rootfs.claims import remove_directory
from prun.rootfs.copytree import copy_open_tree
from prun.rootfs.idmap import IdMaps, IdRange

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARK = "maps"  # a link whose text is the maps
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


class RecordedMaps(NamedTuple):
    """The id maps of a container's user namespace; ``copied``: its root has their owners on disk, not the image's."""

    maps: IdMaps | None = None
    copied: bool = False


def record_maps(directory: str, maps: IdMaps, *, copied: bool = False) -> None:
    """Write down in the directory of a container's root which user namespace it is for."""
    ranges = ["/".join(":".join(map(str, each)) for each in ranges) for ranges in maps]
    words = ",".join(("copied" if copied else "mapped", *ranges))
    path = os.path.join(directory, _MARK)
    try:
        if os.readlink(path) == words:
            return
        os.unlink(path)
    except FileNotFoundError:
        pass
    os.symlink(words, path)


def recorded_maps(directory: str) -> RecordedMaps:
    """Return what ``record_maps`` has written; a container of our own user namespace has nothing."""
    try:
        word, uids, gids = os.readlink(os.path.join(directory, _MARK)).split(",")
    except FileNotFoundError:
        return RecordedMaps()
    return RecordedMaps(IdMaps(_ranges(uids), _ranges(gids)), word == "copied")


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
