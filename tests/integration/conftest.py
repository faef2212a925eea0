"""Real runs: the command, a real OCI runtime, a real image."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from attack import BINARIES, attacking
from command import NOTHING, Prun, busybox_archive, settled
from debian_registry import debian_registry, make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from attack import Attack
    from debian_registry import Certificate, DebianRegistry


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/integration/" in str(item.path):
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busybox_archive(tmp_path_factory.mktemp("image") / "busybox.tar")


@pytest.fixture(scope="session")
def new_prun(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Prun]:
    """Make a command with an empty store."""
    numbers = itertools.count()

    def make() -> Prun:
        # Short: a console socket's path may have 107 bytes.
        base = tmp_path_factory.getbasetemp() / f"p{next(numbers)}"
        return Prun(base / "root", base / "state")

    return make


@pytest.fixture(scope="module")
def store(new_prun: Callable[[], Prun], archive: Path) -> Prun:
    """Load busybox once for the module."""
    prun = new_prun()
    loaded = prun("load", "--tag", "busybox", str(archive))
    assert loaded.returncode == 0, loaded.stderr
    return prun


@pytest.fixture
def prun(store: Prun) -> Iterator[Prun]:
    """Give the module's store to one test, which must leave no trace but stopped containers."""
    yield store
    for container in store("ps", "-aq").stdout.split():
        assert store("rm", "-f", container).returncode == 0
    assert settled(store) == NOTHING


@pytest.fixture
def attack(prun: Prun, tmp_path: Path) -> Iterator[Attack]:
    with attacking(prun, tmp_path) as made:
        yield made


@pytest.fixture(params=BINARIES)
def binary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRegistry]:
    """Run a registry without passwords for the module."""
    with debian_registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture
def own_logins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep logins and certificates of this machine's people out of a test, and its own below ``tmp_path``."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    (tmp_path / "xdg_runtime_dir").mkdir(mode=0o700)
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
