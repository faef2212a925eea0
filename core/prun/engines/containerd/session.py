"""``prun exec`` in a container of containerd's: one more process of its task, with FIFOs in the session's directory."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from google.protobuf.any_pb2 import Any

from prun.carrying import Caller, carry
from prun.engines.containerd.processes import RemoteProcess, command_failure
from prun.engines.containerd.streams import FifoAttachment, make_fifos
from prun.errors import FailedPrecondition, PrunError, Unimplemented
from prun.types import ExitStatus
from prun_protos.containerd.v1.api_pb2 import STOPPED, ExecTask, StartedTask

if TYPE_CHECKING:
    from prun.engines.containerd.client import Client
    from prun.live import Attachment, ExecRequest
    from prun.services import InsideView
    from prun.types import Console

_PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"


class FoundSession:
    """A process that another prun has executed (contract: ``prun.live.Session``)."""

    monitor_pid = None

    def __init__(self, client: Client, container_id: str, session_id: str) -> None:
        self._client, self._container_id = client, container_id
        self._process = RemoteProcess(client, container_id, session_id)

    @property
    def pid(self) -> int | None:
        found = self._process.look()
        return found.pid if found is not None and found.status != STOPPED else None

    def start(self) -> None:
        raise FailedPrecondition("the process has been started already")

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        return self._process.wait(timeout_s)

    def exited(self) -> ExitStatus | None:
        found = self._process.look()
        return ExitStatus(found.exit_status) if found is not None and found.status == STOPPED else None

    def kill(self, number: int) -> None:
        self._process.kill(number)

    def leave(self) -> None:
        raise Unimplemented("engine containerd does not support leaving a process that was executed")

    def attach(self) -> Attachment:
        raise FailedPrecondition("the streams of the process are those of the prun that executes it")

    def delete(self) -> None:
        self._process.end()


class ExecSession(FoundSession):
    """A process to be executed now.

    Raises:
        Unimplemented: it shall outlive prun, or get descriptors.
    """

    def __init__(
        self,
        client: Client,
        container_id: str,
        request: ExecRequest,
        directory: str,
        console: Console,
        inside: InsideView,
    ) -> None:
        for refused in ("detach", "preserve_fds"):
            if getattr(request, refused):
                raise Unimplemented(f"engine containerd does not support exec --{refused.replace('_', '-')}")
        super().__init__(client, container_id, request.id)
        self._request, self._console = request, console
        process = inside.process(request)
        self._pid: int | None = None
        self._threads: list[threading.Thread] = []
        reads = request.interactive or request.stdin is not None
        fifos = make_fifos(directory, terminal=request.terminal, reads=reads)
        self._attachment = FifoAttachment(client, container_id, request.id, fifos, terminal=request.terminal)
        self._attachment.has_ended = self._process.has_ended
        task = ExecTask(
            container_id=container_id, exec_id=request.id, stdin=fifos.stdin, stdout=fifos.stdout,
            stderr=fifos.stderr, terminal=request.terminal,
            spec=Any(type_url=_PROCESS_TYPE, value=json.dumps(process).encode()),
        )  # fmt: skip
        try:
            client.tell("tasks.v1.Tasks/Exec", task)
        except BaseException:
            self._attachment.close()
            raise

    @property
    def pid(self) -> int | None:
        return self._pid

    def start(self) -> None:
        self._process.expect()
        try:
            self._pid = self._client.call("tasks.v1.Tasks/Start", self._process.of, StartedTask).pid
        except PrunError as error:
            raise command_failure(error, self._request.args[0]) from error
        if not self._request.monitored:  # else the console carries
            console = self._console
            stdin = console.stdin if self._request.interactive or self._request.stdin is not None else None
            outputs = {1: os.dup(console.stdout), 2: os.dup(console.stderr)}
            self._threads.append(threading.Thread(target=self._carry, args=(stdin, outputs), daemon=True))
            self._threads[0].start()

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        status = super().wait(timeout_s)
        if status is not None:
            for thread in self._threads:
                thread.join()
        return status

    def kill(self, number: int) -> None:
        threading.Thread(target=self._kill, args=(number,), daemon=True).start()  # a handler may call this

    def attach(self) -> Attachment:
        return self._attachment

    def delete(self) -> None:
        super().delete()
        for thread in self._threads:
            thread.join()
        self._attachment.close()

    def _kill(self, number: int) -> None:
        with suppress(PrunError):  # it has ended
            self._process.kill(number)

    def _carry(self, stdin: int | None, outputs: dict[int, int]) -> None:
        def deliver(stream: int, data: bytes) -> None:
            view = memoryview(data)
            while view:
                view = view[os.write(outputs[stream], view) :]

        try:
            carry(self._attachment, Caller(stdin, deliver))
        finally:
            for fd in outputs.values():
                os.close(fd)
