"""Both programs with the same images loaded, for the whole session."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import NOTHING, Prun
from differential.image import write_archives
from differential.peers import Peer, podman, prun, remove_cgroups, unmount

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/differential/" in str(item.path):
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def both() -> Iterator[tuple[Peer, Peer]]:
    """Give prun and podman; what they made is gone at the end."""
    # Short: a socket's path may have 107 bytes.
    base = Path(tempfile.mkdtemp(prefix="differ-"))
    base.chmod(0o711)  # a mapped root must be able to go through; podman opens the way by itself
    ours, theirs = prun(base / "prun"), podman(base / "podman")
    try:
        for name, archive in write_archives(base / "images").items():
            for peer, words in ((ours, ("load", "--tag", name, str(archive))), (theirs, ("load", "-i", str(archive)))):
                loaded = peer(*words)
                assert loaded.returncode == 0, loaded.stderr
        yield ours, theirs
        theirs("rm", "--force", "--all", "--time", "0")
        assert Prun(base / "prun" / "root", base / "prun" / "state").traces() == NOTHING
    finally:
        unmount(base)
        remove_cgroups()
        shutil.rmtree(base)
