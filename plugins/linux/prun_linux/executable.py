"""What execve(2) would say to a file in a container's root: its permissions, its format, whatever has to run it.

Only what is certain is said.  A file on a mount, or one that cannot be read from here, is left to the kernel; so is
one that a handler of this machine may take (``prun_linux.binfmt``).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from posixpath import basename, dirname, join, normpath
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import PrunError
from prun_linux.elf import MAGIC, Header
from prun_linux.places import is_below, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Protocol

    from prun.spec.document import Spec
    from prun.types import FileStat

    class Root(Protocol):
        """The part of ``prun.rootfs.safepath.Root`` that is needed here."""

        path: str

        def head(self, path: str, size_bytes: int, offset: int = 0) -> bytes: ...
        def stat(self, path: str) -> FileStat | None: ...
        def has_acl(self, path: str) -> bool: ...


HEAD_BYTES = 4096  # where linkers put the program headers and the interpreter's path
LINE_LIMIT_BYTES = 256  # BINPRM_BUF_SIZE
DEPTH = 5  # scripts that run scripts: the kernel's limit

_PROGRAM_TYPES = (2, 3)  # ET_EXEC, ET_DYN
# e_machine (elf(5)): the kernel's name, and that of a platform where there is one.
_MACHINES = {
    3: ("i386", "386"), 8: ("mips", ""), 20: ("ppc", ""), 21: ("ppc64", "ppc64le"), 22: ("s390x", "s390x"),
    40: ("arm", "arm/v7"), 62: ("x86_64", "amd64"), 183: ("aarch64", "arm64"), 243: ("riscv64", "riscv64"),
    258: ("loongarch64", "loong64"),
}  # fmt: skip
# What a kernel may execute by itself; of the second ones it depends on how it was built.
_NATIVE = {
    "x86_64": (62, 3), "i686": (3,), "aarch64": (183, 40), "armv7l": (40,), "ppc64le": (21, 20), "s390x": (22,),
    "riscv64": (243,), "loongarch64": (258,),
}  # fmt: skip


class Refusal(NamedTuple):
    """Why a file is not executed: the errno, the cause as a clause, what was seen, what to do about it."""

    number: int
    cause: str
    evidence: str
    remedy: str = ""


class View(NamedTuple):
    """Where one looks: the root, the places of its mounts, and the spec with who the process is and where it begins."""

    root: Root
    mounted: Sequence[str]
    spec: Spec

    @property
    def cwd(self) -> str:
        return self.spec.get("process", {}).get("cwd", "/")

    @property
    def search_path(self) -> str | None:
        """The process's ``PATH``, None where it has none."""
        env = self.spec.get("process", {}).get("env", [])
        return next((entry[5:] for entry in env if entry.startswith("PATH=")), None)

    def where(self, path: str) -> str:
        """Return where a path leads, as ``prun_linux.places.place`` does."""
        return place(self.root.path, path, self.mounted)

    def hides(self, path: str) -> bool:
        """Tell whether a mount is where the path leads: what is there cannot be seen from here."""
        return is_below(self.where(path), (*self.mounted, "/proc"))

    def candidates(self, command: str) -> Iterator[str]:
        """Yield where a command may be, in order; nothing when the spec does not say where to look."""
        if "/" in command:
            yield normpath(join(self.cwd, command))
            return
        for directory in (self.search_path or "").split(":") if self.search_path is not None else ():
            yield normpath(join(self.cwd, directory, command))

    def permission(self, path: str, found: FileStat) -> Refusal | None:
        """Return why the process's user may not execute what is at ``path``, None where it may."""
        if stat.S_ISDIR(found.mode):
            return Refusal(errno.EACCES, "it is a directory", f"{path} is a directory", "name a program in it")
        if not stat.S_ISREG(found.mode):
            return Refusal(errno.EACCES, "it is no regular file", f"{path} has mode {found.mode:o}", "name a program")
        if not self._may_execute(path, found):
            user = self.spec.get("process", {}).get("user", {})
            seen = f"mode {stat.S_IMODE(found.mode):04o}, uid {user.get('uid', 0)}"
            remedy = (
                "let more than its owner execute it (chmod +x in the image), or choose another user with -u"
                if found.mode & 0o111
                else f"chmod +x {path} in the image, or run it with its interpreter: sh {path}"
            )
            return Refusal(
                errno.EACCES, f"permission denied ({seen})", f"{path} belongs to {found.uid}:{found.gid}", remedy
            )
        above = dirname(self.where(path))
        while above != "/":
            directory = self.root.stat(above)
            if directory and not self._may_execute(above, directory):
                seen = f"{above} has mode {stat.S_IMODE(directory.mode):04o} and belongs to {directory.uid}"
                remedy = "chmod +x the directory in the image, or choose another user with -u"
                return Refusal(errno.EACCES, f"permission denied (directory {above})", seen, remedy)
            above = dirname(above)
        return None

    def _may_execute(self, path: str, found: FileStat) -> bool:
        process = self.spec.get("process", {})
        user, linux = process.get("user", {}), self.spec.get("linux", {})
        if user.get("uid", 0) == 0 or "CAP_DAC_OVERRIDE" in process.get("capabilities", {}).get("effective", ()):
            return bool(found.mode & 0o111) or stat.S_ISDIR(found.mode)
        groups = {user.get("gid", 0), *user.get("additionalGids", ())}
        if found.uid == _seen(user.get("uid", 0), linux.get("uidMappings")):
            return bool(found.mode & 0o100)
        if self.root.has_acl(path):  # the bits of the group are a mask then (acl(5))
            return bool(found.mode & 0o111)
        in_group = found.gid in {_seen(group, linux.get("gidMappings")) for group in groups}
        return bool(found.mode & (0o010 if in_group else 0o001))


def _seen(number: int, maps: Iterable[Mapping[str, int]] | None) -> int:
    """Return the id that files of a container's id have outside of its user namespace."""
    for each in maps or ():
        if 0 <= number - each["containerID"] < each["size"]:
            return each["hostID"] + number - each["containerID"]
    return number


def refusal(view: View, path: str, depth: int = 0) -> Refusal | None:
    """Return why the kernel would not execute the file at ``path``, None where it would or where one cannot tell."""
    try:
        head = view.root.head(path, HEAD_BYTES)
    except PrunError:
        return None  # it may be executed and not be read
    if head.startswith(b"#!"):
        reason = _script(view, path, head, depth)
    elif head.startswith(MAGIC):
        reason = _program(view, path, head, depth)
    else:
        begins = repr(head[:16])[1:] if head else "nothing: it is empty"
        reason = Refusal(
            errno.ENOEXEC,
            "exec format error: it is neither a script (#!) nor an ELF program",
            f"{path} begins with {begins}",
            f"if it is a shell script, give it the first line #!/bin/sh, or run it with its interpreter: sh {path}",
        )
    if reason is None or reason.number == errno.ELOOP:
        return reason
    from prun_linux.binfmt import handled

    answer = handled(head, path, lambda interpreter: view.hides(interpreter) or view.root.stat(interpreter) is not None)
    if answer.maybe:
        return None
    return reason._replace(evidence=f"{reason.evidence}; {answer.note}") if answer.note else reason


def script_line(head: bytes) -> tuple[bytes, bytes] | None:
    """Return the interpreter and its argument that a ``#!`` line names; None where the kernel takes it for no script.

    As binfmt_script.c: what ends a word is a blank, a tab, a NUL or the line's end; a carriage return is part of it.
    """
    line, ended, _ = head[2:LINE_LIMIT_BYTES].partition(b"\n")
    words = re.match(rb"[ \t]*([^ \t\0]*)([ \t\0]?)[ \t]*([^\0]*)", line)
    if words is None or not words[1]:
        return None
    if not ended and not words[2] and len(head) >= LINE_LIMIT_BYTES:
        return None  # cut off, so that it might be another's name
    return words[1], words[3].rstrip(b" \t")


def _script(view: View, path: str, head: bytes, depth: int) -> Refusal | None:
    shown = repr(head[: min(60, LINE_LIMIT_BYTES)].partition(b"\n")[0])[1:]
    begins = f"{path} begins with {shown}"
    words = script_line(head)
    if words is None:
        cause = "exec format error: its first line names no interpreter, or has more than 255 bytes"
        return Refusal(errno.ENOEXEC, cause, begins, "let the first line be #! and the path of the interpreter")
    if depth >= DEPTH:
        return Refusal(errno.ELOOP, "its interpreters are scripts, too many in a row", begins, "name a program")
    name, argument = (os.fsdecode(word) for word in words)
    at = normpath(join(view.cwd, name))
    if view.hides(at):
        return None
    found = view.root.stat(at)
    if found is None:
        crlf = name.endswith("\r")
        ends = ": its first line ends in CR LF" if crlf else ""
        remedy = f"take the carriage returns away: sed -i 's/\\r$//' {path}" if crlf else (
            "install it in the image, or let the first line name one that is there"
        )  # fmt: skip
        return Refusal(errno.ENOENT, f"its interpreter {name!r} is missing{ends}", begins, remedy)
    if reason := view.permission(at, found) or refusal(view, at, depth + 1):
        return reason._replace(
            cause=f"its interpreter {name!r}: {reason.cause}", evidence=f"{begins}; {reason.evidence}"
        )
    return _env(view, path, argument, begins) if basename(at) == "env" else None


def _env(view: View, path: str, argument: str, begins: str) -> Refusal | None:
    """Return why ``env`` would not find the program that the first line of a script gives to it."""
    if not argument or argument.startswith("-") or "=" in argument or "/" in argument:
        return None
    for candidate in view.candidates(argument):
        if view.hides(candidate) or view.root.stat(candidate):
            return None
    if argument.endswith("\r"):
        ends, remedy = ": its first line ends in CR LF", f"take the carriage returns away: sed -i 's/\\r$//' {path}"
    elif " " in argument:
        ends, remedy = ": env gets all of it as one word", "env -S splits it, or leave out what follows the name"
    else:
        ends, remedy = "", f"install {argument} in the image, or set PATH with -e"
    evidence = f"{begins}; PATH is {view.search_path!r}"
    return Refusal(errno.ENOENT, f"env would not find its interpreter {argument!r}{ends}", evidence, remedy)


def _program(view: View, path: str, head: bytes, depth: int) -> Refusal | None:
    fields = Header(head)
    if len(head) < (64 if fields.wide else 52) or fields.type not in _PROGRAM_TYPES:
        cause = "exec format error: it is an ELF file, and no program"
        evidence = f"{path} has {len(head)} bytes" if len(head) < 64 else f"{path} has e_type {fields.type}"
        return Refusal(errno.ENOEXEC, cause, evidence, "name a program; this one may be cut off, or not linked")
    here = os.uname().machine
    if fields.machine not in _NATIVE.get(here, (fields.machine,)):
        name, platform = _MACHINES.get(fields.machine, (f"machine {fields.machine}", ""))
        evidence = f"{path} is a {64 if fields.wide else 32}-bit ELF program for {name}, this machine is {here}"
        own = next((each[1] for each in _MACHINES.values() if each[0] == here), here)
        remedy = f"use an image for --platform linux/{own}"
        remedy += ", or an emulator: apt install qemu-user-static" if platform else ""
        return Refusal(errno.ENOEXEC, "exec format error: it is a program for another architecture", evidence, remedy)
    interpreter = fields.interpreter(lambda size, offset: view.root.head(path, size, offset))
    at = normpath(join(view.cwd, interpreter))
    if not interpreter or depth >= DEPTH or view.hides(at):
        return None
    found = view.root.stat(at)
    asks = f"{path} asks for {interpreter}"
    if found is None:
        remedy = "install it in the image, or link the program statically"
        if "musl" in interpreter:
            remedy = "it was built with musl: use an Alpine image, or link it statically"
        elif "/ld-linux" in interpreter:
            remedy = "it was built with glibc: use an image that has it (not Alpine's), or link it statically"
        return Refusal(errno.ENOENT, f"its interpreter {interpreter!r} is missing", f"{asks} (PT_INTERP)", remedy)
    if reason := view.permission(at, found):
        return reason._replace(
            cause=f"its interpreter {interpreter!r}: {reason.cause}", evidence=f"{asks}; {reason.evidence}"
        )
    return None
