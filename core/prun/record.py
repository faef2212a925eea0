"""The record of a container, from its first trace on disk to its last; who is at work on it; its bundle directory."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, InvalidArgument
from prun.identity import boot_id, is_process, start_time
from prun.metadata import ContainerRow, Lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.state import Store
    from prun.types import ExitStatus, Image, Task

UNKNOWN_CODE = 255  # podman's, where nobody knows how a process ended


class Record:
    """The traces of one container: its row, its lease, its bundle, its writable layer, its ``pid_file``.

    ``left``: something other than this prun has its lease by now, and ``end`` is not for us to do.
    """

    def __init__(self, store: Store, row: ContainerRow, pid_file: str = "") -> None:
        self.store = store
        self._pid_file = pid_file
        self.row = row
        self.bundle = store.bundle(row.id)
        self.left = False
        self._made = False
        self._kept = row.status != "created" or bool(row.command)  # it was there before

    def resolved(self, image: Image) -> None:
        """From now on the image cannot be removed while the container is there."""
        signal = self.row.stop_signal or image.config.get("StopSignal", "")
        if not self._kept:
            labels = {**image.config.get("Labels", {}), **self.row.labels}
            with self.store.metadata.transaction():
                self._set(digest=image.digest, labels=labels, stop_signal=_known_signal(signal) if signal else "")
                self._tell("create")

    def made(self, command: Sequence[str]) -> None:
        """The container is complete, and stays although it has not been started (``prun create``)."""
        self._made = True
        self._set(command=command)

    def created(self, task: Task) -> None:
        """The process is there, if the task has one before its start; its command does not run yet."""
        if self._pid_file:
            from prun.idfiles import write_pid_file

            write_pid_file(self._pid_file, task)

    def started(
        self, pid: int | None, command: Sequence[str], monitor_pid: int | None = None, *, leave: bool = False
    ) -> None:
        """The process runs; ``leave``: the container is its monitor's to look after, ours if that has ended already."""
        with self.store.metadata.transaction():
            self._set(
                status="running", pid=pid, start_time=(pid and start_time(pid)) or 0, command=command,
                started_at=time.time(), finished_at=None, exit_code=None, error="", stop_asked=False, oom_killed=False,
            )  # fmt: skip
            self._tell_of_volumes("mount")
            self._tell("start")
            if monitor_pid is not None:
                self.store.metadata.take_lease(own_lease(self.row.id), lease_of(self.row.id, monitor_pid))
            self.left = leave

    def exited(self, status: ExitStatus | None, *, error: str = "", oom_killed: bool = False) -> None:
        """The process has ended, nobody knows how where ``status`` is None."""
        code = UNKNOWN_CODE if status is None else status.code
        with self.store.metadata.transaction():
            self._set(
                status="stopped", exit_code=code, pid=None, start_time=0, finished_at=time.time(), error=error,
                oom_killed=oom_killed,
            )  # fmt: skip
            if oom_killed:
                self._tell("oom")
            self._tell("die", exitCode=str(code))
            self._tell_of_volumes("unmount")

    def failed(self, words: str) -> None:
        """The container was there before, and could not be started again."""
        if self._kept and not self.left:
            self._set(error=words)

    def end(self) -> None:
        """Remove the bundle, and the container itself unless it ran, or was there before, and shall stay."""
        if self.left:
            return
        self.take_down()
        if self._made or (self.row.keep and (self._kept or self.row.status != "created")):
            if self.row.status == "running":
                self.exited(None, error="the prun that ran it was killed")
            if self.row.status == "restarting":
                self._set(status="stopped")  # it could not be started again
            self.store.metadata.drop_lease(self.row.id)
        else:
            self.remove(volumes=True)

    def take_down(self) -> None:
        """Remove the bundle, and let go of what was there for this run of the container only."""
        if self.row.health:
            from prun.clock import unwatch

            unwatch(self.store.metadata.container(self.row.id) or self.row)
        remove_bundle(self.bundle)
        self._release_mounts()

    def remove(self, *, volumes: bool = False) -> None:
        """Remove the writable layer, and last the row that tells of it; ``volumes``: anonymous ones before."""
        if volumes and self.store.metadata.mounts(self.row.id):
            self.store.volumes.remove_anonymous(self.row.id)
        self.store.snapshots.remove(self.row.id)
        if os.path.isdir(directory := self.store.directory(self.row.id)):
            _remove_files(directory)
        with self.store.metadata.transaction():
            self.store.metadata.drop_container(self.row.id)
            self._tell("destroy")

    def set(self, **columns: object) -> None:
        """Change columns of the row."""
        self._set(**columns)

    def _release_mounts(self) -> None:
        mounts = self.store.metadata.mounts(self.row.id)
        for mount in mounts:
            if mount.type == "volume":
                self.store.volumes.release(mount.name, self.row.id, self._has_ended)
        if mounts:  # an image, or a directory of the host, may be below a writable layer
            for key in self.store.snapshots.keys():  # noqa: SIM118  a method, not a mapping
                if owner_of(key) == self.row.id and key != self.row.id:
                    self.store.snapshots.remove(key)

    def _has_ended(self, container_id: str) -> bool:
        """Tell whether a container that somebody is at work on is being taken down, its bundle gone already."""
        return not os.path.isdir(self.store.bundle(container_id))

    def _tell(self, action: str, **attributes: str) -> None:
        self.store.metadata.add_event("container", action, self.row.id, self.row.attributes(**attributes))

    def _tell_of_volumes(self, action: str) -> None:
        for mount in self.store.metadata.mounts(self.row.id):
            if mount.type == "volume":
                attributes = {"container": self.row.id, "driver": "local"}
                if action == "mount":
                    writable = str("ro" not in mount.options).lower()
                    attributes |= {"destination": mount.destination, "read/write": writable}
                self.store.metadata.add_event("volume", action, mount.name, attributes)

    def _set(self, **columns: object) -> None:
        self.row = self.row._replace(**columns)  # type: ignore[arg-type]  # the columns of ContainerRow
        self.store.metadata.update_container(self.row.id, **columns)


def own_lease(container_id: str) -> Lease:
    """Return a lease of this process on a container."""
    return lease_of(container_id, os.getpid())


def lease_of(container_id: str, pid: int) -> Lease:
    """Return a lease of a process on a container."""
    return Lease(container_id, boot_id(), pid, start_time(pid) or 0)


def is_alive(lease: Lease) -> bool:
    """Tell whether the very process that took the lease is still there."""
    return lease.boot_id == boot_id() and is_process(lease.pid, lease.start_time)


def remove_bundle(path: str) -> None:
    """Remove a bundle directory without ever going below a mount point or into a directory that is not empty.

    Raises:
        FailedPrecondition: something is still there that prun did not put there, or a mount that cannot be undone.
    """
    if not os.path.isdir(path):
        return
    rootfs = os.path.join(path, "rootfs")
    if os.path.isdir(rootfs):  # os.path.ismount does not know a bind mount of the same file system
        from prun.rootfs.mount import unmount

        unmount(rootfs)
    try:
        if os.path.isdir(mounts := os.path.join(path, "mounts")):
            _remove_mounts(mounts)
        with os.scandir(path) as entries:
            for entry in list(entries):
                if entry.is_dir(follow_symlinks=False):
                    os.rmdir(entry.path)
                else:
                    os.unlink(entry.path)
        os.rmdir(path)
    except FileNotFoundError:
        pass  # another process was cleaning up too
    except OSError as error:
        raise FailedPrecondition(
            f"bundle {path} cannot be removed: {error.strerror}", hint=f"look at what is in {path}"
        ) from error


def _remove_mounts(path: str) -> None:
    """Undo what ``prun.engines.embedded.mounts`` has mounted in a bundle; the directory stays, empty."""
    from prun.rootfs.mount import unmount

    with os.scandir(path) as entries:
        for entry in list(entries):
            unmount(entry.path)
            if entry.is_dir(follow_symlinks=False):
                os.rmdir(entry.path)
            else:
                os.unlink(entry.path)


def _remove_files(directory: str) -> None:
    """Remove a directory of our own files."""
    with os.scandir(directory) as entries:
        for entry in list(entries):
            os.unlink(entry.path)
    os.rmdir(directory)


def snapshot_key(container_id: str, number: int) -> str:
    """Return the key of the snapshot of an image that a container has mounted."""
    return f"{container_id}+{number}"


def owner_of(key: str) -> str:
    """Return the id of the container that a snapshot's key belongs to; an id has no ``+``."""
    return key.partition("+")[0]


def _known_signal(word: str) -> str:
    """Return the signal's name, or nothing of an image's word that is none: moby takes SIGTERM then, too."""
    from prun.request.lifecycle import signal_name

    try:
        return signal_name(word)
    except InvalidArgument:
        return ""
