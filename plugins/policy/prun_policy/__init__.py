"""A policy: what containers must be, and must not, in rules of a TOML file; see docs/policy.md.

    [plugins.policy]
    file = "/etc/prun/policy.toml"

Rules that cannot be understood refuse every container, since a rule that is silently missing would let all pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

prun_options = {"file": "the TOML file of the rules, an absolute path"}


def prun_configure(options: Mapping[str, object]) -> object:
    """Read the rules.

    Raises:
        InvalidArgument, PermissionDenied: they are malformed or missing, or others may change them.
    """
    from prun_policy.policy import Policy
    from prun_policy.rules import read

    file = options.get("file")
    if not isinstance(file, str) or not file.startswith("/"):
        raise InvalidArgument(f"policy: file is {file!r}, not an absolute path", hint="[plugins.policy] file = ...")
    return Policy(read(file))
