"""What every test gets: no plugin that happens to be installed, a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A deadline in wall-clock time fails on a busy machine, and says nothing about the code.
settings.register_profile("ours", deadline=None, database=None)
settings.load_profile("ours")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several workers one has a whole module, with what that has set up; what takes longest begins first."""
    longest = ("vm", "integration/test_faults.py", "integration/test_cp_races.py", "plugins/linux/test_crun.py")

    def group(item: pytest.Item) -> str:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        return "vm" if path.startswith("vm/") else path

    items.sort(key=lambda item: longest.index(group(item)) if group(item) in longest else len(longest))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


@pytest.fixture(autouse=True)
def _only_our_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin or a setting that happens to be on this machine must not change a test."""
    monkeypatch.setenv("PRUN_PLUGINS", "none")
    monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
    for name in ("PRUN_TRACE_HOOKS", "PRUN_CONFIG", "PRUN_ROOT", "PRUN_STATE", "DOCKER_DEFAULT_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
