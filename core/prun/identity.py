"""The identity of a process: its pid, which is soon another's, with its start time and the boot of the machine."""

from __future__ import annotations

import os
import sys
from functools import cache


def is_process(pid: int, started: int) -> bool:
    """Tell whether the process that has this pid is the one that started then; 0 where the system does not tell."""
    if started:
        return start_time(pid) == started
    if sys.platform == "win32":  # where os.kill is no probe, and nothing is embedded that outlives its prun
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone or a zombie.

    The process's name, in parentheses, may hold anything, parentheses too: proc_pid_stat(5).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


@cache
def boot_id() -> str:
    """Return what tells this boot of the machine from others; empty where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
