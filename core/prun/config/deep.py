"""What ``prun config check`` looks at beyond what every command does: every value, whether it is asked for or not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.config.blame import faults_of
from prun.config.faults import InvalidConfig
from prun.config.layers import Layer, laid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.config.faults import Fault
    from prun.config.files import Document


def tables_of(document: Document) -> Iterator[Layer]:
    """Yield every table of a file that has options of ``prun run``."""
    if "defaults" in document.table:
        yield Layer("defaults", "", document)
    for name in document.table.get("profiles", {}):
        yield Layer("profile", name, document)
    for name in document.table.get("run", {}):
        yield Layer("run", name, document)


def value_faults(document: Document) -> list[Fault]:
    """Return the values that cannot be used, each table looked at alone."""
    found: list[Fault] = []
    for layer in tables_of(document):
        try:
            layered = laid([layer], os.environ)
            found += faults_of(layered, layered.options, {}, alone=True)
        except InvalidConfig as error:
            found += error.faults
    return found
