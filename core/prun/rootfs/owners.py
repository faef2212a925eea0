"""Give a whole tree to another owner, through open directories only (podman's ``U`` of a mount)."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, PermissionDenied, ResourceExhausted
from prun.rootfs.failures import failure
from prun.rootfs.tree import MAX_DEPTH, OPEN_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

# podman's list (containers/common, pkg/chown): the machine would not work any more.
_SYSTEMS = frozenset(
    (
        *("/", "/bin", "/boot", "/dev", "/etc", "/etc/passwd", "/etc/pki", "/etc/shadow", "/home", "/lib", "/lib64"),
        *("/media", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var"),  # noqa: S108
        *("/var/lib", "/var/log"),
    )
)


def check_path(path: str) -> None:
    """Refuse the directories of the system itself, and the user's own home.

    Raises:
        FailedPrecondition: it is one of them.
    """
    if path in _SYSTEMS or path == os.path.realpath(os.path.expanduser("~")):
        raise FailedPrecondition(
            f"option U would change the owner of all of {path}", hint="chown -R it, or leave U out"
        )


def give(path: str, uid: int, gid: int, name: str) -> None:
    """Give ``path`` and all below it to ``uid`` and ``gid``; links are given and not followed.

    Nothing is done where ``path`` itself is theirs already (podman's rule), so it comes last.  ``name`` is what the
    user calls it.

    Raises:
        PermissionDenied: there is something that we may not give away.
        ResourceExhausted: the directories are nested too deep.
    """
    try:
        found = os.stat(path)
        if (found.st_uid, found.st_gid) == (uid, gid):
            return
        if stat.S_ISDIR(found.st_mode):
            _give_children(path, uid, gid)
        os.chown(path, uid, gid)
    except PermissionError as error:
        hint = "it must belong to you or to your subordinate ids, with all that is in it"
        raise PermissionDenied(f"option U: {name} cannot be given to {uid}:{gid}", hint=hint) from error
    except OSError as error:
        raise failure(f"option U: {name} cannot be given to {uid}:{gid}", error) from error


def _give_children(path: str, uid: int, gid: int) -> None:
    """Each level has one directory open, so that who moves it meanwhile leads us nowhere else."""
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    levels: list[tuple[int, Iterator[str]]] = [(top, iter(os.listdir(top)))]
    try:
        while levels:
            here, names = levels[-1]
            name = next(names, None)
            if name is None:
                os.close(levels.pop()[0])
                continue
            try:
                os.chown(name, uid, gid, dir_fd=here, follow_symlinks=False)
                child = os.open(name, OPEN_DIRECTORY, dir_fd=here)
            except (FileNotFoundError, NotADirectoryError):
                continue  # it is a file, or a link (ELOOP on others), or has gone
            levels.append((child, iter(os.listdir(child))))
            if len(levels) > MAX_DEPTH:
                raise ResourceExhausted(f"directories are nested more than {MAX_DEPTH} levels deep", hint="chown -R")
    finally:
        for fd, _ in levels:
            os.close(fd)
