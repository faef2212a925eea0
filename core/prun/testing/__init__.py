"""For authors of plugins: build hooks from objects at hand, check hookimpls, hold a runtime to its contract.

``hooks_with(runtime, *plugins)`` registers what a test is about and nothing that happens to be installed.
``check_plugin(module)`` lists what is wrong with hookimpls: pluggy compares the names of arguments, this their types.
``runtime_conformance(subject)`` runs containers and says which rule of the contract does not hold.
``FakeRunner(directory, *plugins)`` runs containers of the fake runtime, with a store of its own.
``SpecSnapshots`` compares specs with golden files, ``differences`` two documents.

pytest has fixtures of these (``pytest_prun``): see docs/testing.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prun.testing.check import check_plugin
    from prun.testing.conformance import RULES, runtime_conformance
    from prun.testing.difference import differences
    from prun.testing.fake import FakeRunner
    from prun.testing.hooks import hooks_with
    from prun.testing.snapshot import SpecSnapshots
    from prun.testing.subject import Subject

__all__ = [
    "RULES",
    "FakeRunner",
    "SpecSnapshots",
    "Subject",
    "check_plugin",
    "differences",
    "hooks_with",
    "runtime_conformance",
]

_HOMES = {
    "RULES": "conformance",
    "FakeRunner": "fake",
    "SpecSnapshots": "snapshot",
    "Subject": "subject",
    "check_plugin": "check",
    "differences": "difference",
    "hooks_with": "hooks",
    "runtime_conformance": "conformance",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: a test of a spec needs no subprocess."""
    if name not in _HOMES:
        raise AttributeError(f"module 'prun.testing' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"prun.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
