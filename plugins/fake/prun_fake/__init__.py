"""A runtime that executes nothing: read this first if you want to write one.

A runtime is a module with functions named after hooks (``prun.hookspecs`` explains each) and an entry point in the
group ``prun.runtimes`` that names the module.  A function may leave out arguments that it does not need.  Only two
of them make a runtime: ``prun_describe_runtime`` says what it is, ``prun_create_task`` returns the container's
process, an object with the five methods of ``prun.types.Task``; this one's is in ``prun_fake.task``.

The others are here because the fake runtime can be told to fail at any stage, and to record what it was asked:

    prun run --runtime fake --opt fail=create:"no space left" --opt record=calls.jsonl scratch sh

Three of them are wrappers: a wrapper is called whoever answers the hook, ``yield`` is everyone else's answer, and what
it returns is the answer in the end.  Everything that fake containers write is preceded by a line that says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun import hookimpl
from prun.image.platform import host_platform
from prun.spec import with_spec
from prun.types import RUNTIME_FIELDS, RuntimeInfo
from prun_fake.journal import enter, note
from prun_fake.scenario import OPTIONS, parse
from prun_fake.task import FakeTask

if TYPE_CHECKING:
    from collections.abc import Generator

    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import Console, Container, Event, Image, Mount, Platform, Problem, Rootfs, RunRequest, Task


@hookimpl
def prun_describe_runtime() -> RuntimeInfo:
    """Say that nothing is executed: then no root file system is unpacked or mounted, and none is needed.

    Every field of a request is honoured: it is what ``record`` records.
    """
    platform = host_platform()._replace(os="linux")
    return RuntimeInfo("fake", (platform,), options=OPTIONS, executes=False, honours=RUNTIME_FIELDS)


@hookimpl(wrapper=True)
def prun_resolve_image(request: RunRequest, platform: Platform) -> Generator[None, Image | None, Image | None]:
    """Watch the engine resolve the image, or fail."""
    enter("resolve", "prun_resolve_image", request, platform=platform)
    return (yield)


@hookimpl(wrapper=True)
def prun_prepare_rootfs(request: RunRequest, image: Image) -> Generator[None, Rootfs | None, Rootfs | None]:
    """Watch the root file system being prepared, or fail."""
    enter("prepare", "prun_prepare_rootfs", request, image=image)
    return (yield)


@hookimpl
def prun_spec_opts(request: RunRequest, image: Image, rootfs: Rootfs) -> list[SpecOpt]:
    """Add nothing to the spec, or fail; of a replay, make it what was recorded."""
    scenario = enter("spec", "prun_spec_opts", request, image=image, rootfs=rootfs)
    return [] if scenario.spec is None else [with_spec(scenario.spec)]


@hookimpl
def prun_mounts(request: RunRequest, image: Image) -> list[Mount]:
    """Add no mounts."""
    enter(None, "prun_mounts", request, image=image)
    return []


@hookimpl
def prun_check_spec(request: RunRequest, spec: Spec) -> list[Problem]:
    """Find every spec good: nothing will execute it."""
    enter(None, "prun_check_spec", request, spec=spec)
    return []


@hookimpl(wrapper=True)
def prun_open_console(request: RunRequest, spec: Spec) -> Generator[None, Console | None, Console | None]:
    """Watch the console being opened, or fail."""
    enter("console", "prun_open_console", request, spec=spec)
    return (yield)


@hookimpl
def prun_create_task(request: RunRequest, spec: Spec, console: Console) -> Task:
    """Create the process: one that plays the scenario and ends."""
    scenario = enter("create", "prun_create_task", request, spec=spec, console=console)
    return FakeTask(request.id, scenario.for_command(spec["process"]["args"]), console)


@hookimpl
def prun_load_task(container: Container) -> Task:
    """Return the task of a container whose process is gone: a fake one does not outlive prun."""
    return FakeTask(container.id, parse(container.options))


@hookimpl
def prun_event(event: Event) -> None:
    """Record what happened."""
    note(event.container_id, "prun_event", event=event)
