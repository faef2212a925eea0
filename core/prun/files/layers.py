"""What a container or an image has changed (``diff``), and a container's whole root (``export``).

Both are about the container's own files: what it has mounted, volumes above all, is no part of it, as docker has it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, NotFound
from prun.rootfs.changes import changes
from prun.rootfs.failures import translated
from prun.rootfs.views import Layer, container_layer, container_tree, image_layer, image_tree, shift_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prun.metadata import ContainerRow
    from prun.rootfs.changes import Change
    from prun.state import Store

# Where the runtime mounts something, or prun: files and directories made for that are not the container's work.
_MOUNT_POINTS = (
    *("dev", "dev/console", "dev/mqueue", "dev/pts", "dev/shm", "etc/hostname", "etc/hosts", "etc/localtime"),
    *("etc/resolv.conf", "proc", "run", "run/secrets", "sys", "sys/fs/cgroup"),
)


def diff(store: Store, words: str, other: str = "") -> list[Change]:
    """Return what a container has changed in its image, or an image's topmost layer in those below.

    ``other``, a container or an image too: what has to change there to make it the first, podman's second argument.

    Raises:
        NotFound: there is no such container or image.
        FailedPrecondition: the container has no layer of its own (``--rootfs``).
    """
    with translated(lambda: f"files of {words} cannot be compared"):
        if other:
            with _tree(store, words) as new, _tree(store, other) as old:
                return changes(Layer(new, old), mount_points=mount_points(store, words))
        if row := _container(store, words):
            return container_changes(store, row)
        with store.using_images():
            chains = _chains(store, words)
            if not chains:
                return []
            with image_layer(store.snapshots, chains[-1], chains[-2] if len(chains) > 1 else "") as layer:
                return changes(layer)


def container_changes(store: Store, row: ContainerRow) -> list[Change]:
    """Return what a container has changed in its image.

    Raises:
        FailedPrecondition: it has no layer of its own.
    """
    require_layer(store, row)
    snapshots = store.snapshots
    with container_layer(snapshots, row.id) as layer:
        return changes(layer, mount_points=mount_points(store, row.id), maps=shift_of(snapshots, row.id))


def export(store: Store, words: str, write: Callable[[bytes | memoryview], object]) -> None:
    """Write the tar of a container's root with ``write``, which takes all of what it is given.

    Raises:
        NotFound: there is no such container.
        FailedPrecondition: its root is a directory of the host (``--rootfs``).
    """
    from prun.rootfs.tarwriter import TarWriter
    from prun.rootfs.treereader import TreeReader

    row = store.find(words)
    require_layer(store, row)
    tar = TarWriter(write)
    with container_tree(store.snapshots, row.id) as root:
        reader = TreeReader(shift_of(store.snapshots, row.id)).members(root, b"")
        while True:
            with translated(lambda: f"files of container {row.name} cannot be read"):
                member = next(reader, None)
            if member is None:
                break
            tar.add(member.entry, member.pieces())
    tar.close()


def require_layer(store: Store, row: ContainerRow) -> None:
    """Refuse a container that has no writable layer.

    Raises:
        FailedPrecondition: its root is a directory of the host, or nothing is unpacked for its runtime.
    """
    try:
        store.snapshots.chain_of(row.id)
    except NotFound as error:
        raise FailedPrecondition(
            f"container {row.name} has no files in the store",
            hint="its root is a directory, or another engine's, or its runtime has none",
        ) from error


def mount_points(store: Store, words: str) -> list[bytes]:
    """Return the paths, below the root, where something is mounted in a container."""
    row = _container(store, words)
    mounted = [mount.destination.strip("/") for mount in store.metadata.mounts(row.id)] if row else []
    return [path.encode(errors="surrogateescape") for path in (*_MOUNT_POINTS, *mounted)]


def _container(store: Store, words: str) -> ContainerRow | None:
    try:
        return store.find(words)
    except NotFound:
        return None


@contextmanager
def _tree(store: Store, words: str) -> Iterator[int]:
    """Give the whole root of a container or an image."""
    if row := _container(store, words):
        require_layer(store, row)
        with container_tree(store.snapshots, row.id) as root:
            yield root
        return
    with store.using_images():
        chains = _chains(store, words)
        with image_tree(store.snapshots, chains[-1] if chains else "") as root:
            yield root


def _chains(store: Store, words: str) -> list[str]:
    """Unpack an image for this machine and return the chain IDs of its layers, the lowest first."""
    from prun.engines.embedded.images import find
    from prun.image.identity import chain_ids
    from prun.image.manifest import resolve
    from prun.image.platform import host_platform

    try:
        row = find(store, words)
    except NotFound as error:
        raise NotFound(f"no such container or image: {words}", hint="prun ps -a and prun images list them") from error
    image = resolve(store.content, row.target, host_platform(), row.name)
    store.snapshots.unpack(image.layers, store.content.open)
    return chain_ids([layer.diff_id for layer in image.layers])
