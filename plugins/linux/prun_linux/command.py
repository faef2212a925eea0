"""Whether the container's command can be executed: a look before, and the runtime's words after.

The runtime prints its errors on the container's own stderr; and when only the last execve fails, runc exits 1 as the
command might have.  So the usual mistakes are found by looking into the root file system first, by the rules that
the runtime follows itself: PATH for a name, the working directory for a relative path.
"""

from __future__ import annotations

import os
import re
import stat
from posixpath import join, normpath
from typing import TYPE_CHECKING

from prun.errors import CommandNotFound, CommandNotInvocable, PrunError, Unavailable
from prun_linux.places import is_below, place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Protocol

    from prun.spec.document import Spec, User
    from prun.types import FileStat

    class Root(Protocol):
        """The part of ``prun.rootfs.safepath.Root`` that is needed here."""

        path: str

        def head(self, path: str, size_bytes: int) -> bytes: ...
        def stat(self, path: str) -> FileStat | None: ...


INIT = "/run/prun-init"  # --init; below /run, which is a tmpfs: no file of that name appears in the image
HEAD_BYTES = 4096  # where linkers put the program headers and the interpreter's path
INTERPRETER_LIMIT_BYTES = 256  # BINPRM_BUF_SIZE
WORD_LIMIT_BYTES = 1 << 17  # MAX_ARG_STRLEN, the NUL included; execve(2)

_PT_INTERP = 3
_NARROW = ((28, 4), (42, 2), (44, 2))  # e_phoff, e_phentsize, e_phnum of a 32-bit header: offset and size

_NOT_FOUND = r'executable file .*not found|^exec: ".*": stat .*: no such file'
_NOT_INVOCABLE = r'^exec: ".*": |^exec /.*: |^open executable: |^exec container process '


def check_command(spec: Spec, root: Root, mounted: Sequence[str]) -> None:
    """Look for the command in the root file system; where a mount hides the place, leave the answer to the runtime.

    ``mounted`` are the places of the spec's mounts, as ``check_places`` returns them.

    Raises:
        CommandNotFound: it is not there.
        CommandNotInvocable: it is a directory, has no x bit for the user, is in no format that the kernel knows, its
            interpreter is missing, or an argument or a variable is too long.
    """
    process = spec.get("process", {})
    command = without_init(process.get("args", [""]))[0]
    if any(len(os.fsencode(word)) >= WORD_LIMIT_BYTES for word in (*process.get("args", ()), *process.get("env", ()))):
        reason = f"an argument or an environment variable has {WORD_LIMIT_BYTES} bytes or more"
        raise CommandNotInvocable(f"command {command!r} cannot be executed: {reason}")
    for path in _places(command, spec):
        if is_below(place(root.path, path, mounted), mounted):
            return
        found = root.stat(path)
        if found is None:
            continue
        if reason := _not_executable(found, process.get("user", {})):
            if "/" not in command:
                continue  # execvp(3) goes on with the next directory of PATH
            raise CommandNotInvocable(f"command {command!r} cannot be executed: {reason}")
        _check_format(command, root.head(path, HEAD_BYTES), root, mounted)
        return
    raise _not_found(command)


def without_init(args: list[str]) -> list[str]:
    """Return the command that the init of ``--init``, if there is one, starts."""
    return args[2:] if args[:2] == [INIT, "--"] else args


def failed(words: str, command: str, runtime: str, what: str = "the container") -> PrunError:
    """Return the error that fits what the OCI runtime said when it could not start ``command``."""
    if re.search(_NOT_FOUND, words):
        return _not_found(command)
    if re.search(_NOT_INVOCABLE, words):
        return CommandNotInvocable(f"command {command!r} cannot be executed: {words}")
    return Unavailable(f"{runtime} could not start {what}: {words}")


def _not_found(command: str) -> CommandNotFound:
    where = "in the container" if "/" in command else "in the container's PATH"
    return CommandNotFound(f"command {command!r} is not {where}")


def _places(command: str, spec: Spec) -> Iterator[str]:
    """Yield where the command may be, in order; nothing when the spec does not say where to look."""
    process = spec.get("process", {})
    cwd = process.get("cwd", "/")
    if "/" in command:
        yield normpath(join(cwd, command))
        return
    path = next((entry[5:] for entry in process.get("env", []) if entry.startswith("PATH=")), "")
    for directory in path.split(":"):
        yield normpath(join(cwd, directory, command))


def _not_executable(found: FileStat, user: User) -> str:
    if stat.S_ISDIR(found.mode):
        return "it is a directory"
    if not stat.S_ISREG(found.mode):
        return "it is no regular file"
    uid, groups = user.get("uid", 0), {user.get("gid", 0), *user.get("additionalGids", ())}
    if uid == 0:
        allowed = found.mode & 0o111
    elif uid == found.uid:
        allowed = found.mode & 0o100
    else:
        allowed = found.mode & (0o010 if found.gid in groups else 0o001)
    return "" if allowed else f"permission denied (mode {stat.S_IMODE(found.mode):04o}, uid {uid})"


def _check_format(command: str, head: bytes, root: Root, mounted: Sequence[str]) -> None:
    """Refuse what execve(2) would: no program, or one without its interpreter (it says that the program is missing)."""
    if not head.startswith((b"#!", b"\x7fELF")) and not _has_other_formats():
        reason = "exec format error: it is neither a script (#!) nor an ELF program"
        raise CommandNotInvocable(f"command {command!r} cannot be executed: {reason}")
    interpreter = script_interpreter(head) or elf_interpreter(head)
    if not interpreter.startswith("/") or is_below(place(root.path, interpreter, mounted), mounted):
        return
    if root.stat(interpreter) is None:
        raise CommandNotInvocable(f"command {command!r} cannot be executed: its interpreter {interpreter!r} is missing")


def _has_other_formats() -> bool:
    """Tell whether this machine has handlers for formats of its own (binfmt_misc, as qemu-user registers them)."""
    try:
        return len(os.listdir("/proc/sys/fs/binfmt_misc")) > 2  # besides "register" and "status"
    except OSError:
        return False


def script_interpreter(head: bytes) -> str:
    """Return what the ``#!`` line names (execve(2)), empty where there is none."""
    if not head.startswith(b"#!"):
        return ""
    words = head[2:INTERPRETER_LIMIT_BYTES].split(b"\n", 1)[0].split()
    return words[0].decode("utf-8", "surrogateescape") if words else ""


def elf_interpreter(head: bytes) -> str:
    """Return the dynamic loader of an ELF program (elf(5), PT_INTERP), empty where it needs none or cannot be seen."""
    if head[:4] != b"\x7fELF" or len(head) < 64:
        return ""
    wide = head[4] == 2

    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], "little" if head[5] == 1 else "big")

    table, entry_size, count = (number(*field) for field in (((32, 8), (54, 2), (56, 2)) if wide else _NARROW))
    for at in range(table, table + entry_size * count, entry_size or 1):
        if number(at, 4) == _PT_INTERP and at + entry_size <= len(head):
            start, length = (number(at + 8, 8), number(at + 32, 8)) if wide else (number(at + 4, 4), number(at + 16, 4))
            return head[start : start + length].rstrip(b"\0").decode("utf-8", "surrogateescape")
    return ""
