"""Volumes: directories that outlive containers, as docker's local driver has them.

    <path>/NAME/_data     what a container sees; where the driver's options mount something, it is mounted here
    <path>/.locks/NAME    held by whoever makes, fills, mounts or removes the volume
    <path>/.new/new-*     content on its way in or out, locked by its owner; without a lock it is a leftover

A directory without a row is a volume whose row got lost, and gets a new one; it is never taken for a leftover.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from prun.errors import AlreadyExists, FailedPrecondition, NotFound
from prun.metadata import VolumeRow
from prun.request.mounts import VOLUME_NAME, volume_name
from prun.rootfs.claims import claimed, locked, remove_directory, temporary_directory
from prun.rootfs.failures import translated
from prun.volumes import device

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from prun.metadata import Metadata
    from prun.rootfs.idmap import IdMaps


class Volumes:
    """The volumes below ``path``, shared by all processes that use the same ``path`` and ``metadata``."""

    def __init__(self, path: str, metadata: Metadata) -> None:
        self.path = os.path.abspath(path)
        self._metadata = metadata

    def create(self, wanted: VolumeRow) -> VolumeRow:
        """Make a volume; one of that name and with the same driver options is taken as it is.

        Raises:
            InvalidArgument: the name or an option cannot be used.
            AlreadyExists: there is one with other options.
        """
        volume_name(wanted.name)
        device.check_options(wanted.options)
        with self._at_work(wanted.name):
            return self._made(wanted)

    def find(self, name: str) -> VolumeRow:
        """Return the volume of exactly this name.

        Raises:
            NotFound: there is none.
        """
        row = self._metadata.volume(name)
        if row is None:
            raise NotFound(f"no such volume: {name}", hint="prun volume ls lists them")
        return row

    def directory(self, row: VolumeRow) -> str:
        """Return the path of a volume's content: the directory that its options name, or our own."""
        return device.bound(row.options) or self.mountpoint(row.name)

    def mountpoint(self, name: str) -> str:
        """Return where docker says that a volume is."""
        return os.path.join(self.path, name, "_data")

    def open(
        self,
        wanted: VolumeRow,
        content_fd: int | None = None,
        owner: tuple[int, int] | None = None,
        shift: IdMaps | None = None,
    ) -> None:
        """Make a volume ready for a container whose mounts are already recorded, so that nobody removes it.

        ``content_fd`` is a directory open for reading: an empty volume gets what is in it, and its owner and mode.
        ``owner``, a uid and a gid, has a volume that is made here and gets no content.  ``shift``: the copy belongs to
        the ids that these maps have for those of the content.

        Raises:
            AlreadyExists: there is one with other options.
            FailedPrecondition: what its options name cannot be mounted.
        """
        with self._at_work(wanted.name):
            is_new = not os.path.isdir(self.mountpoint(wanted.name))
            row = self._made(wanted)
            if is_new and owner is not None:
                os.chown(self.mountpoint(row.name), *owner)
            device.mount(row, self.mountpoint(row.name))
            if content_fd is not None:
                self._fill(row, content_fd, shift)

    def release(self, name: str, container_id: str, has_ended: Callable[[str], bool] = lambda _: False) -> None:
        """Unmount what the driver's options mount, unless another container that is being worked on uses it.

        ``has_ended`` tells of such a container, by its id, that it will only release the volume, too: of two that end
        at the same time one has to unmount it.
        """
        row = self._metadata.volume(name)
        if row is None or not device.is_mounted_by_us(row.options):
            return
        with self._at_work(name):
            if all(map(has_ended, self._live(name, container_id))):
                device.unmount(self.mountpoint(name))

    def users(self, name: str) -> list[str]:
        """Return the ids of the containers, stopped ones too, that have the volume mounted."""
        return sorted(
            {row.container_id for row in self._metadata.all_mounts() if (row.type, row.name) == ("volume", name)}
        )

    def remove(self, name: str, *, container_id: str = "") -> None:
        """Remove a volume that no container uses, ``container_id`` apart.

        Raises:
            NotFound: there is none.
            FailedPrecondition: a container uses it; the message names it.
        """
        with self._at_work(name):
            self.find(name)
            if users := [user for user in self.users(name) if user != container_id]:
                names = {row.id: row.name for row in self._metadata.containers()}
                listed = ", ".join(f"{names.get(user, '')} ({user[:12]})" for user in users)
                raise FailedPrecondition(
                    f"remove {name}: volume is in use by container {listed}",
                    hint=f"remove it first: prun rm {users[0][:12]}",
                )
            device.unmount(self.mountpoint(name))
            with translated(lambda: f"volume {name} cannot be removed"), temporary_directory(self._new()) as leaving:
                if os.path.isdir(os.path.join(self.path, name)):
                    os.rename(os.path.join(self.path, name), os.path.join(leaving, "volume"))
                self._metadata.drop_volume(name)
                self._metadata.add_event("volume", "destroy", name, {"driver": "local"})
            os.unlink(os.path.join(self.path, ".locks", name))

    def remove_unused(self, name: str) -> bool:
        """Remove a volume unless a container has come to use it, or somebody else was quicker; whether it is gone."""
        try:
            self.remove(name)
        except (FailedPrecondition, NotFound):
            return False
        return True

    def remove_anonymous(self, container_id: str) -> None:
        """Remove the volumes that were made for this container alone."""
        for mount in self._metadata.mounts(container_id):
            row = self._metadata.volume(mount.name) if mount.type == "volume" else None
            if row is not None and row.anonymous and self.users(row.name) == [container_id]:
                self.remove(row.name, container_id=container_id)

    def clear_leftovers(self) -> list[str]:
        """Undo what dead processes left, and say what it was; every directory with content stays a volume."""
        done: list[str] = []
        if not os.path.isdir(self.path):
            return done
        with translated(lambda: f"leftovers in {self.path} cannot be removed"):
            for name in sorted(os.listdir(self._new())):
                with claimed(os.path.join(self._new(), name)) as ours:
                    if ours:
                        remove_directory(os.path.join(self._new(), name))
                        done.append(f"half-made volume content {name}: removed")
            for name in sorted(os.listdir(self.path)):
                row = self._metadata.volume(name)
                if row is None and VOLUME_NAME.fullmatch(name) and os.path.isdir(self.mountpoint(name)):
                    self.create(VolumeRow(name, created_at=time.time()))
                    done.append(f"volume {name}, which the database did not know: found again")
                elif row is not None and os.path.ismount(self.mountpoint(name)):
                    self.release(name, "")
                    if not os.path.ismount(self.mountpoint(name)):
                        done.append(f"volume {name}, which nobody uses: unmounted")
        return done

    def _made(self, wanted: VolumeRow) -> VolumeRow:
        """Record and make a volume that is missing; the caller is at work on it."""
        row = self._metadata.volume(wanted.name)
        if row is None:
            row = wanted._replace(created_at=wanted.created_at or time.time())
            self._metadata.add_volume(row)
            self._metadata.add_event("volume", "create", row.name, {"driver": row.driver})
        elif wanted.options and dict(wanted.options) != dict(row.options):
            raise AlreadyExists(
                f"volume {row.name} exists with other options", hint="remove it first, or choose another name"
            )
        with translated(lambda: f"volume {row.name} cannot be made"):
            if not os.path.isdir(self.mountpoint(row.name)):
                os.makedirs(self.mountpoint(row.name), 0o700, exist_ok=True)
                os.chmod(self.mountpoint(row.name), 0o755)  # noqa: S103 its parents are 0700
        return row

    def _fill(self, row: VolumeRow, content_fd: int, shift: IdMaps | None) -> None:
        """Copy into a volume that is empty; where nobody looks yet, all of it appears at once."""
        directory = self.directory(row)
        with translated(lambda: f"volume {row.name} cannot be filled"):
            if os.listdir(directory):
                return
            shared = len(self._live(row.name, "")) > 1
            if shared or directory != self.mountpoint(row.name) or os.path.ismount(directory):
                _copy(content_fd, directory, shift)
                return
            with temporary_directory(self._new()) as temporary:
                complete = os.path.join(temporary, "_data")
                os.mkdir(complete)
                _copy(content_fd, complete, shift)
                os.rename(complete, directory)

    def _live(self, name: str, container_id: str) -> set[str]:
        """Return the containers that a process is at work on and that use the volume, ``container_id`` apart."""
        live = {lease.container_id for lease in self._metadata.leases()} - {container_id}
        return live.intersection(self.users(name))

    def _new(self) -> str:
        path = os.path.join(self.path, ".new")
        os.makedirs(path, 0o700, exist_ok=True)
        return path

    def _at_work(self, name: str) -> AbstractContextManager[None]:
        os.makedirs(os.path.join(self.path, ".locks"), 0o700, exist_ok=True)
        return locked(os.path.join(self.path, ".locks", name))


def _copy(content_fd: int, directory: str, shift: IdMaps | None) -> None:
    from prun.rootfs.copytree import copy_open_tree
    from prun.rootfs.tree import OPEN_DIRECTORY

    target = os.open(directory, OPEN_DIRECTORY)
    try:
        copy_open_tree(content_fd, target, shift)
    finally:
        os.close(target)
