"""The sources of bind mounts, opened once: what was looked at is what is mounted, whatever has its name by then.

A container that can write where a source is could put a link in its place, between our look and the OCI runtime's
mount.  So the mount is copied from the open source, and attached in the bundle, where nobody else can: the OCI runtime
gets ``BUNDLE/mounts/bind-*``.  Two kinds of sources keep their names: those that shall share mounts with the host, and
directories that hold our own state, of which each container would have a copy of all others' copies.

podman's options for a source are done to the same copy: ``idmap``, ``O``; ``U`` is in ``owners``.

See open_tree(2), mount_setattr(2) (Linux 5.12).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition
from prun.rootfs import syscalls
from prun.rootfs.failures import translated
from prun.rootfs.idmap import map_owners
from prun.rootfs.mount import mount_overlay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prun.rootfs.idmap import IdMaps
    from prun.rootfs.snapshots import Snapshots
    from prun.types import Mount

_SHARES = frozenset(("shared", "rshared", "slave", "rslave"))
# An old kernel, a filter, or a mount that cannot be copied, of which the OCI runtime shall speak.
_NOT_HERE = (errno.ENOSYS, errno.EPERM, errno.EINVAL)


def place(bundle: str, destination: str) -> str:
    """Return where in the bundle the source of the mount at ``destination`` is."""
    return os.path.join(bundle, "mounts", f"bind-{hashlib.sha256(os.fsencode(destination)).hexdigest()[:16]}")


def pinned(mount: Mount, bundle: str) -> Mount:
    """Return a mount with the source that ``pin`` has put into the bundle, as it is where there is none."""
    path = place(bundle, mount.destination)
    return mount._replace(source=path) if mount.type == "bind" and os.path.lexists(path) else mount


@contextmanager
def opened(source: str) -> Iterator[int]:
    """Give a descriptor of ``source`` that only says where it is (``O_PATH``)."""
    with translated(lambda: f"bind source {source} cannot be opened"):
        handle = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def pin(handle: int, target: str, options: Iterable[str], state: str, shown: IdMaps | None = None) -> bool:
    """Attach a copy of the mount of an open source at ``target``, which is made; tell whether that was possible.

    ``shown``: with the owners that the files have in a user namespace with these maps.

    Raises:
        PermissionDenied, ...: ``target`` cannot be made.
        FailedPrecondition: the file system or the kernel cannot show other owners.
    """
    words = set(options)
    if words & _SHARES or _holds(handle, state):
        return False
    with translated(lambda: f"a copy of the mount cannot be attached at {target}"):
        copy = _private_copy(handle, recursive="bind" not in words)
        if copy is None:
            return False
        try:
            if shown:
                map_owners(copy, shown, path_of(handle))
            make_place(target, stat.S_ISDIR(os.fstat(handle).st_mode))
            syscalls.attach_mount(copy, target)
        finally:
            os.close(copy)
    return True


def overlay(handle: int, target: str, snapshots: Snapshots, key: str) -> None:
    """Mount an open directory at ``target`` below the new writable layer ``key``; what is mounted in it is not seen.

    Raises:
        FailedPrecondition: the source is no directory, or there are no overlays here.
    """
    path = path_of(handle)
    if not stat.S_ISDIR(os.fstat(handle).st_mode):
        raise FailedPrecondition(f"bind source {path} is no directory: option O is for directories", hint="leave O out")
    [layer] = snapshots.prepare(key, "")
    work = os.path.join(os.path.dirname(layer.source), "work")
    with translated(lambda: f"a writable layer over {path} cannot be made"):
        os.mkdir(work)
        os.mkdir(target, 0o700)
        _copy_attributes(f"/proc/self/fd/{handle}", layer.source)
    # A program of its own has not our descriptors.
    lower = path if snapshots.kind() == "fuse" else f"/proc/self/fd/{handle}"
    mount_overlay([lower], layer.source, work, target, volatile=True, kind=snapshots.kind())


def _copy_attributes(source: str, target: str) -> None:
    """An overlay's root has the attributes of its topmost layer's."""
    from prun.rootfs.attributes import copy_attributes

    fds: list[int] = []
    with ExitStack() as stack:
        for path in (source, target):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            fds.append(fd)
        copy_attributes(fds[0], fds[1])


def path_of(handle: int) -> str:
    """Return where an open file is."""
    return os.readlink(f"/proc/self/fd/{handle}")


def _private_copy(handle: int, *, recursive: bool) -> int | None:
    """Return a copy of the mount of an open file, attached nowhere; None where there can be none."""
    try:
        copy = syscalls.clone_open_mount(handle, recursive=recursive)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return None
        raise
    try:
        syscalls.make_private(copy)  # or what is unmounted below it would be unmounted on the host, too
    except OSError as error:
        os.close(copy)
        if error.errno in _NOT_HERE:
            return None
        raise
    return copy


def make_place(target: str, is_directory: bool) -> None:
    """Make what a directory, or anything else, is mounted on."""
    if is_directory:
        os.mkdir(target, 0o700)
    else:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _holds(handle: int, directory: str) -> bool:
    """Tell whether an open directory is ``directory`` or above it."""
    return f"{os.path.realpath(directory)}/".startswith(path_of(handle).rstrip("/") + "/")
