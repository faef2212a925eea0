"""Mount and unmount: overlays of any number of layers, bind mounts.

The options of mount(2) have to fit into a page.  Where they do not, the kernel takes one layer at a time
(``lowerdir+``, Linux 6.8), or, before that, short relative names from a thread that has a working directory of its
own: prun is also a library, and the working directory of its process is not prun's.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from prun.errors import FailedPrecondition, PrunError
from prun.rootfs import syscalls
from prun.rootfs.failures import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prun.rootfs.idmap import IdMaps

_PAGE_BYTES = 4096
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_SLAVE = 0x1000, 0x4000, 0x40000, 0x80000
_MS_RDONLY, _MS_REMOUNT = 1, 0x20
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
# A layer must not point at files outside of itself; "off" would still follow (kernel, overlayfs.rst, "redirect_dir").
_FIXED = (("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"))
_NO_NEW_MOUNT = (errno.EINVAL, errno.ENOSYS)  # no lowerdir+, or no fsopen at all
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FUSE_OVERLAYFS = "/usr/bin/fuse-overlayfs"
_COPY_HINT = "PRUN_SNAPSHOTTER=copy does without overlayfs"


_Answer = TypeVar("_Answer")
# How overlays are mounted: by root, by root of a user namespace (whose marks are user.overlay.*, Linux 5.11), by FUSE.
Kind = Literal["overlayfs", "userxattr", "fuse"]


class Overlay(NamedTuple):
    """What an overlay is made of; see ``mount_overlay``.  Without ``upper`` and ``work`` it is read-only."""

    lower: Sequence[str]
    upper: str
    work: str
    volatile: bool
    kind: Kind = "overlayfs"

    def options(self) -> str:
        words = overlay_options(self.lower, self.upper, self.work, self.kind)
        return ",".join((*words, "volatile") if self.volatile else words)

    def pairs(self) -> list[tuple[str, str | None]]:
        """Return the options for fsconfig(2); None for a flag.  Of these, the kernel takes ``lowerdir+`` literally."""
        lower = [("lowerdir+", path) for path in self.lower]
        named = (("upperdir", self.upper), ("workdir", self.work))
        writable = [(key, path.replace("\\", "\\\\")) for key, path in named if path]
        flags = (("volatile", self.volatile), ("userxattr", self.kind == "userxattr"))
        return [*lower, *writable, *_FIXED, *((flag, None) for flag, on in flags if on)]


def overlay_options(lower: Sequence[str], upper: str, work: str, kind: Kind = "overlayfs") -> tuple[str, ...]:
    """Return the options of an overlay for mount(2); ``lower`` is topmost first."""
    layers = ":".join(_escaped(path).replace(":", "\\:") for path in lower)
    pairs = (("lowerdir", layers), ("upperdir", _escaped(upper)), ("workdir", _escaped(work)))
    fixed = () if kind == "fuse" else _FIXED
    words = [f"{key}={value}" for key, value in (*pairs, *fixed) if value]
    return (*words, "userxattr") if kind == "userxattr" else tuple(words)


def mount_overlay(
    lower: Sequence[str], upper: str, work: str, target: str, *, volatile: bool = False, kind: Kind = "overlayfs"
) -> None:
    """Mount an overlay at ``target``; all are absolute directories, ``lower`` is topmost first and not empty.

    Without ``upper`` and ``work`` it is read-only, and has at least two lower directories.

    A ``volatile`` overlay never waits for the disk, on unmounting either, and can be mounted only once: for what is
    thrown away after use.  Before Linux 5.10 it is an ordinary one.

    Raises:
        PermissionDenied: the caller is not root.
        FailedPrecondition: no overlayfs here, or not with these directories.
    """
    overlay = Overlay(lower, upper, work, volatile, kind)
    if kind == "fuse":
        _mount_by_fuse(overlay, target)
        return
    try:
        try:
            _mount(overlay, target)
        except OSError as error:
            if error.errno != errno.EINVAL or not volatile:
                raise
            _mount(overlay._replace(volatile=False), target)
    except OSError as error:
        raise _overlay_failure(target, error) from error


def mount_idmapped(
    lower: Sequence[str], upper: str, work: str, target: str, maps: IdMaps, *, volatile: bool = False
) -> None:
    """As ``mount_overlay``, with the owners that the files have in a user namespace with these maps.

    On disk the ids stay those of the image.  ``upper`` and ``work`` are in one directory, or ``lower`` and ``work``
    are empty and ``upper`` is the whole root.

    Raises:
        FailedPrecondition: the kernel (before 5.19) or the file system cannot, or the maps have no root.
    """
    from prun.rootfs.idmap import host_id, idmapped_clone, user_namespace

    owner = host_id(maps.uids, 0), host_id(maps.gids, 0)
    if owner[0] is None or owner[1] is None:
        raise FailedPrecondition("the id maps have no root", hint="map the container's uid 0 and gid 0")
    with user_namespace(maps) as namespace, ExitStack() as clones:

        def clone(path: str) -> int:
            fd = idmapped_clone(path, namespace)
            clones.callback(os.close, fd)
            return fd

        try:
            if not lower:
                syscalls.attach_mount(clone(upper), target)
                return
            fds = [clone(path) for path in (*lower, os.path.dirname(upper))]
            names = [str(number) for number in range(len(fds))]
            overlay = Overlay(names[:-1], f"{names[-1]}/{os.path.basename(upper)}",
                              f"{names[-1]}/{os.path.basename(work)}", volatile)  # fmt: skip
            fd = in_thread(lambda: _overlay_of(fds, overlay, target, owner[0] or 0, owner[1] or 0))
            clones.callback(os.close, fd)
            syscalls.attach_mount(fd, target)
        except OSError as error:
            raise _overlay_failure(target, error) from error


def _overlay_of(fds: Sequence[int], overlay: Overlay, scratch: str, uid: int, gid: int) -> int:
    """Mount an overlay of unattached mounts and return it unattached, from a thread that is its own to spoil.

    Overlayfs takes only mounts of the caller's mount namespace, so they are attached for a moment in a namespace that
    nobody else sees and that ends with the thread: who is killed in between leaves nothing.  Overlayfs makes files of
    its own with the owner of the process that mounts it, who must have an id on the idmapped mount.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS)
    make_private()
    syscalls.old_mount("tmpfs", scratch, "tmpfs", 0, "size=1m,mode=0700")
    os.chdir(scratch)
    for name, fd in enumerate(fds):
        os.mkdir(str(name))
        syscalls.attach_mount(fd, str(name))
    os.mkdir("merged")
    with syscalls.file_owner(uid, gid):
        try:
            syscalls.old_mount("overlay", "merged", "overlay", 0, overlay.options())
        except OSError as error:
            if error.errno != errno.EINVAL or not overlay.volatile:
                raise
            syscalls.old_mount("overlay", "merged", "overlay", 0, overlay._replace(volatile=False).options())
    return syscalls.clone_mount("merged")


def detached_overlay(lower: Sequence[str], upper: str, work: str, scratch: str, kind: Kind = "overlayfs") -> int:
    """Return the root of a volatile overlay that no path leads to, a descriptor; closing it ends the mount.

    A process that is killed leaves no mount behind.  Before Linux 6.8 the mount is attached to the directory
    ``scratch`` for a moment.

    Raises: as ``mount_overlay``.
    """
    if kind == "fuse":
        return attached_for_a_moment(lower, upper, work, scratch, kind)
    try:
        fd = syscalls.make_mount("overlay", Overlay(lower, upper, work, True, kind).pairs())
    except OSError as error:
        if error.errno not in _NO_NEW_MOUNT:
            raise _overlay_failure(scratch, error) from error
        return attached_for_a_moment(lower, upper, work, scratch, kind)
    try:
        return os.open(".", _OPEN_DIRECTORY, dir_fd=fd)
    finally:
        os.close(fd)


def attached_for_a_moment(lower: Sequence[str], upper: str, work: str, scratch: str, kind: Kind = "overlayfs") -> int:
    """Do what ``detached_overlay`` does, without fsopen(2)."""
    mount_overlay(lower, upper, work, scratch, volatile=True, kind=kind)
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

    in_thread(mount_there)


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


def make_private() -> None:
    """Keep what is mounted from now on to our own mount namespace, and see nothing of others."""
    syscalls.old_mount("none", "/", "", _MS_REC | _MS_PRIVATE, "")


def make_slave() -> None:
    """Keep what is mounted from now on to our own mount namespace, and still see what others mount."""
    syscalls.old_mount("none", "/", "", _MS_REC | _MS_SLAVE, "")


def bind(source: str, target: str) -> None:
    """Mount the directory ``source`` at ``target`` too.

    Raises:
        PermissionDenied: the caller is not root.
    """
    try:
        syscalls.old_mount(source, target, "", _MS_BIND | _MS_REC, "")
    except OSError as error:
        raise failure(f"{source} cannot be mounted at {target}", error) from error


def bind_readonly(source: str, target: str) -> None:
    """Mount the directory ``source`` at ``target`` too, where nothing can be written.

    Raises:
        PermissionDenied: the caller is not root.
    """
    bind(source, target)
    try:
        syscalls.old_mount("none", target, "", _MS_BIND | _MS_REMOUNT | _MS_RDONLY, "")
    except OSError as error:
        unmount(target)
        raise failure(f"{target} cannot be made read-only", error) from error


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


def _mount_by_fuse(overlay: Overlay, target: str) -> None:
    """Let fuse-overlayfs serve the overlay, a process that ends with its mount."""
    import subprocess

    command = [
        FUSE_OVERLAYFS,
        "-o",
        ",".join(overlay_options(overlay.lower, overlay.upper, overlay.work, "fuse")),
        target,
    ]
    try:
        done = subprocess.run(
            command, env={}, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            check=False, umask=0o022, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise failure(f"{FUSE_OVERLAYFS} cannot be executed", error) from error
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split())[:300]
        raise FailedPrecondition(f"overlay cannot be mounted at {target}: fuse-overlayfs: {words}", hint=_COPY_HINT)


def in_thread(work: Callable[[], _Answer]) -> _Answer:
    """Run ``work`` in a thread of its own, which may unshare what it likes; return or raise here what it does."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(work).result()


def _overlay_failure(target: str, error: OSError) -> PrunError:
    what = f"overlay cannot be mounted at {target}"
    if error.errno == errno.ENODEV:
        return FailedPrecondition(f"{what}: the kernel has no overlayfs", hint=f"modprobe overlay; {_COPY_HINT}")
    if error.errno == errno.EINVAL:
        return FailedPrecondition(f"{what}: not on this file system", hint=_COPY_HINT)
    if error.errno in (errno.E2BIG, errno.ELOOP):
        return FailedPrecondition(f"{what}: too many layers for this kernel", hint=_COPY_HINT)
    return failure(what, error)
