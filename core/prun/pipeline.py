"""Run one container: resolve, prepare, build the spec, create, start, wait, delete.

Each step is one hook (``prun.hookspecs``).  Whatever a step opens is closed in reverse order when the container ends,
when a step fails, on Ctrl-C and on SIGTERM; what a SIGKILL leaves, ``prun.recovery`` finds.

Lifecycle: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/runtime.md#lifecycle
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from prun.builtin.defaults import process_args
from prun.errors import FailedPrecondition, InvalidArgument
from prun.recovery import recover
from prun.spec import apply, with_mounts
from prun.state import Store, may_mount
from prun.types import RUNTIME_FIELDS, Event, RunRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.plugins import Hooks
    from prun.signals import ForwardedSignals
    from prun.spec.document import Spec
    from prun.types import ExitStatus, Image, Rootfs, RuntimeInfo, Task


class Outcome(NamedTuple):
    """How a run ended; ``stdout`` and ``stderr`` are empty unless the request asked to capture them.

    ``timed_out``: prun killed it, after the request's ``timeout_s``.
    """

    status: ExitStatus
    stdout: bytes = b""
    stderr: bytes = b""
    timed_out: bool = False


def run(request: RunRequest, hooks: Hooks, signals: ForwardedSignals | None = None) -> Outcome:
    """Run a container to its end and say how it ended.

    ``signals``, already entered, sends what arrives to the container's process once there is one.

    Raises:
        PrunError: of the class that fits, with the stage and the plugin at fault.
    """
    request = request._replace(two_step=request.two_step or hooks.two_step or bool(request.pid_file))
    info = usable_runtime(request, hooks)
    request = request._replace(view_only=not info.executes)
    with ExitStack() as stack:
        store = stack.enter_context(Store(request.root, request.state))
        recover(store)
        if joins_container(request):
            from prun.joining import joined

            request = stack.enter_context(joined(request, store))
        container = stack.enter_context(store.container(request))

        with store.using_images():
            with hooks.at("resolve"):
                image = hooks.resolve_image(request, request.platform or info.platforms[0])
                hooks.event(Event(request.id, "resolved", image.digest))
            container.resolved(image)
            with hooks.at("prepare"):
                rootfs = stack.enter_context(hooks.prepare_rootfs(request, image, container.bundle))
                hooks.event(Event(request.id, "prepared", rootfs.path))

        with hooks.at("spec"):
            spec = build_spec(request, image, rootfs, hooks)
            write_config(container.bundle, spec)
            hooks.event(Event(request.id, "built", spec))

        with hooks.at("console"):
            console = stack.enter_context(hooks.open_console(request, spec))
        if signals is not None:
            signals.hold()
        with hooks.at("create"):
            task = hooks.create_task(request, container.bundle, spec, console)
            stack.callback(_delete, task, request, hooks)
            container.created(task)
            hooks.event(Event(request.id, "created", task.pid))

        if signals is not None:
            signals.to(task)
        with console.attach(task), ended_on_failure(task):
            with hooks.at("start"):
                task.start()
            container.started(task.pid, process_args(request, image))
            hooks.event(Event(request.id, "started", task.pid))
            with hooks.at("wait"):
                status, timed_out = _wait(task, request.timeout_s)
        container.exited(status)
        hooks.event(Event(request.id, "exited", status.code))
        return Outcome(status, *console.output(), timed_out)


def plan(request: RunRequest, hooks: Hooks) -> Spec:
    """Return the finished spec of a run; nothing is unpacked, mounted, created or executed."""
    request = request._replace(view_only=True)
    info = hooks.describe_runtime()
    check_options(request, info)
    if joins_container(request):
        from prun.joining import joined

        with Store(request.root, request.state) as store, joined(request, store) as request:
            pass  # where nothing is executed, the paths are all there is to it
    with hooks.at("resolve"):
        image = hooks.resolve_image(request, request.platform or info.platforms[0])
    with hooks.at("prepare"), hooks.prepare_rootfs(request, image, "") as rootfs, hooks.at("spec"):
        return build_spec(request, image, rootfs, hooks)


def joins_container(request: RunRequest) -> bool:
    """Tell whether a namespace is to be that of another container."""
    return any(word.startswith("container:") for word in request.namespaces.values())


def usable_runtime(request: RunRequest, hooks: Hooks) -> RuntimeInfo:
    """Return the runtime's description.

    Raises:
        FailedPrecondition: it cannot run on this machine.
        InvalidArgument: it does not know an option of the request.
    """
    info = hooks.describe_runtime()
    check_options(request, info)
    if info.unavailable:
        raise FailedPrecondition(f"runtime {info.name} cannot run here: {info.unavailable}", hint=info.remedy)
    if info.needs_root and not may_mount():
        raise FailedPrecondition(
            f"runtime {info.name} needs root, here that of a user namespace, and a library cannot give its caller that",
            hint="prun unshare python ..., or the command prun run",
        )
    return info


def check_options(request: RunRequest, info: RuntimeInfo) -> None:
    """Refuse options and fields that the runtime does not know: none is accepted and ignored."""
    for key in request.options:
        if key not in info.options:
            known = ", ".join(sorted(info.options)) or "none"
            raise InvalidArgument(f"runtime {info.name} has no option {key!r}", hint=f"it knows: {known}")
    defaults = RunRequest._field_defaults
    for field in sorted(RUNTIME_FIELDS - info.honours):
        if getattr(request, field) != defaults[field]:
            raise InvalidArgument(f"runtime {info.name} does not support {field.replace('_', ' ')}")


def build_spec(request: RunRequest, image: Image, rootfs: Rootfs, hooks: Hooks) -> Spec:
    """Build the spec: everyone's options in order, then everyone's mounts, then everyone's checks.

    Raises:
        InvalidArgument: the finished spec has problems; the message lists all of them.
    """
    spec = apply({}, hooks.spec_opts(request, image, rootfs))
    apply(spec, [with_mounts(hooks.mounts(request, image))])
    if problems := hooks.check_spec(request, spec):
        raise InvalidArgument("; ".join(str(problem) for problem in problems))
    return spec


def write_config(bundle: str, spec: Spec) -> None:
    """Write ``config.json`` into a bundle (bundle.md)."""
    path = os.path.join(bundle, "config.json")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(spec))


@contextmanager
def ended_on_failure(task: Task) -> Iterator[None]:
    """End the process when the block fails: a console waits for the end of its output."""
    try:
        yield
    except BaseException:
        task.delete()
        raise


def _wait(task: Task, timeout_s: float | None) -> tuple[ExitStatus, bool]:
    """Wait for the end, and bring it about when the time is up; say whether that was so."""
    status = task.wait(timeout_s)
    timed_out = status is None and timeout_s is not None
    if timed_out:
        task.kill(9)  # SIGKILL, which not every platform's signal module names
    while status is None:
        status = task.wait()
    return status, timed_out


def _delete(task: Task, request: RunRequest, hooks: Hooks) -> None:
    with hooks.at("delete"):
        task.delete()
        hooks.event(Event(request.id, "deleted"))
