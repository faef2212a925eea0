"""Standard streams for crun, which gives those that are no terminals to the container's user (crun 1.8.1, ``fchown``).

With a user namespace that would be the machine's own ``/dev/null``, and who is root of the namespace could change the
mode of what is theirs then.  A read-only mount, which nobody else sees, keeps owner and mode; the data goes through.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from prun.rootfs import syscalls
from prun.rootfs.failures import translated

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def guarded(streams: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    """Give other descriptors for those of ``streams`` that are devices, such as ``/dev/null``, and no terminals.

    Raises:
        PermissionDenied, FailedPrecondition: the kernel (before 5.12) cannot mount so.
    """
    with ExitStack() as stack:
        stdin, stdout, stderr = (_kept(fd, stack) for fd in streams)
        yield stdin, stdout, stderr


def _kept(fd: int, stack: ExitStack) -> int:
    with translated(lambda: "a standard stream cannot be kept from crun"):
        if not stat.S_ISCHR(os.fstat(fd).st_mode) or os.isatty(fd):
            return fd
        other = _reopened(fd)
    stack.callback(os.close, other)
    return other


def _reopened(fd: int) -> int:
    mount = syscalls.clone_mount(f"/proc/self/fd/{fd}")
    try:
        syscalls.make_readonly(mount)
        flags = fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK)
        return os.open(f"/proc/self/fd/{mount}", flags | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(mount)
