"""Whether the container's command can be executed: a look before anything is created.

The runtime prints its errors on the container's own stderr; and when only the last execve fails, runc exits 1 as the
command might have.  So the usual mistakes are found by looking into the root file system first, by the rules that
the runtime follows itself: PATH for a name, the working directory for a relative path.
"""

from __future__ import annotations

import errno
import os
import stat
from posixpath import basename, dirname
from typing import TYPE_CHECKING

from prun.errors import CommandNotFound, CommandNotInvocable, PrunError
from prun_linux.executable import Refusal, View, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.spec.document import Spec
    from prun_linux.executable import Root

INIT = "/run/prun-init"  # --init; below /run, which is a tmpfs: no file of that name appears in the image
WORD_LIMIT_BYTES = 1 << 17  # MAX_ARG_STRLEN, the NUL included; execve(2)
_SHELL_WORDS = frozenset(
    (
        *(".", ":", "alias", "bg", "cd", "eval", "exec", "exit", "export", "fg", "for", "if", "jobs", "read", "set"),
        *("shift", "source", "trap", "type", "ulimit", "umask", "unset", "until", "wait", "while"),
    )
)


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
    for word in (*process.get("args", ()), *process.get("env", ())):
        if (size := len(os.fsencode(word))) >= WORD_LIMIT_BYTES:
            raise CommandNotInvocable(
                f"command {command!r} cannot be executed: an argument or an environment variable is too long",
                evidence=f"{word[:20]!r}... has {size} bytes; the kernel takes {WORD_LIMIT_BYTES - 1} (E2BIG)",
                hint="pass it in a file, or through stdin",
            )
    view = View(root, mounted, spec)
    passed_over = ""
    for path in view.candidates(command):
        if view.hides(path):
            return
        found = root.stat(path)
        if found is None:
            continue
        if reason := view.permission(path, found):
            if "/" in command:
                raise _refused(command, reason)
            if stat.S_ISREG(found.mode):
                passed_over = passed_over or path
            continue  # execvp(3) goes on with the next directory of PATH
        if reason := _no_execution(root) or refusal(view, path):
            raise _refused(command, reason)
        return
    raise _not_found(command, view, passed_over)


def without_init(args: list[str]) -> list[str]:
    """Return the command that the init of ``--init``, if there is one, starts."""
    return args[2:] if args[:2] == [INIT, "--"] else args


def _refused(command: str, reason: Refusal) -> PrunError:
    evidence = f"{reason.evidence} ({errno.errorcode[reason.number]})"
    return CommandNotInvocable(
        f"command {command!r} cannot be executed: {reason.cause}", evidence=evidence, hint=reason.remedy
    )


def _no_execution(root: Root) -> Refusal | None:
    """Return why nothing of the whole root file system can be executed."""
    try:
        flags = os.statvfs(root.path).f_flag
    except OSError:
        return None
    if not flags & os.ST_NOEXEC:
        return None
    evidence = f"{root.path} is mounted noexec"
    return Refusal(errno.EACCES, "permission denied", evidence, "mount it with exec, or use another directory")


def _not_found(command: str, view: View, passed_over: str) -> CommandNotFound:
    where = "in the container" if "/" in command else "in the container's PATH"
    evidence, remedy = _missing(command, view) if "/" in command else _not_in_path(command, view, passed_over)
    if any(letter in command for letter in " \t;|&<>$*"):
        import shlex

        remedy = f"this is one word, the name of a program; for a line of the shell: sh -c {shlex.quote(command)}"
    return CommandNotFound(f"command {command!r} is not {where}", evidence=evidence, hint=remedy)


def _not_in_path(command: str, view: View, passed_over: str) -> tuple[str, str]:
    if view.search_path is None:
        return "there is no PATH", "give its whole path, or set PATH with -e"
    evidence = f"PATH is {view.search_path}"
    if passed_over:
        return f"{evidence}; {passed_over} cannot be executed by this user", f"chmod +x {passed_over} in the image"
    if command in _SHELL_WORDS:
        return evidence, f"it is a word of the shell: sh -c '{command} ...'"
    if command.startswith("-"):
        return evidence, "options of prun come before the image"
    return evidence, "give its whole path, install it in the image, or set PATH with -e"


def _missing(command: str, view: View) -> tuple[str, str]:
    """Say how far the path of a command leads."""
    path = next(iter(view.candidates(command)))
    remedy = "name a program of the image"
    if not command.startswith("/"):
        remedy = f"a relative path begins at the working directory, {view.cwd} (-w)"
    if (target := view.where(path)) != path:
        return f"{path} leads to {target}, and nothing is there", remedy
    missing = path
    while (above := dirname(missing)) != "/" and view.root.stat(above) is None:
        missing = above
    there = view.root.stat(above)
    if there and not stat.S_ISDIR(there.mode):
        return f"{above} is no directory", remedy
    return f"{above} has no {basename(missing)}", remedy
