"""Holes of OCI runtimes that a container, or an image, could use, by version: for ``prun doctor``.

Only what is published counts, with the versions of upstream's releases.  A distribution may have fixed an older one;
its ``--version`` does not tell.  CVE-2024-21626 (runc before 1.1.12) is not here: Debian's and Ubuntu's have the fix,
and prun refuses such a working directory itself.
"""

from __future__ import annotations

from typing import NamedTuple

Version = tuple[int, ...]


class Hole(NamedTuple):
    """One hole: which runtime, its name, the first version of each branch without it, the first with it."""

    runtime: str
    name: str
    fixed: tuple[Version, ...]
    since: Version = (0,)


HOLES = (
    Hole("runc", "CVE-2024-45310", ((1, 1, 14), (1, 2, 0))),
    Hole("runc", "CVE-2025-31133", ((1, 2, 8), (1, 3, 3), (1, 4, 0))),
    Hole("runc", "CVE-2025-52565", ((1, 2, 8), (1, 3, 3), (1, 4, 0))),
    Hole("runc", "CVE-2025-52881", ((1, 2, 8), (1, 3, 3), (1, 4, 0))),
    Hole("runc", "CVE-2026-41579", ((1, 3, 6), (1, 4, 3))),
    Hole("crun", "a leaked descriptor as working directory", ((1, 15, 0),)),
    Hole("crun", "CVE-2026-30892", ((1, 27, 0),), since=(1, 19, 0)),
    Hole("crun", "CVE-2026-47766", ((1, 28, 0),)),
)


def holes(runtime: str, version: Version) -> list[str]:
    """Return the names of the holes that a version has, none of a runtime that is not known here."""
    return [hole.name for hole in HOLES if hole.runtime == runtime and not _is_without(hole, version)]


def sound_versions(runtime: str) -> str:
    """Return the first versions that have no hole, as words."""
    last = max((hole.fixed for hole in HOLES if hole.runtime == runtime), key=max, default=())
    return " or ".join(".".join(map(str, version)) for version in last)


def _is_without(hole: Hole, version: Version) -> bool:
    """Compare with the fixed version of the version's own branch, or else with the last branch."""
    branch = next((first for first in hole.fixed if first[:2] == version[:2]), max(hole.fixed))
    return version < hole.since or version >= branch
