"""What a container uses of the machine, as the kernel counts it: cgroups of either version, and interfaces."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition
from prun.live import TaskStats
from prun_linux import cgroups

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOPBACK = "lo"


def read(cgroups_path: str, pid: int | None, mount: str = cgroups.MOUNT, proc: str = "/proc") -> TaskStats:
    """Return the numbers of the cgroup at ``cgroups_path``, and of the network namespace of ``pid``.

    What the kernel does not count is 0.

    Raises:
        FailedPrecondition: there is no such cgroup.
    """
    counted = _v2(mount + cgroups_path) if cgroups.mode(mount) == "v2" else _v1(mount, cgroups_path)
    if counted is None:
        raise FailedPrecondition(
            f"there is no cgroup {cgroups_path} whose numbers could be read",
            hint="an ordinary user needs one that is delegated: docs/rootless.md",
        )
    whole = _memory_of_machine(proc)
    limit = counted.memory_limit_bytes
    received, sent = _network(pid, proc) if pid else (0, 0)
    return counted._replace(
        memory_limit_bytes=min(limit, whole) if limit and whole else limit or whole,
        network_received_bytes=received,
        network_sent_bytes=sent,
    )


def _v2(directory: str) -> TaskStats | None:
    """Read a cgroup of version 2 (https://docs.kernel.org/6.1/admin-guide/cgroup-v2.html)."""
    if not os.path.isdir(directory):
        return None
    read_bytes = written_bytes = 0
    for line in _lines(f"{directory}/io.stat"):
        values = dict(word.split("=", 1) for word in line.split() if "=" in word)
        read_bytes += _integer(values.get("rbytes", ""))
        written_bytes += _integer(values.get("wbytes", ""))
    used = _number(f"{directory}/memory.current") - _field(f"{directory}/memory.stat", "inactive_file")
    return TaskStats(
        cpu_ns=1000 * _field(f"{directory}/cpu.stat", "usage_usec"),
        memory_bytes=max(used, 0),
        memory_limit_bytes=_number(f"{directory}/memory.max"),  # "max" is none
        block_read_bytes=read_bytes,
        block_written_bytes=written_bytes,
        pids=_number(f"{directory}/pids.current"),
    )


def _v1(mount: str, path: str) -> TaskStats | None:
    """Read cgroups of version 1 (https://docs.kernel.org/6.1/admin-guide/cgroup-v1/index.html)."""
    cpu, memory, block, pids = (f"{mount}/{name}{path}" for name in ("cpuacct", "memory", "blkio", "pids"))
    if not any(map(os.path.isdir, (cpu, memory, block, pids))):
        return None
    used = _number(f"{memory}/memory.usage_in_bytes") - _field(f"{memory}/memory.stat", "total_inactive_file")
    served = f"{block}/blkio.throttle.io_service_bytes"
    operations = list(_lines(f"{served}_recursive")) or list(_lines(served))
    return TaskStats(
        cpu_ns=_number(f"{cpu}/cpuacct.usage"),
        memory_bytes=max(used, 0),
        memory_limit_bytes=_number(f"{memory}/memory.limit_in_bytes"),
        block_read_bytes=_served(operations, "Read"),
        block_written_bytes=_served(operations, "Write"),
        pids=_number(f"{pids}/pids.current"),
    )


def _served(lines: list[str], kind: str) -> int:
    """Sum ``MAJOR:MINOR KIND BYTES`` over the devices."""
    return sum(_integer(words[2]) for line in lines if len(words := line.split()) == 3 and words[1] == kind)


def _network(pid: int, proc: str) -> tuple[int, int]:
    """Return what the interfaces of a network namespace have received and sent; the machine's own does not count."""
    try:
        if os.readlink(f"{proc}/{pid}/ns/net") == os.readlink(f"{proc}/self/ns/net"):
            return 0, 0
    except OSError:
        return 0, 0
    received = sent = 0
    for line in _lines(f"{proc}/{pid}/net/dev"):
        name, colon, numbers = line.partition(":")
        words = numbers.split()
        if colon and name.strip() != _LOOPBACK and len(words) > 8:
            received += _integer(words[0])
            sent += _integer(words[8])
    return received, sent


def _memory_of_machine(proc: str) -> int:
    return next((1024 * _integer(line.split()[1]) for line in _lines(f"{proc}/meminfo") if line[:9] == "MemTotal:"), 0)


def _field(path: str, name: str) -> int:
    """Return the number after a name in a file of ``NAME NUMBER`` lines."""
    return next((_integer(words[1]) for line in _lines(path) if (words := line.split())[:1] == [name]), 0)


def _number(path: str) -> int:
    return _integer((cgroups.words_of(path) or [""])[0])


def _integer(word: str) -> int:
    return int(word) if word.isdecimal() else 0


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            yield from file
    except OSError:
        return
