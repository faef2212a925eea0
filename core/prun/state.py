"""Where prun keeps things, and the record of a container from its first trace on disk to its last.

    ROOT (lasts)                       STATE (ends with the machine's uptime)
      metadata.db                        bundles/ID/     config.json, the mounted rootfs and parts of volumes
      content/      OCI image layout     runc/           the OCI runtime's own state
      snapshots/    unpacked layers
      volumes/      what outlives containers
      lock          shared while images are in use, exclusive to remove them

Every container that somebody is at work on has a lease with that process's identity.  A process that is killed
leaves its leases behind; ``prun.recovery`` finds them and does what it could not.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from prun.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from prun.metadata import ContainerRow, Lease, Metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from prun.image.layout import ContentStore
    from prun.rootfs.snapshots import Snapshots
    from prun.types import ExitStatus, Image, RunRequest, Task
    from prun.volumes import Volumes


def default_root() -> str:
    """Return the directory for what lasts: the system's for root, else the user's own (XDG base directories)."""
    if is_root():
        return "/var/lib/prun"
    return os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "prun")


def default_state() -> str:
    """Return the directory for what ends with the machine's uptime."""
    if is_root():
        return "/run/prun"
    return os.path.join(os.environ.get("XDG_RUNTIME_DIR") or os.path.join(default_root(), "state"), "prun")


class Store:
    """The two directories and a connection to the database in them, until the context ends.

    Raises:
        PermissionDenied: a directory cannot be made or does not belong to us.
    """

    def __init__(self, root: str, state: str) -> None:
        self.root, self.state = os.path.abspath(root), os.path.abspath(state)

    def __enter__(self) -> Self:
        make_private(self.root)
        make_private(self.state, passable=True)
        self.metadata = Metadata(os.path.join(self.root, "metadata.db"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.metadata.close()

    @property
    def content(self) -> ContentStore:
        """The blobs of images."""
        from prun.image.layout import ContentStore

        return ContentStore(os.path.join(self.root, "content"))

    @property
    def snapshots(self) -> Snapshots:
        """Unpacked layers and the writable layers of containers."""
        from prun.rootfs.snapshots import Snapshots

        return Snapshots(os.path.join(self.root, "snapshots"), self.metadata)

    @property
    def volumes(self) -> Volumes:
        """What outlives containers."""
        from prun.volumes import Volumes

        return Volumes(os.path.join(self.root, "volumes"), self.metadata)

    def bundle(self, container_id: str) -> str:
        """Return the path of a container's bundle."""
        return os.path.join(self.state, "bundles", container_id)

    def find(self, words: str) -> ContainerRow:
        """Return the container of a name (docker's leading slash is none of it), an id, or the beginning of an id.

        Raises:
            NotFound: there is none.
            InvalidArgument: several ids begin like that.
        """
        wanted = words.removeprefix("/")
        rows = self.metadata.containers()
        exact = [row for row in rows if wanted in (row.name, row.id)]
        near = exact or [row for row in rows if wanted and row.id.startswith(wanted)]
        if len(near) > 1:
            raise InvalidArgument(f"{words!r} is the beginning of {len(near)} containers' ids", hint="use more digits")
        if not near:
            raise NotFound(f"no such container: {words}", hint="prun ps -a lists them")
        return near[0]

    @contextmanager
    def using_images(self) -> Iterator[None]:
        """While the block runs, no image, blob or snapshot is removed."""
        with self._locked(exclusive=False):
            yield

    @contextmanager
    def removing_images(self) -> Iterator[None]:
        """Wait until nobody looks up or unpacks an image, and keep others from starting to."""
        with self._locked(exclusive=True):
            yield

    @contextmanager
    def container(self, request: RunRequest) -> Iterator[Record]:
        """Record a container, hold its lease and its bundle directory; at the end remove what shall not stay.

        A container whose process never started is removed: there is nothing to come back to.

        Raises:
            AlreadyExists: the id or the name is taken, or the file that shall hold the id is there.
        """
        row = ContainerRow(
            id=request.id,
            name=request.name or request.id[:12],
            image=request.image or request.rootfs,
            digest="",
            runtime=request.runtime,
            options=request.options,
            labels=request.labels,
            keep=not request.remove,
            created_at=time.time(),
            stop_signal=request.stop_signal,
        )
        with ExitStack() as stack:
            if request.cid_file:
                from prun.idfiles import cid_file

                stack.enter_context(cid_file(request.cid_file, row.id))
            self.metadata.add_container(row, own_lease(row.id))
            record = Record(self, row, request.pid_file)
            stack.callback(record.end)
            os.makedirs(record.bundle, 0o700)
            yield record

    @contextmanager
    def _locked(self, *, exclusive: bool) -> Iterator[None]:
        if sys.platform == "win32":  # nothing is unpacked there that could be removed
            yield
            return
        from prun.rootfs.claims import locked

        with locked(os.path.join(self.root, "lock"), shared=not exclusive):
            yield


class Record:
    """The traces of one container: its row, its lease, its bundle, its writable layer, its ``pid_file``."""

    def __init__(self, store: Store, row: ContainerRow, pid_file: str = "") -> None:
        self._store = store
        self._pid_file = pid_file
        self.row = row
        self.bundle = store.bundle(row.id)

    def resolved(self, image: Image) -> None:
        """From now on the image cannot be removed while the container is there."""
        signal = self.row.stop_signal or image.config.get("StopSignal", "")
        self._set(digest=image.digest, stop_signal=_known_signal(signal) if signal else "")

    def created(self, task: Task) -> None:
        """The process is there, if the task has one before its start; its command does not run yet."""
        if self._pid_file:
            from prun.idfiles import write_pid_file

            write_pid_file(self._pid_file, task)

    def started(self, pid: int | None, command: Sequence[str]) -> None:
        self._set(status="running", pid=pid, command=command, started_at=time.time())

    def exited(self, status: ExitStatus) -> None:
        self._set(status="stopped", exit_code=status.code, pid=None, finished_at=time.time())

    def end(self) -> None:
        """Remove the bundle, and the container itself unless it ran and shall stay."""
        remove_bundle(self.bundle)
        self._release_mounts()
        if self.row.keep and self.row.status != "created":
            if self.row.status == "running":
                self._set(status="stopped", pid=None, finished_at=time.time())
            self._store.metadata.drop_lease(self.row.id)
        else:
            self.remove(volumes=True)

    def remove(self, *, volumes: bool = False) -> None:
        """Remove the writable layer, and last the row that tells of it; ``volumes``: anonymous ones before."""
        if volumes and self._store.metadata.mounts(self.row.id):
            self._store.volumes.remove_anonymous(self.row.id)
        self._store.snapshots.remove(self.row.id)
        self._store.metadata.drop_container(self.row.id)

    def _release_mounts(self) -> None:
        """Let go of what was mounted for this run of the container only."""
        mounts = self._store.metadata.mounts(self.row.id)
        for mount in mounts:
            if mount.type == "volume":
                self._store.volumes.release(mount.name, self.row.id)
        if any(mount.type == "image" for mount in mounts):
            for key in self._store.snapshots.keys():  # noqa: SIM118  a method, not a mapping
                if owner_of(key) == self.row.id and key != self.row.id:
                    self._store.snapshots.remove(key)

    def _set(self, **columns: object) -> None:
        self.row = self.row._replace(**columns)  # type: ignore[arg-type]  # the columns of ContainerRow
        self._store.metadata.update_container(self.row.id, **columns)


def remove_bundle(path: str) -> None:
    """Remove a bundle directory without ever going below a mount point or into a directory that is not empty.

    Raises:
        FailedPrecondition: something is still there that prun did not put there, or a mount that cannot be undone.
    """
    if not os.path.isdir(path):
        return
    rootfs = os.path.join(path, "rootfs")
    if os.path.isdir(rootfs) and os.path.ismount(rootfs):
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


def own_lease(container_id: str) -> Lease:
    """Return a lease of this process on a container."""
    pid = os.getpid()
    return Lease(container_id, boot_id(), pid, start_time(pid) or 0)


def is_alive(lease: Lease) -> bool:
    """Tell whether the very process that took the lease is still there."""
    if lease.boot_id != boot_id():
        return False
    if lease.start_time:
        return start_time(lease.pid) == lease.start_time
    if sys.platform == "win32":  # where os.kill is no probe, and nothing is embedded that outlives its prun
        return True
    try:
        os.kill(lease.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone or a zombie.

    The process's name, in parentheses, may hold anything, parentheses too: proc_pid_stat(5).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def boot_id() -> str:
    """Return what tells this boot of the machine from others; empty where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def make_private(path: str, *, passable: bool = False) -> None:
    """Make a directory that nobody else can look into.

    ``passable``: where others may go through it already, they still may (a container's own root to its bundle).

    Raises:
        PermissionDenied: it cannot be made, or is another's.
    """
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        info = os.stat(path)
    except OSError as error:
        raise PermissionDenied(
            f"directory {path} cannot be made: {error.strerror}",
            hint="run prun as root (sudo), or choose directories of yours with --root and --state",
        ) from error
    if hasattr(os, "geteuid") and info.st_uid != os.geteuid() and not is_root():
        raise PermissionDenied(
            f"directory {path} belongs to uid {info.st_uid}", hint="run prun as its owner, or choose another directory"
        )
    if os.name == "posix" and info.st_mode & (0o066 if passable else 0o077):
        os.chmod(path, 0o700)


def is_root() -> bool:
    """Tell whether this process is the system's root, and not an ordinary user's in a user namespace (``rootless``)."""
    if not may_mount():
        return False
    if "PRUN_ROOTLESS" not in os.environ:
        return True
    from prun.rootless import is_rootless

    return not is_rootless()


def may_mount() -> bool:
    """Tell whether this process is root, be it of a user namespace."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
