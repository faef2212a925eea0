"""A container's root file system: the image's snapshot below a writable layer, mounted in the bundle."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from prun.errors import FailedPrecondition
from prun.rootfs.safepath import Root, real_directory_problems
from prun.state import Store

if TYPE_CHECKING:
    from types import TracebackType

    from prun.types import FileStat, Image, Mount, Rootfs, RunRequest


class MountedRootfs:
    """The container's root at ``BUNDLE/rootfs``: unpacked where it is not yet, and mounted while the context lasts."""

    mounts: tuple[Mount, ...] = ()

    def __init__(self, request: RunRequest, image: Image, bundle: str) -> None:
        self.path = os.path.join(bundle, "rootfs")
        self._request, self._image = request, image

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            store = stack.enter_context(Store(self._request.root, self._request.state))
            snapshots = store.snapshots
            chain_id = snapshots.unpack(self._image.layers, store.content.open)
            self.mounts = snapshots.prepare(self._request.id, chain_id)
            os.mkdir(self.path, 0o755)
            # What is removed at the end need not reach the disk: leaving an ordinary overlay syncs its file system.
            stack.enter_context(snapshots.mounted(self._request.id, self.path, volatile=self._request.remove))
            if problems := real_directory_problems(self.path):
                raise FailedPrecondition(
                    f"image {self._image.name}: {', '.join(problems)}",
                    hint="through it an image can write to the host; do not use this image",
                )
            # Entered last: its descriptor on the root would keep the mount busy.
            self._root = stack.enter_context(Root(self.path))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def read(self, path: str, limit_bytes: int) -> bytes:
        return self._root.read(path, limit_bytes)

    def stat(self, path: str) -> FileStat | None:
        return self._root.stat(path)


def prepare(request: RunRequest, image: Image, bundle: str) -> Rootfs:
    """Return the root file system of a new container, or only a view of its image (``request.view_only``)."""
    if not request.view_only:
        return MountedRootfs(request, image, bundle)
    from prun.rootfs.view import LayersView

    return LayersView(image.layers, Store(request.root, request.state).content.open)
