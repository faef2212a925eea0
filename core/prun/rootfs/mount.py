"""Mount and unmount: overlays of any number of layers, bind mounts.

The options of mount(2) have to fit into a page.  Where they do not, the kernel takes one layer at a time
(``lowerdir+``, Linux 6.8), or, before that, short relative names from a thread that has a working directory of its
own: prun is also a library, and the working directory of its process is not prun's.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import FailedPrecondition, PrunError
from prun.rootfs import syscalls
from prun.rootfs.failures import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PAGE_BYTES = 4096
_MS_BIND, _MS_REC = 0x1000, 0x4000
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
# A layer must not point at files outside of itself; "off" would still follow (kernel, overlayfs.rst, "redirect_dir").
_FIXED = (("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"))
_NO_NEW_MOUNT = (errno.EINVAL, errno.ENOSYS)  # no lowerdir+, or no fsopen at all
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_COPY_HINT = "PRUN_SNAPSHOTTER=copy does without overlayfs"


class Overlay(NamedTuple):
    """What an overlay is made of; see ``mount_overlay``."""

    lower: Sequence[str]
    upper: str
    work: str
    volatile: bool

    def options(self) -> str:
        words = overlay_options(self.lower, self.upper, self.work)
        return ",".join((*words, "volatile") if self.volatile else words)

    def pairs(self) -> list[tuple[str, str | None]]:
        """Return the options for fsconfig(2); None for a flag.  Of these, the kernel takes ``lowerdir+`` literally."""
        lower = [("lowerdir+", path) for path in self.lower]
        writable = [
            (key, path.replace("\\", "\\\\")) for key, path in (("upperdir", self.upper), ("workdir", self.work))
        ]
        return [*lower, *writable, *_FIXED, *([("volatile", None)] if self.volatile else [])]


def overlay_options(lower: Sequence[str], upper: str, work: str) -> tuple[str, ...]:
    """Return the options of an overlay for mount(2); ``lower`` is topmost first."""
    layers = ":".join(_escaped(path).replace(":", "\\:") for path in lower)
    pairs = (("lowerdir", layers), ("upperdir", _escaped(upper)), ("workdir", _escaped(work)), *_FIXED)
    return tuple(f"{key}={value}" for key, value in pairs)


def mount_overlay(lower: Sequence[str], upper: str, work: str, target: str, *, volatile: bool = False) -> None:
    """Mount an overlay at ``target``; all are absolute directories, ``lower`` is topmost first and not empty.

    A ``volatile`` overlay never waits for the disk, on unmounting either, and can be mounted only once: for what is
    thrown away after use.  Before Linux 5.10 it is an ordinary one.

    Raises:
        PermissionDenied: the caller is not root.
        FailedPrecondition: no overlayfs here, or not with these directories.
    """
    overlay = Overlay(lower, upper, work, volatile)
    try:
        try:
            _mount(overlay, target)
        except OSError as error:
            if error.errno != errno.EINVAL or not volatile:
                raise
            _mount(overlay._replace(volatile=False), target)
    except OSError as error:
        raise _overlay_failure(target, error) from error


def detached_overlay(lower: Sequence[str], upper: str, work: str, scratch: str) -> int:
    """Return the root of a volatile overlay that no path leads to, a descriptor; closing it ends the mount.

    A process that is killed leaves no mount behind.  Before Linux 6.8 the mount is attached to the directory
    ``scratch`` for a moment.

    Raises: as ``mount_overlay``.
    """
    try:
        fd = syscalls.make_mount("overlay", Overlay(lower, upper, work, volatile=True).pairs())
    except OSError as error:
        if error.errno not in _NO_NEW_MOUNT:
            raise _overlay_failure(scratch, error) from error
        return attached_for_a_moment(lower, upper, work, scratch)
    try:
        return os.open(".", _OPEN_DIRECTORY, dir_fd=fd)
    finally:
        os.close(fd)


def attached_for_a_moment(lower: Sequence[str], upper: str, work: str, scratch: str) -> int:
    """Do what ``detached_overlay`` does, without fsopen(2)."""
    mount_overlay(lower, upper, work, scratch, volatile=True)
    try:
        return os.open(scratch, _OPEN_DIRECTORY)
    finally:
        unmount(scratch)


def mount_one_by_one(overlay: Overlay, target: str) -> None:
    """Mount with one call a layer (Linux 6.8).

    Raises:
        OSError: EINVAL or ENOSYS where the kernel is older.
    """
    fd = syscalls.make_mount("overlay", overlay.pairs())
    try:
        syscalls.attach_mount(fd, target)
    finally:
        os.close(fd)


def mount_with_short_names(overlay: Overlay, target: str) -> None:
    """Mount with names relative to the layers' common directory, from a thread that works there.

    Raises:
        OSError: as mount(2); E2BIG where even short names do not fit.
    """
    common = os.path.commonpath(overlay.lower)
    short = overlay._replace(lower=[os.path.relpath(path, common) for path in overlay.lower])
    options = short.options()
    if len(os.fsencode(options)) >= _PAGE_BYTES:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))

    def mount_there() -> None:
        syscalls.unshare(syscalls.CLONE_FS)
        os.chdir(common)
        syscalls.old_mount("overlay", target, "overlay", 0, options)

    _in_thread(mount_there)


def _mount(overlay: Overlay, target: str) -> None:
    options = overlay.options()
    if len(os.fsencode(options)) < _PAGE_BYTES:
        syscalls.old_mount("overlay", target, "overlay", 0, options)
        return
    try:
        mount_one_by_one(overlay, target)
    except OSError as error:
        if error.errno not in _NO_NEW_MOUNT:
            raise
        mount_with_short_names(overlay, target)


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
