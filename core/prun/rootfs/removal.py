"""Remove whole trees, through open directories only."""

from __future__ import annotations

import os

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove the directory ``path`` and everything below it; missing is fine.

    Any depth: a container can nest directories deeper than a stack or a path name goes, so each subdirectory is moved
    up into ``path`` before it is emptied.

    Raises:
        OSError: as the system calls.
    """
    try:
        top = os.open(path, _OPEN_DIRECTORY)
    except FileNotFoundError:
        return
    prefix = os.urandom(8).hex()  # no name below is like it
    moved = 0
    try:
        pending = _unlink_files(top)
        while pending:
            name = pending.pop()
            directory = os.open(name, _OPEN_DIRECTORY, dir_fd=top)
            try:
                for child in _unlink_files(directory):
                    moved += 1
                    pending.append(f"{prefix}-{moved}")
                    os.rename(child, pending[-1], src_dir_fd=directory, dst_dir_fd=top)
            finally:
                os.close(directory)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(path)


def _unlink_files(directory: int) -> list[str]:
    """Remove all but subdirectories from ``directory`` and return those."""
    subdirectories = []
    with os.scandir(directory) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                subdirectories.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=directory)
    return subdirectories
