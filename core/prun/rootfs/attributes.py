"""Owner, mode, extended attributes and times of one file; the root of a file system."""

from __future__ import annotations

import os
import stat


def is_kept_xattr(name: bytes) -> bool:
    """Whether the extended attribute belongs to the image: others are the host's or overlayfs's own."""
    return name == b"security.capability" or (name.startswith(b"user.") and not name.startswith(b"user.overlay."))


def copy_attributes(source_fd: int, target_fd: int, owner: tuple[int, int] | None = None) -> None:
    """Give ``target_fd`` the owner, mode, extended attributes and times of ``source_fd``, overlayfs's own left out.

    ``owner``: another one, uid and gid.
    """
    found = os.fstat(source_fd)
    os.fchown(target_fd, *(owner or (found.st_uid, found.st_gid)))
    os.fchmod(target_fd, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(source_fd):
        if is_kept_xattr(os.fsencode(name)):
            os.setxattr(target_fd, name, os.getxattr(source_fd, name))
    os.utime(target_fd, ns=(found.st_atime_ns, found.st_mtime_ns))


def set_mode(directory: int, name: bytes, mode: int) -> None:
    """Set the mode of a device or FIFO without opening it and without following a link."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.chmod(f"/proc/self/fd/{handle}", mode)
    finally:
        os.close(handle)


def make_root(path: str) -> None:
    """Make the root of a file system: everyone may enter it, whatever the umask."""
    os.mkdir(path)
    os.chmod(path, 0o755)  # noqa: S103 its parents are 0700


def copy_root_attributes(source: str, target: str) -> None:
    """An overlay's root has the attributes of its topmost layer's."""
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in (source, target)]
    try:
        copy_attributes(fds[0], fds[1])
    finally:
        for fd in fds:
            os.close(fd)
