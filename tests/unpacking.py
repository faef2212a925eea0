"""Unpack layers made in a test as prun does, through snapshots and a mount, and look at the result.

Every root file system that is unpacked here is also compared with what ``LayersView`` says of the same layers.
"""

from __future__ import annotations

import io
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from images import LAYER, compressed, digest

from prun.metadata import Metadata
from prun.rootfs.snapshots import Snapshots
from prun.rootfs.view import LayersView
from prun.types import Layer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from images import Compression

    from prun.rootfs.driver import Driver


class Blobs:
    """A content store in memory: ``open`` counts how often each layer was opened."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.opened: list[str] = []

    def add(self, tar: bytes, compression: Compression = "none", diff_id: str = "") -> Layer:
        blob = compressed(tar, compression)
        self.data[digest(blob)] = blob
        return Layer(digest(blob), diff_id or digest(tar), LAYER[compression], len(blob))

    def open(self, name: str) -> io.BytesIO:
        self.opened.append(name)
        return io.BytesIO(self.data[name])


def snapshots_at(path: Path, driver: Driver = "auto") -> Snapshots:
    path.mkdir(parents=True, exist_ok=True)
    return Snapshots(str(path / "snapshots"), Metadata(str(path / "metadata.db")), driver)


@contextmanager
def unpacked(path: Path, tars: Sequence[bytes], driver: Driver = "auto", *, look: bool = True) -> Iterator[Path]:
    """Unpack the layers below ``path`` and mount what they make; afterwards nothing half-made may be left."""
    blobs = Blobs()
    layers = [blobs.add(tar) for tar in tars]
    target = path / "root"
    target.mkdir(parents=True)
    metadata = Metadata(str(path / "metadata.db"))
    snapshots = Snapshots(str(path / "snapshots"), metadata, driver)
    try:
        chain = snapshots.unpack(layers, blobs.open)
        snapshots.prepare("test", chain)
        with snapshots.mounted("test", str(target)):
            if look:
                assert seen_by_view(LayersView(layers, blobs.open), target) == seen_on_disk(target)
            yield target
        snapshots.remove("test")
    finally:
        metadata.close()
        assert not [name for name in os.listdir(path / "snapshots") if name.startswith("new-")]


def paths_below(root: Path) -> list[bytes]:
    """Every path below ``root``, relative, sorted; links not followed."""
    top = os.fsencode(root)
    found = []
    for directory, names, files in os.walk(top):
        found += [os.path.relpath(os.path.join(directory, name), top) for name in (*names, *files)]
    return sorted(found)


def seen_on_disk(root: Path) -> dict[bytes, tuple[int, int, int, int]]:
    seen = {}
    for path in paths_below(root):
        found = os.lstat(os.path.join(os.fsencode(root), path))
        if not stat.S_ISLNK(found.st_mode):
            seen[path] = (found.st_mode, found.st_uid, found.st_gid, _size(found.st_mode, found.st_size))
    return seen


def seen_by_view(view: LayersView, root: Path) -> dict[bytes, tuple[int, int, int, int]]:
    seen = {}
    for path in paths_below(root):
        if os.path.islink(os.path.join(os.fsencode(root), path)):
            continue
        found = view.stat(os.fsdecode(path))
        assert found is not None, path
        seen[path] = (found.mode, found.uid, found.gid, _size(found.mode, found.size_bytes))
    return seen


def _size(mode: int, size: int) -> int:
    return size if stat.S_ISREG(mode) else 0
