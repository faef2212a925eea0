"""What would be executed for a run that is not made (``--dry-run``); nothing is."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from prun.types import PlanStep
from prun_linux.oci import open_runtime
from prun_linux.task import Launch

if TYPE_CHECKING:
    from prun.spec.document import Spec
    from prun.types import Console, RunRequest


def steps(request: RunRequest, bundle: str, spec: Spec) -> list[PlanStep]:
    """Return the network and the command lines, in order.

    Raises:
        NotFound: there is no OCI runtime, or no conmon for a container that outlives prun.
    """
    runtime = open_runtime(request.options.get("binary", ""), request.state)
    launch = Launch(runtime, request.id, bundle, spec, cast("Console", None), request.preserve_fds)
    found = [PlanStep("create", "network", request.network)]
    if request.monitored:
        from prun_linux.monitor import argv, find_conmon

        found.append(_execute("create", argv(launch, request, find_conmon())))
    elif request.two_step:
        found.append(_execute("create", runtime.argv(launch.words("create"), launch.log)))
    else:
        return [*found, _execute("start", runtime.argv(launch.words("run"), launch.log))]
    return [*found, _execute("start", runtime.argv(["start", request.id]))]


def _execute(stage: str, argv: list[str]) -> PlanStep:
    return PlanStep("start" if stage == "start" else "create", "execute", argv[0], argv=tuple(argv))
