"""The command lines, by subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from differential.table.defaults import DEFAULTS
from differential.table.mounts import MOUNTS
from differential.table.namespaces import NAMESPACES
from differential.table.process import PROCESS
from differential.table.resources import RESOURCES
from differential.table.security import SECURITY

if TYPE_CHECKING:
    from differential.case import Case

TABLE: tuple[Case, ...] = (*DEFAULTS, *PROCESS, *RESOURCES, *SECURITY, *MOUNTS, *NAMESPACES)
