"""Options for resource limits: the control group, kernel parameters, the OOM score.

The words are those of cgroup v1, as in the spec; OCI runtimes translate them where the machine has cgroup v2.

Spec: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#control-groups
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prun.spec import SpecOpt
    from prun.spec.document import Spec

    # Major and minor number of a block device, and its weight or its rate.
    DeviceLimit = tuple[int, int, int]

CPU_SHARES = (2, 1 << 18)  # the kernel's MIN_SHARES and MAX_SHARES
CPU_PERIODS_US = (1000, 1_000_000)
BLOCK_IO_WEIGHTS = (10, 1000)
OOM_SCORES = (-1000, 1000)
_CPUSET = re.compile(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*", re.ASCII)
_SYSCTL = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
Group = Literal["memory", "cpu", "pids", "blockIO"]
Throttle = Literal[
    "throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"
]


def with_memory(
    *,
    limit_bytes: int = 0,
    swap_bytes: int = 0,
    reservation_bytes: int = 0,
    swappiness: int | None = None,
    disable_oom_killer: bool = False,
) -> SpecOpt:
    """Set those that are given in ``resources.memory``; ``swap_bytes`` is memory and swap together, -1 unlimited.

    Spec: config-linux.md#memory
    """
    if min(limit_bytes, swap_bytes, reservation_bytes) < -1:
        raise InvalidArgument("a memory limit is negative", hint="-1 for unlimited")
    if swappiness is not None and not 0 <= swappiness <= 100:
        raise InvalidArgument(f"swappiness {swappiness} is not between 0 and 100")
    given = {"limit": limit_bytes, "swap": swap_bytes, "reservation": reservation_bytes}
    value: dict[str, object] = {key: size for key, size in given.items() if size}
    if swappiness is not None:
        value["swappiness"] = swappiness
    if disable_oom_killer:
        value["disableOOMKiller"] = True
    return _with("with_memory", "memory", value)


def with_cpu(*, shares: int = 0, quota_us: int = 0, period_us: int = 0, cpus: str = "", mems: str = "") -> SpecOpt:
    """Set those that are given in ``resources.cpu``; ``cpus`` and ``mems`` are lists such as ``0-3,5``.

    A quota of -1 takes away one that is there: a new cgroup has none, and crun 1.8.1 cannot write it.

    Spec: config-linux.md#cpu
    """
    for what, number, (low, high) in (("shares", shares, CPU_SHARES), ("period", period_us, CPU_PERIODS_US)):
        if number and not low <= number <= high:
            raise InvalidArgument(f"cpu {what} {number} is not between {low} and {high}")
    if quota_us < -1:
        raise InvalidArgument(f"cpu quota {quota_us} is negative", hint="-1 for unlimited")
    value = {"shares": shares, "quota": quota_us, "period": period_us}
    sets = {"cpus": cpus and require_cpuset("cpus", cpus), "mems": mems and require_cpuset("mems", mems)}
    given = {key: word for key, word in (*value.items(), *sets.items()) if word}
    return _with("with_cpu", "cpu", given, unlimited=("quota",))


def with_pids_limit(limit: int) -> SpecOpt:
    """Replace ``resources.pids.limit`` (config-linux.md#pids); -1 takes it away: a new cgroup has none."""
    if limit < -1 or limit == 0:
        raise InvalidArgument(f"pids limit {limit} is not possible", hint="at least 1, or -1 for unlimited")
    return _with("with_pids_limit", "pids", {"limit": limit}, unlimited=("limit",))


def with_block_io_weight(weight: int, devices: Iterable[DeviceLimit] = ()) -> SpecOpt:
    """Set the weight unless it is 0, and replace the weights of devices if there are any (config-linux.md#block-io)."""
    of_devices = [{"major": major, "minor": minor, "weight": share} for major, minor, share in devices]
    least, most = BLOCK_IO_WEIGHTS
    for number in (weight, *(entry["weight"] for entry in of_devices)):
        if number and not least <= number <= most:
            raise InvalidArgument(f"block IO weight {number} is not between {least} and {most}")
    value: dict[str, object] = {}
    if weight:
        value["weight"] = weight
    if of_devices:
        value["weightDevice"] = of_devices
    return _with("with_block_io_weight", "blockIO", value)


def with_block_io_throttle(kind: Throttle, devices: Iterable[DeviceLimit]) -> SpecOpt:
    """Replace one kind of rates, in bytes or operations a second (config-linux.md#block-io)."""
    entries = [{"major": major, "minor": minor, "rate": rate} for major, minor, rate in devices]
    if any(entry["rate"] < 0 for entry in entries):
        raise InvalidArgument(f"{kind}: a rate is negative")
    return _with("with_block_io_throttle", "blockIO", {kind: entries})


def with_sysctls(parameters: Mapping[str, str]) -> SpecOpt:
    """Add to ``linux.sysctl``, replacing those of the same key (config-linux.md#sysctl)."""
    value = dict(parameters)
    for key, text in value.items():
        require_sysctl(key, text)

    def opt(spec: Spec) -> None:
        spec.setdefault("linux", {}).setdefault("sysctl", {}).update(value)

    return opt


def with_oom_score_adj(score: int) -> SpecOpt:
    """Replace ``process.oomScoreAdj`` (config.md#linux-process)."""
    least, most = OOM_SCORES
    if not least <= score <= most:
        raise InvalidArgument(f"OOM score {score} is not between {least} and {most}")

    def opt(spec: Spec) -> None:
        spec.setdefault("process", {})["oomScoreAdj"] = score

    return opt


def require_cpuset(what: str, word: str) -> str:
    """Return a list of CPUs or memory nodes such as ``0-3,5`` (cpuset(7), List format).

    Raises:
        InvalidArgument: it is none, or a range ends before it begins.
    """
    ranges = [part.partition("-") for part in word.split(",")]
    if not _CPUSET.fullmatch(word) or any(dash and int(last) < int(first) for first, dash, last in ranges):
        raise InvalidArgument(f"{what} {word!r} is not a list of numbers and ranges", hint="as in 0-3,5")
    return word


def cpuset_numbers(word: str) -> set[int]:
    """Return the numbers of a list that ``require_cpuset`` let pass, or of an empty one."""
    numbers: set[int] = set()
    for part in filter(None, word.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def sysctl_namespace(key: str) -> str:
    """Return the kind of namespace that a kernel parameter belongs to, empty where it is the whole machine's.

    The kernel's list: ipc_namespaces(7), network_namespaces(7), uts_namespaces(7).
    """
    if key.startswith("net."):
        return "network"
    if key.startswith(("fs.mqueue.", "kernel.shm", "kernel.msg")) or key == "kernel.sem":
        return "ipc"
    return "uts" if key in ("kernel.domainname", "kernel.hostname") else ""


def require_sysctl(key: str, value: str) -> None:
    """Refuse a kernel parameter that is not a container's own.

    CVE-2022-0811: some runtimes split a value at ``+`` or ``=`` and set another parameter with the rest of it.

    Raises:
        InvalidArgument: of the key, or of a character in the value.
    """
    if not _SYSCTL.fullmatch(key):
        raise InvalidArgument(
            f"--sysctl {key!r} is no kernel parameter", hint="names with dots, as in net.core.somaxconn"
        )
    if key == "kernel.hostname":
        raise InvalidArgument("--sysctl 'kernel.hostname' is not set this way", hint="use --hostname")
    if not sysctl_namespace(key):
        raise InvalidArgument(
            f"--sysctl {key!r} is the whole machine's",
            hint="net.*, kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* and kernel.domainname are a container's own",
        )
    if not value or any(c in "+=" or (not c.isprintable() and c != "\t") for c in value):
        raise InvalidArgument(f"--sysctl {key!r}: {value!r} is no value", hint="one line without '+' and '='")


def _with(name: str, group: Group, value: Mapping[str, object], *, unlimited: tuple[str, ...] = ()) -> SpecOpt:
    """Set the keys of a group, as the option ``name``; of those that ``unlimited`` names, -1 removes what is there."""

    def opt(spec: Spec) -> None:
        resources = spec.setdefault("linux", {}).setdefault("resources", {})
        there = {**resources.get(group, {}), **value}
        if kept := {key: given for key, given in there.items() if key not in unlimited or given != -1}:
            resources[group] = kept
        else:
            resources.pop(group, None)

    opt.__qualname__ = name
    return opt
