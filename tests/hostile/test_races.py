"""A layer is unpacked while someone swaps directories of the target for symlinks: nothing outside is touched."""

from __future__ import annotations

import io
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from images import LAYER, digest, directory, file, hardlink, layer_tar, symlink

from prun.errors import PrunError
from prun.rootfs.layer import apply_layer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

TAR = layer_tar(
    [
        entry
        for n in range(60)
        for entry in (
            directory("d"),
            file(f"d/{n}", b"evil"),
            directory("d/sub", mode=0o777, uid=5),
            file(f"d/sub/{n}", b"evil", mode=0o4777),
            hardlink(f"d/link{n}", f"d/{n}"),
            symlink("d/marker", "x"),
            file("d/marker", b"evil"),
            file("d/.wh.sub"),
            file("d/.wh..wh..opq"),
        )
    ]
)


@pytest.mark.parametrize("merged", [False, True])
def test_directories_swapped_for_symlinks_lead_nowhere(tmp_path: Path, merged: bool) -> None:
    """CVE-2025-47290."""
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "marker").write_text("host")
    before = [os.stat(path)[:9] for path in (outside, outside / "sub", outside / "marker")]
    root = tmp_path / "root"
    root.mkdir()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for path in (root / "d", root / "d" / "sub"):
                with suppress(OSError):
                    os.rename(path, root / "kept")
                    os.symlink(outside, path)
                    os.unlink(path)
                    os.rename(root / "kept", path)

    thread = threading.Thread(target=swap)
    thread.start()
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(40):
            with suppress(PrunError):
                apply_layer(io.BytesIO(TAR), LAYER["none"], digest(TAR), fd, merged=merged)
    finally:
        stop.set()
        thread.join()
        os.close(fd)
    assert [os.stat(path)[:9] for path in (outside, outside / "sub", outside / "marker")] == before
    assert sorted(os.listdir(outside)) == ["marker", "sub"]
    assert (outside / "marker").read_text() == "host"
