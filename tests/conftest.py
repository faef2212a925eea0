"""What every test gets: no plugin that happens to be installed, a cache of its own, golden documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable

# A deadline in wall-clock time fails on a busy machine, and says nothing about the code.
settings.register_profile("ours", deadline=None, database=None)
settings.load_profile("ours")

DATA = Path(__file__).parent / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/data/* instead of comparing with it")


@pytest.fixture(autouse=True)
def _only_our_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin or a setting that happens to be on this machine must not change a test."""
    monkeypatch.setenv("PRUN_PLUGINS", "none")
    monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
    for name in ("PRUN_TRACE_HOOKS", "PRUN_CONFIG", "PRUN_ROOT", "PRUN_STATE", "DOCKER_DEFAULT_PLATFORM"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Compare a JSON document with ``tests/data/<name>``; ``--update-golden`` writes it there instead."""

    def check(name: str, document: object) -> None:
        path = DATA / name
        text = json.dumps(document, indent=2, sort_keys=True) + "\n"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no {path}: run pytest --update-golden and read what it wrote"
        # Compared as parsed JSON, so that pytest shows the difference key by key.
        assert json.loads(text) == json.loads(path.read_text(encoding="utf-8"))

    return check
