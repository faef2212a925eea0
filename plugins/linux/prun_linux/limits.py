"""Which limits of a finished spec this machine cannot give: found here, before an OCI runtime fails on them.

Kernel: Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import PrunError
from prun.spec.resources import cpuset_numbers
from prun.types import Problem
from prun_linux import cgroups
from prun_linux.oci import find_binary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.spec.document import Spec


class Limit(NamedTuple):
    """A limit of the spec: its option, its controller in v1's words, and a file that each version writes it to.

    Any of the files will do; where there are none, that version cannot do it at all.
    """

    option: str
    controller: str
    v1: tuple[str, ...]
    v2: tuple[str, ...]


# By the place in ``linux.resources``.
LIMITS = {
    "memory/limit": Limit("--memory", "memory", ("memory.limit_in_bytes",), ("memory.max",)),
    "memory/swap": Limit("--memory-swap", "memory", ("memory.memsw.limit_in_bytes",), ("memory.swap.max",)),
    "memory/reservation": Limit("--memory-reservation", "memory", ("memory.soft_limit_in_bytes",), ("memory.low",)),
    "memory/swappiness": Limit("--memory-swappiness", "memory", ("memory.swappiness",), ()),
    "memory/disableOOMKiller": Limit("--oom-kill-disable", "memory", ("memory.oom_control",), ()),
    "cpu/shares": Limit("--cpu-shares", "cpu", ("cpu.shares",), ("cpu.weight",)),
    "cpu/quota": Limit("--cpu-quota (--cpus)", "cpu", ("cpu.cfs_quota_us",), ("cpu.max",)),
    "cpu/period": Limit("--cpu-period (--cpus)", "cpu", ("cpu.cfs_period_us",), ("cpu.max",)),
    "cpu/realtimeRuntime": Limit("the real-time runtime", "cpu", ("cpu.rt_runtime_us",), ()),
    "cpu/realtimePeriod": Limit("the real-time period", "cpu", ("cpu.rt_period_us",), ()),
    "cpu/cpus": Limit("--cpuset-cpus", "cpuset", ("cpuset.cpus",), ("cpuset.cpus",)),
    "cpu/mems": Limit("--cpuset-mems", "cpuset", ("cpuset.mems",), ("cpuset.mems",)),
    "pids/limit": Limit("--pids-limit", "pids", ("pids.max",), ("pids.max",)),
    "blockIO/weight": Limit(
        "--blkio-weight", "blkio", ("blkio.weight", "blkio.bfq.weight"), ("io.weight", "io.bfq.weight")
    ),
    # runc writes nothing, and says nothing, where io.bfq.weight is missing.
    "blockIO/weightDevice": Limit(
        "--blkio-weight-device", "blkio", ("blkio.weight_device", "blkio.bfq.weight_device"), ("io.bfq.weight",)
    ),
    "blockIO/throttleReadBpsDevice": Limit(
        "--device-read-bps", "blkio", ("blkio.throttle.read_bps_device",), ("io.max",)
    ),
    "blockIO/throttleWriteBpsDevice": Limit(
        "--device-write-bps", "blkio", ("blkio.throttle.write_bps_device",), ("io.max",)
    ),
    "blockIO/throttleReadIOPSDevice": Limit(
        "--device-read-iops", "blkio", ("blkio.throttle.read_iops_device",), ("io.max",)
    ),
    "blockIO/throttleWriteIOPSDevice": Limit(
        "--device-write-iops", "blkio", ("blkio.throttle.write_iops_device",), ("io.max",)
    ),
}
# What every cgroup has whose parent has handed down the controller.
_V2_SIGNS = {"memory": "memory.max", "cpu": "cpu.max", "cpuset": "cpuset.cpus", "pids": "pids.max", "blkio": "io.max"}
_NOT_IN_V1_ROOTS = ("pids.max", "blkio.bfq.weight", "blkio.bfq.weight_device")
_REMEDIES = {
    "memory/swap": "boot with swapaccount=1, or leave it out",
    "blockIO/weight": "modprobe bfq, or leave it out",
    "blockIO/weightDevice": "modprobe bfq, or leave it out",
}
_CPUSETS = {
    # Key of the spec, then the file with what a cgroup may hand down: v1's and v2's.
    "cpus": ("cpuset.cpus", "cpuset.cpus.effective", "CPU"),
    "mems": ("cpuset.mems", "cpuset.mems.effective", "memory node"),
}


def is_offered(place: str, mount: str = cgroups.MOUNT) -> bool:
    """Tell whether this machine has a limit, by its place in ``linux.resources``."""
    return not _why_not(place, mount)[0]


def missing(mount: str = cgroups.MOUNT) -> list[str]:
    """Return the options that this machine cannot give (for ``prun doctor``)."""
    return [limit.option for place, limit in LIMITS.items() if limit.option[0] == "-" and not is_offered(place, mount)]


def problems(spec: Spec, binary: str = "", mount: str = cgroups.MOUNT) -> list[Problem]:
    """Return everything in the spec's resources that cannot be given here, with the reason.

    ``binary`` is the OCI runtime as it was asked for.
    """
    found = []
    resources = spec.get("linux", {}).get("resources", {})
    asked = [place for place in LIMITS if _value(spec, place) not in (None, False, [])]
    for place in asked:
        reason, remedy = _why_not(place, mount)
        if not reason and place == "blockIO/weight" and cgroups.mode(mount) != "v2":
            reason, remedy = _why_not_crun(binary, mount)
        if reason:
            found.append(Problem(f"/linux/resources/{place}", f"{LIMITS[place].option}: {reason}", remedy))
    if found or cgroups.mode(mount) == "":
        return found
    found += _parent(spec, asked, mount)
    if resources.get("cpu"):
        found += [*_cpusets(spec, mount), *_quota(spec, mount)]
    return found


def _why_not(place: str, mount: str) -> tuple[str, str]:
    """Return reason and remedy, both empty where the limit can be given."""
    limit, mode = LIMITS[place], cgroups.mode(mount)
    names = limit.v2 if mode == "v2" else limit.v1
    if not mode:
        return "no cgroups are mounted", f"mount -t cgroup2 none {mount}"
    if not names:
        return f"cgroup {mode} has nothing like it", "leave it out"
    root = cgroups.hierarchy(limit.controller, mount)
    if not root:
        controller = "io" if (mode, limit.controller) == ("v2", "blkio") else limit.controller
        where = f"{mount}/cgroup.controllers" if mode == "v2" else f"{mount}/{controller}"
        return f"this machine has no {controller} controller", f"it would be in {where}"
    if any(cgroups.has_file(root, name) for name in names) or _is_hidden(place, names, root, mode):
        return "", ""
    return f"this machine's cgroups have no {' or '.join(names)}", _REMEDIES.get(place, "leave it out")


def _why_not_crun(binary: str, mount: str) -> tuple[str, str]:
    """Say what a weight lacks: crun 1.8.1 knows only blkio.weight, which went with the CFQ scheduler (Linux 5.0)."""
    try:
        name = os.path.basename(find_binary(binary))
    except PrunError:
        return "", ""  # ``prun spec``, where nothing is executed
    if name != "crun" or cgroups.has_file(cgroups.hierarchy("blkio", mount), "blkio.weight"):
        return "", ""
    return "crun needs blkio.weight, which this machine's cgroups have not", "--opt binary=runc, or leave it out"


def _is_hidden(place: str, names: tuple[str, ...], root: str, mode: str) -> bool:
    """Tell whether a file may exist although there is no cgroup in which it could be seen."""
    if mode == "v2":
        seen = cgroups.has_file(root, _V2_SIGNS[LIMITS[place].controller])
    else:
        seen = bool(cgroups.files_below(root, "cgroup.procs")) or not any(name in _NOT_IN_V1_ROOTS for name in names)
    if seen or not place.startswith("blockIO/weight"):
        return not seen
    # io.weight comes with io.cost, which shows in the root; io.bfq.weight with a scheduler that disks can choose.
    return ("io.weight" in names and os.path.exists(f"{root}/io.cost.qos")) or _has_bfq()


def _has_bfq(sysfs: str = "/sys") -> bool:
    for name in os.listdir(f"{sysfs}/block"):
        if "bfq" in cgroups.words_of(f"{sysfs}/block/{name}/queue/scheduler"):
            return True
    return False


def _value(spec: Spec, place: str) -> object:
    group, _, key = place.partition("/")
    values: object = spec.get("linux", {}).get("resources", {}).get(group)
    return values.get(key) if isinstance(values, dict) else None


def _parent(spec: Spec, asked: list[str], mount: str) -> Iterator[Problem]:
    """Check the cgroup in which the container's is made: that it can be one, and can hand down controllers."""
    parent = os.path.dirname(spec.get("linux", {}).get("cgroupsPath", ""))
    for root in cgroups.roots(mount):
        for path in _ancestors(root, parent):
            if not os.path.isdir(path):
                yield Problem("/linux/cgroupsPath", f"--cgroup-parent {parent}: {path} is no cgroup", "choose another")
                return
    if cgroups.mode(mount) != "v2":
        return
    wanted = {place: {"blkio": "io"}.get(LIMITS[place].controller, LIMITS[place].controller) for place in asked}
    for path in _ancestors(mount, parent):
        control = f"{path}/cgroup.subtree_control"
        handed = cgroups.words_of(control)
        lacking = {place: name for place, name in wanted.items() if name not in handed}
        names = ", ".join(sorted(set(lacking.values())))
        # cgroup-v2.rst, "No Internal Process Constraint"; the root alone is exempt, and has no cgroup.type.
        if lacking and os.path.exists(f"{path}/cgroup.type") and cgroups.words_of(f"{path}/cgroup.procs"):
            reason, remedy = f"has processes, so that it cannot hand down {names}", "choose another --cgroup-parent"
            yield Problem("/linux/cgroupsPath", f"cgroup {path} {reason}", remedy)
        elif lacking and os.path.exists(control) and not os.access(control, os.W_OK):  # above what was delegated
            options = ", ".join(LIMITS[place].option for place in lacking)
            reason = f"cgroup {path} does not hand down {names}, and you may not change that"
            yield Problem("/linux/cgroupsPath", f"{options}: {reason}", "leave it out, or see Delegate= of systemd")
            return


def _ancestors(root: str, path: str) -> list[str]:
    """Return the directories of a cgroup and of all above it that exist, from the root on."""
    parts = [part for part in path.split("/") if part]
    every = [root + "".join(f"/{part}" for part in parts[:count]) for count in range(len(parts) + 1)]
    return [directory for directory in every if os.path.lexists(directory)]


def _cpusets(spec: Spec, mount: str) -> Iterator[Problem]:
    parent = os.path.dirname(spec.get("linux", {}).get("cgroupsPath", ""))
    root = cgroups.hierarchy("cpuset", mount)
    for key, (v1, v2, what) in _CPUSETS.items():
        asked = _value(spec, f"cpu/{key}")
        name = v2 if cgroups.mode(mount) == "v2" else v1
        # A cgroup that has just been made has an empty set in v1: an OCI runtime fills it from above.
        sets = [word for path in _ancestors(root, parent) for word in cgroups.words_of(f"{path}/{name}")]
        if isinstance(asked, str) and asked and sets and (lacking := cpuset_numbers(asked) - cpuset_numbers(sets[-1])):
            yield Problem(
                f"/linux/resources/cpu/{key}",
                f"--cpuset-{key} {asked}: there is no {what} {min(lacking)} for it",
                f"there are {sets[-1]}",
            )


def _quota(spec: Spec, mount: str) -> Iterator[Problem]:
    """In v1 a cgroup cannot have more than one above it (sched-bwc.rst, Hierarchical considerations)."""
    quota, period = _value(spec, "cpu/quota"), _value(spec, "cpu/period") or 100_000
    if cgroups.mode(mount) == "v2" or not isinstance(quota, int) or not isinstance(period, int) or quota <= 0:
        return
    parent = os.path.dirname(spec.get("linux", {}).get("cgroupsPath", ""))
    for path in _ancestors(cgroups.hierarchy("cpu", mount), parent):
        above = [int((cgroups.words_of(f"{path}/cpu.cfs_{name}_us") or ["-1"])[0]) for name in ("quota", "period")]
        if min(above) > 0 and quota * above[1] > above[0] * period:
            yield Problem(
                "/linux/resources/cpu/quota",
                f"--cpu-quota (--cpus) {quota / period:g} CPUs are more than {path} has",
                f"at most {above[0] / above[1]:g}",
            )
