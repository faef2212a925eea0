"""A policy: what patches and hooks of one run would loosen is refused, and not only said.

Loaded where ``prun.toml`` has ``[plugins.no-loosening]``, or with ``--plugins no-loosening``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun._marker import hookimpl
from prun.types import Problem

if TYPE_CHECKING:
    from prun.types import RunRequest


@hookimpl
def prun_check_spec(request: RunRequest) -> list[Problem]:
    """Refuse everything that ``prun.spec.loosening`` has found."""
    hint = "leave it out of --patch and --hook; the policy is [plugins.no-loosening]"
    return [Problem("", f"a patch or a hook of this run {each}", hint) for each in request.loosens]
