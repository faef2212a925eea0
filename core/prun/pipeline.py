"""Run one container: resolve, prepare, build the spec, create, start, wait, delete.

Each step is one hook (``prun.hookspecs``).  Whatever a step opens is closed in reverse order when the container ends,
when a step fails, on Ctrl-C and on SIGTERM; what a SIGKILL leaves, ``prun.recovery`` finds.

Lifecycle: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/runtime.md#lifecycle
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple, cast

from prun.builtin.defaults import process_args
from prun.ending import attended, finish_ended, own_command
from prun.errors import FailedPrecondition, InvalidArgument
from prun.recovery import recover
from prun.spec import apply, with_mounts
from prun.state import Store, may_mount
from prun.types import LIVE_FIELDS, RUNTIME_FIELDS, Event, ExitStatus, RunRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.live import LiveTask
    from prun.planning import Plan
    from prun.plugins import Hooks
    from prun.record import Record
    from prun.signals import ForwardedSignals
    from prun.spec.document import Spec
    from prun.spec.provenance import Explanation
    from prun.types import Image, Rootfs, RuntimeInfo, Task


STAGES = ("resolve", "prepare", "spec", "console", "create", "start", "wait", "delete")


class Outcome(NamedTuple):
    """How a run ended; ``stdout`` and ``stderr`` are empty unless the request asked to capture them.

    ``timed_out``: prun killed it, after the request's ``timeout_s``.  ``left``: the container lives on, detached.
    """

    status: ExitStatus
    stdout: bytes = b""
    stderr: bytes = b""
    timed_out: bool = False
    left: bool = False


def run(request: RunRequest, hooks: Hooks, signals: ForwardedSignals | None = None) -> Outcome:
    """Run a container to its end, or until it can be left alone, and say how it ended.

    ``signals``, already entered, sends what arrives to the container's process once there is one.  With
    ``request.again`` it is a container that was made before.

    Raises:
        PrunError: of the class that fits, with the stage and the plugin at fault.
    """
    hooks = _with_files(request, hooks)
    request, info = settled(request, hooks)
    with ExitStack() as stack:
        store = stack.enter_context(Store(request.root, request.state))
        recover(store)
        container = stack.enter_context(store.container(request))
        request, image, rootfs, spec = _prepare(request, info, hooks, store, container, stack)
        if info.outlives and (request.health or image.config.get("Healthcheck") or container.row.health):
            container.set(health=health_of(request, image))
        attention = stack.enter_context(ExitStack())
        if request.monitored:
            attention.enter_context(attended(container))

        with hooks.at("console"):
            console = stack.enter_context(hooks.open_console(request, spec))
        if signals is not None:
            signals.hold()
        with hooks.at("create"):
            task = hooks.create_task(request, container.bundle, spec, console)
            stack.callback(_delete, task, request, hooks, container)
            container.created(task)
            hooks.event(Event(request.id, "created", task.pid))

        if signals is not None:
            signals.to(task if request.sig_proxy else None)
        with console.attach(task), ended_on_failure(task, container):
            with hooks.at("start"):
                task.start()
            monitor = cast("LiveTask", task).monitor_pid if request.monitored else None
            container.started(task.pid, process_args(request, image), monitor, leave=request.monitored)
            if container.left:
                rootfs.leave()
            if container.row.health:
                from prun.clock import watch

                watch(store, container.row, own_command(request.root, request.state))
            hooks.event(Event(request.id, "started", task.pid))
            if request.restart:
                attention.close()  # what is to be done at the end, the monitor's command does each time
            with hooks.at("wait"):
                if not console.follow():
                    return Outcome(ExitStatus(0), *console.output(), left=True)
                status, timed_out = _wait(task, request.timeout_s)
        if not container.left:
            container.exited(status)
        hooks.event(Event(request.id, "exited", status.code))
        if container.left and not request.restart:
            finish_ended(container)
            hooks.event(Event(request.id, "deleted"))
        return Outcome(status, *console.output(), timed_out)


def create(request: RunRequest, hooks: Hooks) -> None:
    """Make a container that ``run`` can start later: everything but its process, checked as if it were started now.

    Raises: as ``run``.
    """
    hooks = _with_files(request, hooks)
    request, info = settled(request._replace(detach=True), hooks)
    with ExitStack() as stack:
        store = stack.enter_context(Store(request.root, request.state))
        recover(store)
        container = stack.enter_context(store.container(request))
        # Nothing is thrown away here, although --rm will throw it away in the end.
        _, image, _, _ = _prepare(request._replace(remove=False), info, hooks, store, container, stack)
        container.made(process_args(request, image))


def settled(request: RunRequest, hooks: Hooks) -> tuple[RunRequest, RuntimeInfo]:
    """Return the request with what follows from the runtime, and the runtime's description.

    A task outlives prun where it must, where the user may leave, and where the container stays: it has a log then.

    Raises: as ``usable_runtime``.
    """
    two_step = request.two_step or hooks.two_step or bool(request.pid_file)
    info = usable_runtime(request, hooks)
    lives = request.detach or request.terminal or not request.remove or not request.sig_proxy or bool(request.restart)
    monitored = (info.outlives and (lives or request.log is not None)) or (bool(info.detaches) and request.detach)
    if monitored:
        from prun.request.supervision import settled_log

        request = request._replace(
            log=settled_log(
                request.log,
                os.path.join(os.path.abspath(request.root), "containers", request.id),
                make=not request.dry_run,
            ),
            exit_command=(*own_command(request.root, request.state), "container", "cleanup", request.id),
        )
    return request._replace(two_step=two_step, view_only=not info.executes, monitored=monitored, shim=info.shim), info


def health_of(request: RunRequest, image: Image) -> str:
    """Return what is kept of a container's health when it starts, empty where nothing checks it."""
    from prun.health import initial

    return initial(request.health, image)


def _prepare(
    request: RunRequest, info: RuntimeInfo, hooks: Hooks, store: Store, container: Record, stack: ExitStack
) -> tuple[RunRequest, Image, Rootfs, Spec]:
    """Resolve the image, prepare the root file system, build the spec and write it into the bundle."""
    if joins_container(request):
        from prun.joining import joined

        request = stack.enter_context(joined(request, store))
    with store.using_images():
        with hooks.at("resolve"):
            image = hooks.resolve_image(request, request.platform or info.platforms[0])
            hooks.event(Event(request.id, "resolved", image.digest))
        container.resolved(image)
        with hooks.at("prepare"):
            rootfs = stack.enter_context(hooks.prepare_rootfs(request, image, container.bundle))
            hooks.event(Event(request.id, "prepared", rootfs.path))
    with hooks.at("spec"):
        spec = (
            _recorded(request, image, rootfs, hooks, store)
            if request.explain
            else build_spec(request, image, rootfs, hooks)
        )
        write_config(container.bundle, spec)
        hooks.event(Event(request.id, "built", spec))
    return request, image, rootfs, spec


def plan(request: RunRequest, hooks: Hooks) -> Spec:
    """Return the finished spec of a run; nothing is unpacked, mounted, created or executed."""
    hooks = _with_files(request, hooks)
    with viewed(request, hooks) as (request, image, rootfs):
        return build_spec(request, image, rootfs, hooks)


def explain(request: RunRequest, hooks: Hooks) -> Explanation:
    """Return how the spec of such a run comes to be (``prun.spec.provenance``); nothing is executed, as in ``plan``."""
    from prun.explaining import recorded

    hooks = _with_files(request, hooks)
    with viewed(request, hooks) as (request, image, rootfs):
        explanation = recorded(request, image, rootfs, hooks)
        check_spec(_judged(request, image, rootfs, hooks, explanation.spec), explanation.spec, hooks)
        return explanation


def dry_run(request: RunRequest, hooks: Hooks) -> Plan:
    """Go through a run up to where something would be made, and return what would be.

    Nothing is written or executed, and no root is needed; of an image that is not here, its documents are fetched.

    Raises: as ``run``, for what can be known before.
    """
    from prun.explaining import recorded
    from prun.planning import Plan

    hooks = _with_files(request, hooks)
    request, info = settled(request._replace(dry_run=request.dry_run or "plan"), hooks)
    with Store(request.root, request.state, readonly=True) as store:
        store.metadata.refuse_taken(request.id, request.name or request.id[:12])
    with viewed(request, hooks) as (viewed_request, image, rootfs):
        explanation = recorded(viewed_request, image, rootfs, hooks)
        judged = _judged(viewed_request, image, rootfs, hooks, explanation.spec)
        check_spec(judged, explanation.spec, hooks)
    bundle = os.path.join(os.path.abspath(request.state), "bundles", request.id)
    steps = hooks.plan_steps(request, image, bundle, explanation.spec)
    steps.sort(key=lambda step: STAGES.index(step.stage))
    return Plan(request, info.name, image, bundle, tuple(steps), hooks.order(), explanation, judged.loosens)


@contextmanager
def viewed(request: RunRequest, hooks: Hooks) -> Iterator[tuple[RunRequest, Image, Rootfs]]:
    """Look at what a spec is built from, without unpacking or mounting anything."""
    request = request._replace(view_only=True)
    info = hooks.describe_runtime()
    check_options(request, info)
    if joins_container(request):
        from prun.joining import joined

        places = Store(request.root, request.state, readonly=bool(request.dry_run))
        with places as store, joined(request, store) as request:
            pass  # where nothing is executed, the paths are all there is to it
    with hooks.at("resolve"):
        image = hooks.resolve_image(request, request.platform or info.platforms[0])
    with hooks.at("prepare"), hooks.prepare_rootfs(request, image, "") as rootfs, hooks.at("spec"):
        yield request, image, rootfs


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
    if info.needs_root and not may_mount() and not request.dry_run:
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
    for field in LIVE_FIELDS if not info.outlives else ():
        if getattr(request, field) != defaults[field] and field not in info.detaches:
            raise InvalidArgument(
                f"runtime {info.name} does not support {field}: its tasks end with the prun that made them"
            )


def build_spec(request: RunRequest, image: Image, rootfs: Rootfs, hooks: Hooks) -> Spec:
    """Build the spec: everyone's options in order, then everyone's mounts, then everyone's checks.

    Raises:
        InvalidArgument: the finished spec has problems; the message lists all of them.
    """
    if hooks.may_disagree:
        from prun.conflicts import answers_told

        opts, mounts = answers_told(request, image, rootfs, hooks)
    else:
        opts, mounts = hooks.spec_opts(request, image, rootfs), hooks.mounts(request, image)
    with hooks.applying():
        spec = apply({}, opts)
    apply(spec, [with_mounts(mounts)])
    if request.patches:
        from prun.altering import patch_opts

        apply(spec, patch_opts(request))
    check_spec(_judged(request, image, rootfs, hooks, spec), spec, hooks)
    return spec


def _with_files(request: RunRequest, hooks: Hooks) -> Hooks:
    """Return the plugins with the hooks of this run only (``--hook``)."""
    return hooks.including(request.hook_files) if request.hook_files else hooks


def _judged(request: RunRequest, image: Image, rootfs: Rootfs, hooks: Hooks, spec: Spec) -> RunRequest:
    """Return the request with what its patches and hooks loosen, which is said aloud."""
    if not (request.patches or request.hook_files):
        return request
    from prun.altering import loosens

    return request._replace(loosens=loosens(request, image, rootfs, hooks, spec))


def check_spec(request: RunRequest, spec: Spec, hooks: Hooks) -> None:
    """Ask everyone for problems of the finished spec.

    Raises:
        InvalidArgument: there are some; the message lists all of them.
    """
    problems = hooks.check_spec(request, spec)
    if hooks.base is not hooks:  # a hook of one run does not do away with the veto of a policy
        problems += [problem for problem in hooks.base.check_spec(request, spec) if problem not in problems]
    if problems:
        raise InvalidArgument("; ".join(str(problem) for problem in problems))


def _recorded(request: RunRequest, image: Image, rootfs: Rootfs, hooks: Hooks, store: Store) -> Spec:
    """Build the spec, and keep with the container how it came to be (``--explain``)."""
    from prun.explaining import keep, recorded

    explanation = recorded(request, image, rootfs, hooks, every_line=False)
    check_spec(_judged(request, image, rootfs, hooks, explanation.spec), explanation.spec, hooks)
    keep(explanation, store.directory(request.id))
    return explanation.spec


def write_config(bundle: str, spec: Spec) -> None:
    """Write ``config.json`` into a bundle (bundle.md)."""
    path = os.path.join(bundle, "config.json")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(spec))


@contextmanager
def ended_on_failure(task: Task, container: Record) -> Iterator[None]:
    """End the process when the block fails, unless it lives on: a console waits for the end of its output."""
    try:
        yield
    except BaseException:
        if not container.left:
            task.delete()
        raise


def _wait(task: Task, timeout_s: float | None) -> tuple[ExitStatus, bool]:
    """Wait for the end, and bring it about when the time is up; say whether that was so."""
    status = task.wait(timeout_s)
    if status is not None and getattr(task, "timed_out", False):  # a monitor has looked at the clock
        return status, True
    timed_out = status is None and timeout_s is not None
    if timed_out:
        task.kill(9)  # SIGKILL, which not every platform's signal module names
    while status is None:
        status = task.wait()
    return status, timed_out


def _delete(task: Task, request: RunRequest, hooks: Hooks, container: Record) -> None:
    if container.left:
        return
    with hooks.at("delete"):
        task.delete()
        hooks.event(Event(request.id, "deleted"))
