"""Locks and temporary directories whose owner's death is seen by everyone: flock(2) ends with the process."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def locked(path: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file ``path``, waiting for it; ``shared`` with others that want it so.

    The file stays; who holds it alone may remove it.
    """
    import fcntl

    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            if _is_still(path, fd):  # else it was removed while we waited
                break
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def temporary_directory(parent: str) -> Iterator[str]:
    """Make ``new-*`` in ``parent``, ours while the context lasts; what is left of it then goes."""
    while True:
        path = os.path.join(parent, f"new-{os.urandom(8).hex()}")
        os.mkdir(path, 0o700)
        with claimed(path) as ours:
            if ours:
                try:
                    yield path
                finally:
                    remove_directory(path)
                return


@contextmanager
def claimed(path: str) -> Iterator[bool]:
    """Lock a directory while the context lasts; False if it is another's, or gone."""
    import fcntl

    try:
        fd = os.open(path, _OPEN_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = _is_still(path, fd)
        except BlockingIOError:
            ours = False
        yield ours
    finally:
        os.close(fd)


@contextmanager
def held(path: str) -> Iterator[None]:
    """Hold a directory alone while the context lasts, waiting for it.

    Raises:
        FileNotFoundError: it is not there, or was removed while we waited.
    """
    import fcntl

    fd = os.open(path, _OPEN_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if not _is_still(path, fd):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        yield
    finally:
        os.close(fd)


def is_unclaimed(path: str) -> bool:
    """Whether the directory is there and its owner is gone."""
    with claimed(path) as ours:
        return ours


def remove_directory(path: str) -> None:
    """Remove a temporary directory, which may be gone already."""
    if not os.path.isdir(path):
        return
    from prun.rootfs.removal import remove_tree

    merged = os.path.join(path, "merged")
    if os.path.isdir(merged):
        from prun.rootfs.mount import unmount

        unmount(merged)  # killed within mount.detached_overlay on an old kernel
    remove_tree(path)


def _is_still(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False
