"""The linux runtime: a container made by an OCI runtime binary (runc, crun) on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun._marker import hookimpl

if TYPE_CHECKING:
    from collections.abc import Generator

    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import Console, Container, Image, Mount, PlanStep, Problem, Rootfs, RunRequest, RuntimeInfo, Task


@hookimpl
def prun_describe_runtime() -> RuntimeInfo:
    """Say what runs here, and what is missing if nothing does."""
    from prun_linux.oci import describe

    return describe()


@hookimpl(wrapper=True)
def prun_prepare_rootfs(request: RunRequest, bundle: str) -> Generator[None, Rootfs | None, Rootfs | None]:
    """Look for the OCI runtime before anything is unpacked for it; put the files into the bundle that are mounted."""
    if not request.view_only:
        from prun_linux import hostfiles, isolation
        from prun_linux.oci import find_binary

        find_binary(request.options.get("binary", ""))
        if isolation.may_have_user_namespace(request):
            from prun_linux import userns

            userns.prepare(request, bundle)
        hostfiles.write(request, bundle)
        if request.namespaces:
            from prun_linux import kernelfiles

            kernelfiles.write(request, bundle)
    return (yield)


@hookimpl
def prun_spec_opts(request: RunRequest, image: Image, rootfs: Rootfs) -> list[SpecOpt]:
    """Isolate the process: namespaces, capabilities, user, devices, masked paths, seccomp."""
    from prun_linux import isolation

    opts = isolation.spec_opts(request, image, rootfs)
    if isolation.has_limits(request):
        from prun_linux import resources

        opts += resources.spec_opts(request)
    if request.secrets:
        from prun_linux import hostfiles

        opts += hostfiles.spec_opts(request)
    if request.init:
        from prun_linux import init

        opts += init.spec_opts(request)
    if isolation.may_have_user_namespace(request):
        from prun_linux import userns

        opts += userns.spec_opts(request, image, rootfs)
    return opts


@hookimpl
def prun_mounts(request: RunRequest) -> list[Mount]:
    """Mount what every Linux process expects, and resolver, hosts and time zone files."""
    from prun_linux import hostfiles, isolation, kernelfiles

    mounts = [*kernelfiles.mounts(request), *hostfiles.mounts(request)]
    if request.init:
        from prun_linux import init

        mounts.append(init.mount())
    if request.devices:
        from prun_linux import cdi

        mounts += cdi.mounts(request)
    if isolation.may_have_user_namespace(request):
        from prun_linux import userns

        mounts = userns.adapted(mounts, request)
    return mounts


@hookimpl
def prun_check_spec(request: RunRequest, spec: Spec) -> list[Problem]:
    """Find what the JSON schema cannot: what the runtime or the kernel would refuse later, or should and does not."""
    from prun_linux.check import check_spec

    return check_spec(request, spec)


@hookimpl
def prun_plan_steps(request: RunRequest, bundle: str, spec: Spec) -> list[PlanStep]:
    """Say how the OCI runtime would be called."""
    from prun_linux.planning import steps

    return steps(request, bundle, spec)


@hookimpl
def prun_create_task(request: RunRequest, bundle: str, spec: Spec, console: Console) -> Task:
    """Create the container, where nothing needs the time between in one step with its start."""
    from prun_linux.task import create_task

    return create_task(request, bundle, spec, console)


@hookimpl
def prun_load_task(container: Container) -> Task:
    """Find a container that another prun made, also when that prun is dead."""
    from prun_linux.loaded import LoadedTask

    return LoadedTask(container)
