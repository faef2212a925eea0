"""The sources of bind mounts, opened once: what was looked at is what is mounted, whatever has its name by then.

A container that can write where a source is could put a link in its place, between our look and the OCI runtime's
mount.  So the mount is copied from the open source, and attached in the bundle, where nobody else can: the OCI runtime
gets ``BUNDLE/mounts/bind-*``.  Two kinds of sources keep their names: those that shall share mounts with the host, and
directories that hold our own state, of which each container would have a copy of all others' copies.

See open_tree(2), mount_setattr(2) (Linux 5.12).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import TYPE_CHECKING

from prun.rootfs import syscalls
from prun.rootfs.failures import translated

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def pin(source: str, target: str, options: Iterable[str], state: str) -> bool:
    """Attach a copy of the mount of ``source`` at ``target``, which is made; tell whether that was possible.

    Raises:
        NotFound, PermissionDenied, ...: ``source`` cannot be opened, or ``target`` not be made.
    """
    words = set(options)
    if words & _SHARES:
        return False
    with translated(lambda: f"bind source {source} cannot be opened"):
        handle = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        if _holds(handle, state):
            return False
        with translated(lambda: f"bind source {source} cannot be mounted at {target}"):
            copy = _private_copy(handle, recursive="bind" not in words)
            if copy is None:
                return False
            try:
                make_place(target, stat.S_ISDIR(os.fstat(handle).st_mode))
                syscalls.attach_mount(copy, target)
            finally:
                os.close(copy)
    finally:
        os.close(handle)
    return True


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
    opened = os.readlink(f"/proc/self/fd/{handle}")
    return f"{os.path.realpath(directory)}/".startswith(opened.rstrip("/") + "/")
