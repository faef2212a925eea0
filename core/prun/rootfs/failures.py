"""What an ``OSError`` means for the caller, as one of prun's errors."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, InvalidArgument, PermissionDenied, PrunError, ResourceExhausted, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CLASSES: dict[int, tuple[type[PrunError], str]] = {
    errno.ENOSPC: (ResourceExhausted, "the file system is full: free space, or remove images with `prun rmi`"),
    errno.EDQUOT: (ResourceExhausted, "the disk quota is used up"),
    errno.EFBIG: (ResourceExhausted, "the file system stores no files of this size"),
    errno.EMLINK: (ResourceExhausted, "the file system stores no more hard links to one file"),
    errno.EMFILE: (ResourceExhausted, "raise the limit of open files (ulimit -n)"),
    errno.ENFILE: (ResourceExhausted, "the system has no more open files (sysctl fs.file-max)"),
    errno.ENOMEM: (ResourceExhausted, ""),
    errno.EPERM: (PermissionDenied, "root file systems are unpacked and mounted by root"),
    errno.EACCES: (PermissionDenied, "root file systems are unpacked and mounted by root"),
    errno.EROFS: (FailedPrecondition, "the file system is read-only: choose another with --root"),
    errno.EOPNOTSUPP: (FailedPrecondition, "the file system cannot store this: choose another with --root"),
    errno.EBUSY: (FailedPrecondition, "something still uses it"),
    errno.ENAMETOOLONG: (InvalidArgument, ""),
    errno.ELOOP: (InvalidArgument, ""),
    errno.ENOTDIR: (InvalidArgument, ""),
    errno.EISDIR: (InvalidArgument, ""),
    errno.EINVAL: (InvalidArgument, ""),
    errno.ERANGE: (InvalidArgument, ""),
    errno.E2BIG: (InvalidArgument, ""),
    errno.ENOENT: (InvalidArgument, ""),
}


def failure(what: str, error: OSError) -> PrunError:
    """Return the error to raise from ``error`` while doing ``what``."""
    number = error.errno or 0
    kind, hint = _CLASSES.get(number, (Unavailable, ""))
    return kind(f"{what}: {os.strerror(number) if number else error}", hint=hint)


@contextmanager
def translated(what: Callable[[], str]) -> Iterator[None]:
    """Raise every ``OSError`` of the block as one of prun's errors; ``what`` is asked only then."""
    try:
        yield
    except OSError as error:
        raise failure(what(), error) from error
