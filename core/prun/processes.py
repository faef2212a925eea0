"""What the kernel says of processes: the columns of ``prun top``, read on this machine and from outside of containers.

Names of users are numbers: those of the container's files are its own word, those of the machine mean others there.

proc_pid_stat(5), proc_pid_status(5).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# docker's columns, which are those of ps -ef.
DEFAULT = ("uid", "hpid", "hppid", "c", "stime", "tty", "time", "args")
_STATE, _PPID, _TTY, _UTIME, _STIME, _NICE, _START, _VSIZE, _RSS = 0, 1, 4, 11, 12, 16, 19, 20, 21  # of /proc/PID/stat


class Process(NamedTuple):
    """One process; ``inner_pid`` and ``inner_ppid`` are what it and its parent are to itself, 0 for none that it sees.

    Times are in seconds, sizes in bytes; ``uid`` and ``gid`` are the machine's.
    """

    pid: int
    ppid: int
    inner_pid: int
    inner_ppid: int
    uid: int
    gid: int
    comm: str
    args: str
    state: str
    tty: int
    nice: int
    cpu_s: float
    age_s: float
    size_bytes: int
    resident_bytes: int


def processes(pids: Iterable[int]) -> list[Process]:
    """Return those of ``pids`` that are still there, in order."""
    inner: dict[int, int] = {}
    found = []
    for pid in sorted(set(pids)):
        try:
            process = _read(pid)
        except (OSError, ValueError, LookupError):
            continue  # it has ended
        inner[pid] = process.inner_pid
        found.append(process)
    return [process._replace(inner_ppid=inner.get(process.ppid, 0)) for process in found]


def table(found: Sequence[Process], names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of columns by podman's and ps's names.

    Raises:
        InvalidArgument: there is no such column; the message names those there are.
    """
    for name in names:
        if name not in COLUMNS:
            raise InvalidArgument(f"unknown column {name!r}", hint=f"there are: {', '.join(sorted(COLUMNS))}")
    headings = [COLUMNS[name][0] for name in names]
    return headings, [[COLUMNS[name][1](process) for name in names] for process in found]


def _read(pid: int) -> Process:
    directory = f"/proc/{pid}"
    owner = os.stat(directory)
    with open(f"{directory}/stat", "rb") as file:
        head, _, tail = file.read().rpartition(b")")
    fields = tail.split()
    with open(f"{directory}/status", encoding="ascii", errors="replace") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    with open(f"{directory}/cmdline", "rb") as file:
        words = file.read(1 << 16).rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    comm = head.partition(b"(")[2].decode(errors="replace")
    ticks = os.sysconf("SC_CLK_TCK")
    return Process(
        pid=pid,
        ppid=int(fields[_PPID]),
        inner_pid=int(status["NSpid"].split()[-1]),
        inner_ppid=0,
        uid=owner.st_uid,
        gid=owner.st_gid,
        comm=comm,
        args=words or f"[{comm}]",
        state=fields[_STATE].decode(),
        tty=int(fields[_TTY]),
        nice=int(fields[_NICE]),
        cpu_s=(int(fields[_UTIME]) + int(fields[_STIME])) / ticks,
        age_s=max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[_START]) / ticks),
        size_bytes=int(fields[_VSIZE]),
        resident_bytes=int(fields[_RSS]) * os.sysconf("SC_PAGE_SIZE"),
    )


def _tty(process: Process) -> str:
    major, minor = process.tty >> 8 & 0xFFF, process.tty & 0xFF | process.tty >> 12 & 0xFFF00
    if not process.tty:
        return "?"
    return f"pts/{minor + (major - 136) * 256}" if 136 <= major <= 143 else f"{major}:{minor}"


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"


def _elapsed(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}h{rest // 60}m{rest % 60}s" if hours else f"{rest // 60}m{rest % 60}s" if rest >= 60 else f"{rest}s"


def _started(process: Process) -> str:
    at = time.time() - process.age_s
    return time.strftime("%H:%M" if process.age_s < 86400 else "%b%d", time.localtime(at))


def _share(process: Process) -> float:
    return 100 * process.cpu_s / process.age_s if process.age_s > 0 else 0.0


COLUMNS: dict[str, tuple[str, Callable[[Process], str]]] = {
    "args": ("CMD", lambda process: process.args),
    "c": ("C", lambda process: str(int(_share(process)))),
    "comm": ("COMMAND", lambda process: process.comm),
    "etime": ("ELAPSED", lambda process: _elapsed(process.age_s)),
    "gid": ("GID", lambda process: str(process.gid)),
    "hpid": ("PID", lambda process: str(process.pid)),
    "hppid": ("PPID", lambda process: str(process.ppid)),
    "nice": ("NI", lambda process: str(process.nice)),
    "pcpu": ("%CPU", lambda process: f"{_share(process):.3f}"),
    "pid": ("PID", lambda process: str(process.inner_pid)),
    "ppid": ("PPID", lambda process: str(process.inner_ppid)),
    "rss": ("RSS", lambda process: str(process.resident_bytes >> 10)),
    "state": ("STATE", lambda process: process.state),
    "stime": ("STIME", _started),
    "time": ("TIME", lambda process: _clock(process.cpu_s)),
    "tty": ("TTY", _tty),
    "uid": ("UID", lambda process: str(process.uid)),
    "vsz": ("VSZ", lambda process: str(process.size_bytes >> 10)),
}
