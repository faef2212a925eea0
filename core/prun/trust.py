"""Who may change the code of a plugin: as root, prun executes only what root has installed.

That is the distribution's directory, the package with all its files and their bytecode, and every directory above
them, links followed.  A sticky directory (``/tmp``) lets others make files and not replace ours.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec


class Trust:
    """Looks at paths, each once: ``owners`` are the users whose files are trusted."""

    def __init__(self, owners: frozenset[int]) -> None:
        self._owners = owners
        self._seen: dict[str, str] = {}

    def why_not(self, path: str) -> str:
        """Say why what is at ``path`` may be changed by somebody else; empty where it may not."""
        path = path if path.startswith("/") else os.path.abspath(path)
        if path not in self._seen:
            self._seen[path] = ""  # a circle of links leads nowhere
            parent = os.path.dirname(path)
            self._seen[path] = (self.why_not(parent) if parent != path else "") or self._why_not(path)
        return self._seen[path]

    def why_not_below(self, directory: str) -> str:
        """Say the same of a directory and all that is in it; of a file, if it is one."""
        if (why := self.why_not(directory)) or directory.endswith((".py", ".pyc")) or not os.path.isdir(directory):
            return why
        for entry in os.scandir(directory):
            look = self.why_not_below if entry.is_dir(follow_symlinks=False) else self.why_not
            if why := look(entry.path):
                return why
        return ""

    def _why_not(self, path: str) -> str:
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            return ""
        if info.st_uid not in self._owners:
            return f"{path} belongs to uid {info.st_uid}"
        if stat.S_ISLNK(info.st_mode):
            return self.why_not(os.path.join(os.path.dirname(path), os.readlink(path)))
        writers = info.st_mode & 0o022
        if writers == 0o020 and _has_no_others(info.st_gid, self._owners):
            return ""
        if writers and not (stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX):
            return f"others than its owner may write to {path} (mode {info.st_mode & 0o7777:o})"
        return ""


def _has_no_others(gid: int, owners: frozenset[int]) -> bool:
    """Tell whether a group has no member but ``owners``: Debian's /usr/local belongs to one that is empty (staff)."""
    if gid == 0:
        return True
    import grp
    import pwd

    with contextlib.suppress(KeyError):
        if grp.getgrgid(gid).gr_mem:
            return False
    return not any(user.pw_gid == gid and user.pw_uid not in owners for user in pwd.getpwall())


def code_of(spec: ModuleSpec) -> list[str]:
    """Return the directories of a package, or a module's file and bytecode."""
    from importlib.util import cache_from_source

    if spec.submodule_search_locations:
        return list(spec.submodule_search_locations)
    if not spec.has_location or not spec.origin:
        return []
    return [spec.origin, cache_from_source(spec.origin)] if spec.origin.endswith(".py") else [spec.origin]
