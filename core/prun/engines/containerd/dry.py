"""A run that is not made: what containerd would do for it (``--dry-run``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.engines.containerd.images import blobs_of
from prun.engines.containerd.place import place_of
from prun.engines.containerd.task import RUNC
from prun.engines.embedded.dry import layer_steps
from prun.types import PlanStep

if TYPE_CHECKING:
    from prun.types import Image, RunRequest


def steps(request: RunRequest, image: Image, answers: list[list[PlanStep]]) -> list[list[PlanStep]]:
    """Return everyone's steps, those of containerd instead of the command lines of the OCI runtime."""
    place = place_of(request.engine_options)
    ours = layer_steps(request, image, blobs_of(request))
    if not request.rootfs:
        ours.append(PlanStep("prepare", "snapshot", f"{place.snapshotter or 'the default snapshotter'}: {request.id}"))
    ours.append(PlanStep("create", "task", f"{request.shim or RUNC} in namespace {place.namespace} of {place.address}"))
    return [ours, *([step for step in each if step.action != "execute"] for each in answers)]
