"""Mount and unmount: overlays of any number of layers, bind mounts.

The options of mount(2) have to fit into a page.  Where they do not, the kernel takes one layer at a time
(``lowerdir+``, Linux 6.8), or, before that, short relative names from a thread that has a working directory of its
own: prun is also a library, and the working directory of its process is not prun's.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, PrunError
from prun.rootfs import syscalls
from prun.rootfs.failures import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PAGE_BYTES = 4096
_MS_BIND, _MS_REC = 0x1000, 0x4000
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
# Another default would make a layer point at files outside of itself (kernel, overlayfs.rst, "Redirects").
_FIXED = (("redirect_dir", "off"), ("metacopy", "off"), ("index", "off"))
_COPY_HINT = "PRUN_SNAPSHOTTER=copy does without overlayfs"


def overlay_options(lower: Sequence[str], upper: str, work: str, *, volatile: bool = False) -> tuple[str, ...]:
    """Return the options of an overlay for mount(2); ``lower`` is topmost first."""
    layers = ":".join(_escaped(path).replace(":", "\\:") for path in lower)
    pairs = (("lowerdir", layers), ("upperdir", _escaped(upper)), ("workdir", _escaped(work)), *_FIXED)
    return (*(f"{key}={value}" for key, value in pairs), *(("volatile",) if volatile else ()))


def mount_overlay(lower: Sequence[str], upper: str, work: str, target: str) -> None:
    """Mount an overlay at ``target``; all are absolute directories, ``lower`` is topmost first and not empty.

    Raises:
        PermissionDenied: the caller is not root.
        FailedPrecondition: no overlayfs here, or not with these directories.
    """
    options = ",".join(overlay_options(lower, upper, work))
    try:
        if len(os.fsencode(options)) < _PAGE_BYTES:
            syscalls.old_mount("overlay", target, "overlay", 0, options)
            return
        try:
            fd = syscalls.make_mount("overlay", _pairs(lower, upper, work))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            mount_overlay_relative(lower, upper, work, target)
            return
        try:
            syscalls.attach_mount(fd, target)
        finally:
            os.close(fd)
    except OSError as error:
        raise _overlay_failure(target, error) from error


def mount_overlay_relative(lower: Sequence[str], upper: str, work: str, target: str) -> None:
    """Mount an overlay with names relative to the layers' common directory, from a thread that works there.

    Raises:
        OSError: as mount(2).
    """
    common = os.path.commonpath(lower)
    short = [os.path.relpath(path, common) for path in lower]
    options = ",".join(overlay_options(short, upper, work))
    if len(os.fsencode(options)) >= _PAGE_BYTES:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))

    def mount_there() -> None:
        syscalls.unshare(syscalls.CLONE_FS)
        os.chdir(common)
        syscalls.old_mount("overlay", target, "overlay", 0, options)

    _in_thread(mount_there)


def detached_overlay(lower: Sequence[str], upper: str, work: str, scratch: str) -> int:
    """Return the root of an overlay that no path leads to, a descriptor; the mount ends when it is closed.

    Nothing is left behind by a process that is killed.  The mount is volatile: the caller syncs ``upper`` itself.
    Before Linux 6.8 it is attached to the directory ``scratch`` for a moment.

    Raises: as ``mount_overlay``.
    """
    try:
        fd = syscalls.make_mount("overlay", [*_pairs(lower, upper, work), ("volatile", None)])
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise _overlay_failure(scratch, error) from error
        return _attached_for_a_moment(lower, upper, work, scratch)
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    finally:
        os.close(fd)


def bind(source: str, target: str) -> None:
    """Mount the directory ``source`` at ``target`` too.

    Raises:
        PermissionDenied: the caller is not root.
    """
    try:
        syscalls.old_mount(source, target, "", _MS_BIND | _MS_REC, "")
    except OSError as error:
        raise failure(f"{source} cannot be mounted at {target}", error) from error


def unmount(target: str) -> None:
    """Unmount what is mounted at ``target``, at once for everyone who looks, later for who still uses it.

    Nothing mounted, or no such directory: nothing to do.
    """
    try:
        syscalls.umount(target, _MNT_DETACH | _UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise failure(f"{target} cannot be unmounted", error) from error


def _attached_for_a_moment(lower: Sequence[str], upper: str, work: str, scratch: str) -> int:
    mount_overlay(lower, upper, work, scratch)
    try:
        return os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        unmount(scratch)


def _pairs(lower: Sequence[str], upper: str, work: str) -> list[tuple[str, str | None]]:
    return [*(("lowerdir+", path) for path in lower), ("upperdir", upper), ("workdir", work), *_FIXED]


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(",", "\\,")


def _in_thread(work: Callable[[], None]) -> None:
    """Run ``work`` in a thread of its own and raise here what it raises."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        executor.submit(work).result()


def _overlay_failure(target: str, error: OSError) -> PrunError:
    what = f"overlay cannot be mounted at {target}"
    if error.errno == errno.ENODEV:
        return FailedPrecondition(f"{what}: the kernel has no overlayfs", hint=f"modprobe overlay; {_COPY_HINT}")
    if error.errno == errno.EINVAL:
        return FailedPrecondition(f"{what}: not on this file system", hint=_COPY_HINT)
    if error.errno in (errno.E2BIG, errno.ELOOP):
        return FailedPrecondition(f"{what}: too many layers for this kernel", hint=_COPY_HINT)
    return failure(what, error)
