"""A stub registry, a store, and clients that have no patience to waste."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stub_registry import QUICK, stub_registry

from prun.image.layout import ContentStore
from prun.image.registry.auth import ANONYMOUS
from prun.image.registry.client import Registry
from prun.image.registry.endpoint import Endpoint
from prun.image.registry.progress import Progress, Reporter
from prun.image.registry.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stub_registry import Stub

    from prun.image.registry.auth import Login
    from prun.image.registry.transport import Patience


@pytest.fixture(autouse=True)
def _no_settings_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


@pytest.fixture
def stub() -> Iterator[Stub]:
    with stub_registry() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path / "content"))


@pytest.fixture
def news() -> list[Progress]:
    return []


@pytest.fixture
def client(news: list[Progress]) -> Callable[..., Registry]:
    """Make a client of a repository of a stub."""

    def make(
        stub: Stub, login: Login = ANONYMOUS, *, insecure: bool = False, patience: Patience = QUICK, cert_dir: str = ""
    ) -> Registry:
        transport = Transport(patience=patience, cert_dir=cert_dir)
        endpoint = Endpoint(stub.netloc, "team/app", f"{stub.netloc}/team/app", insecure)
        return Registry(endpoint, transport, login, Reporter(news.append))

    return make
