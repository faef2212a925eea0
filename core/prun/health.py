"""Whether what runs in a container is well.  ``prun.clock`` says when it is looked at.

The record's ``health`` is docker's ``State.Health`` (``Status``, ``FailingStreak``, ``Log``), with ``Config``, docker's
``Healthcheck`` (durations in nanoseconds), ``OnFailure``, ``Since`` (when the process started) and ``Timer``.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from prun.clock import SECOND_NS, STARTING, is_starting, next_s
from prun.errors import FailedPrecondition, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prun.metadata import ContainerRow
    from prun.request.health import HealthRequest
    from prun.state import Store
    from prun.types import Image

    # Runs a command in the container; returns its exit code, None when the seconds have passed, and its output.
    Probe = Callable[[Sequence[str], float], tuple[int | None, bytes]]

DEFAULTS = {"Interval": 30 * SECOND_NS, "Timeout": 30 * SECOND_NS, "StartPeriod": 0, "StartInterval": 5 * SECOND_NS}
RETRIES = 3
LOG_ENTRIES = 5  # docker's, and so is how much of the output is kept
OUTPUT_BYTES = 4096
HEALTHY, UNHEALTHY = "healthy", "unhealthy"


def initial(asked: HealthRequest | None, image: Image) -> str:
    """Return the record's ``health`` of a container that starts; empty where nothing is to be checked."""
    own = image.config.get("Healthcheck", {})
    test = list(asked.test if asked and asked.test else own.get("Test", ()))
    if not test or test[0] == "NONE":
        return ""
    if test[0] not in ("CMD", "CMD-SHELL") or len(test) < 2:
        return ""  # an image's that means nothing, as docker takes it
    config: dict[str, Any] = {"Test": test, "Retries": (asked and asked.retries) or own.get("Retries") or RETRIES}
    named = asked._asdict() if asked else {}
    fields = ("interval_ns", "timeout_ns", "start_period_ns", "start_interval_ns")
    for (key, default), field in zip(DEFAULTS.items(), fields, strict=True):
        given = named.get(field, -1)
        config[key] = given if given >= 0 else own.get(key) or default
    health = {
        "Status": STARTING, "FailingStreak": 0, "Log": [], "Config": config,
        "OnFailure": asked.on_failure if asked else "none", "Since": time.time(),
    }  # fmt: skip
    return json.dumps(health)


def check(store: Store, row: ContainerRow, probe: Probe) -> dict[str, Any]:
    """Check a container once, and return its health by then.

    Raises:
        FailedPrecondition: it does not run, or nothing says how to check it.
    """
    if row.status != "running":
        raise FailedPrecondition(f"container {row.name} is not running")
    if not row.health:
        raise FailedPrecondition(f"container {row.name} has no defined healthcheck", hint="run it with --health-cmd")
    config = json.loads(row.health)["Config"]
    kind, *words = config["Test"]
    began = time.time()
    code, output = probe(["/bin/sh", "-c", words[0]] if kind == "CMD-SHELL" else words, config["Timeout"] / SECOND_NS)
    if code is None:
        code, output = -1, f"Health check exceeded timeout ({config['Timeout'] / SECOND_NS:g}s)".encode()
    return _recorded(store, row, code, output, began)


def _recorded(store: Store, row: ContainerRow, code: int, output: bytes, began: float) -> dict[str, Any]:
    """Write down the result of a check, and tell where the status has changed."""
    with store.metadata.transaction():
        now = store.metadata.container(row.id)
        if now is None or not now.health:
            raise NotFound(f"no such container: {row.name}", hint="it has just been removed")
        health: dict[str, Any] = json.loads(now.health)
        before = health["Status"]
        text = output[:OUTPUT_BYTES].decode(errors="replace")
        entry = {"Start": began, "End": time.time(), "ExitCode": code, "Output": text}
        health["Log"] = [*health["Log"], entry][-LOG_ENTRIES:]
        if code == 0:
            health["Status"], health["FailingStreak"] = HEALTHY, 0
        elif before != STARTING or not is_starting(health, began):
            health["FailingStreak"] += 1
            if health["FailingStreak"] >= health["Config"]["Retries"]:
                health["Status"] = UNHEALTHY
        store.metadata.update_container(row.id, health=json.dumps(health))
        if health["Status"] != before:
            store.metadata.add_event("container", f"health_status: {health['Status']}", row.id, now.attributes())
    health["Changed"] = health["Status"] != before
    return health


def act_on_failure(store: Store, row: ContainerRow, health: dict[str, Any], restart: Callable[[], object]) -> None:
    """Do what ``--health-on-failure`` says of a container that has just become unhealthy."""
    from prun.stopping import SIGKILL, kill, stop

    action = health["OnFailure"]
    if action == "none" or health["Status"] != UNHEALTHY or not health["Changed"]:
        return
    os.setsid()  # the end of the container is the end of its clock, whose group is ours until now
    if action == "kill":
        kill(store, row, SIGKILL, by_user=False)
    elif action in ("stop", "restart"):
        stop(store, row)
        if action == "restart":
            restart()


def next_check_s(store: Store, container_id: str) -> float:
    """Return in how many seconds a container is to be checked again, 0 where it is not any more."""
    row = store.metadata.container(container_id)
    if row is None or not row.health or row.status not in ("running", "paused"):
        return 0
    return next_s(json.loads(row.health))
