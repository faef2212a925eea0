"""``prun.toml``: defaults, and options for runtimes and plugins.

    root = "/srv/prun"              # --root
    state = "/run/prun"             # --state
    runtime = "linux"               # --runtime

    [runtimes.linux]                # what --opt KEY=VALUE sets, for every run of that runtime
    binary = "crun"

    [plugins.audit]
    enabled = true                  # false: not loaded
    on_error = "fail"               # "warn": left out, with a warning, when it does not load

    [registries."docker.io"]        # mirrors and the like, and
    [aliases]                       # short names: see prun.image.registry.settings

Read from /etc/prun/prun.toml, then the user's ($XDG_CONFIG_HOME/prun/prun.toml), then ``--config FILE``; later files
win key by key.  A file that somebody else may write to is refused.  An unknown key is an error that names it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from prun.errors import InvalidArgument, NotFound, PermissionDenied
from prun.types import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.image.registry.settings import Rule

KEYS = ("root", "state", "runtime", "runtimes", "plugins", "registries", "aliases")
PLUGIN_KEYS = ("enabled", "on_error")


class Settings(NamedTuple):
    """What the files say; an empty string is not set."""

    root: str = ""
    state: str = ""
    runtime: str = ""
    runtimes: Mapping[str, Mapping[str, str]] = {}
    disabled: frozenset[str] = frozenset()
    tolerated: frozenset[str] = frozenset()
    registries: Mapping[str, Rule] = {}
    aliases: Mapping[str, str] = NOTHING

    def options(self, runtime: str) -> Mapping[str, str]:
        """Return the options of a runtime."""
        return self.runtimes.get(runtime, NOTHING)


def read_settings(config: str = "") -> Settings:
    """Read the files in their order; ``config`` is that of ``--config`` or PRUN_CONFIG.

    Raises:
        NotFound: ``config`` does not exist.
        InvalidArgument: a file is malformed, or has a key or a value that prun does not know.
        PermissionDenied: another user may write to a file.
    """
    if config and not os.path.isfile(config):
        raise NotFound(f"config file {config!r} does not exist")
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    settings = Settings()
    for path in ("/etc/prun/prun.toml", os.path.join(home, "prun", "prun.toml"), config):
        if path and os.path.isfile(path):
            settings = _merge(settings, _read(path), path)
    return settings


def _read(path: str) -> dict[str, Any]:
    import tomli

    with open(path, "rb") as file:
        info = os.fstat(file.fileno())
        if hasattr(os, "geteuid") and (info.st_uid not in _trusted(path) or info.st_mode & 0o022):
            raise PermissionDenied(
                f"config file {path} may be changed by others (uid {info.st_uid}, mode {info.st_mode & 0o777:o})",
                hint=f"chown it to yourself or root, and chmod go-w {path}",
            )
        try:
            return tomli.load(file)
        except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"config file {path}: {error}") from error


def _trusted(path: str) -> tuple[int, ...]:
    """Return the owners that a config file may have.

    In an ordinary user's namespace (``prun.rootless``) the system's root has no id; only it can put files into /etc.
    """
    nobody = (65534,) if "PRUN_ROOTLESS" in os.environ and path.startswith("/etc/") else ()
    return (0, os.geteuid(), *nobody)


def _merge(old: Settings, new: dict[str, Any], path: str) -> Settings:
    _refuse_unknown(new, KEYS, path)
    runtimes = dict(old.runtimes)
    for name, options in _table(new, "runtimes", path).items():
        runtimes[name] = {**runtimes.get(name, NOTHING), **_options(options, f"{path}: [runtimes.{name}]")}
    disabled, tolerated = set(old.disabled), set(old.tolerated)
    for name, table in _table(new, "plugins", path).items():
        where = f"{path}: [plugins.{name}]"
        if not isinstance(table, dict):
            raise InvalidArgument(f"{where} is no table")
        _refuse_unknown(table, PLUGIN_KEYS, where)
        _switch(disabled, name, on=not _of(table, "enabled", bool, True, where))
        on_error = _of(table, "on_error", str, "fail", where)
        if on_error not in ("fail", "warn"):
            raise InvalidArgument(f"{where}: on_error is {on_error!r}", hint='"fail" or "warn"')
        _switch(tolerated, name, on=on_error == "warn")
    root, state, runtime = (_of(new, key, str, getattr(old, key), path) for key in ("root", "state", "runtime"))
    registries, aliases = _registries(old, new, path)
    return Settings(root, state, runtime, runtimes, frozenset(disabled), frozenset(tolerated), registries, aliases)


def _registries(old: Settings, new: dict[str, Any], path: str) -> tuple[Mapping[str, Rule], Mapping[str, str]]:
    rules, aliases = _table(new, "registries", path), _table(new, "aliases", path)
    if not rules and not aliases:
        return old.registries, old.aliases
    from prun.image.registry.settings import parse_aliases, parse_rules

    return {**old.registries, **parse_rules(rules, path)}, {**old.aliases, **parse_aliases(aliases, path)}


def _options(table: object, where: str) -> dict[str, str]:
    if not isinstance(table, dict):
        raise InvalidArgument(f"{where} is no table")
    for key, value in table.items():
        if not isinstance(value, str | int | float | bool):
            raise InvalidArgument(f"{where}: {key} is neither a string, a number nor a boolean")
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in table.items()}


def _table(document: dict[str, Any], key: str, path: str) -> dict[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise InvalidArgument(f"{path}: {key} is no table")
    return value


def _of(table: dict[str, Any], key: str, kind: type, default: Any, where: str) -> Any:
    value = table.get(key, default)
    if not isinstance(value, kind):
        raise InvalidArgument(f"{where}: {key} is {value!r}, not a {kind.__name__}")
    return value


def _switch(names: set[str], name: str, *, on: bool) -> None:
    if on:
        names.add(name)
    else:
        names.discard(name)


def _refuse_unknown(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise InvalidArgument(f"{where} has no key {key!r}", hint=f"it knows: {', '.join(known)}")
