"""The rows of the metadata database, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from prun.types import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.image.document import Descriptor
    from prun.types import Status


class ImageRow(NamedTuple):
    """A name in the store and what it points to: the digest of a manifest or of an index."""

    name: str
    digest: str
    media_type: str
    size_bytes: int
    created_at: float

    @property
    def target(self) -> Descriptor:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size_bytes}


class ContainerRow(NamedTuple):
    """The record of a container.

    ``status``: ``created`` until its process starts, then ``running``, then ``stopped``.  ``keep`` False: the run
    that made it removes it at its end (``--rm``).  Times are seconds since the epoch.  ``options`` are the runtime's,
    ``command`` the arguments of its process once the spec is built.  ``stop_signal`` asks the process to end; empty
    for SIGTERM.  ``pid`` with ``start_time`` (clock ticks since boot) is the process, where it is known.

    ``request`` is what it was made from (``prun.request.stored``), empty where it cannot be started again.
    ``monitored``: something other than prun (conmon) waits for its process, and has the lease.  ``restart`` is the
    policy, empty for none, ``restart_count`` how often it was followed.  ``stop_asked``: a user has stopped it.
    ``error`` says why it could not be started, or why its exit code is not known.  ``health`` is JSON of
    ``prun.health``, empty where nothing checks it.
    """

    id: str
    name: str
    image: str
    digest: str
    runtime: str
    options: Mapping[str, str] = NOTHING
    command: Sequence[str] = ()
    labels: Mapping[str, str] = NOTHING
    keep: bool = True
    status: Status = "created"
    pid: int | None = None
    exit_code: int | None = None
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    stop_signal: str = ""
    request: str = ""
    monitored: bool = False
    start_time: int = 0
    restart: str = ""
    restart_count: int = 0
    stop_asked: bool = False
    oom_killed: bool = False
    error: str = ""
    health: str = ""
    engine: str = "embedded"
    engine_options: Mapping[str, str] = NOTHING

    def attributes(self, **more: str) -> dict[str, str]:
        """Return what an event tells of the container: its labels, which are an image's word, and over them ours."""
        return {**self.labels, "name": self.name, "image": self.image, **more}


class VolumeRow(NamedTuple):
    """A volume; ``anonymous``: made for one container that gave it no name.  ``options`` are the driver's."""

    name: str
    driver: str = "local"
    labels: Mapping[str, str] = NOTHING
    options: Mapping[str, str] = NOTHING
    created_at: float = 0.0
    anonymous: bool = False


class MountRow(NamedTuple):
    """What a container has mounted at ``destination``, of those mounts that its user or its image asked for.

    ``type`` is ``bind``, ``volume``, ``tmpfs`` or ``image``; ``name`` a volume's or an image's, ``digest`` that of the
    image's manifest.  ``source`` is the path on this machine that is handed to the OCI runtime, with ``options`` of the
    spec's mount; ``subpath`` the part of the volume or the image that it shows.
    """

    container_id: str
    destination: str
    type: str
    name: str = ""
    digest: str = ""
    source: str = ""
    subpath: str = ""
    options: Sequence[str] = ()


class Lease(NamedTuple):
    """Who is at work on a container: identity of a process is its pid, start time and the boot it belongs to.

    ``start_time`` is in clock ticks since boot (proc_pid_stat(5), field 22), 0 where the system does not tell.
    """

    container_id: str
    boot_id: str
    pid: int
    start_time: int


class EventRow(NamedTuple):
    """Something that happened: ``type`` is docker's (container, image, volume), ``actor`` an id or a name."""

    id: int
    time: float
    type: str
    action: str
    actor: str
    attributes: Mapping[str, str] = NOTHING

    @property
    def time_ns(self) -> int:
        """The time in nanoseconds since 1970, as exact as it was kept."""
        return int(self.time * 10**9)


def column(value: object) -> object:
    """Return a value as the database holds it: sequences and mappings as JSON."""
    if value is None or isinstance(value, str | int | float):
        return value
    return json.dumps(dict(value) if isinstance(value, Mapping) else value)


def volume_row(row: Sequence[Any]) -> VolumeRow:
    """Return a row of the table of volumes."""
    name, driver, labels, options, created_at, anonymous = row
    return VolumeRow(name, driver, json.loads(labels), json.loads(options), created_at, bool(anonymous))


def container_row(row: Sequence[object]) -> ContainerRow:
    """Return a row of the table of containers."""
    values = dict(zip(ContainerRow._fields, row, strict=True))
    for name in ("options", "command", "labels", "engine_options"):
        values[name] = json.loads(str(values[name]))
    for name in ("keep", "monitored", "stop_asked", "oom_killed"):
        values[name] = bool(values[name])
    return ContainerRow(**values)  # type: ignore[arg-type]  # the columns are those of the schema


def event_row(row: Sequence[Any]) -> EventRow:
    """Return a row of the table of events."""
    number, time, kind, action, actor, attributes = row
    return EventRow(number, time, kind, action, actor, json.loads(attributes))
