"""Resource limits: ``--memory``, ``--cpus``, ``--ulimit`` and their kin.

Here is what is wrong on every machine; what this one cannot give is found by the runtime's plugin.
"""

from __future__ import annotations

import re
from posixpath import normpath
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import FailedPrecondition, InvalidArgument
from prun.request import flag, many, one
from prun.request.sizes import size_of
from prun.spec.resources import BLOCK_IO_WEIGHTS, CPU_PERIODS_US, CPU_SHARES, require_cpuset, require_sysctl

if TYPE_CHECKING:
    from prun.request import Asked

MIN_MEMORY_BYTES = 6 << 20  # docker's; an OCI runtime needs that much to start anything
MAX_MEMORY_BYTES = 2**62 - 1  # as much swap as memory is given with it, and the sum has 63 bits
MIN_QUOTA_US = 1000
MAX_QUOTA_US = 2**44 - 1  # the kernel's, max_cfs_runtime
MAX_PIDS = 2**22  # PID_MAX_LIMIT
UNLIMITED = 2**64 - 1  # RLIM_INFINITY
# docker's names (go-units), with the numbers of Linux's asm-generic/resource.h: Python does not know RLIMIT_LOCKS.
ULIMITS = {
    "core": 4,
    "cpu": 0,
    "data": 2,
    "fsize": 1,
    "locks": 10,
    "memlock": 8,
    "msgqueue": 12,
    "nice": 13,
    "nofile": 7,
    "nproc": 6,
    "rss": 5,
    "rtprio": 14,
    "rttime": 15,
    "sigpending": 11,
    "stack": 3,
}
# Of a device's path: what it is limited to.
DeviceLimits = tuple[tuple[str, int], ...]


class Resources(NamedTuple):
    """What the container's cgroup is limited to; 0 or empty is no limit, -1 of swap, quota and pids explicitly none.

    ``memory_swap_bytes`` is memory and swap together.  ``cpus`` excludes quota and period.  Weights are 10 to 1000.
    The devices are absolute paths of block devices of the host; rates are in bytes or operations a second.
    """

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    memory_reservation_bytes: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    cpus: float = 0
    cpu_shares: int = 0
    cpu_quota_us: int = 0
    cpu_period_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    blkio_weight: int = 0
    blkio_weight_device: DeviceLimits = ()
    device_read_bps: DeviceLimits = ()
    device_write_bps: DeviceLimits = ()
    device_read_iops: DeviceLimits = ()
    device_write_iops: DeviceLimits = ()


def fields(asked: Asked) -> dict[str, object]:
    """Return ``resources``, ``ulimits``, ``sysctls``, ``cgroup_parent``, ``oom_score_adj`` and ``shm_size_bytes``.

    Raises:
        InvalidArgument: a value cannot be used, or two of them not together.
        FailedPrecondition: ``--ulimit host`` where there are no such limits.
    """
    resources = Resources(**_memory(asked), **_cpu(asked), **_pids(asked), **_block_io(asked))  # type: ignore[arg-type]
    return {
        "resources": None if resources == Resources() else resources,
        "ulimits": ulimits(many(asked, "ulimit")),
        "sysctls": sysctls(many(asked, "sysctl")),
        "cgroup_parent": cgroup_parent(one(asked, "cgroup_parent")) if "cgroup_parent" in asked else "",
        "oom_score_adj": _number(asked, "oom_score_adj", -1000, 1000) if "oom_score_adj" in asked else None,
        "shm_size_bytes": _shm_size(asked),
    }


def _memory(asked: Asked) -> dict[str, object]:
    memory, reservation = _size(asked, "memory"), _size(asked, "memory_reservation")
    if max(memory, reservation) > MAX_MEMORY_BYTES:
        raise InvalidArgument("--memory and --memory-reservation are more than can be counted", hint="less than 4096p")
    swap = -1 if one(asked, "memory_swap") == "-1" else _size(asked, "memory_swap")
    for option, size in (("--memory", memory), ("--memory-reservation", reservation)):
        if 0 < size < MIN_MEMORY_BYTES:
            raise InvalidArgument(f"{option} {size} bytes is too little", hint="6m is the least")
    if swap > 0 and not memory:
        raise InvalidArgument("--memory-swap is given without --memory", hint="give both; swap counts the memory, too")
    if 0 < swap < memory:
        raise InvalidArgument(
            f"--memory-swap {swap} bytes is under --memory {memory} bytes",
            hint="it is memory and swap together: as much as --memory for no swap, -1 for any",
        )
    if 0 < memory < reservation:
        raise InvalidArgument(
            f"--memory-reservation {reservation} bytes is over --memory {memory} bytes", hint="it must be below"
        )
    swappiness = _number(asked, "memory_swappiness", -1, 100, "0 to 100, or -1 for the machine's own")
    return {
        "memory_bytes": memory,
        "memory_swap_bytes": swap,
        "memory_reservation_bytes": reservation,
        "memory_swappiness": swappiness if "memory_swappiness" in asked and swappiness >= 0 else None,
        "oom_kill_disable": flag(asked, "oom_kill_disable"),
    }


def _cpu(asked: Asked) -> dict[str, object]:
    cpus, shares = one(asked, "cpus"), _number(asked, "cpu_shares", 0, CPU_SHARES[1])
    quota, period = _number(asked, "cpu_quota", -1, MAX_QUOTA_US), _number(asked, "cpu_period", 0, CPU_PERIODS_US[1])
    if cpus and not re.fullmatch(r"\d{1,6}(\.\d{1,20})?|\.\d{1,20}", cpus, re.ASCII):
        raise InvalidArgument(f"--cpus {cpus!r} is not a number of CPUs", hint="as in 2 or 0.5")
    number = float(cpus or 0)
    if 0 < number < 0.01:
        raise InvalidArgument(f"--cpus {cpus} is too little", hint="0.01 is the least")
    if number and (quota or period):
        other = "--cpu-quota" if quota else "--cpu-period"
        raise InvalidArgument(
            f"--cpus and {other} exclude each other", hint="--cpus 1.5 is quota 150000, period 100000"
        )
    for option, value, least in (
        ("--cpu-shares", shares, CPU_SHARES[0]),
        ("--cpu-quota", quota, MIN_QUOTA_US),
        ("--cpu-period", period, CPU_PERIODS_US[0]),
    ):
        if 0 < value < least:
            raise InvalidArgument(f"{option} {value} is too little", hint=f"{least} is the least")
    return {
        "cpus": number,
        "cpu_shares": shares,
        "cpu_quota_us": quota,
        "cpu_period_us": period,
        "cpuset_cpus": _cpuset(asked, "cpuset_cpus"),
        "cpuset_mems": _cpuset(asked, "cpuset_mems"),
    }


def _cpuset(asked: Asked, option: str) -> str:
    word = one(asked, option)
    return require_cpuset(_flag_of(option), word) if word else ""


def _pids(asked: Asked) -> dict[str, object]:
    # docker: 0 and -1 both say that there shall be no limit.
    given = one(asked, "pids_limit")
    return {"pids_limit": (_number(asked, "pids_limit", -1, MAX_PIDS) or -1) if given else 0}


def _block_io(asked: Asked) -> dict[str, object]:
    weight = _number(asked, "blkio_weight", 0, BLOCK_IO_WEIGHTS[1])
    if weight:
        _check_weight("--blkio-weight", weight)
    limits: dict[str, object] = {"blkio_weight": weight}
    for option in ("blkio_weight_device", "device_read_bps", "device_write_bps", "device_read_iops"):
        limits[option] = _device_limits(asked, option)
    limits["device_write_iops"] = _device_limits(asked, "device_write_iops")
    return limits


def _check_weight(option: str, weight: int) -> None:
    least, most = BLOCK_IO_WEIGHTS
    if not least <= weight <= most:
        raise InvalidArgument(f"{option} {weight} is out of range", hint=f"{least} to {most}")


def _device_limits(asked: Asked, option: str) -> DeviceLimits:
    """Split ``DEVICE:LIMIT`` at the last colon; names below ``/dev/disk/by-path`` have some, too."""
    limits: dict[str, int] = {}
    for word in many(asked, option):
        path, colon, value = word.rpartition(":")
        shown = f"{_flag_of(option)} {word!r}"
        if not colon or not path or not value:
            raise InvalidArgument(f"{shown} is not DEVICE:LIMIT", hint="as in /dev/sda:1m")
        if not path.startswith("/dev/") or ".." in path.split("/") or "\0" in path:
            raise InvalidArgument(f"{shown} does not name a device below /dev", hint="as in /dev/sda")
        if option.endswith("bps"):
            limits[path] = size_of(_flag_of(option), value)
        elif re.fullmatch(r"\d{1,19}", value, re.ASCII):
            limits[path] = int(value)
        else:
            raise InvalidArgument(f"{shown}: {value!r} is not a whole number")
        if option == "blkio_weight_device":
            _check_weight(_flag_of(option), limits[path])
        elif not 0 < limits[path] < 2**63:
            raise InvalidArgument(f"{shown}: {value!r} is no rate", hint="at least 1 a second")
    return tuple(limits.items())


def ulimits(words: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Return soft and hard limit by ``RLIMIT_*`` name; of ``NAME=SOFT[:HARD]``, a missing hard limit is the soft one.

    -1 is unlimited.  ``host`` (podman's) stands for all limits of this process.

    Raises:
        InvalidArgument: a limit is not known, or soft is over hard.
        FailedPrecondition: of ``host``, where processes have no such limits.
    """
    limits: dict[str, tuple[int, int]] = {}
    for word in words:
        if word == "host":
            limits |= _host_ulimits()
            continue
        name, _, value = word.partition("=")
        if name not in ULIMITS:
            raise InvalidArgument(f"--ulimit {word!r}: {name!r} is not known", hint=f"one of {', '.join(ULIMITS)}")
        if not (match := re.fullmatch(r"(-1|\d{1,19})(?::(-1|\d{1,19}))?", value, re.ASCII)):
            raise InvalidArgument(f"--ulimit {word!r} is not NAME=SOFT[:HARD]", hint="whole numbers; -1 for unlimited")
        soft, hard = (UNLIMITED if number == "-1" else int(number) for number in (match[1], match[2] or match[1]))
        if soft > hard:
            raise InvalidArgument(f"--ulimit {word!r}: the soft limit is over the hard one")
        limits[f"RLIMIT_{name.upper()}"] = (soft, hard)
    return limits


def _host_ulimits() -> dict[str, tuple[int, int]]:
    try:
        import resource
    except ImportError as error:
        raise FailedPrecondition("--ulimit host: this system has no such limits", hint="give them by name") from error
    of_process = {name: resource.getrlimit(number) for name, number in ULIMITS.items()}
    infinity = resource.RLIM_INFINITY
    return {
        f"RLIMIT_{name.upper()}": (UNLIMITED if soft == infinity else soft, UNLIMITED if hard == infinity else hard)
        for name, (soft, hard) in of_process.items()
    }


def sysctls(words: tuple[str, ...]) -> dict[str, str]:
    """Return kernel parameters by name; a later one wins.

    Raises:
        InvalidArgument: it is not ``KEY=VALUE``, or not a parameter that a container has for itself.
    """
    parameters = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidArgument(f"--sysctl {word!r} is not KEY=VALUE")
        require_sysctl(key, value)
        parameters[key] = value
    return parameters


def cgroup_parent(word: str) -> str:
    """Return the absolute path of the cgroup below which the container's is made; a relative one is below the root.

    It stays when the container ends, as docker's does: another container may just be on its way into it.

    Raises:
        InvalidArgument: it has ``..``, or is a slice of systemd's: cgroups are made without systemd here.
    """
    if not word or ".." in word.split("/") or not word.isprintable():
        raise InvalidArgument(f"--cgroup-parent {word!r} is no path of a cgroup", hint="as in /mine, without '..'")
    path = "/" + normpath("/" + word).lstrip("/")
    if path.endswith((".slice", ".scope", ".service")):
        raise InvalidArgument(
            f"--cgroup-parent {word!r} belongs to systemd, and prun makes cgroups without it (cgroupfs)",
            hint="a path of your own, as in /mine",
        )
    return path


def _shm_size(asked: Asked) -> int:
    if "shm_size" not in asked:
        return 0
    if size := _size(asked, "shm_size"):
        return size
    raise InvalidArgument("--shm-size must be greater than 0", hint="leave it out for 64m")


def _size(asked: Asked, option: str) -> int:
    return size_of(_flag_of(option), one(asked, option)) if option in asked else 0


def _number(asked: Asked, option: str, low: int, high: int = 2**63 - 1, expected: str = "") -> int:
    """Return a whole number, 0 when it was not given."""
    if option not in asked:
        return 0
    word = one(asked, option)
    if not re.fullmatch(r"-?\d{1,19}", word, re.ASCII) or not low <= int(word) <= high:
        hint = expected or (f"{low} to {high}" if high < 2**63 - 1 else f"at least {low}")
        raise InvalidArgument(f"{_flag_of(option)} {word!r} is not a whole number that can be used", hint=hint)
    return int(word)


def _flag_of(option: str) -> str:
    return "--" + option.replace("_", "-")
