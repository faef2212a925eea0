"""From files to settings; reached only where there is a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from prun.config import PluginSettings, Settings
from prun.config.checking import check
from prun.config.faults import InvalidConfig
from prun.config.files import distrusted, read
from prun.config.layers import extends_faults
from prun.config.values import names
from prun.types import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prun.config.faults import Fault
    from prun.config.files import Document
    from prun.image.registry.settings import Rule

_OF_PRUN = PluginSettings._fields[:-1]  # the others are options of the plugin's own


def settings_of(own: Sequence[str], project: str, config: str) -> Settings:
    """Read the files of the machine and of the user, the project's, and that of ``--config``; each may be missing.

    The project's is read only where one of the others trusts its directory; where not, ``Settings.found`` names it.

    Raises:
        InvalidConfig: some say what they cannot; everything that is wrong is named.
        PermissionDenied: others may change one.
    """
    reader = Reader()
    before = [reader.read(path) for path in own]
    after = [reader.read(config)] if config else []
    trusted = [directory for each in (*before, *after) if each for directory in names(each.table.get("trust"))]
    between = [reader.read(project)] if project and is_trusted(project, trusted) else []
    documents = tuple(each for each in (*before, *between, *after) if each)
    reader.finish(documents)
    return merged(documents)._replace(found="" if between else project)


class Reader:
    """Reads files, and remembers what is wrong with them until all have been read."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def read(self, path: str, *, found: bool = False) -> Document | None:
        """Return a file, None where it cannot be used."""
        try:
            document = read(path, found=found)
        except InvalidConfig as error:
            self.faults += error.faults
            return None
        wrong = check(document)
        self.faults += wrong
        return None if wrong else document

    def finish(self, documents: Sequence[Document]) -> None:
        """Report everything that is wrong, if anything is.

        Raises:
            InvalidConfig: something is.
        """
        if not self.faults:  # a profile that could not be read is none that is missing
            self.faults += extends_faults(documents)
        if self.faults:
            raise InvalidConfig(self.faults)


def found_document(path: str) -> Document:
    """Read a project's file that nobody named.

    Raises:
        InvalidConfig, PermissionDenied: as ``settings_of``.
    """
    reader = Reader()
    document = reader.read(path, found=True)
    documents = [document] if document else []
    reader.finish(documents)
    return documents[0]


def is_trusted(project: str, directories: Sequence[str]) -> bool:
    """Tell whether a project's file is in or below a trusted directory, and nobody else can have put it there."""
    place = os.path.join(os.path.dirname(os.path.realpath(project)), "")
    roots = (os.path.join(os.path.realpath(os.path.expanduser(directory)), "") for directory in directories)
    return any(place.startswith(root) for root in roots) and not distrusted(project)


def merged(documents: Sequence[Document]) -> Settings:
    """Return what several files say together: later ones win, key by key."""
    settings = Settings(documents=tuple(documents))
    for document in documents:
        settings = _merge(settings, document.table)
    return settings


def _merge(old: Settings, new: Mapping[str, Any]) -> Settings:
    plugins = {
        name: _plugin(old.plugins.get(name, PluginSettings()), table)
        for name, table in new.get("plugins", NOTHING).items()
    }
    registries, aliases = _registries(old, new)
    return old._replace(
        **{key: new[key] for key in ("engine", "root", "runtime", "state") if key in new},
        runtimes=_options(old.runtimes, new.get("runtimes", NOTHING)),
        engines=_options(old.engines, new.get("engines", NOTHING)),
        plugins={**old.plugins, **plugins},
        registries=registries,
        aliases=aliases,
        signature_policy=new.get("signatures", NOTHING).get("policy", old.signature_policy),
    )


def _plugin(old: PluginSettings, table: Mapping[str, Any]) -> PluginSettings:
    known: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items() if key in _OF_PRUN
    }
    options = {key: value for key, value in table.items() if key not in _OF_PRUN}
    return old._replace(**known, options={**old.options, **options})


def _options(
    old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Mapping[str, str]]:
    return {**old, **{name: {**old.get(name, NOTHING), **_words(table)} for name, table in new.items()}}


def _words(table: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in table.items()}


def _registries(old: Settings, new: Mapping[str, Any]) -> tuple[Mapping[str, Rule], Mapping[str, str]]:
    rules, aliases = new.get("registries", NOTHING), new.get("aliases", NOTHING)
    if not rules and not aliases:
        return old.registries, old.aliases
    from prun.image.registry.settings import parse_aliases, parse_rules

    return {**old.registries, **parse_rules(rules)}, {**old.aliases, **parse_aliases(aliases)}
