"""Mounts that nobody else sees, and that end with who made them, however he ends.

They are made in a mount namespace of their own, by a thread that ends at once; only two descriptors hold the namespace.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prun.rootfs import syscalls
from prun.rootfs.mount import in_thread, make_private, unmount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def private_root(target: str, mount: Callable[[], object]) -> Iterator[int]:
    """Call ``mount`` in a mount namespace of its own, and give the directory ``target`` of that, open for reading.

    What is mounted below ``target`` is seen through the descriptor too, until the context ends.

    Raises: what ``mount`` raises.
    """

    def work() -> tuple[int, int]:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        make_private()
        mount()
        namespace = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.open(target, _OPEN_DIRECTORY), namespace
        except OSError:
            os.close(namespace)
            raise

    root, namespace = in_thread(work)
    try:
        yield root
    finally:
        os.close(root)
        try:
            in_thread(lambda: _unmount(namespace, target))
        finally:
            os.close(namespace)


def _unmount(namespace: int, target: str) -> None:
    """End a FUSE mount: its server is in the namespace, and would hold what it serves forever."""
    syscalls.unshare(syscalls.CLONE_FS)
    syscalls.setns(namespace, syscalls.CLONE_NEWNS)
    unmount(target)
