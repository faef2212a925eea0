"""A container's root in a snapshotter of containerd's: looked into and made ready here, then mounted by its shim.

While it is made ready it is mounted in the bundle, as ``ctr`` does; before the task is made, it is not any more:
an overlay's writable layer must not be in two mounts.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from prun.engines.containerd import images
from prun.engines.containerd.client import connected, taking_down
from prun.engines.containerd.place import place_of
from prun.engines.containerd.snapshots import Snapshots, leased, snapshotter_of
from prun.errors import AlreadyExists, FailedPrecondition, Unimplemented
from prun.rootfs.mount import bind, mount_overlay, unmount
from prun.rootfs.safepath import Root, real_directory_problems
from prun.state import Store
from prun.types import Mount

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from prun.types import FileStat, Image, Rootfs, RunRequest
    from prun_protos.containerd.v1 import api_pb2 as api

CREATED = "created"  # a file in the bundle: containerd has a record of the container, which keeps the snapshot


class SnapshotRootfs:
    """A writable snapshot on top of the image's layers, and at ``BUNDLE/rootfs`` until the task is made."""

    def __init__(self, request: RunRequest, image: Image, bundle: str) -> None:
        self.path = os.path.join(bundle, "rootfs")
        self.mounts: tuple[Mount, ...] = ()
        self._request, self._image, self._bundle = request, image, bundle
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        request = self._request
        if request.volumes:
            from prun.engines.embedded import mounts

            mounts.check_sources(request)
        place = place_of(request.engine_options)
        client = connected(place)
        snapshots = Snapshots(client, snapshotter_of(client, place.snapshotter))
        with taking_down(), ExitStack() as stack:
            lease = lease_of(request.id)
            stack.enter_context(leased(client, request.root, lease))
            top = images.unpack(client, snapshots, self._image, lease)
            found = self._snapshot(snapshots, top, lease, stack)
            self.mounts = tuple(Mount(each.target, each.type, each.source, tuple(each.options)) for each in found)
            os.mkdir(self.path, 0o755)
            stack.callback(unmount, self.path)
            mount_all(found, self.path)
            if problems := real_directory_problems(self.path):
                raise FailedPrecondition(
                    f"image {self._image.name}: {', '.join(problems)}",
                    hint="through it an image can write to the host; do not use this image",
                )
            self._prepare_mounts(stack)
            self._stack = stack.pop_all()
        return self

    def leave(self) -> None:
        self._stack.pop_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with taking_down():
            self._stack.close()

    def read(self, path: str, limit_bytes: int) -> bytes:
        with Root(self.path) as root:
            return root.read(path, limit_bytes)

    def stat(self, path: str) -> FileStat | None:
        with Root(self.path) as root:
            return root.stat(path)

    def _snapshot(self, snapshots: Snapshots, top: str, lease: str, stack: ExitStack) -> Sequence[api.Mount]:
        """Prepare a snapshot for a new container; one that is started again has its own."""
        request = self._request
        try:
            found = snapshots.prepare(request.id, top, request.root, lease)
        except AlreadyExists as error:
            if request.again and snapshots.owner(request.id) == request.root:
                return snapshots.mounts(request.id)
            raise AlreadyExists(
                f"containerd has a container or a snapshot {request.id!r} already", hint="choose another --id"
            ) from error
        stack.callback(self._forget, snapshots)
        return found

    def _prepare_mounts(self, stack: ExitStack) -> None:
        from prun.engines.embedded.rootfs import has_mounts, link_mtab

        with Root(self.path) as root:
            link_mtab(root)
            if has_mounts(self._request, self._image):
                from prun.engines.embedded import mounts

                with Store(self._request.root, self._request.state) as store:
                    mounts.prepare(store, self._request, self._image, self._bundle, root, stack, None)

    def _forget(self, snapshots: Snapshots) -> None:
        """Remove the snapshot of a container that containerd has never had a record of."""
        if not os.path.exists(os.path.join(self._bundle, CREATED)):
            snapshots.remove(self._request.id)


def lease_of(container_id: str) -> str:
    """Return the name of the lease that keeps a container's snapshot until there is a record of the container."""
    return f"prun-{container_id}"


def mount_all(mounts: Sequence[api.Mount], target: str) -> None:
    """Mount what a snapshotter says, as its root, to look into it.

    Raises:
        Unimplemented: it takes more than one overlay or bind mount.
        FailedPrecondition, PermissionDenied: it cannot be mounted.
    """
    kinds = [mount.type for mount in mounts]
    if kinds == ["bind"]:
        bind(mounts[0].source, target)
    elif kinds == ["overlay"]:
        words = dict(word.partition("=")[::2] for word in mounts[0].options)
        lower = words.get("lowerdir", "").split(":")
        mount_overlay(lower, words.get("upperdir", ""), words.get("workdir", ""), target)
    else:
        raise Unimplemented(
            f"engine containerd does not support snapshotters that mount {', '.join(kinds) or 'nothing'}",
            hint="--snapshotter overlayfs or native",
        )


def view(request: RunRequest, image: Image) -> Rootfs:
    """Return a look into an image's layers; nothing is unpacked or mounted."""
    from prun.rootfs.view import LayersView

    blobs = images.blobs_of(request)
    if request.dry_run and not all(blobs.has(layer.digest) for layer in image.layers):
        from prun.engines.embedded.dry import Unseen

        return Unseen(request, image)
    return LayersView(image.layers, blobs.open)
