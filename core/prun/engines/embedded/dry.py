"""A run that is not made: what would be fetched, unpacked and mounted for it (``--dry-run``)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from prun.errors import FailedPrecondition, NotFound
from prun.state import Store
from prun.types import PlanStep

if TYPE_CHECKING:
    from types import TracebackType

    from prun.services import Blobs
    from prun.types import FileStat, Image, Mount, RunRequest


class Unseen:
    """The root file system of an image whose layers are not here: nothing is known of its files."""

    path = ""
    mounts: tuple[Mount, ...] = ()

    def __init__(self, request: RunRequest, image: Image) -> None:
        self._image = image
        words = (*(request.user or image.config.get("User", "")).split(":"), *request.groups)
        self._names = [word for word in words if word and not word.isdigit()]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        return None

    def leave(self) -> None:
        """Hold nothing, undo nothing."""

    def read(self, path: str, limit_bytes: int) -> bytes:
        if self._names:
            raise FailedPrecondition(
                f"what {self._names[0]!r} is in image {self._image.name}, its {path} says, which is not here yet",
                hint="prun pull it, or name users and groups by number",
            )
        raise NotFound(f"{path}: the image's layers are not here")

    def stat(self, path: str) -> FileStat | None:
        return None


def are_here(request: RunRequest, image: Image) -> bool:
    """Tell whether the store has all layers of an image."""
    content = Store(request.root, request.state).content
    return all(content.has(layer.digest) for layer in image.layers)


def layer_steps(request: RunRequest, image: Image, blobs: Blobs) -> list[PlanStep]:
    """Say which layers would be fetched or loaded."""
    from prun.image.source import parse_source

    action = "load" if request.image != "scratch" and parse_source(request.image) else "fetch"
    found = [
        PlanStep("resolve", action, layer.digest, layer.size_bytes, done=blobs.has(layer.digest))
        for layer in image.layers
    ]
    if any(not step.done for step in found):
        words = "no users, groups and home directories: the image's files are not here"
        found.append(PlanStep("spec", "assume", words))
    return found


def steps(request: RunRequest, image: Image, bundle: str) -> list[PlanStep]:
    """Say what becomes of the layers, and what is mounted for the root of the container."""
    if request.rootfs:
        return []
    from prun.image.identity import chain_ids

    with Store(request.root, request.state, readonly=True) as store:
        found = layer_steps(request, image, store.content)
        if request.view_only:  # its runtime executes nothing, and needs no root
            return found
        for layer, chain in zip(image.layers, chain_ids([layer.diff_id for layer in image.layers]), strict=True):
            number = store.metadata.snapshot_of(chain)
            there = number is not None and os.path.isdir(os.path.join(store.root, "snapshots", str(number)))
            found.append(PlanStep("prepare", "unpack", layer.digest, done=there))
        active = os.path.join(store.root, "snapshots", "active", request.id)
    return [
        *found,
        PlanStep("prepare", "snapshot", active),
        PlanStep("prepare", "mount", os.path.join(bundle, "rootfs")),
    ]
