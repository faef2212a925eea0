"""Fixtures of ``prun.testing`` for pytest, in every environment that has both; see docs/testing.md.

pytest imports this module for every suite: prun itself is imported only by the tests that use a fixture.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from prun.plugins import Hooks
    from prun.testing import FakeRunner, SpecSnapshots

    class Conformance(Protocol):
        """Holds a runtime to its contract; the options are those of ``prun.testing.Subject``."""

        def __call__(self, runtime: object, *, image: str = "scratch", rootfs: str = "", **options: object) -> None:
            """Run containers of ``image``, or with the root file system ``rootfs``.

            Raises:
                AssertionError: the rules that do not hold, with what was seen.
            """

    class HooksWith(Protocol):
        """Registers the fake runtime, or another one, and plugins, each more specific than the one before."""

        def __call__(self, *plugins: object, runtime: object | None = None, engine: object | None = None) -> Hooks: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--update-specs``."""
    group = parser.getgroup("prun")
    group.addoption("--update-specs", action="store_true", help="write the golden specs instead of comparing with them")
    parser.addini("prun_specs", "directory of the golden specs, beside each test module", default="specs")


@pytest.fixture
def prun_fake(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> FakeRunner:
    """A ``prun.testing.FakeRunner``: prun on the fake runtime, with a store of its own."""
    from prun.testing import FakeRunner

    for name in [name for name in os.environ if name.startswith("PRUN_")]:
        monkeypatch.delenv(name)
    directory = tmp_path_factory.mktemp("prun", numbered=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory / "config"))
    return FakeRunner(str(directory))


@pytest.fixture
def hooks_with() -> HooksWith:
    """``prun.testing.hooks_with`` on the fake runtime: ``hooks_with(my_plugin).spec_opts(...)``."""
    import prun_fake as fake
    from prun.testing import hooks_with

    def hooks(*plugins: object, runtime: object | None = None, engine: object | None = None) -> Hooks:
        return hooks_with(fake if runtime is None else runtime, *plugins, engine=engine)

    return hooks


@pytest.fixture
def check_plugin() -> Callable[[object], None]:
    """``prun.testing.check_plugin``; what it finds fails the test."""
    from prun.testing import check_plugin

    def check(plugin: object) -> None:
        __tracebackhide__ = True
        if problems := check_plugin(plugin):
            raise AssertionError("\n".join(problems))

    return check


@pytest.fixture
def spec_snapshot(request: pytest.FixtureRequest) -> SpecSnapshots:
    """``spec_snapshot(spec)`` compares with ``specs/TEST.json`` beside the test; ``--update-specs`` writes it there."""
    from prun.testing import SpecSnapshots

    directory = request.path.parent / request.config.getini("prun_specs")
    name = f"{request.path.stem}.{request.node.name}"
    return SpecSnapshots(str(directory), name, update=request.config.getoption("--update-specs"))


@pytest.fixture
def runtime_conformance(tmp_path_factory: pytest.TempPathFactory) -> Conformance:
    """``runtime_conformance(my_runtime)`` holds a runtime to its contract, by running containers of it."""
    from prun.testing import Subject, runtime_conformance
    from prun.types import RunRequest

    def conforms(runtime: object, *, image: str = "scratch", rootfs: str = "", **options: object) -> None:
        __tracebackhide__ = True
        directory = tmp_path_factory.mktemp("conformance", numbered=True)
        request = RunRequest(
            "conformance",
            "" if rootfs else image,
            rootfs=rootfs,
            root=str(directory / "root"),
            state=str(directory / "state"),
        )
        runtime_conformance(Subject(runtime, request, **options))  # type: ignore[arg-type]  # the caller's own

    return conforms
