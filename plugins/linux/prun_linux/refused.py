"""What an OCI runtime says when it could not start a command: the errno in its words decides.

runc (Go) and crun (C) both end with the kernel's words for the errno, in upper or lower case; before them they say
whether they looked for the command or executed it.
"""

from __future__ import annotations

import errno
import os
import re

from prun.errors import CommandNotFound, CommandNotInvocable, PrunError, Unavailable

_LOOKED = r'executable file .*not found|^exec: ".*": stat .*: '
_EXECUTED = r'^exec: ".*": |^exec /.*: |^open executable: |^exec container process '

# What the kernel means by it when it executes something (execve(2)): the cause, and the remedy.
_CAUSES = {
    errno.ENOENT: ("it, its interpreter or its loader is missing", "look at its first line, or at its PT_INTERP"),
    errno.ENOTDIR: ("a part of its path is no directory", ""),
    errno.EACCES: ("permission denied", "it has no x bit for this user, is a directory, or lies on a noexec mount"),
    errno.EISDIR: ("it is a directory", "name a program in it"),
    errno.ENOEXEC: ("exec format error", "it is for another architecture, or a script without a #! line"),
    errno.ELOOP: ("too many links, or scripts that run scripts", ""),
    errno.E2BIG: ("its arguments and environment are too long", "pass them in a file"),
    errno.ETXTBSY: ("somebody is writing to it", "try again"),
    errno.EPERM: ("operation not permitted", "a security module, or the mount it lies on, forbids it"),
    errno.ENOMEM: ("out of memory", "give it more with -m"),
    errno.ELIBBAD: ("its loader is none", ""),
}


def failed(words: str, command: str, runtime: str, what: str = "the container") -> PrunError:
    """Return the error that fits what the OCI runtime said when it could not start ``command``."""
    number = errno_of(words)
    looked, executed = (bool(re.search(pattern, words)) for pattern in (_LOOKED, _EXECUTED))
    evidence = f"{runtime} said: {words}" + (f" ({named(number)})" if number else "")
    if looked and number in (errno.ENOENT, errno.ENOTDIR, 0):
        where = "in the container" if "/" in command else "in the container's PATH"
        return CommandNotFound(f"command {command!r} is not {where}", evidence=evidence)
    if looked or executed:
        cause, remedy = _CAUSES.get(number, ("the kernel refused it", ""))
        return CommandNotInvocable(f"command {command!r} cannot be executed: {cause}", evidence=evidence, hint=remedy)
    return Unavailable(f"{runtime} could not start {what}: {words}")


def errno_of(words: str) -> int:
    """Return the errno whose text ends the words of a runtime, 0 where none does.

    >>> errno.errorcode[errno_of("exec /x: exec format error")]
    'ENOEXEC'
    """
    text = words.rstrip(" .\n").lower()
    fits = [number for number in errno.errorcode if text.endswith(os.strerror(number).lower())]
    return max(fits, key=lambda number: len(os.strerror(number)), default=0)


def named(number: int) -> str:
    """Return the name of an errno."""
    return errno.errorcode.get(number, str(number))
