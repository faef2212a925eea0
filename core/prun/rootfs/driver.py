"""Which way of making snapshots works in a directory: overlayfs, or whole copies."""

from __future__ import annotations

import os
from typing import Literal

from prun.errors import PrunError
from prun.rootfs import mount
from prun.rootfs.claims import temporary_directory

Driver = Literal["auto", "overlayfs", "copy"]


def found_driver(path: str) -> Driver:
    """Return what works in the directory ``path``: tried once, then remembered by the link ``driver`` in it.

    Raises:
        OSError: ``path`` cannot be written.
    """
    mark = os.path.join(path, "driver")
    try:
        found = os.readlink(mark)
    except FileNotFoundError:
        found = "overlayfs" if _overlay_works(path) else "copy"
        try:
            os.symlink(found, mark)
        except FileExistsError:
            found = os.readlink(mark)
    return "copy" if found == "copy" else "overlayfs"


def _overlay_works(path: str) -> bool:
    """Whether a directory of a lower layer can be replaced through an overlay here."""
    with temporary_directory(path) as temporary:
        lower, fs, work, merged = (os.path.join(temporary, name) for name in ("lower", "fs", "work", "merged"))
        for made in (lower, fs, work, merged, os.path.join(lower, "directory")):
            os.mkdir(made)
        try:
            fd = mount.detached_overlay([lower], fs, work, merged)
        except PrunError:
            return False
        try:
            os.rmdir("directory", dir_fd=fd)
            os.mkdir("directory", dir_fd=fd)
        except OSError:
            return False
        finally:
            os.close(fd)
    return True
