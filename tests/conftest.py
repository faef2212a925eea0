"""What every test gets: no plugin that happens to be installed, a cache of its own."""

from __future__ import annotations

import pytest
from hypothesis import settings

# A deadline in wall-clock time fails on a busy machine, and says nothing about the code.
settings.register_profile("ours", deadline=None, database=None)
settings.load_profile("ours")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of two workers none shall be left with a long module at the end."""
    longest = ("test_faults.py", "test_cp_races.py", "test_crun.py", "test_kill_points.py", "test_documentation.py")
    items.sort(key=lambda item: item.path.name not in longest)


@pytest.fixture(autouse=True)
def _only_our_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin or a setting that happens to be on this machine must not change a test."""
    monkeypatch.setenv("PRUN_PLUGINS", "none")
    monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
    for name in ("PRUN_TRACE_HOOKS", "PRUN_CONFIG", "PRUN_ROOT", "PRUN_STATE", "DOCKER_DEFAULT_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
