"""For authors of plugins: build hooks from objects at hand, check hookimpls, hold a runtime to its contract.

``hooks_with(runtime, *plugins)`` registers what a test is about and nothing that happens to be installed.
``check_plugin(module)`` lists what is wrong with hookimpls: pluggy compares the names of arguments, this their types.
``runtime_conformance(subject)`` runs containers and says which rule of ``prun.types.Task`` does not hold.
"""

from __future__ import annotations

from prun.testing.check import check_plugin
from prun.testing.conformance import RULES, Subject, runtime_conformance
from prun.testing.hooks import hooks_with

__all__ = ["RULES", "Subject", "check_plugin", "hooks_with", "runtime_conformance"]
