"""Which plugins are installed: the entry points of prun's three groups, cached.

A scan with ``importlib.metadata`` costs 25 to 50 ms, a look into the cache 0.04.  The cache is a JSON file in the
user's own cache directory, believed only while every entry of ``sys.path`` is as it was at the scan and only
if nobody else can have written it: it decides what is imported.  A cache that cannot be used is never an error; the
scan is done instead.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import PluginError

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from importlib.metadata import Distribution

GROUPS = ("prun.runtimes", "prun.engines", "prun.plugins")

#: Whether what a scan finds may be written down.
writes_cache = True

_FORMAT = 1
# pip makes a dist-info directory first and fills it then, which leaves the parent's mtime alone: what a scan sees in
# a directory that has just changed may be half of it and is used once, not kept.
_SETTLED_NS = 2_000_000_000


class EntryPoint(NamedTuple):
    """One installed plugin: ``value`` is ``module`` or ``module:attribute``, ``path`` the dist-info directory."""

    name: str
    value: str
    distribution: str
    version: str
    path: str


_Found = dict[str, list[EntryPoint]]


def entry_points(group: str) -> dict[str, EntryPoint]:
    """Return the installed entry points of ``group`` by name, none of them imported.

    Raises:
        PluginError: two distributions claim one name.
    """
    chosen: dict[str, EntryPoint] = {}
    for found in _installed()[group]:
        other = chosen.setdefault(found.name, found)
        if other is not found:
            raise PluginError(
                f"the name {found.name!r} in {group} is claimed by two distributions: "
                f"{other.distribution} {other.version} and {found.distribution} {found.version}",
                hint=f"uninstall one of them (pip uninstall {found.distribution})",
            )
    return chosen


def spec_of(ep: EntryPoint) -> ModuleSpec | None:
    """Find the top-level module of an entry point without importing it; None where there is none."""
    from importlib.util import find_spec

    try:
        return find_spec(ep.value.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        return None


def load(ep: EntryPoint, spec: ModuleSpec | None = None) -> object:
    """Import the module, or the attribute of it, that an entry point names; ``spec`` is its ``spec_of``, if known.

    Raises:
        PluginError: it did not import, whatever it raised; the message names the distribution.
    """
    import importlib

    module, _, attribute = ep.value.partition(":")
    try:
        if spec is not None and spec.name == module and module not in sys.modules:
            _import(spec)
        return reduce(getattr, filter(None, attribute.split(".")), importlib.import_module(module))
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"plugin {ep.name!r} of {ep.distribution} {ep.version} did not load: {type(error).__name__}: {error}",
            hint=f"repair or uninstall it (pip uninstall {ep.distribution})",
            plugin=ep.name,
        ) from error


def _import(spec: ModuleSpec) -> None:
    """Import what has been found, which spares looking for it again."""
    from importlib.util import module_from_spec

    sys.modules[spec.name] = module = module_from_spec(spec)
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise


def _installed() -> _Found:
    key = _key()
    path = _cache_path()
    found = _read(path, key)
    if found is None:
        found = _scan()
        if writes_cache and key == _key() and _settled():
            _write(path, key, found)
    return found


def _key() -> list[object]:
    """What the answer depends on, as JSON: the interpreter, and each directory that is searched, there or not."""
    return [_FORMAT, sys.version, [[str(entry), *_seen_at(entry)] for entry in sys.path]]


def _seen_at(entry: str) -> tuple[int, int, int]:
    try:
        there = os.stat(entry or ".")
    except (OSError, ValueError):
        return 0, 0, 0
    return there.st_dev, there.st_ino, there.st_mtime_ns


def _settled() -> bool:
    import time

    now = time.time_ns()
    return all(abs(now - _seen_at(entry)[2]) > _SETTLED_NS for entry in sys.path)


def _scan() -> _Found:
    import re
    from importlib import metadata

    found: _Found = {group: [] for group in GROUPS}
    seen = set()
    for distribution in metadata.distributions():
        path = str(getattr(distribution, "_path", distribution.locate_file("")))
        name, version = _name_of(distribution, path)
        normal = re.sub(r"[-_.]+", "-", name).lower()
        if normal in seen:  # another one earlier on the path is what gets imported
            continue
        seen.add(normal)
        try:
            for ep in distribution.entry_points:
                if ep.group in found:
                    value = ep.value.partition("[")[0].replace(" ", "")
                    found[ep.group].append(EntryPoint(ep.name, value, name, version, path))
        except Exception as error:
            raise PluginError(
                f"the entry points of {name} {version} in {path} cannot be read: {type(error).__name__}: {error}",
                hint=f"it may be a plugin of prun; install it again (pip install --force-reinstall {name})",
            ) from error
    return found


def _name_of(distribution: Distribution, path: str) -> tuple[str, str]:
    """Return name and version; of a damaged distribution, whose METADATA does not say, the directory's name."""
    with contextlib.suppress(OSError, LookupError):
        name, version = distribution.metadata["Name"], distribution.version
        if name and version:
            return name, version
    return os.path.basename(path), "of unknown version"


def _cache_path() -> str:
    """Return the file's place, one for each environment, so that they do not displace each other."""
    from binascii import crc32

    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
    else:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "prun", f"entry-points-{crc32(os.fsencode(sys.prefix)):08x}.json")


def _read(path: str, key: list[object]) -> _Found | None:
    """Return what the cache holds for ``key``, or None: stale, unreadable, malformed, or not surely our own."""
    import json

    # O_NONBLOCK: a FIFO in the file's place must not keep us waiting for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        with open(os.open(path, flags), encoding="utf-8") as file:
            if not _ours(os.fstat(file.fileno())):
                return None
            document = json.load(file)
        if document["key"] != key:
            return None
        return {group: [_row(row) for row in document["found"][group]] for group in GROUPS}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ours(file: os.stat_result) -> bool:
    if not stat.S_ISREG(file.st_mode):
        return False
    return sys.platform == "win32" or (file.st_uid == os.geteuid() and not file.st_mode & 0o022)


def _row(row: list[str]) -> EntryPoint:
    if not all(isinstance(field, str) for field in row):
        raise TypeError("a field is no string")
    return EntryPoint(*row)


def _write(path: str, key: list[object], found: _Found) -> None:
    import json

    temporary = f"{path}.{os.getpid()}"
    try:
        if not _own_directory(os.path.dirname(path)):
            return
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump({"key": key, "found": found}, file)
        os.replace(temporary, path)
    except OSError:  # a read-only home, a full disk: the next run scans again
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _own_directory(directory: str) -> bool:
    """Make the directory, unless it is in somebody else's home (root with the caller's $HOME) or theirs already."""
    existing = directory
    while not os.path.isdir(existing) and os.path.dirname(existing) != existing:
        existing = os.path.dirname(existing)
    if sys.platform != "win32" and os.stat(existing).st_uid not in (os.geteuid(), 0):
        return False
    os.makedirs(directory, 0o700, exist_ok=True)
    return True
