"""The states of containers in docker's words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from prun.cli.output import ago, lasted
from prun.errors import NotFound, PluginError, Unimplemented
from prun.identity import is_process

if TYPE_CHECKING:
    from prun.metadata import ContainerRow
    from prun.state import Store

LIVE = ("running", "paused", "restarting")
# What docker and podman know besides; no container of ours is ever in one.
STATES = ("created", "running", "paused", "restarting", "exited", "stopped", "removing", "dead")


def state_of(row: ContainerRow) -> str:
    """Return the word for ``.State``: one that has ended is ``exited``."""
    return "exited" if row.status == "stopped" else row.status


def status_of(row: ContainerRow, now: float) -> str:
    """Return the words of ``ps``: ``Up 3 minutes (healthy)``, ``Exited (0) 5 seconds ago``."""
    if row.status in ("running", "paused"):
        up = f"Up {lasted(now - (row.started_at or now))}"
        if row.status == "paused":
            return f"{up} (Paused)"
        health = health_of(row)
        return f"{up} ({'health: starting' if health == 'starting' else health})" if health != "none" else up
    if row.status == "created":
        return "Created"
    word = "Restarting" if row.status == "restarting" else "Exited"
    code = "unknown" if row.exit_code is None else row.exit_code
    return f"{word} ({code}) {ago(row.finished_at)}".rstrip()


def health_of(row: ContainerRow) -> str:
    """Return ``starting``, ``healthy`` or ``unhealthy``, or ``none`` where nothing checks it."""
    return str(health_record(row).get("Status") or "none")


def health_record(row: ContainerRow) -> dict[str, Any]:
    """Return what the checks have found (docker's ``.State.Health``), empty where nothing checks it."""
    found = json.loads(row.health) if row.health else {}
    return found if isinstance(found, dict) else {}


def pid_of(store: Store, row: ContainerRow) -> int:
    """Return the pid of a container's process, which its runtime may have learnt only after the start; 0 for none."""
    if row.status not in ("running", "paused"):
        return 0
    if row.pid and row.start_time:  # asking a runtime means loading it, for each of two hundred
        return row.pid if is_process(row.pid, row.start_time) else 0
    from prun.ending import find_task

    try:
        return find_task(store, row).pid or 0
    except (Unimplemented, NotFound, PluginError):
        return row.pid or 0
