"""What the tests in the guest have: prun with a store in memory, and each OCI runtime in turn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attack import BINARIES
from command import NOTHING, Prun, busybox_archive

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Prun:
    """Load busybox once."""
    base = tmp_path_factory.mktemp("p")
    prun = Prun(base / "root", base / "state")
    loaded = prun("load", "--tag", "busybox", str(busybox_archive(base / "busybox.tar")))
    assert loaded.returncode == 0, loaded.stderr
    return prun


@pytest.fixture(scope="module", params=BINARIES)
def binary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def run(store: Prun, binary: str) -> Iterator[Run]:
    """``prun run --rm`` with one of the OCI runtimes; leaves no trace, and no cgroup."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return store("run", "--rm", "--opt", f"binary={binary}", *words)

    yield run
    assert store.traces() == NOTHING
    assert list(Path("/sys/fs/cgroup").glob("prun/*/")) == []
