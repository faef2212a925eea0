"""``prun.toml``: defaults, runs and profiles under names, options of runtimes, engines, plugins and registries.

What may stand in it: ``prun.config.schema``, and docs/configuration.md.  Read from /etc/prun/prun.toml, the user's
($XDG_CONFIG_HOME/prun/prun.toml), the project's (the nearest prun.toml from the current directory upwards) and
``--config FILE``; later files win key by key.  A file that somebody else may write to is refused.  A project's file
that nobody named is not believed: it is looked into only for a run or a profile of that name (``prun.config.layers``).

Where there is no file, nothing but this module is imported.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import NotFound
from prun.types import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.config.files import Document
    from prun.image.registry.settings import Rule

SYSTEM = "/etc/prun/prun.toml"
NAME = "prun.toml"


class PluginSettings(NamedTuple):
    """What ``[plugins.NAME]`` says; ``timeout_s`` None: what the plugin says itself; ``use`` empty: its name."""

    enabled: bool = True
    on_error: str = "fail"
    on_conflict: str = "warn"
    timeout_s: float | None = None
    use: str = ""
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    options: Mapping[str, object] = NOTHING


class Settings(NamedTuple):
    """What the files say; an empty string is not set.

    ``documents`` are the files that are believed, from general to specific; ``found`` is the path of a project's that
    is not, which nobody has looked into.
    """

    root: str = ""
    state: str = ""
    runtime: str = ""
    engine: str = ""
    runtimes: Mapping[str, Mapping[str, str]] = {}
    engines: Mapping[str, Mapping[str, str]] = {}
    plugins: Mapping[str, PluginSettings] = {}
    registries: Mapping[str, Rule] = {}
    aliases: Mapping[str, str] = NOTHING
    documents: tuple[Document, ...] = ()
    found: str = ""
    signature_policy: str = ""

    def options(self, runtime: str) -> Mapping[str, str]:
        """Return the options of a runtime."""
        return self.runtimes.get(runtime, NOTHING)


def user_file() -> str:
    """Return where the user's file is, if there is one."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(home, "prun", NAME)


def read_settings(config: str = "") -> Settings:
    """Read the files in their order; ``config`` is that of ``--config`` or PRUN_CONFIG.

    Raises:
        NotFound: ``config`` does not exist.
        InvalidConfig: files say what they cannot; everything that is wrong is named.
        PermissionDenied: another user may write to a file.
    """
    if config and not os.path.isfile(config):
        raise NotFound(f"config file {config!r} does not exist")
    own = [path for path in (SYSTEM, user_file()) if os.path.isfile(path)]
    project = nearest_project((*own, config))
    if not (own or project or config):
        return Settings()
    from prun.config.reading import settings_of

    return settings_of(own, project, config) if own or config else Settings(found=project)


def nearest_project(but: tuple[str, ...] = ()) -> str:
    """Return the nearest ``prun.toml`` from the current directory upwards, empty where there is none.

    One that is among ``but`` is none either.
    """
    try:
        directory = os.getcwd()
    except OSError:  # it has been removed
        return ""
    while True:
        path = os.path.join(directory, NAME)
        if os.path.isfile(path):
            return "" if any(each and os.path.samefile(path, each) for each in but) else path
        if directory == os.path.dirname(directory):
            return ""
        directory = os.path.dirname(directory)
