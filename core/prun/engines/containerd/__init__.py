"""containerd as the engine: images, snapshots and tasks live there; the spec, its defaults included, is prun's.

grpc is imported when a hook is called, and so only where this engine was chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun._marker import hookimpl

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from prun.services import ImageService
    from prun.spec.document import Spec
    from prun.types import Console, Container, Image, Mount, PlanStep, Platform, Rootfs, RunRequest, RuntimeInfo, Task

# What this engine does not do of what runtimes do, of ``RUNTIME_FIELDS``.
_NOT_HONOURED = frozenset(("uid_map", "gid_map", "preserve_fds"))

_DETACHES = frozenset(("detach", "restart", "log"))


def options(given: Mapping[str, str]) -> Mapping[str, str]:
    """Return which containerd, and what of it (``prun.services.EngineModule``)."""
    from prun.engines.containerd.place import settled

    return settled(given)


def image_service(root: str, options: Mapping[str, str], aliases: Mapping[str, str]) -> ImageService:
    """Return what works on the images of a namespace."""
    from prun.engines.containerd.images import NamespaceImages
    from prun.engines.containerd.place import place_of

    return NamespaceImages(place_of(options), root, aliases)


@hookimpl(wrapper=True)
def prun_describe_runtime() -> Generator[None, RuntimeInfo | None, RuntimeInfo | None]:
    """Say what of the runtime is left when containerd's shim makes its tasks."""
    info = yield
    if info is None:
        return None
    unavailable = info.unavailable or ("" if info.shim else "containerd has no shim for it")
    return info._replace(
        name=f"{info.name} with engine containerd", unavailable=unavailable, honours=info.honours - _NOT_HONOURED,
        needs_root=False, outlives=False, detaches=_DETACHES if info.outlives else frozenset(),
    )  # fmt: skip


@hookimpl(wrapper=True)
def prun_resolve_image(request: RunRequest, platform: Platform) -> Generator[None, Image | None, Image | None]:
    """Refuse what this engine cannot do, then look the reference up in containerd, and fetch it if it is not there."""
    from prun.engines.containerd.refusing import refuse

    refuse(request)
    image = yield
    if image is not None:
        return image
    from prun.engines.containerd.images import resolve_image

    return resolve_image(request, platform)


@hookimpl
def prun_prepare_rootfs(request: RunRequest, image: Image, bundle: str) -> Rootfs | None:
    """Unpack the image's layers in a snapshotter, and prepare a writable snapshot on top of them."""
    from prun.engines.containerd import rootfs

    return rootfs.view(request, image) if request.view_only else rootfs.SnapshotRootfs(request, image, bundle)


@hookimpl
def prun_mounts(request: RunRequest, image: Image) -> list[Mount]:
    """Mount the volumes that were asked for: they are this machine's, whichever engine mounts them."""
    from prun.engines.embedded import mounts
    from prun.engines.embedded.rootfs import has_mounts

    return mounts.mounts(request, image) if has_mounts(request, image) else []


@hookimpl(wrapper=True)
def prun_plan_steps(request: RunRequest, image: Image) -> Generator[None, list[list[PlanStep]], list[list[PlanStep]]]:
    """Say what containerd would do, in the place of what the runtime would execute."""
    answers = yield
    from prun.engines.containerd import dry

    return dry.steps(request, image, answers)


@hookimpl
def prun_open_console(request: RunRequest) -> Console | None:
    """Connect to the task's FIFOs; there is nothing to leave it to."""
    from prun.console import Attached

    return Attached(request._replace(detach_keys=""))


@hookimpl
def prun_create_task(request: RunRequest, bundle: str, spec: Spec) -> Task | None:
    """Record the container, and let its shim create its process."""
    from prun.engines.containerd.task import CreatedTaskOfOurs

    return CreatedTaskOfOurs(request, bundle, spec)


@hookimpl(wrapper=True)
def prun_load_task(container: Container) -> Generator[None, Task | None, Task | None]:
    """Find the task of a container that another prun has made; what is inside, the runtime knows."""
    inside = yield
    from prun.engines.containerd.task import found_task

    return found_task(container, inside)
