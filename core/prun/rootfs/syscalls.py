"""System calls that Python's os module lacks, through ctypes, which is imported when the first one is made."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterator

AT_FDCWD = -100
CLONE_FS = 0x200
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10
# The same number on every architecture: newer than the common table of system calls (asm-generic/unistd.h).
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _OPENAT2 = 428, 429, 430, 431, 432, 437
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CREATE = 0, 1, 6
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH, _AT_RECURSIVE = 4, 0x40, 0x8000
_CLOEXEC = 1
_MOUNT_SETATTR, _MOUNT_ATTR_IDMAP, _MOUNT_ATTR_RDONLY = 442, 0x00100000, 1
_OPEN_TREE_CLONE, _AT_EMPTY_PATH, _AT_RECURSIVE = 1, 0x1000, 0x8000
_MS_PRIVATE = 0x40000
_CAPABILITY_VERSION_3 = 0x20080522
# File systems that show the kernel and no files of anybody (linux/magic.h): proc, sysfs, cgroup, cgroup2, devpts,
# mqueue, debugfs, tracefs, securityfs, bpf, selinuxfs, smackfs, configfs, binfmt_misc, efivarfs, pstore, nsfs, fusectl.
_KERNEL_FILE_SYSTEMS = frozenset(
    (0x9FA0, 0x62656572, 0x27E0EB, 0x63677270, 0x1CD1, 0x19800202, 0x64626720, 0x74726163, 0x73636673, 0xCAFE4A11,
     0xF97CFF8C, 0x43415D53, 0x62656570, 0x42494E4D, 0xDE5E81E4, 0x6165676C, 0x6E736673, 0x65735543)
)  # fmt: skip


@cache
def _libc() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, name: str = "") -> int:
    if result < 0:
        import ctypes

        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def _syscall(number: int, *args: object) -> int:
    """Make the call with ints as longs, bytes as pointers and None as a null pointer."""
    import ctypes

    converted = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return _checked(_libc().syscall(ctypes.c_long(number), *converted))


def openat2(dir_fd: int, path: bytes, flags: int, resolve: int) -> int:
    """Open ``path`` below ``dir_fd`` as ``resolve`` permits (openat2(2), Linux 5.6)."""
    from struct import pack

    how = pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    return _syscall(_OPENAT2, dir_fd, path, how, len(how))


def is_kernel_file_system(fd: int) -> bool:
    """Tell whether a file is one that the kernel makes up, such as procfs's (fstatfs(2))."""
    import ctypes

    found = ctypes.create_string_buffer(256)
    _checked(_libc().fstatfs(fd, found))
    return int.from_bytes(found.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) in _KERNEL_FILE_SYSTEMS


def syncfs(fd: int) -> None:
    """Write everything of the file system of ``fd`` to its disk (syncfs(2))."""
    _checked(_libc().syncfs(fd))


def old_mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    """Mount ``source`` at ``target`` by mount(2)."""
    import ctypes

    words = [os.fsencode(word) for word in (source, target, kind, data)]
    _checked(_libc().mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), target)


def umount(target: str, flags: int) -> None:
    """Unmount by umount2(2)."""
    _checked(_libc().umount2(os.fsencode(target), flags), target)


def unshare(flags: int) -> None:
    """Stop sharing what ``flags`` say, for this thread only (unshare(2))."""
    _checked(_libc().unshare(flags))


def make_mount(kind: str, options: list[tuple[str, str | None]]) -> int:
    """Make a mount that is attached nowhere and return its root, a descriptor; closing it ends the mount.

    An option of None is a flag.  One call an option: nothing has to fit into a page (fsopen(2), Linux 5.2).
    """
    context = _syscall(_FSOPEN, kind.encode(), _CLOEXEC)
    try:
        for key, value in options:
            word = None if value is None else os.fsencode(value)
            command = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
            _syscall(_FSCONFIG, context, command, key.encode(), word, 0)
        _syscall(_FSCONFIG, context, _FSCONFIG_CREATE, None, None, 0)
        return _syscall(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


def attach_mount(fd: int, target: str) -> None:
    """Attach the mount of ``make_mount`` at ``target`` (move_mount(2))."""
    _syscall(_MOVE_MOUNT, fd, b"", AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)


def attach_mount_at(fd: int, target_fd: int) -> None:
    """Attach an unattached mount over what an ``O_PATH`` descriptor is (move_mount(2))."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    _syscall(_MOVE_MOUNT, fd, b"", target_fd, b"", flags)


def clone_mount(path: str, *, recursive: bool = False) -> int:
    """Return a copy of the mount of ``path``, attached nowhere: a descriptor (open_tree(2)).

    ``recursive``: with what is mounted below.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _syscall(_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags)


def clone_open_mount(fd: int, *, recursive: bool) -> int:
    """Return a copy of the mount of an open file or directory, attached nowhere; ``recursive``: with all below it."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    return _syscall(_OPEN_TREE, fd, b"", flags)


def make_private(fd: int) -> None:
    """Cut the unattached mount ``fd`` and all below it off from where they were copied (mount_setattr(2))."""
    from struct import pack

    attributes = pack("=QQQQ", 0, 0, _MS_PRIVATE, 0)
    _syscall(_MOUNT_SETATTR, fd, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, attributes, len(attributes))


def map_mount(fd: int, namespace: int) -> None:
    """Show the files of the unattached mount ``fd`` with the owners of a user namespace (mount_setattr(2))."""
    from struct import pack

    attributes = pack("=QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, namespace)
    _syscall(_MOUNT_SETATTR, fd, b"", _AT_EMPTY_PATH, attributes, len(attributes))


def make_readonly(fd: int) -> None:
    """Make the unattached mount ``fd`` read-only (mount_setattr(2))."""
    from struct import pack

    attributes = pack("=QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    _syscall(_MOUNT_SETATTR, fd, b"", _AT_EMPTY_PATH, attributes, len(attributes))


def setns(fd: int, kind: int) -> None:
    """Enter the namespace ``fd`` (setns(2))."""
    _checked(_libc().setns(fd, kind))


@contextmanager
def file_owner(uid: int, gid: int) -> Iterator[None]:
    """While the block runs, this thread makes files as ``uid`` and ``gid``, with all its capabilities (setfsuid(2))."""
    import ctypes
    from struct import pack

    libc = _libc()
    header, sets = pack("=II", _CAPABILITY_VERSION_3, 0), ctypes.create_string_buffer(24)
    _checked(libc.capget(header, sets))
    before = os.geteuid(), os.getegid()
    try:
        libc.setfsgid(gid)
        libc.setfsuid(uid)
        _checked(libc.capset(header, sets))
        yield
    finally:
        libc.setfsgid(before[1])
        libc.setfsuid(before[0])
        _checked(libc.capset(header, sets))


def is_missing(error: OSError) -> bool:
    """Whether the kernel, or a seccomp filter, does not know the call."""
    return error.errno in (errno.ENOSYS, errno.EPERM)
