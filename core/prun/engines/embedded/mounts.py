"""The mounts that a user or an image asked for: what they are is decided and recorded first, then it is made ready.

A part of a volume or of an image is opened within its root, and exactly what was opened is mounted in the bundle, at
``BUNDLE/mounts/N``: the container that wrote the volume can rename and link as it likes meanwhile.  The same holds of
directories and files of the host (``binds``).
"""

from __future__ import annotations

import hashlib
import os
import stat
from posixpath import normpath
from typing import TYPE_CHECKING, NamedTuple

from prun.engines.embedded import binds
from prun.errors import FailedPrecondition, InvalidArgument, NotFound
from prun.metadata import MountRow, VolumeRow
from prun.record import snapshot_key
from prun.request.mount_options import read_only
from prun.request.mounts import MountRequest, parse_volumes_from
from prun.rootfs.failures import translated
from prun.rootfs.idmap import host_id, inverse
from prun.rootfs.mount import unmount
from prun.rootfs.owners import check_path, give
from prun.rootfs.safepath import Root
from prun.rootless import allowed
from prun.spec.user import FILE_LIMIT_BYTES, resolve_user
from prun.state import Store, is_root
from prun.types import Mount
from prun.volumes import device

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from prun.rootfs.idmap import IdMaps
    from prun.types import Image, RunRequest

IMAGE_VOLUMES = 256  # how many an image may ask for
_NOT_FOR_IMAGES = ("/proc", "/sys", "/dev")
_COVERED = (*_NOT_FOR_IMAGES, "/run")  # where a mount of ours hides what the image has
_OURS = ("O", "idmap")  # options of a record that no OCI runtime sees
_MS_BIND = 0x1000


class Planned(NamedTuple):
    """One mount: its record, and what was asked for; ``image`` is what an image mount shows."""

    row: MountRow
    asked: MountRequest
    anonymous: bool = False
    image: Image | None = None


class _Work(NamedTuple):
    """What the mounts of one container are made with; ``maps`` are those of its own user namespace."""

    request: RunRequest
    image: Image
    bundle: str
    root: Root
    maps: IdMaps | None

    def owner(self) -> tuple[int, int] | None:
        """Return whose a new volume is: of the container's root, or of who keeps his id in it (podman's rule)."""
        if self.maps is None:
            return None
        if self.request.namespaces.get("user", "").startswith("keep-id"):
            return os.geteuid(), os.getegid()
        uid, gid = host_id(self.maps.uids, 0), host_id(self.maps.gids, 0)
        return None if uid is None or gid is None else (uid, gid)

    def user(self) -> tuple[int, int]:
        """Return the ids on the host of the user whom the container's process is.

        Raises:
            InvalidArgument, NotFound: there is no such user, or it is not mapped.
        """
        user = self.request.user or self.image.config.get("User", "")
        if not user and self.request.namespaces.get("user", "").startswith("keep-id"):
            return os.geteuid(), os.getegid()
        found = resolve_user(user, self._read)
        if self.maps is None:
            return found["uid"], found["gid"]
        uid, gid = host_id(self.maps.uids, found["uid"]), host_id(self.maps.gids, found["gid"])
        if uid is None or gid is None:
            raise InvalidArgument(
                f"option U: user {found['uid']}:{found['gid']} is not mapped in the user namespace", hint="map more ids"
            )
        return uid, gid

    def _read(self, path: str) -> bytes | None:
        try:
            return self.root.read(path, FILE_LIMIT_BYTES)
        except NotFound:
            return None


def mounts(request: RunRequest, image: Image) -> list[Mount]:
    """Return the spec's mounts of everything but tmpfs, which ``prun.builtin.flags`` knows as well as we."""
    with Store(request.root, request.state, readonly=bool(request.dry_run)) as store:
        if request.view_only:
            rows = [planned.row for planned in plan(store, request, image)]
        else:
            rows = store.metadata.mounts(request.id)
        bundle = store.bundle(request.id)
    found = [
        Mount(row.destination, "bind", row.source, tuple(word for word in row.options if word not in _OURS))
        for row in rows
        if row.type != "tmpfs"
    ]
    return [binds.pinned(allowed(mount, request), bundle) for mount in found]


def plan(store: Store, request: RunRequest, image: Image) -> list[Planned]:
    """Decide what the container mounts: the user's word goes over another container's, and that over the image's.

    Raises:
        InvalidArgument: the image wants a volume where none may be.
        NotFound: no such container, or no such image.
    """
    asked = {mount.destination: mount for mount in (*_from_containers(store, request), *request.volumes)}
    elsewhere = {_clean(mount.destination) for mount in request.mounts}
    for destination in _image_volumes(image):
        if destination not in asked and destination not in elsewhere:
            asked[destination] = MountRequest("volume", "", destination, ("rbind", "rprivate", "rw"), create=True)
    # By depth, so that a parent is mounted first; the numbers name what is mounted in the bundle.
    ordered = sorted(asked.values(), key=lambda mount: (mount.destination.count("/"), mount.destination))
    # A container that is started again has volumes of its own already.
    known = {row.destination: row.name for row in store.metadata.mounts(request.id)} if request.again else {}
    return [
        _planned(store, request, image, mount, number, known.get(mount.destination, ""))
        for number, mount in enumerate(ordered)
    ]


def check_sources(request: RunRequest) -> None:
    """Refuse a bind mount of what does not exist, before anything is made.

    Raises:
        NotFound: ``--mount`` names a path that does not exist; ``-v`` makes a directory.
    """
    for mount in request.volumes:
        if mount.type == "bind" and not mount.create and not os.path.exists(mount.source):
            raise NotFound(f"bind source path does not exist: {mount.source}", hint="make it, or use -v, which does")


def prepare(
    store: Store, request: RunRequest, image: Image, bundle: str, root: Root, undo: ExitStack, maps: IdMaps | None
) -> None:
    """Record the mounts and make their sources ready; ``root`` is the container's root, with nothing mounted in it yet.

    ``undo`` gets a call for each mount that is to be undone when the container has ended.  ``maps`` are those of the
    container's own user namespace.

    Raises:
        InvalidArgument: a file would be mounted on a directory, or a directory on a file.
        NotFound: a part of a volume or of an image does not exist.
        FailedPrecondition: the device of a volume cannot be mounted.
    """
    everything = plan(store, request, image)
    if not everything:
        return
    check_sources(request)
    store.metadata.add_mounts(planned.row for planned in everything)
    os.makedirs(os.path.join(bundle, "mounts"), 0o700, exist_ok=True)  # --ipc shareable mounts there too
    work = _Work(request, image, bundle, root, maps)
    taken = [planned.row.destination for planned in everything]
    for number, planned in enumerate(everything):
        covered = any(_is_below(planned.row.destination, each) for each in (*taken, *_COVERED))
        if planned.row.type == "volume":
            _prepare_volume(store, planned, work, covered=covered)
        elif planned.row.type == "image":
            _prepare_image(store, planned, snapshot_key(request.id, number), undo, maps)
        kept = planned.row.type in ("tmpfs", "image")
        source = planned.row.source if kept else _pinned(store, planned, number, work)
        if not covered:
            _check_kinds(planned.row, source, root)


def _planned(store: Store, request: RunRequest, image: Image, mount: MountRequest, number: int, known: str) -> Planned:
    staged = os.path.join(store.bundle(request.id), "mounts", str(number))
    ours = [*(["O"] if mount.overlay else []), *(["idmap"] if mount.owners == "idmap" else [])]
    options = (*mount.options, *ours)
    row = MountRow(request.id, mount.destination, mount.type, mount.source, "", staged, mount.subpath, options)
    if mount.type == "volume":
        name = mount.source or known or _anonymous_name(request, mount.destination)
        volume = store.metadata.volume(name) or VolumeRow(name, options=mount.driver_options)
        if not mount.create and store.metadata.volume(name) is None:
            raise NotFound(f"no such volume: {name}", hint=f"prun volume create {name}")
        words = device.bind_options(volume.options)
        options += tuple(word for word in words if word != "rw" and word not in options)
        if "ro" in words:
            options = tuple(word for word in options if word != "rw")
        source = staged if mount.subpath else store.volumes.directory(volume)
        return Planned(row._replace(name=name, source=source, options=options), mount, anonymous=not mount.source)
    if mount.type == "image":
        from prun.engines.embedded.images import resolve_image

        found = resolve_image(request._replace(image=mount.source), image.platform)
        return Planned(row._replace(name=found.name, digest=found.digest), mount, image=found)
    return Planned(row._replace(name="", source=mount.source), mount)


def _from_containers(store: Store, request: RunRequest) -> Iterator[MountRequest]:
    """Yield the binds and volumes of the containers of ``--volumes-from``; a tmpfs or an image is each one's own."""
    for word in request.volumes_from:
        name, readonly = parse_volumes_from(word)
        for row in store.metadata.mounts(store.find(name).id):
            if row.type not in ("bind", "volume"):
                continue
            options = tuple(word for word in row.options if word not in _OURS)
            found = MountRequest("bind", row.source, row.destination, read_only(options) if readonly else options)
            found = found._replace(overlay="O" in row.options, owners="idmap" if "idmap" in row.options else "")
            if row.type == "volume":
                found = found._replace(type="volume", source=row.name, subpath=row.subpath, create=True, copy=False)
            yield found


def _image_volumes(image: Image) -> list[str]:
    """Return the paths of the image's ``Volumes``, cleaned (CVE-2022-23648, CVE-2019-16884)."""
    volumes = image.config.get("Volumes") or {}
    if len(volumes) > IMAGE_VOLUMES:
        raise InvalidArgument(f"image {image.name} has {len(volumes)} volumes; at most {IMAGE_VOLUMES} are made")
    found = []
    for path in volumes:
        clean = _clean(path)
        refused = clean == "/" or any(clean == each or _is_below(clean, each) for each in _NOT_FOR_IMAGES)
        if refused or any(c in path for c in "\0\n"):
            raise InvalidArgument(
                f"image {image.name} wants a volume at {path!r}, where none may be", hint="do not use this image"
            )
        found.append(clean)
    return found


def _anonymous_name(request: RunRequest, destination: str) -> str:
    """Return a new name; one that says the same each time where nothing is made."""
    if not request.view_only:
        return os.urandom(32).hex()
    return hashlib.sha256(f"{request.id}:{destination}".encode()).hexdigest()


def _prepare_volume(store: Store, planned: Planned, work: _Work, *, covered: bool) -> None:
    asked = planned.asked
    wanted = VolumeRow(planned.row.name, asked.driver, asked.labels, asked.driver_options, anonymous=planned.anonymous)
    device.check_options(wanted.options)
    content = None
    if asked.copy and not asked.subpath and not covered:
        content = work.root.open_directory(planned.row.destination)
    try:
        if asked.owners == "idmap" and work.maps:  # on disk are the image's own ids, for whatever maps come next
            store.volumes.open(wanted, content, shift=inverse(work.maps))
        else:
            store.volumes.open(wanted, content, work.owner())
    finally:
        if content is not None:
            os.close(content)
    if asked.subpath:
        with Root(store.volumes.directory(store.volumes.find(wanted.name))) as volume:
            _stage(volume, f"volume {wanted.name}", planned.row)


def _prepare_image(store: Store, planned: Planned, key: str, undo: ExitStack, maps: IdMaps | None) -> None:
    """Mount an image's snapshot below a writable layer of its own; what is written is thrown away."""
    if planned.image is None:
        raise AssertionError("unreachable: planned with its image")
    snapshots = store.snapshots
    copied = bool(maps) and not is_root()  # as for the container's root
    chain_id = snapshots.unpack(planned.image.layers, store.content.open)
    snapshots.prepare(key, chain_id, maps if copied else None)
    merged = planned.row.source + ".image" if planned.row.subpath else planned.row.source
    os.mkdir(merged, 0o755)
    snapshots.mount_at(key, merged, volatile=True, idmap=None if copied else maps)
    undo.callback(unmount, merged)
    if planned.row.subpath:
        with Root(merged) as content:
            _stage(content, f"image {planned.row.name}", planned.row)


def _stage(root: Root, what: str, row: MountRow) -> None:
    """Mount the part ``row.subpath`` of ``root`` at ``row.source``: what was opened, whatever has its name by then."""
    from prun.rootfs import syscalls

    try:
        handle = root.open(row.subpath)
    except NotFound as error:
        hint = "make it in the volume first" if row.type == "volume" else "choose another path in the image"
        raise NotFound(f"{what} has no {row.subpath!r}", hint=hint) from error
    try:
        mode = os.fstat(handle).st_mode
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise FailedPrecondition(f"{what}: {row.subpath!r} is neither a directory nor a file")
        binds.make_place(row.source, stat.S_ISDIR(mode))
        with translated(lambda: f"{what}: {row.subpath!r} cannot be mounted"):
            syscalls.old_mount(f"/proc/self/fd/{handle}", row.source, "", _MS_BIND, "")
    finally:
        os.close(handle)


def _pinned(store: Store, planned: Planned, number: int, work: _Work) -> str:
    """Mount a directory or file of the host in the bundle and return where; what is in the store nobody can rename."""
    row, asked = planned.row, planned.asked
    if row.type == "bind" and asked.create:
        _make_source(row.source)
    ours = row.type == "volume" and any(_is_below(row.source, each) for each in (store.root, store.state))
    shown = work.maps if asked.owners == "idmap" else None
    if asked.owners == "idmap" and not (shown and is_root()):
        raise FailedPrecondition(
            f"{row.type} mount at {row.destination}: idmap needs root, and a user namespace of the container's own",
            hint="add --userns auto or --uidmap, or leave idmap out",
        )
    source = row.source
    if not ours or asked.overlay or shown:
        target = binds.place(work.bundle, row.destination)
        with binds.opened(row.source) as handle:
            if asked.owners == "U" and not ours:
                check_path(binds.path_of(handle))
            if asked.overlay:
                binds.overlay(handle, target, store.snapshots, snapshot_key(row.container_id, number))
                source = target
            elif binds.pin(handle, target, row.options, store.state, shown):
                source = target
            elif shown:
                raise FailedPrecondition(f"{row.source} cannot be mounted with other owners", hint="leave idmap out")
    if asked.owners == "U":
        give(source, *work.user(), row.name or row.source)
    return source


def _make_source(path: str) -> None:
    """Make the directory that ``-v`` names, as docker does."""
    with translated(lambda: f"directory {path} cannot be made"):
        if not os.path.exists(path):
            os.makedirs(path, 0o755, exist_ok=True)


def _check_kinds(row: MountRow, source: str, root: Root) -> None:
    """Refuse what the runtime would: a file over a directory, a directory over a file."""
    destination = row.destination
    there = root.stat(destination)
    is_directory = row.type == "tmpfs" or os.path.isdir(source)
    if there is None and (file := root.file_above(destination)):
        raise InvalidArgument(f"{row.type} mount at {destination}: {file} is no directory", hint="choose another path")
    if there is not None and stat.S_ISDIR(there.mode) != is_directory:
        kinds = ("a directory", "a file") if is_directory else ("a file", "a directory")
        raise InvalidArgument(
            f"{row.type} mount at {destination}: {kinds[0]} cannot be mounted over {kinds[1]}",
            hint="choose another path in the container",
        )


def _clean(path: str) -> str:
    return "/" + normpath("/" + path).lstrip("/")


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/")
