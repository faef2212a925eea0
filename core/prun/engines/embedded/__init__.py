"""The default engine: images and snapshots in our own store, no daemon; tasks are the runtime's business."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun._marker import hookimpl
from prun.engines.embedded import images, rootfs

if TYPE_CHECKING:
    from prun.types import Image, Mount, PlanStep, Platform, Rootfs, RunRequest


@hookimpl
def prun_resolve_image(request: RunRequest, platform: Platform) -> Image | None:
    """Look the reference up in the store; load it first if it names an archive or a layout."""
    return images.resolve_image(request, platform)


@hookimpl
def prun_prepare_rootfs(request: RunRequest, image: Image, bundle: str) -> Rootfs | None:
    """Unpack the image's layers once, and mount them below a writable layer of the container's own."""
    return rootfs.prepare(request, image, bundle)


@hookimpl
def prun_mounts(request: RunRequest, image: Image) -> list[Mount]:
    """Mount the volumes and images that were asked for, by the user, by another container or by the image."""
    if not rootfs.has_mounts(request, image):
        return []
    from prun.engines.embedded import mounts

    return mounts.mounts(request, image)


@hookimpl
def prun_plan_steps(request: RunRequest, image: Image, bundle: str) -> list[PlanStep]:
    """Say which layers would be fetched and unpacked, and what would be mounted."""
    from prun.engines.embedded import dry

    return dry.steps(request, image, bundle)
