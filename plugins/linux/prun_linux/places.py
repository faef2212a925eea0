"""Where the paths of a spec are in the root file system, once the image's links have been followed.

The OCI runtime follows them too, with its mounts already in place.  An image whose ``/etc/hosts`` is a link to a file
below ``/proc`` has the host's file mounted there, and crun 1.8.1 leaves it writable: the container changes the host's.
A working directory that is a link to ``/proc/self/fd/N`` is CVE-2024-21626.
"""

from __future__ import annotations

import os
import stat
from posixpath import dirname, join, normpath
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prun.rootfs.safepath import Root
    from prun.spec.document import Spec
    from prun.types import FileStat

KERNEL = ("/proc", "/sys", "/dev")
MAX_LINKS = 40  # as the kernel's
_HINT = "through it an image can reach the host; do not use this image"


def check_places(spec: Spec, path: str, root: Root) -> list[str]:
    """Refuse mounts and a working directory that links of the root file system at ``path`` lead astray.

    Returns where the mounts are, in their order.

    Raises:
        FailedPrecondition: a place is below /proc, /sys or /dev, or is the root itself, and the spec does not say so;
            or the working directory is there and is no directory; or a device's place is taken.
    """
    mounted: list[str] = []
    for mount in spec.get("mounts", []):
        where = _checked(path, "mount destination", mount.get("destination", "/"), mounted)
        if where == "/":
            raise FailedPrecondition(f"mount destination {mount.get('destination')!r} is the root itself", hint=_HINT)
        mounted.append(where)
    cwd = _checked(path, "working directory", spec.get("process", {}).get("cwd", "/"), mounted)
    if not is_below(cwd, mounted) and (found := root.stat(cwd)) and not stat.S_ISDIR(found.mode):
        raise _no_directory(f"working directory {cwd!r} is no directory", cwd, found)
    if not is_below(cwd, mounted) and (file := root.file_above(cwd)):
        raise _no_directory(f"working directory {cwd!r}: {file} is no directory", file, root.stat(file))
    _check_devices(spec, path, root, mounted)
    return mounted


def _no_directory(message: str, path: str, found: FileStat | None) -> FailedPrecondition:
    evidence = f"{path} has mode {found.mode:o} (ENOTDIR)" if found else ""
    return FailedPrecondition(message, evidence=evidence, hint="choose another with -w")


def _check_devices(spec: Spec, path: str, root: Root, mounted: list[str]) -> None:
    """Refuse devices where the image has something: the OCI runtimes leave that as it is, and say nothing."""
    for device in spec.get("linux", {}).get("devices", []):
        where = _checked(path, "device", device["path"], mounted)
        if is_below(where, mounted):
            continue
        if (found := root.stat(where)) or root.file_above(where):
            kind = "a directory" if found and stat.S_ISDIR(found.mode) else "a file"
            raise FailedPrecondition(
                f"device {device['path']}: the image has {kind} there", hint="choose another path in the container"
            )


def place(path: str, name: str, mounted: Iterable[str]) -> str:
    """Return where the absolute ``name`` leads in the root file system at ``path``.

    Names are kept as they are below a mount, where the root's own files are hidden; where there is nothing; and, once
    a link has been followed, below the kernel's file systems, whose links are not in the root file system.

    Raises:
        FailedPrecondition: there are too many links.
    """
    here, pending, links = "/", _normal(name).split("/")[::-1], 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = dirname(here)
            continue
        here = join(here, part)
        if links and is_below(here, KERNEL):
            return join(here, *pending[::-1])
        if is_below(here, mounted) or not (target := _link(path + here)):
            continue
        links += 1
        if links > MAX_LINKS:
            raise FailedPrecondition(f"path {name!r} in the root file system has too many links", hint=_HINT)
        here = "/" if target.startswith("/") else dirname(here)
        pending += target.split("/")[::-1]
    return here


def is_below(path: str, directories: Iterable[str]) -> bool:
    """Tell whether ``path`` is one of ``directories`` or in one of them; all are absolute and normal."""
    return any(path == directory or path.startswith(directory.rstrip("/") + "/") for directory in directories)


def _checked(path: str, what: str, name: str, mounted: list[str]) -> str:
    where = place(path, name, mounted)
    if where != _normal(name) and is_below(where, KERNEL):
        raise FailedPrecondition(f"{what} {name!r} is a link to {where!r} in the root file system", hint=_HINT)
    return where


def _normal(path: str) -> str:
    return "/" + normpath(path).lstrip("/")  # normpath keeps two leading slashes


def _link(path: str) -> str:
    """Return what a link says, an empty string of anything else; no component before the last one is a link."""
    try:
        return os.readlink(path)
    except OSError:
        return ""
