"""What looks at the clock for health checks, without a daemon.

Somebody has to look at the clock.  Where there is no daemon, podman uses systemd's timers, which not every machine has.
Here it is a shell, which sleeps and calls ``prun healthcheck run``, one for each container that is checked: it starts
with the container, ends with it (``Timer`` in the record says which process it is), and ends by itself when there is
nothing to check any more.  Nothing of Python stays between two checks.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from prun.errors import Unavailable
from prun.identity import is_process, start_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.metadata import ContainerRow
    from prun.state import Store

SECOND_NS = 10**9
STARTING = "starting"


def watch(store: Store, row: ContainerRow, command: Sequence[str]) -> None:
    """Start what looks at the clock for a container that has just been started; ``command`` calls prun."""
    health = json.loads(row.health)
    first = next_s(health)
    if not first:
        return
    import subprocess

    check = (*command, "healthcheck", "run", "--periodic", row.id)
    # The one in the background is nobody's child, in a group of its own with what it calls.
    loop = 'next=$1; shift; while sleep "$next"; do next=$("$@") || exit 0; done'
    try:
        answer = subprocess.run(
            ["/bin/sh", "-c", f"({loop}) >/dev/null & echo $!", "sh", f"{first:g}", *check],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"/bin/sh, which waits between health checks, failed: {error}") from error
    pid = int(answer.stdout)
    health["Timer"] = {"Pid": pid, "StartTime": start_time(pid) or 0}
    store.metadata.update_container(row.id, health=json.dumps(health))


def unwatch(row: ContainerRow) -> None:
    """End what looks at the clock, and a check that is under way."""
    timer = json.loads(row.health).get("Timer", {}) if row.health else {}
    pid, started = timer.get("Pid", 0), timer.get("StartTime", 0)
    if pid and started and is_process(pid, started):
        with suppress(ProcessLookupError):
            os.killpg(os.getpgid(pid), 9)


def is_starting(health: dict[str, Any], at: float) -> bool:
    """Tell whether at that time failures do not count yet."""
    return bool(at - health["Since"] < health["Config"]["StartPeriod"] / SECOND_NS)


def next_s(health: dict[str, Any]) -> float:
    """Return in how many seconds the next check is due, 0 for never."""
    config = health["Config"]
    interval: float = config["Interval"] / SECOND_NS
    if interval and health["Status"] == STARTING and is_starting(health, time.time()):
        return min(interval, config["StartInterval"] / SECOND_NS or interval)
    return interval


def _environment() -> dict[str, str]:
    names = ("HOME", "LANG", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    own = {name: value for name, value in os.environ.items() if name in names or name.startswith("PRUN_")}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **own}
