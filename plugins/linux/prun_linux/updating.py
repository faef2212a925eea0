"""Limits for a container that runs, as the OCI runtime's ``update`` takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition
from prun_linux import limits
from prun_linux.resources import limit_opts

if TYPE_CHECKING:
    from prun.request.resources import Resources
    from prun.spec.document import Resources as SpecResources
    from prun.spec.document import Spec


def runtime_document(resources: Resources, cgroups_path: str, binary: str) -> SpecResources:
    """Return what ``update --resources`` reads: ``linux.resources`` of the spec, without devices.

    Raises:
        InvalidArgument, FailedPrecondition: this machine cannot give it; the message names the option.
    """
    spec: Spec = {"linux": {"cgroupsPath": cgroups_path}}
    for opt in limit_opts(resources):
        opt(spec)
    if problems := limits.problems(spec, binary):
        raise FailedPrecondition("; ".join(each.message for each in problems), hint=problems[0].hint)
    found: SpecResources = spec["linux"].get("resources", {})
    # A new cgroup has no limit where the spec is silent; one that is there has to be told.
    if resources.pids_limit == -1:
        found.setdefault("pids", {})["limit"] = -1
    if resources.memory_swap_bytes == -1 and limits.is_offered("memory/swap"):
        found.setdefault("memory", {})["swap"] = -1
    if resources.cpu_quota_us == -1:
        found.setdefault("cpu", {})["quota"] = -1
    return found
