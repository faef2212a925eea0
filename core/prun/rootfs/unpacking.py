"""Unpack one layer over those below it, into a directory of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.image.identity import chain_ids
from prun.rootfs import mount
from prun.rootfs.attributes import copy_root_attributes, make_root
from prun.rootfs.claims import temporary_directory
from prun.rootfs.copytree import copy_tree
from prun.rootfs.layer import apply_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from prun.rootfs.snapshots import Snapshots
    from prun.types import Layer


def unpack_over(
    layer: Layer, open_blob: Callable[[str], BinaryIO], directory: str, below: Sequence[str], kind: mount.Kind | None
) -> int:
    """Unpack a layer over those ``below``, topmost first, into the new ``directory``; return its size in bytes.

    ``kind`` is that of the overlay, None for a copy of what is below.

    Raises: as ``layer.apply_layer``, and what ``open_blob`` raises.
    """
    home = os.path.dirname(directory)
    os.mkdir(home)
    make_root(directory)
    if below and kind:
        work, merged = os.path.join(home, "work"), os.path.join(os.path.dirname(home), "merged")
        os.mkdir(work)
        os.makedirs(merged, exist_ok=True)
        copy_root_attributes(below[0], directory)
        root = mount.detached_overlay(below, directory, work, merged, kind)
    else:
        if below:
            copy_tree(below[0], directory)
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open_blob(layer.digest) as blob:
            return apply_layer(blob, layer.media_type, layer.diff_id, root, merged=bool(below)).size_bytes
    finally:
        os.close(root)


def remade(
    snapshots: Snapshots, layers: Sequence[Layer], open_blob: Callable[[str], BinaryIO]
) -> Iterator[tuple[str, str, str]]:
    """Unpack again what is unpacked of these layers; yield chain ID, directory and, for a moment, a fresh one.

    The caller may put the fresh directory in the other's place.  Layers that are not unpacked end it.

    Raises: as ``unpack_over``.
    """
    below: list[str] = []
    for chain, layer in zip(chain_ids([layer.diff_id for layer in layers]), layers, strict=True):
        directory = snapshots.directory_of(chain)
        if not directory:
            return
        with snapshots.locked(chain), temporary_directory(snapshots.path) as temporary:
            fresh = os.path.join(temporary, "0", "fs")
            unpack_over(layer, open_blob, fresh, below, snapshots.kind_of_layers())
            yield chain, directory, fresh
        below.insert(0, directory)
