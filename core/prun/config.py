"""``prun.toml``: defaults, and options for runtimes and plugins.

    root = "/srv/prun"              # --root
    state = "/run/prun"             # --state
    runtime = "linux"               # --runtime

    [runtimes.linux]                # what --opt KEY=VALUE sets, for every run of that runtime
    binary = "crun"

    [plugins.audit]
    enabled = true                  # false: not loaded
    on_error = "fail"               # "warn": left out, with a warning, where it fails; "skip": without one
    timeout_s = 10                  # for each of its hooks; 0: as long as it takes
    use = "audit"                   # the installed plugin that this is one of; its own name, unless given
    before, after = [], []          # names of plugins; "NAME?": only if there is one
    file = "/var/log/prun.json"     # every other key is an option of the plugin's own

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
ON_ERROR = ("fail", "warn", "skip")


class PluginSettings(NamedTuple):
    """What ``[plugins.NAME]`` says; ``timeout_s`` None: what the plugin says itself; ``use`` empty: its name."""

    enabled: bool = True
    on_error: str = "fail"
    timeout_s: float | None = None
    use: str = ""
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    options: Mapping[str, object] = NOTHING


PLUGIN_KEYS = PluginSettings._fields[:-1]


class Settings(NamedTuple):
    """What the files say; an empty string is not set."""

    root: str = ""
    state: str = ""
    runtime: str = ""
    runtimes: Mapping[str, Mapping[str, str]] = {}
    plugins: Mapping[str, PluginSettings] = {}
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
    plugins = dict(old.plugins)
    for name, table in _table(new, "plugins", path).items():
        plugins[name] = _plugin(plugins.get(name, PluginSettings()), table, f"{path}: [plugins.{name}]")
    root, state, runtime = (_of(new, key, str, getattr(old, key), path) for key in ("root", "state", "runtime"))
    registries, aliases = _registries(old, new, path)
    return Settings(root, state, runtime, runtimes, plugins, registries, aliases)


def _plugin(old: PluginSettings, table: object, where: str) -> PluginSettings:
    if not isinstance(table, dict):
        raise InvalidArgument(f"{where} is no table")
    on_error = _of(table, "on_error", str, old.on_error, where)
    if on_error not in ON_ERROR:
        raise InvalidArgument(f"{where}: on_error is {on_error!r}", hint=f"one of {', '.join(ON_ERROR)}")
    timeout_s = table.get("timeout_s", old.timeout_s)
    if isinstance(timeout_s, bool) or not (
        timeout_s is None or (isinstance(timeout_s, int | float) and timeout_s >= 0)
    ):
        raise InvalidArgument(f"{where}: timeout_s is {timeout_s!r}", hint="seconds, or 0 for no limit")
    return PluginSettings(
        _of(table, "enabled", bool, old.enabled, where),
        on_error,
        timeout_s,
        _of(table, "use", str, old.use, where),
        _names(table, "before", old.before, where),
        _names(table, "after", old.after, where),
        {**old.options, **{key: value for key, value in table.items() if key not in PLUGIN_KEYS}},
    )


def _names(table: dict[str, Any], key: str, default: tuple[str, ...], where: str) -> tuple[str, ...]:
    value = table.get(key, default)
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise InvalidArgument(f"{where}: {key} is no list of names of plugins")
    return tuple(value)


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


def _refuse_unknown(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise InvalidArgument(f"{where} has no key {key!r}", hint=f"it knows: {', '.join(known)}")
