"""A runtime that greets: what a distribution of your own needs to be a runtime of prun."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun import hookimpl
from prun.errors import FailedPrecondition
from prun.spec import with_env
from prun.types import ExitStatus, Mount, Platform, RuntimeInfo

if TYPE_CHECKING:
    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import Console, RunRequest, Task


@hookimpl
def prun_describe_runtime() -> RuntimeInfo:
    options = {"greeting": "the word to greet with"}
    return RuntimeInfo("hello", (Platform("linux", "amd64"),), options=options, executes=False)


@hookimpl
def prun_spec_opts(request: RunRequest) -> list[SpecOpt]:
    return [with_env(["GREETING=" + request.options.get("greeting", "hello")])]


@hookimpl
def prun_mounts() -> list[Mount]:
    return [Mount("/greetings", "tmpfs", "tmpfs", ("nosuid", "nodev", "noexec", "size=64k"))]


@hookimpl
def prun_create_task(spec: Spec, console: Console) -> Task:
    return Greeting(spec, console.stdout)


@hookimpl
def prun_load_task() -> Task:
    return Greeting({}, -1)


class Greeting:
    """A task (see prun.types.Task) that is over as soon as it has started."""

    pid = None

    def __init__(self, spec: Spec, stdout: int) -> None:
        self._spec = spec
        self._stdout = stdout
        self._status: ExitStatus | None = None

    def start(self) -> None:
        if self._status is not None:
            raise FailedPrecondition("a greeting is over once it has been said")
        process = self._spec["process"]
        (greeting,) = (entry for entry in process["env"] if entry.startswith("GREETING="))
        os.write(self._stdout, f"{greeting.partition('=')[2]}, {' '.join(process['args'])}\n".encode())
        self._status = ExitStatus(0)

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        return self._status

    def kill(self, signal: int) -> None:
        self._status = self._status or ExitStatus(128 + signal)

    def delete(self) -> None:
        self.kill(9)
