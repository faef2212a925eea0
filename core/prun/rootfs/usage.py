"""How much a tree takes that somebody may be changing meanwhile: no link in it is followed, old or new."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# So many directories further down one is kept open, from where to go on: a path of any depth, and few open at once.
_STRIDE = 16
_MOST_OPEN = 400


def tree_bytes(path: str) -> int:
    """Return the sum of the sizes of all files below a directory, each once however many names it has.

    What goes away meanwhile is not counted, and neither is what is more than 6,000 directories deep.
    """
    try:
        top = os.open(path, _OPEN_DIRECTORY)
    except OSError:
        return 0
    total = 0
    seen: set[tuple[int, int]] = set()
    # From the last: a directory, as names from an open one on, or a descriptor to close when all from it on is done.
    pending: list[tuple[int, tuple[str, ...]] | int] = [top, (top, ())]
    kept = 1
    while pending:
        at = pending.pop()
        if isinstance(at, int):
            os.close(at)
            kept -= 1
            continue
        anchor, names = at
        directory = _opened(anchor, names)
        if directory is None:
            continue
        size, below = _files(directory, seen)
        total += size
        if len(names) + 1 >= _STRIDE and below and kept < _MOST_OPEN:
            pending.append(directory)
            pending += [(directory, (name,)) for name in below]
            kept += 1
            continue
        os.close(directory)
        if len(names) < 2 * _STRIDE:
            pending += [(anchor, (*names, name)) for name in below]
    return total


def chain_bytes(sizes: Iterable[tuple[str, str, int]], chain_id: str) -> int:
    """Return the bytes of a chain of layers; ``sizes`` are chain ID, parent's and the layer's own of each there is."""
    rows = {chain: (parent, size) for chain, parent, size in sizes}
    total = 0
    while chain_id in rows:
        chain_id, size = rows[chain_id]
        total += size
    return total


def _opened(anchor: int, names: tuple[str, ...]) -> int | None:
    """Open a directory name by name; None where one is not there any more, or is a link now."""
    found = os.dup(anchor)
    for name in names:
        try:
            following = os.open(name, _OPEN_DIRECTORY, dir_fd=found)
        except OSError:
            return None
        finally:
            os.close(found)
        found = following
    return found


def _files(directory: int, seen: set[tuple[int, int]]) -> tuple[int, list[str]]:
    """Return the size of the files of a directory that were not seen yet, and the names of its subdirectories."""
    size = 0
    below = []
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                info = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(info.st_mode):
                below.append(entry.name)
            elif info.st_nlink == 1 or (info.st_dev, info.st_ino) not in seen:
                seen.add((info.st_dev, info.st_ino))
                size += info.st_size
    return size, below
