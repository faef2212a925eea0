"""The linux runtime: a container made by an OCI runtime binary (runc, crun) on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun._marker import hookimpl

if TYPE_CHECKING:
    from collections.abc import Generator

    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import Console, Container, Image, Mount, Problem, Rootfs, RunRequest, RuntimeInfo, Task


@hookimpl
def prun_describe_runtime() -> RuntimeInfo:
    """Say what runs here, and what is missing if nothing does."""
    from prun_linux.oci import describe

    return describe()


@hookimpl(wrapper=True)
def prun_prepare_rootfs(request: RunRequest) -> Generator[None, Rootfs | None, Rootfs | None]:
    """Look for the OCI runtime before anything is unpacked for it."""
    if not request.view_only:
        from prun_linux.oci import find_binary

        find_binary(request.options.get("binary", ""))
    return (yield)


@hookimpl
def prun_spec_opts(request: RunRequest, image: Image, rootfs: Rootfs) -> list[SpecOpt]:
    """Isolate the process: namespaces, capabilities, user, devices, masked paths, seccomp."""
    from prun_linux.isolation import spec_opts

    return spec_opts(request, image, rootfs)


@hookimpl
def prun_mounts() -> list[Mount]:
    """Mount what every Linux process expects, and the host's resolver, hosts and time zone files."""
    from prun.spec.linux import DEFAULT_MOUNTS, host_file_mounts

    return [*DEFAULT_MOUNTS, *host_file_mounts()]


@hookimpl
def prun_check_spec(request: RunRequest, spec: Spec) -> list[Problem]:
    """Find what the JSON schema cannot: what the runtime or the kernel would refuse later, or should and does not."""
    from prun_linux.check import check_spec

    return check_spec(request, spec)


@hookimpl
def prun_open_console(request: RunRequest) -> Console | None:
    """Open a pty when there is to be a terminal."""
    if not request.terminal:
        return None
    from prun_linux.console import Pty

    return Pty(request)


@hookimpl
def prun_create_task(request: RunRequest, bundle: str, spec: Spec, console: Console) -> Task:
    """Create the container, in one step with its start where nothing needs the time between."""
    from prun_linux.task import create_task

    return create_task(request, bundle, spec, console)


@hookimpl
def prun_load_task(container: Container) -> Task:
    """Find a container that another prun made, also when that prun is dead."""
    from prun_linux.leftover import LeftoverTask

    return LeftoverTask(container)
