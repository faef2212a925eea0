"""The plugin TEMPLATE-NAME: a variable in every container, and commands that do not run here."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from prun import hookimpl
from prun.errors import InvalidArgument
from prun.spec import with_env
from prun.types import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.spec import SpecOpt
    from prun.spec.document import Spec

# What [plugins.TEMPLATE-NAME] in prun.toml may say; any other key is refused.
prun_options = {"site": "the variable SITE of every container", "forbidden": "list of commands that may not run"}


def prun_configure(options: Mapping[str, object]) -> Plugin:
    """Make the plugin of its options, before any hook; what cannot be used stops the run here."""
    site, forbidden = options.get("site", "here"), options.get("forbidden", [])
    if not isinstance(site, str):
        raise InvalidArgument(f"site is {site!r}, not a string")
    if not isinstance(forbidden, list) or not all(isinstance(command, str) for command in forbidden):
        raise InvalidArgument(f"forbidden is {forbidden!r}, not a list of commands")
    return Plugin(site, frozenset(forbidden))


class Plugin:
    """Its hooks; prun calls them once a run."""

    def __init__(self, site: str, forbidden: frozenset[str]) -> None:
        self._site = site
        self._forbidden = forbidden

    @hookimpl
    def prun_spec_opts(self) -> list[SpecOpt]:
        """Change the spec: options of prun.spec, or functions of your own."""
        return [with_env([f"SITE={self._site}"])]

    @hookimpl
    def prun_check_spec(self, spec: Spec) -> list[Problem]:
        """Look at the finished spec, and say everything that is wrong with it."""
        command = posixpath.basename(spec["process"]["args"][0])
        if command not in self._forbidden:
            return []
        return [Problem("/process/args/0", f"{command} does not run on this site", "prun.toml says so")]
