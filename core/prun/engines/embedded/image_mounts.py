"""Images mounted to be looked at, read-only: ``STATE/images/<digest>``, until they are unmounted or the machine ends.

What is mounted is its own record: the kernel's list of mounts cannot get out of step with the mounts.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from prun.engines.embedded.images import describe
from prun.errors import FailedPrecondition
from prun.rootfs import mount
from prun.rootfs.failures import translated
from prun.types import Layer

if TYPE_CHECKING:
    from prun.metadata import ImageRow
    from prun.state import Store


def mount_image(store: Store, row: ImageRow) -> str:
    """Mount an image, unpacked first where it is not; return where.  One that is mounted already stays as it is.

    Raises:
        FailedPrecondition: the kernel cannot mount so.
    """
    with store.using_images():
        found = describe(store, row)
        layers = [
            Layer(each["digest"], diff_id, each["mediaType"], each["size"])
            for each, diff_id in zip(found.manifest["layers"], found.config["rootfs"]["diff_ids"], strict=True)
        ]
        if not layers:
            raise FailedPrecondition(f"image {row.name} has no layers, there is nothing to mount")
        target = _path(store, row.digest)
        if row.digest in mounted_images(store):
            return target
        snapshots = store.snapshots
        lower = snapshots.lower(snapshots.unpack(layers, store.content.open))
        with translated(lambda: f"image {row.name} cannot be mounted at {target}"):
            os.makedirs(target, 0o700, exist_ok=True)
            if len(lower) > 1:
                mount.mount_overlay(lower, "", "", target, kind=snapshots.kind())
            else:
                mount.bind_readonly(lower[0], target)
    return target


def unmount_image(store: Store, digest: str) -> bool:
    """Unmount an image; whether it was mounted."""
    target = _path(store, digest)
    was_mounted = digest in mounted_images(store)
    if was_mounted:
        mount.unmount(target)
    with translated(lambda: f"directory {target} cannot be removed"):
        if os.path.isdir(target):
            os.rmdir(target)
    return was_mounted


def mounted_images(store: Store) -> dict[str, str]:
    """Return where images are mounted, by their digests."""
    directory = os.path.join(store.state, "images")
    if not os.path.isdir(directory):
        return {}
    # Not os.path.ismount: it does not see a bind mount within one file system.
    with open("/proc/self/mountinfo", "rb") as file:
        points = {line.split()[4] for line in file}
    found = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if _escaped(os.path.realpath(path)) in points:
            found[name.replace("-", ":", 1)] = path
    return found


def _escaped(path: str) -> bytes:
    """Return a path as the kernel lists it (proc_pid_mountinfo(5))."""
    return re.sub(rb"[ \t\n\\]", lambda match: b"\\%03o" % match[0][0], os.fsencode(path))


def _path(store: Store, digest: str) -> str:
    return os.path.join(store.state, "images", digest.replace(":", "-"))
