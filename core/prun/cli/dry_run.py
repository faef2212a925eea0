"""``--dry-run`` of ``prun run`` and ``prun create``: say what would be done."""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING

from prun.cli.output import printable, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prun.api import Runner
    from prun.planning import Plan
    from prun.types import PlanStep, RunRequest


def dry_run(runner: Runner, request: RunRequest, settings: Mapping[str, str]) -> int:
    """Print the plan of a request, in the form that it asks for; our own cache is left as it is, too."""
    from prun import discovery
    from prun.cli import own_root_is_wanted

    discovery.writes_cache = False
    if own_root_is_wanted(settings) and runner.hooks.describe_runtime().needs_root:
        from prun.rootless import pretend

        pretend(os.geteuid())
    plan = runner.dry_run(request)
    if request.dry_run == "plan":
        for line in _lines(plan):
            print(printable(line))
        return 0
    document = plan.spec if request.dry_run == "spec" else plan.plain()
    print(json.dumps(document, indent=2))
    return 0


def _lines(plan: Plan) -> Iterator[str]:
    image, request = plan.image, plan.request
    yield f"container  {request.name or request.id[:12]}, runtime {plan.runtime}"
    yield f"image      {image.name}, {image.platform}"
    if image.digest:
        yield f"digest     {image.digest}"
    for action in ("fetch", "load", "unpack"):
        steps = [step for step in plan.steps if step.action == action]
        for number, step in enumerate(steps):
            yield f"{'' if number else action:<11}{step.subject}{_sized(step)}{' (is here)' if step.done else ''}"
    if plan.fetch_bytes:
        yield f"           {size(plan.fetch_bytes)} to fetch"
    for step in plan.steps:
        if step.action not in ("fetch", "load", "unpack", "execute"):
            yield f"{step.action:<11}{step.subject}"
    for number, mount in enumerate(plan.spec.get("mounts", ())):
        options = ",".join(mount.get("options", ()))
        what = f"{mount.get('destination')} {mount.get('type')} {mount.get('source')} {options}".rstrip()
        yield f"{'' if number else 'mounts':<11}{what}"
    for number, (hook, plugins) in enumerate(plan.hooks.items()):
        yield f"{'' if number else 'hooks':<11}{hook}: {' < '.join(plugins)}"
    yield f"command    {shlex.join(map(str, plan.spec.get('process', {}).get('args', ())))}"
    for number, step in enumerate(step for step in plan.steps if step.action == "execute"):
        yield f"{'' if number else 'execute':<11}{shlex.join(step.argv)}"


def _sized(step: PlanStep) -> str:
    return f" {size(step.size_bytes)}" if step.size_bytes else ""
