"""Tier 1: what happens when no runtime and no plugin says otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun._marker import hookimpl
from prun.console import Attached, Captured, Inherited
from prun.spec import with_args, with_cwd, with_env, with_root, with_version
from prun.types import Problem

if TYPE_CHECKING:
    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import Console, Image, Rootfs, RunRequest


@hookimpl
def prun_spec_opts(request: RunRequest, image: Image, rootfs: Rootfs) -> list[SpecOpt]:
    """Say what the image says: its process, environment and working directory (image-spec conversion.md)."""
    return [
        with_version,
        # Relative to the bundle, so that the document is the same for every run of it.
        with_root(rootfs.path if request.rootfs else "rootfs"),
        with_args(process_args(request, image)),
        with_env((*request.host_env, *image.config.get("Env", ()))),
        with_cwd(image.config.get("WorkingDir") or "/"),
    ]


@hookimpl
def prun_check_spec(spec: Spec) -> list[Problem]:
    """Refuse a spec without a process to run."""
    if spec.get("process", {}).get("args"):
        return []
    return [Problem("/process/args", "no command specified", "the image names none: add one after IMAGE")]


@hookimpl
def prun_open_console(request: RunRequest) -> Console | None:
    """Inherit our own streams, keep what the container writes, or connect to a task that outlives prun."""
    if request.monitored:
        return Attached(request)
    if request.capture:
        return Captured(request.stdin or b"", attach=request.attach)
    return Inherited(interactive=request.interactive, attach=request.attach)


def process_args(request: RunRequest, image: Image) -> tuple[str, ...]:
    """Return the entrypoint and then the command; ``--entrypoint`` drops the image's command too, as docker's does."""
    if request.entrypoint is None:
        return (*(image.config.get("Entrypoint") or ()), *(request.args or image.config.get("Cmd") or ()))
    return (*request.entrypoint, *request.args)
