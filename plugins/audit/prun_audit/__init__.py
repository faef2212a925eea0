"""An audit log: who ran what, one JSON object a line; see docs/audit.md.

    [plugins.audit]
    file = "/var/log/prun-audit.jsonl"

A line that cannot be written stops the run, before there is a process; ``on_error = "warn"`` lets it go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

prun_options = {"file": "where to append the lines, an absolute path"}


def prun_configure(options: Mapping[str, object]) -> object:
    """Make the plugin.

    Raises:
        InvalidArgument: no file is named.
    """
    from prun_audit.audit import Audit

    file = options.get("file")
    if not isinstance(file, str) or not file.startswith("/"):
        raise InvalidArgument(f"audit: file is {file!r}, not an absolute path", hint="[plugins.audit] file = ...")
    return Audit(file)
