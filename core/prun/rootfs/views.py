"""Look at snapshots from outside: the tree of an image or of a container, and what either has changed.

What is given are directories open for reading.  Overlays are mounted read-only, where nobody else sees them; the
writable layer of a container that runs is a lower layer there: nothing is written through them.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from prun.rootfs import mount
from prun.rootfs.claims import temporary_directory
from prun.rootfs.private import private_root
from prun.rootfs.shifted import recorded_maps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prun.rootfs.idmap import IdMaps
    from prun.rootfs.snapshots import Snapshots

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPAQUE = {"overlayfs": "trusted.overlay.opaque", "userxattr": "user.overlay.opaque"}


class Layer(NamedTuple):
    """A tree ``new`` that stands on ``old``.

    ``opaque``: ``new`` is a directory of overlayfs, which has only what differs from ``old``; this extended attribute
    marks those of its directories that hide what ``old`` has.  Empty: ``new`` is a whole tree.
    """

    new: int
    old: int
    opaque: str = ""


def shift_of(snapshots: Snapshots, key: str) -> IdMaps | None:
    """Return the id maps whose owners a container's root has on disk, None where it has the image's."""
    recorded = recorded_maps(snapshots.directory(key))
    return recorded.maps if recorded.copied else None


@contextmanager
def container_tree(snapshots: Snapshots, key: str) -> Iterator[int]:
    """Give the whole root of the container ``key``, without what is mounted in it."""
    upper, _, lower = snapshots.layout(key)
    with _stacked(snapshots, [upper, *lower]) as root:
        yield root


@contextmanager
def image_tree(snapshots: Snapshots, chain_id: str) -> Iterator[int]:
    """Give the whole root of the unpacked image ``chain_id``; empty: a directory with nothing in it."""
    with _stacked(snapshots, snapshots.lower(chain_id)) as root:
        yield root


@contextmanager
def container_layer(snapshots: Snapshots, key: str) -> Iterator[Layer]:
    """Give what the container ``key`` has changed in its image."""
    upper, _, lower = snapshots.layout(key)
    opaque = _OPAQUE.get(snapshots.kind(), "") if lower else ""
    with ExitStack() as stack:
        new = stack.enter_context(_stacked(snapshots, [upper] if opaque else [upper, *lower]))
        old = stack.enter_context(image_tree(snapshots, snapshots.chain_of(key)))
        yield Layer(new, old, opaque)


@contextmanager
def image_layer(snapshots: Snapshots, chain_id: str, parent: str) -> Iterator[Layer]:
    """Give what the topmost layer of the unpacked image ``chain_id`` has changed in ``parent``."""
    directories = snapshots.lower(chain_id)
    opaque = _OPAQUE.get(snapshots.kind(), "") if parent and snapshots.lower(parent) == directories[1:] else ""
    with ExitStack() as stack:
        new = stack.enter_context(_stacked(snapshots, directories[:1] if opaque else directories))
        old = stack.enter_context(image_tree(snapshots, parent))
        yield Layer(new, old, opaque)


@contextmanager
def _stacked(snapshots: Snapshots, directories: Sequence[str]) -> Iterator[int]:
    """Give what the directories, topmost first, show together."""
    with ExitStack() as stack:
        if len(directories) == 1:
            root = os.open(directories[0], _OPEN_DIRECTORY)
            stack.callback(os.close, root)
        else:
            merged = os.path.join(stack.enter_context(temporary_directory(snapshots.path)), "view")
            os.mkdir(merged, 0o755)
            if directories:
                kind = snapshots.kind()
                view = private_root(merged, lambda: mount.mount_overlay(directories, "", "", merged, kind=kind))
                root = stack.enter_context(view)
            else:
                root = os.open(merged, _OPEN_DIRECTORY)
                stack.callback(os.close, root)
        yield root
