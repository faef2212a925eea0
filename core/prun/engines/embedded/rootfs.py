"""A container's root file system: the image's snapshot below a writable layer, mounted in the bundle."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from prun.errors import FailedPrecondition
from prun.rootfs.failures import failure
from prun.rootfs.mount import unmount
from prun.rootfs.safepath import Root, real_directory_problems
from prun.state import Store, is_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from prun.rootfs.idmap import IdMaps
    from prun.types import FileStat, Image, Mount, Rootfs, RunRequest


class MountedRootfs:
    """The container's root at ``BUNDLE/rootfs``: unpacked where it is not yet, and mounted while the context lasts."""

    mounts: tuple[Mount, ...] = ()

    def __init__(self, request: RunRequest, image: Image, bundle: str) -> None:
        self.path = os.path.join(bundle, "rootfs")
        self._request, self._image = request, image

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._undo = stack.enter_context(ExitStack())  # what is mounted; everything after it is descriptors
            if self._request.volumes:
                from prun.engines.embedded import mounts

                mounts.check_sources(self._request)
            store = stack.enter_context(Store(self._request.root, self._request.state))
            snapshots = store.snapshots
            chain_id = snapshots.unpack(self._image.layers, store.content.open)
            maps = _id_maps(self._request, os.path.dirname(self.path))
            copied = bool(maps) and not is_root()  # who is root of a user namespace cannot mount idmapped
            self.mounts = snapshots.prepare(self._request.id, chain_id, maps if copied else None)
            os.mkdir(self.path, 0o755)
            # What is removed at the end need not reach the disk: leaving an ordinary overlay syncs its file system.
            idmap = None if copied else maps
            volatile = self._request.remove
            snapshots.mount_at(self._request.id, self.path, volatile=volatile, idmap=idmap)
            self._undo.callback(unmount, self.path)
            if problems := real_directory_problems(self.path):
                raise FailedPrecondition(
                    f"image {self._image.name}: {', '.join(problems)}",
                    hint="through it an image can write to the host; do not use this image",
                )
            # Entered last: its descriptor on the root would keep the mount busy.
            self._root = stack.enter_context(Root(self.path))
            with _as_root_of(maps):
                link_mtab(self._root)
            if has_mounts(self._request, self._image):
                from prun.engines.embedded import mounts

                bundle = os.path.dirname(self.path)
                mounts.prepare(store, self._request, self._image, bundle, self._root, self._undo, maps)
            self._stack = stack.pop_all()
        return self

    def leave(self) -> None:
        self._undo.pop_all()
        self._stack.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def read(self, path: str, limit_bytes: int) -> bytes:
        return self._root.read(path, limit_bytes)

    def stat(self, path: str) -> FileStat | None:
        return self._root.stat(path)


@contextmanager
def _as_root_of(maps: IdMaps | None) -> Iterator[None]:
    """Make files as root of the container's user namespace: ours has no id on an idmapped mount (EOVERFLOW)."""
    if maps is None:
        yield
        return
    from prun.rootfs.idmap import host_id
    from prun.rootfs.syscalls import file_owner

    with file_owner(host_id(maps.uids, 0) or 0, host_id(maps.gids, 0) or 0):
        yield


def link_mtab(root: Root) -> None:
    """Make ``/etc/mtab`` where the image has none, as docker and podman do: df and mount look there (mtab(5))."""
    etc = root.open_directory("/etc")
    if etc is None:
        return
    try:
        os.symlink("/proc/mounts", "mtab", dir_fd=etc)
    except FileExistsError:
        pass
    except OSError as error:
        raise failure("/etc/mtab cannot be made in the root file system", error) from error
    finally:
        os.close(etc)


def _id_maps(request: RunRequest, bundle: str) -> IdMaps | None:
    """Return the id maps of the container's own user namespace, as the runtime has recorded them."""
    if not (request.uid_map or request.gid_map or "user" in request.namespaces):
        return None
    from prun.userns import recorded

    namespace = recorded(bundle)
    return namespace.maps if namespace else None


def has_mounts(request: RunRequest, image: Image) -> bool:
    """Tell whether ``prun.engines.embedded.mounts`` has anything to do."""
    return bool(request.volumes or request.volumes_from or image.config.get("Volumes"))


def prepare(request: RunRequest, image: Image, bundle: str) -> Rootfs:
    """Return the root file system of a new container, or only a view of its image (``request.view_only``)."""
    if not request.view_only:
        return MountedRootfs(request, image, bundle)
    from prun.rootfs.view import LayersView

    if request.dry_run:
        from prun.engines.embedded import dry

        if not dry.are_here(request, image):
            return dry.Unseen(request, image)
    return LayersView(image.layers, Store(request.root, request.state).content.open)
