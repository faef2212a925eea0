"""prun: run a container through whichever runtime plugin fits.

``prun.run(...)`` runs one to its end; ``prun.Runner`` keeps the choices between runs.  Plugin authors need one
import: ``from prun import hookimpl``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prun._marker import hookimpl
    from prun.api import Result, Runner, run

__version__ = "0.1.0"
__all__ = ["Result", "Runner", "__version__", "hookimpl", "run"]

_HOMES = {"hookimpl": "prun._marker", "Result": "prun.api", "Runner": "prun.api", "run": "prun.api"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that ``import prun`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'prun' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
