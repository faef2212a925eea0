"""Where prun keeps things.

    ROOT (lasts)                       STATE (ends with the machine's uptime)
      metadata.db                        bundles/ID/     config.json, the mounted rootfs and parts of volumes
      content/      OCI image layout     runc/           the OCI runtime's own state
      snapshots/    unpacked layers
      containers/   ID/: its log
      volumes/      what outlives containers
      lock          shared while images are in use, exclusive to remove them

Every container that somebody is at work on has a lease with that process's identity: of a prun, or of the monitor of
one that lives without.  A process that is killed leaves its leases behind; ``prun.recovery`` does what it could not.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from prun.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, PrunError
from prun.metadata import ContainerRow, Metadata
from prun.record import Record, own_lease, remove_bundle
from prun.types import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from prun.image.layout import ContentStore
    from prun.rootfs.snapshots import Snapshots
    from prun.types import RunRequest
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

    With ``readonly`` nothing is made, and what is not there is empty.  ``aliases`` are the short names of images in
    ``prun.toml``; whoever looks for an image or names one needs them.

    Raises:
        PermissionDenied: a directory cannot be made or does not belong to us.
    """

    def __init__(self, root: str, state: str, aliases: Mapping[str, str] = NOTHING, *, readonly: bool = False) -> None:
        self.root, self.state = os.path.abspath(root), os.path.abspath(state)
        self.aliases = aliases
        self.readonly = readonly

    def __enter__(self) -> Self:
        if not self.readonly:
            make_private(self.root)
            make_private(self.state, passable=True)
        self.metadata = Metadata(os.path.join(self.root, "metadata.db"), readonly=self.readonly)
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

    def directory(self, container_id: str) -> str:
        """Return the path of what is kept of a container while it is there: its log."""
        return os.path.join(self.root, "containers", container_id)

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

        A container whose process never started is removed: there is nothing to come back to.  One that is being
        started again (it is recorded already) stays what it was.

        Raises:
            AlreadyExists: the id or the name is taken, or the file that shall hold the id is there.
            FailedPrecondition: somebody else is at work on it, or has just started it.
            NotFound: somebody else has just removed it.
        """
        with ExitStack() as stack:
            row = self._leased(request) if request.again else self._added(request, stack)
            record = Record(self, row, request.pid_file)
            stack.callback(record.end)
            remove_bundle(record.bundle)  # of a run before this one that was killed
            os.makedirs(record.bundle, 0o700)
            try:
                yield record
            except PrunError as error:
                record.failed(str(error))
                record.left = record.left or error.unfinished
                raise

    def _added(self, request: RunRequest, stack: ExitStack) -> ContainerRow:
        """Add a new container's row, with our lease."""
        row = ContainerRow(
            id=request.id,
            name=request.name or request.id[:12],
            image=request.image or request.rootfs,
            digest="",
            runtime=request.runtime,
            options=request.options,
            engine=request.engine,
            engine_options=request.engine_options,
            labels=request.labels,
            keep=not request.remove,
            created_at=time.time(),
            stop_signal=request.stop_signal,
            restart=request.restart,
            monitored=request.monitored,
            request=_stored(request) if request.monitored else "",
        )
        if request.cid_file:
            from prun.idfiles import cid_file

            stack.enter_context(cid_file(request.cid_file, row.id))
        self.metadata.add_container(row, own_lease(row.id))
        return row

    def _leased(self, request: RunRequest) -> ContainerRow:
        """Be at work on a container that is to start again, if we are not already: executed by who was."""
        ours = own_lease(request.id)
        was_ours = self.metadata.lease(request.id) == ours
        is_ours = was_ours or self.metadata.add_lease(ours)
        row = self.metadata.container(request.id)
        if row is None:
            raise NotFound(f"no such container: {request.name}", hint="another prun has just removed it")
        if (row.status in ("created", "stopped") and is_ours) or (row.status == "restarting" and was_ours):
            return row
        if is_ours:
            self.metadata.drop_lease(row.id)
        doing = "is being worked on by another prun" if row.status in ("created", "stopped") else f"is {row.status}"
        raise FailedPrecondition(f"container {row.name} {doing}", hint="try again")

    @contextmanager
    def _locked(self, *, exclusive: bool) -> Iterator[None]:
        if sys.platform == "win32":  # nothing is unpacked there that could be removed
            yield
            return
        from prun.rootfs.claims import locked

        with locked(os.path.join(self.root, "lock"), shared=not exclusive):
            yield


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


def _stored(request: RunRequest) -> str:
    from prun.request.stored import dumped

    return dumped(request)
