"""Containers and their tasks in containerd: the record, the first process, and what is left to be removed."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from google.protobuf.any_pb2 import Any

from prun.engines.containerd import monitor
from prun.engines.containerd.client import connected, taking_down
from prun.engines.containerd.monitor import monitor_file, process_file, read_identity, write_identity
from prun.engines.containerd.place import place_of
from prun.engines.containerd.processes import SIGKILL, RemoteProcess, command_failure
from prun.engines.containerd.rootfs import CREATED, lease_of
from prun.engines.containerd.snapshots import OWNER, Snapshots, end_lease, snapshotter_of
from prun.engines.containerd.streams import FifoAttachment, make_fifos
from prun.errors import AlreadyExists, FailedPrecondition, NotFound, PrunError, Unimplemented
from prun.rootfs.mount import unmount
from prun_protos.containerd.v1.api_pb2 import (
    STOPPED,
    Container,
    ContainerBox,
    CreatedTask,
    CreateTask,
    Id,
    Mount,
    RuncOptions,
    Runtime,
    StartedTask,
    TaskOf,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.engines.containerd.client import Client
    from prun.engines.containerd.place import Place
    from prun.live import Attachment, ExecRequest, Session, TaskStats
    from prun.request.resources import Resources
    from prun.services import InsideView
    from prun.spec.document import Spec
    from prun.types import Console, ExitStatus, RunRequest
    from prun.types import Container as Found

_CREATION_S = 3.0
RUNC = "io.containerd.runc.v2"
# Bare, without a host before them: 1.6 takes no other (protobuf's Any.Pack would add one).
_SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
_RUNC_OPTIONS_TYPE = "containerd.runc.v1.Options"
_NAME, _STOP_SIGNAL = "prun.io/name", "io.containerd.image.config.stop-signal"


class CreatedTaskOfOurs:
    """The task of a container that this prun has made (contract: ``prun.types.Task``); it ends with this prun.

    Signals are sent by a thread: a handler calls ``kill`` whatever grpc is doing in this one.
    """

    def __init__(self, request: RunRequest, bundle: str, spec: Spec) -> None:
        self._request, self._bundle, self._spec = request, bundle, spec
        place = place_of(request.engine_options)
        self._client = connected(place)
        self._place = place
        self._process = RemoteProcess(self._client, request.id)
        self._attachment: FifoAttachment | None = None
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._started = self._deleted = False
        self._pid: int | None = None
        self.timed_out = False
        try:
            self._create()
        except BaseException:
            self.delete()
            raise

    @property
    def pid(self) -> int | None:
        return None if self._deleted or self._process.has_ended() else self._pid

    def start(self) -> None:
        if self._started:
            raise FailedPrecondition(f"container {self._request.id} has been started already")
        self._process.expect()
        request = TaskOf(container_id=self._request.id)
        try:
            self._client.call("tasks.v1.Tasks/Start", request, StartedTask)
        except PrunError as error:
            raise command_failure(error, self._command) from error
        self._started = True
        if self._request.monitored:
            return
        threading.Thread(target=self._send, daemon=True).start()
        if self._request.timeout_s is not None:
            timer = threading.Timer(self._request.timeout_s, self._time_is_up)
            timer.daemon = True
            timer.start()

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        return self._process.wait(timeout_s)

    def kill(self, number: int) -> None:
        self._signals.put(number)

    @property
    def monitor_pid(self) -> int | None:
        return read_identity(monitor_file(self._bundle))

    def attach(self) -> Attachment:
        if self._attachment is None:
            raise FailedPrecondition(f"container {self._request.id[:12]} has no streams any more")
        return self._attachment

    def delete(self) -> None:
        """End the process; of a container that is not to stay, or has never run, nothing is left."""
        if self._deleted:
            return
        with taking_down():
            self._process.end()
            if self._attachment is not None:
                self._attachment.close()
            if self._request.remove if self._started else not self._request.again:
                forget(self._client, self._place, self._request.id, self._request.root)
        self._deleted = True

    @property
    def _command(self) -> str:
        return str(self._spec.get("process", {}).get("args", [""])[0])

    def _create(self) -> None:
        request, client = self._request, self._client
        unmount(os.path.join(self._bundle, "rootfs"))
        container, mounts = self._record()
        os.close(os.open(os.path.join(self._bundle, CREATED), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._put(container)
        if request.monitored:
            uri = self._monitor()
            self._create_task(CreateTask(container_id=request.id, rootfs=mounts, stdout=uri, stderr=uri))
            write_identity(process_file(self._bundle), self._pid or 0)
            return
        reads = request.interactive or request.stdin is not None
        fifos = make_fifos(self._bundle, terminal=request.terminal, reads=reads)
        self._attachment = FifoAttachment(client, request.id, "", fifos, terminal=request.terminal)
        self._attachment.has_ended = self._process.has_ended
        task = CreateTask(
            container_id=request.id, rootfs=mounts, stdin=fifos.stdin, stdout=fifos.stdout, stderr=fifos.stderr,
            terminal=request.terminal,
        )  # fmt: skip
        self._create_task(task)

    def _put(self, container: Container) -> None:
        """Record the container; one that is started again has its record, and gets the new spec."""
        client, box = self._client, ContainerBox(container=container)
        try:
            client.call("containers.v1.Containers/Create", box, ContainerBox)
        except AlreadyExists as error:
            there = client.call("containers.v1.Containers/Get", Id(id=container.id), ContainerBox).container
            if not self._request.again or there.labels.get(OWNER) != self._request.root:
                raise AlreadyExists(
                    f"containerd has a container {container.id!r} already", hint="choose another --id"
                ) from error
            box.update_mask.paths.append("spec")
            client.call("containers.v1.Containers/Update", box, ContainerBox)

    def _create_task(self, task: CreateTask) -> None:
        try:
            self._pid = self._client.call("tasks.v1.Tasks/Create", task, CreatedTask).pid
        except PrunError as error:
            raise command_failure(error, self._command) from error

    def _monitor(self) -> str:
        """Return the URI by which the shim starts the monitor: a shell's script, since a URI has no order of words."""
        request, script = self._request, os.path.join(self._bundle, "monitor.sh")
        log = request.log.path if request.log and request.log.driver != "none" else ""
        words = [
            sys.executable,
            "-P",
            "-m",
            monitor.__name__,
            self._bundle,
            log,
            *request.exit_command,
            "--unless-client",
        ]
        with open(os.open(script, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(f"exec {shlex.join(words)}\n")
        return f"binary:///bin/sh?{quote(script, safe='')}={request.id}"

    def _record(self) -> tuple[Container, Sequence[Mount]]:
        """Return the container's record and its root's mounts, none where its root is a directory (``--rootfs``)."""
        request = self._request
        spec = Any(type_url=_SPEC_TYPE, value=json.dumps(self._spec).encode())
        labels = {**request.labels, _NAME: request.name or request.id[:12], OWNER: request.root}
        if request.stop_signal:
            labels[_STOP_SIGNAL] = request.stop_signal
        container = Container(id=request.id, labels=labels, runtime=_runtime(request), spec=spec)
        if request.rootfs:
            return container, ()
        name = snapshotter_of(self._client, self._place.snapshotter)
        container.image, container.snapshotter, container.snapshot_key = request.image, name, request.id
        with suppress(PrunError):  # a name of containerd's, for whoever looks; what keeps the root is the snapshot
            from prun.engines.containerd.store import NamespaceStore
            from prun.engines.embedded.images import find

            container.image = find(NamespaceStore(self._place), request.image).name
        return container, Snapshots(self._client, name).mounts(request.id)

    def _send(self) -> None:
        while (number := self._signals.get()) >= 0:
            with suppress(PrunError):  # it has ended, and whoever waits will say so
                self._process.kill(number)
            if self._process.has_ended():
                return

    def _time_is_up(self) -> None:
        if not self._process.has_ended():
            self.timed_out = True
            self.kill(SIGKILL)


def forget(client: Client, place: Place, container_id: str, owner: str) -> None:
    """Remove what containerd still holds of a container of ours: its snapshot, its record, its lease, in this order.

    Without its record the snapshot would be garbage, which another client's removal may collect before us.
    """
    snapshotter = place.snapshotter
    try:
        record = client.call("containers.v1.Containers/Get", Id(id=container_id), ContainerBox).container
        if record.labels.get(OWNER) != owner:
            return  # it is another one's, who was there first
        snapshotter = record.snapshotter
    except NotFound:
        snapshotter = snapshotter_of(client, snapshotter)
    if snapshotter:
        snapshots = Snapshots(client, snapshotter)
        if snapshots.owner(container_id) == owner:
            snapshots.remove(container_id)
    with suppress(NotFound):
        client.tell("containers.v1.Containers/Delete", Id(id=container_id))
    end_lease(client, lease_of(container_id))


def _runtime(request: RunRequest) -> Runtime:
    """Return the shim of the runtime that was asked for, with the OCI runtime's binary where runc's has to call it."""
    binary = request.options.get("binary", "")
    runtime = Runtime(name=request.shim or RUNC)
    if binary and runtime.name == RUNC:
        options = RuncOptions(binary_name=binary)
        runtime.options.CopyFrom(Any(type_url=_RUNC_OPTIONS_TYPE, value=options.SerializeToString()))
    return runtime


class FoundTask:
    """The task of a container that another prun has made (contract: ``prun.live.LiveTask``).

    ``inside``: what the runtime can tell of it on this machine.
    """

    outlives = False
    timed_out = False

    def __init__(self, container: Found, inside: InsideView | None) -> None:
        self._container, self._inside = container, inside
        self._place = place_of(container.engine_options)
        self._client = connected(self._place)
        self._process = RemoteProcess(self._client, container.id)

    @property
    def pid(self) -> int | None:
        found = self._process.look()
        return found.pid if found is not None and found.status != STOPPED else None

    @property
    def monitor_pid(self) -> int | None:
        return read_identity(monitor_file(self._container.bundle))

    @property
    def start_time(self) -> int | None:
        return self._container.start_time if self.pid else None

    def start(self) -> None:
        raise FailedPrecondition(f"container {self._container.id[:12]} belongs to the prun that runs it")

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        return self._process.wait(timeout_s)

    def exited(self) -> ExitStatus | None:
        return self._process.state()

    def out_of_memory(self) -> bool:
        return False

    def kill(self, number: int) -> None:
        self._process.kill(number)

    def pause(self) -> None:
        self._client.tell("tasks.v1.Tasks/Pause", self._process.of)

    def resume(self) -> None:
        self._client.tell("tasks.v1.Tasks/Resume", self._process.of)

    def attach(self) -> Attachment:
        raise FailedPrecondition(
            f"the streams of container {self._container.id[:12]} are those of the prun that runs it"
        )

    def pids(self) -> list[int]:
        return self._seen().pids()

    def stats(self) -> TaskStats:
        return self._seen().stats()

    def probe(self, words: Sequence[str], timeout_s: float) -> tuple[int | None, bytes]:
        raise Unimplemented("engine containerd does not support health checks")

    def update(self, resources: Resources) -> None:
        raise Unimplemented("engine containerd does not support prun update")

    def exec(self, request: ExecRequest, directory: str, console: Console) -> Session:
        from prun.engines.containerd.session import ExecSession

        return ExecSession(self._client, self._container.id, request, directory, console, self._seen())

    def session(self, directory: str) -> Session:
        from prun.engines.containerd.session import FoundSession

        return FoundSession(self._client, self._container.id, directory.rpartition("+")[2])

    def delete(self) -> None:
        """End it; of a container that is not to stay nothing is left in containerd."""
        if os.path.exists(os.path.join(self._container.bundle, CREATED)):
            self._process.appear(_CREATION_S)  # without its record, a task that appears later could not be reached
        self._process.end()
        if not self._container.keep:
            forget(self._client, self._place, self._container.id, self._container.root)

    def _seen(self) -> InsideView:
        if self._inside is None:
            raise Unimplemented(f"runtime {self._container.runtime} does not look into containers of engine containerd")
        return self._inside


def found_task(container: Found, inside: object) -> FoundTask:
    """Return the task of a container; ``inside`` is the runtime's own, where that can look into containers."""
    return FoundTask(container, cast("InsideView", inside) if hasattr(inside, "process") else None)
