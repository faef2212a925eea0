"""``--hook FILE.py[:HOOK]``: a file of hookimpls for one run, a plugin that nobody has to install.

It is executed with all that prun may do, so that as root only a file is that no other user can have written or put in
its place.
"""

from __future__ import annotations

import os
import stat
from types import ModuleType
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument, NotFound, PermissionDenied, PluginError, PrunError

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_BYTES = 1 << 20


def load_hooks(word: str) -> tuple[str, object]:
    """Execute the file of ``FILE:HOOK``, and return its name as a plugin and its hookimpls, or the one named.

    Raises:
        NotFound: there is no such file, or no such hook in it.
        PermissionDenied: this is root, and somebody else may write to it.
        PluginError: it is no Python, or failed.
    """
    path, _, hook = word.rpartition(":")
    name = f"hook {os.path.basename(path)}"
    module = ModuleType(os.path.basename(path).removesuffix(".py"))
    module.__file__ = path
    try:
        exec(compile(_source(path), path, "exec"), module.__dict__)  # noqa: S102  what the user asked for
    except PrunError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"--hook {path} did not load: {_told(error)}", plugin=name) from error
    found = {key: value for key, value in vars(module).items() if hasattr(value, "prun_impl")}
    if not found:
        raise InvalidArgument(f"--hook {path} has no hookimpl", hint="@prun.hookimpl above def prun_spec_opts(request)")
    if hook:
        wanted = hook if hook.startswith("prun_") else f"prun_{hook}"
        if wanted not in found:
            raise NotFound(f"--hook {path} has no {wanted}", hint=f"it has {', '.join(sorted(found))}")
        for key in found.keys() - {wanted}:
            delattr(module, key)
    return name, module


def _source(path: str) -> bytes:
    """Return what is in a file that, as root, nobody else can have written."""
    from prun.state import is_root

    try:
        with open(path, "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise InvalidArgument(f"--hook {path} is no regular file")
            if is_root() and (reason := next(_others(os.path.realpath(path), info), "")):
                raise PermissionDenied(
                    f"--hook {path} is not executed as root: {reason}",
                    hint="have it owned by root, writable by nobody else, in directories of which that is true",
                )
            data = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise NotFound(
            f"--hook {path} cannot be read: {error.strerror}", hint="the container was made with it"
        ) from error
    if len(data) > LIMIT_BYTES:
        raise InvalidArgument(f"--hook {path} is longer than {LIMIT_BYTES >> 20} MiB")
    return data


def _others(path: str, opened: os.stat_result) -> Iterator[str]:
    """Yield why somebody else may decide what is in a file; in a sticky directory others cannot replace ours."""
    while True:
        info = opened
        if info.st_uid not in (0, os.geteuid()):
            yield f"{path} belongs to uid {info.st_uid}"
        if info.st_mode & 0o022 and not (stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX):
            yield f"{path} may be changed by others (mode {stat.S_IMODE(info.st_mode):o})"
        if path == "/":
            return
        path = os.path.dirname(path)
        opened = os.stat(path)


def _told(error: BaseException) -> str:
    """Say what went wrong, and in which line of the file."""
    frame, line = error.__traceback__, 0
    while frame is not None:
        line, frame = frame.tb_lineno, frame.tb_next
    line = getattr(error, "lineno", None) or line
    return f"line {line}: {type(error).__name__}: {' '.join(str(error).split())}"
