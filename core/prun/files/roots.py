"""The root of a container as the container sees it, what it has mounted included.

Of one that runs it is the root of its process, looked at from outside.  Of one that does not run it is mounted where
nobody else sees it, with its binds and volumes at their places; while it is, nobody else mounts it.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import FailedPrecondition, InvalidArgument, NotFound
from prun.files.layers import require_layer
from prun.rootfs import syscalls
from prun.rootfs.claims import held, temporary_directory
from prun.rootfs.failures import translated
from prun.rootfs.idmap import idmapped_clone, user_namespace
from prun.rootfs.private import private_root
from prun.rootfs.safepath import Root
from prun.rootfs.tree import Tree
from prun.volumes import device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.metadata import ContainerRow, MountRow
    from prun.rootfs.idmap import IdMaps
    from prun.state import Store

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ACCOUNTS_BYTES = 1 << 20


class ContainerRoot(NamedTuple):
    """An open root directory; its files have the owners of a user namespace with ``maps``.

    ``user`` is who the container's process is, uid and gid in the container.
    """

    row: ContainerRow
    fd: int
    maps: IdMaps | None
    user: tuple[int, int]


@contextmanager
def container_root(store: Store, row: ContainerRow) -> Iterator[ContainerRoot]:
    """Give the root of a container while the context lasts.

    Raises:
        FailedPrecondition: it has none here, or somebody is just starting or removing it.
        NotFound: what it has mounted is gone.
    """
    if row.status in ("running", "paused"):
        from prun.joining import open_root
        from prun.userns import recorded

        fd = open_root(store, row)
        try:
            namespace = recorded(store.bundle(row.id))
            yield ContainerRoot(row, fd, namespace.maps if namespace else None, _user_of_process(store, row))
        finally:
            os.close(fd)
        return
    require_layer(store, row)
    with _alone(store, row):
        _require_idle(store, row)
        with _mounted(store, row) as (fd, maps):
            yield ContainerRoot(row, fd, maps, _user_of_record(store, row, fd))


@contextmanager
def _alone(store: Store, row: ContainerRow) -> Iterator[None]:
    """Keep others from mounting the root, or removing it, meanwhile."""
    with ExitStack() as stack:
        try:
            stack.enter_context(held(store.snapshots.directory(row.id)))
        except FileNotFoundError as error:
            raise NotFound(f"no such container: {row.name}", hint="it has just been removed") from error
        yield


@contextmanager
def _mounted(store: Store, row: ContainerRow) -> Iterator[tuple[int, IdMaps | None]]:
    """Mount the root and everything in it for ourselves."""
    from prun.rootfs.shifted import recorded_maps

    snapshots = store.snapshots
    maps, copied = recorded_maps(snapshots.directory(row.id))
    mounts = sorted(store.metadata.mounts(row.id), key=lambda mount: mount.destination.count("/"))
    with temporary_directory(snapshots.path) as temporary:
        target = os.path.join(temporary, "root")
        os.mkdir(target, 0o755)

        def mount() -> None:
            snapshots.mount_held(row.id, target, idmap=None if copied else maps)
            for each in mounts:
                if each.type in ("bind", "volume") and "O" not in each.options:
                    _mount_one(store, each, target, maps)

        with translated(lambda: f"root of container {row.name} cannot be mounted"), private_root(target, mount) as fd:
            yield fd, maps


def _mount_one(store: Store, mount: MountRow, target: str, maps: IdMaps | None) -> None:
    """Mount a bind or a volume at its place in the root at ``target``, wherever links of the root lead to."""
    with _source(store, mount) as source:
        is_directory, path = stat.S_ISDIR(os.fstat(source).st_mode), f"/proc/self/fd/{source}"
        if maps and "idmap" in mount.options:
            with user_namespace(maps) as namespace:
                clone = idmapped_clone(path, namespace)
        else:
            clone = syscalls.clone_mount(path, recursive="rbind" in mount.options)
    try:
        if "ro" in mount.options:
            syscalls.make_readonly(clone)
        with Root(target) as root:
            try:
                place = root.open(mount.destination)
            except NotFound:
                _make_place(target, mount.destination, is_directory=is_directory)
                place = root.open(mount.destination)
        try:
            syscalls.attach_mount_at(clone, place)
        finally:
            os.close(place)
    finally:
        os.close(clone)


@contextmanager
def _source(store: Store, mount: MountRow) -> Iterator[int]:
    """Give an ``O_PATH`` descriptor of what is mounted: a path of the host's user, or a part of a volume."""
    path, subpath = mount.source, ""
    if mount.type == "volume":
        volume = store.volumes.find(mount.name)
        device.mount(volume, store.volumes.mountpoint(volume.name))  # for us only, where it is not mounted anyway
        path, subpath = store.volumes.directory(volume), mount.subpath
    if subpath:
        with Root(path) as root:
            fd = root.open(subpath)
    else:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound(f"{mount.type} mount at {mount.destination}: {path} is gone", hint="make it") from error
    try:
        yield fd
    finally:
        os.close(fd)


def _make_place(target: str, destination: str, *, is_directory: bool) -> None:
    """Make the empty file or directory that a runtime would make to mount over."""
    with Tree(os.open(target, _OPEN_DIRECTORY), merged=False) as tree:
        place = tree.place(os.fsencode(destination))
        if place is None:
            return
        if is_directory:
            os.mkdir(place.name, 0o755, dir_fd=place.directory.fd)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(place.name, flags, 0o755, dir_fd=place.directory.fd))


def _require_idle(store: Store, row: ContainerRow) -> None:
    """Refuse a container that somebody has come to start or to remove since we looked."""
    from prun.record import is_alive

    now = next((each for each in store.metadata.containers() if each.id == row.id), None)
    if now is None:
        raise NotFound(f"no such container: {row.name}", hint="it has just been removed")
    at_work = any(lease.container_id == row.id and is_alive(lease) for lease in store.metadata.leases())
    if at_work or now.status != row.status:
        raise FailedPrecondition(f"container {row.name} is just being started or ended", hint="try again")


def _user_of_process(store: Store, row: ContainerRow) -> tuple[int, int]:
    with open(os.path.join(store.bundle(row.id), "config.json"), encoding="utf-8") as file:
        user = json.load(file).get("process", {}).get("user", {})
    return user.get("uid", 0), user.get("gid", 0)


def _user_of_record(store: Store, row: ContainerRow, fd: int) -> tuple[int, int]:
    """Look up in the root's own files who the process would be."""
    from prun.files.origin import origin_of
    from prun.spec.user import resolve_user

    with Root(f"/proc/self/fd/{fd}") as root:

        def read(path: str) -> bytes | None:
            try:
                return root.read(path, _ACCOUNTS_BYTES)
            except (NotFound, InvalidArgument):
                return None

        user = resolve_user(origin_of(store, row).user, read)
    return user.get("uid", 0), user.get("gid", 0)
