"""A root file system unpacked from layers that a test makes, beside a directory that must stay as it is."""

from __future__ import annotations

import tarfile
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from images import layer_tar
from unpacking import unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from images import Entry

    Unpack = Callable[..., Path]


@pytest.fixture(params=["overlayfs", "copy"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host, at a place that hostile names may lead to, with one file."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "marker").write_text("host")
    before = path.stat()
    yield path
    assert [(child.name, child.read_text()) for child in path.iterdir()] == [("marker", "host")]
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    assert (path / "marker").stat().st_nlink == 1


@pytest.fixture
def unpack(tmp_path: Path, driver: str, outside: Path) -> Iterator[Unpack]:
    """Unpack layers, each a list of entries or a tar, and return the mounted root."""
    with ExitStack() as stack:

        def run(*layers: Sequence[Entry] | bytes, format: int = tarfile.PAX_FORMAT) -> Path:  # noqa: A002
            tars = [layer if isinstance(layer, bytes) else layer_tar(layer, format) for layer in layers]
            return stack.enter_context(unpacked(tmp_path / "store", tars, driver))

        yield run
