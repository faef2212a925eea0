"""Which way of making snapshots works in a directory: overlayfs, fuse-overlayfs, or whole copies."""

from __future__ import annotations

import os
from typing import Literal, cast

from prun.errors import FailedPrecondition, PrunError
from prun.rootfs import mount
from prun.rootfs.claims import temporary_directory

# ``userxattr``: overlayfs as root of a user namespace mounts it.
Driver = Literal["auto", "overlayfs", "userxattr", "fuse", "copy"]
Found = Literal["overlayfs", "userxattr", "fuse", "copy"]
KINDS: tuple[mount.Kind, ...] = ("overlayfs", "userxattr", "fuse")


def found_driver(path: str) -> Found:
    """Return what works in the directory ``path``: tried once, then remembered by the link ``driver`` in it.

    What was unpacked in one way is not read in another: each marks what a layer hides in its own way.

    Raises:
        OSError: ``path`` cannot be written.
        FailedPrecondition: another prun remembered what this one does not know.
    """
    mark = os.path.join(path, "driver")
    try:
        found = os.readlink(mark)
    except FileNotFoundError:
        found = next((kind for kind in KINDS if _works(kind, path)), "copy")
        try:
            os.symlink(found, mark)
        except FileExistsError:
            found = os.readlink(mark)
    if found not in (*KINDS, "copy"):
        raise FailedPrecondition(f"{mark} names {found!r}, which this prun does not know", hint="use a newer prun")
    return cast("Found", found)


def _works(kind: mount.Kind, path: str) -> bool:
    """Whether a directory of a lower layer can be replaced through such an overlay here."""
    if kind == "fuse" and not os.access(mount.FUSE_OVERLAYFS, os.X_OK):
        return False
    with temporary_directory(path) as temporary:
        lower, fs, work, merged = (os.path.join(temporary, name) for name in ("lower", "fs", "work", "merged"))
        for made in (lower, fs, work, merged, os.path.join(lower, "directory")):
            os.mkdir(made)
        try:
            fd = mount.detached_overlay([lower], fs, work, merged, kind)
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
