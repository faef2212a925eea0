"""The file system under the content store: private directories, locks that die with their holder, its errors."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from prun.errors import PermissionDenied, ResourceExhausted, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def storage_errors(path: str) -> Iterator[None]:
    """Translate what the operating system says about ``path`` and what is below it."""
    try:
        yield
    except OSError as error:
        message = f"content store {path!r}: {error.strerror or error}"
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise ResourceExhausted(message, hint="free some room on its file system") from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise PermissionDenied(message) from error
        raise Unavailable(message) from error


def make_directory(path: str) -> None:
    """Make a directory for the owner alone, and those above it; one that is there stays as it is."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    make_directory(parent)
    with suppress(FileExistsError):  # another process was quicker
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)  # whatever the umask says
        sync_directory(parent)


def sync_directory(path: str) -> None:
    """Make the names in a directory safe from a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: str) -> None:
    """Make the content of a file safe from a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(directory: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a directory, waiting for it; ``shared`` with others that want it so."""
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def scratch_directory(parent: str) -> Iterator[str]:
    """Make a directory of a new name, locked until it is removed at the end with the files in it."""
    import fcntl

    while True:
        path = f"{parent}/{os.urandom(8).hex()}"
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if is_at(descriptor, path):
            break
        os.close(descriptor)  # taken for a dead one's and removed before it was locked
    try:
        yield path
    finally:
        try:
            _remove(path)
        finally:
            os.close(descriptor)


def abandoned(parent: str, *, remove: bool) -> list[str]:
    """Return what is in ``parent`` and locked by nobody: what dead writers left; remove it if asked."""
    import fcntl

    found: list[str] = []
    for name in sorted(os.listdir(parent)) if os.path.isdir(parent) else []:
        path = f"{parent}/{name}"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # its writer has just finished
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            found.append(path)
            if remove:
                _remove(path)
        finally:
            os.close(descriptor)
    return found


def files_of_the_living(parent: str) -> set[str]:
    """Return the names of the files in the directories of ``parent`` that are locked."""
    found: set[str] = set()
    for name in os.listdir(parent):
        with suppress(FileNotFoundError, NotADirectoryError):
            names = os.listdir(f"{parent}/{name}")
            if names and is_locked(f"{parent}/{name}"):
                found.update(names)
    return found


def is_locked(path: str) -> bool:
    """Tell whether somebody is at work on a file or a directory."""
    import fcntl

    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: who else asks is nobody at work
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def check_room(path: str, size: int, what: str) -> None:
    """Raise ResourceExhausted where the content store at ``path`` has no room for ``size`` more bytes."""
    disk = os.statvfs(path)
    free = disk.f_bavail * disk.f_frsize
    if size > free:
        raise ResourceExhausted(
            f"{what} does not fit into the content store {path!r}", hint=f"its file system has room for {free} bytes"
        )


def is_at(descriptor: int, path: str) -> bool:
    """Tell whether an open file is still the one that ``path`` leads to."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        if not os.path.isdir(path):
            os.unlink(path)
            return
        for name in os.listdir(path):
            os.unlink(f"{path}/{name}")
        os.rmdir(path)
