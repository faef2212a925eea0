"""Resource limits of a request, in spec options; ``prun_linux.limits`` says which of them this machine can give."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, InvalidArgument
from prun.spec.linux import with_cgroups_path, with_rlimits
from prun.spec.resources import (
    with_block_io_throttle,
    with_block_io_weight,
    with_cpu,
    with_memory,
    with_oom_score_adj,
    with_pids_limit,
    with_sysctls,
)
from prun_linux import cgroups
from prun_linux.limits import is_offered

if TYPE_CHECKING:
    from prun.request.resources import DeviceLimits, Resources
    from prun.spec import SpecOpt
    from prun.spec.resources import DeviceLimit, Throttle
    from prun.types import RunRequest

CPU_PERIOD_US = 100_000  # the kernel's default, and docker's for --cpus
THROTTLES: dict[str, Throttle] = {
    "device_read_bps": "throttleReadBpsDevice",
    "device_write_bps": "throttleWriteBpsDevice",
    "device_read_iops": "throttleReadIOPSDevice",
    "device_write_iops": "throttleWriteIOPSDevice",
}


def spec_opts(request: RunRequest, mount: str = cgroups.MOUNT) -> list[SpecOpt]:
    """Return the options for cgroup, rlimits, sysctls and OOM score; ``mount`` is where the cgroups are.

    Raises:
        InvalidArgument: more CPUs than there are, or what should be a block device is none.
        FailedPrecondition: a block device has no such limit.
    """
    opts: list[SpecOpt] = []
    if request.resources:
        opts += limit_opts(request.resources, mount)
    if request.ulimits:
        opts.append(with_rlimits(request.ulimits))
    if request.sysctls:
        opts.append(with_sysctls(request.sysctls))
    if request.cgroup_parent:
        opts.append(with_cgroups_path(f"{request.cgroup_parent.rstrip('/')}/{request.id}"))
    if request.oom_score_adj is not None:
        opts.append(with_oom_score_adj(request.oom_score_adj))
    return opts


def limit_opts(resources: Resources, mount: str = cgroups.MOUNT) -> list[SpecOpt]:
    """Return the options for the cgroup's limits; raises as ``spec_opts``."""
    return [
        _memory(resources, mount),
        _cpu(resources),
        *([with_pids_limit(resources.pids_limit)] if resources.pids_limit else []),
        *_block_io(resources),
    ]


def _memory(resources: Resources, mount: str) -> SpecOpt:
    """Limit memory; without ``--memory-swap`` there may be as much swap as memory, where swap is counted at all."""
    swap = resources.memory_swap_bytes
    if swap <= 0 and not is_offered("memory/swap", mount):
        swap = 0  # what is not counted is not limited, and -1 asks for no more
    elif swap == 0:
        swap = 2 * resources.memory_bytes
    return with_memory(
        limit_bytes=resources.memory_bytes,
        swap_bytes=swap,
        reservation_bytes=resources.memory_reservation_bytes,
        swappiness=resources.memory_swappiness,
        disable_oom_killer=resources.oom_kill_disable,
    )


def _cpu(resources: Resources) -> SpecOpt:
    there = os.cpu_count() or 1
    if resources.cpus > there:
        raise InvalidArgument(f"--cpus {resources.cpus:g} is more than this machine has", hint=f"0.01 to {there}")
    quota, period = resources.cpu_quota_us, resources.cpu_period_us
    if resources.cpus:
        quota, period = round(resources.cpus * CPU_PERIOD_US), CPU_PERIOD_US
    return with_cpu(
        shares=resources.cpu_shares,
        quota_us=quota,
        period_us=period,
        cpus=resources.cpuset_cpus,
        mems=resources.cpuset_mems,
    )


def _block_io(resources: Resources) -> list[SpecOpt]:
    opts = []
    if resources.blkio_weight or resources.blkio_weight_device:
        devices = _numbers("--blkio-weight-device", resources.blkio_weight_device)
        opts.append(with_block_io_weight(resources.blkio_weight, devices))
    for field, kind in THROTTLES.items():
        if limits := getattr(resources, field):
            opts.append(with_block_io_throttle(kind, _numbers(f"--{field.replace('_', '-')}", limits)))
    return opts


def _numbers(option: str, limits: DeviceLimits) -> list[DeviceLimit]:
    return [(*block_device(option, path), limit) for path, limit in limits]


def block_device(option: str, path: str, sysfs: str = "/sys") -> tuple[int, int]:
    """Return major and minor number of a block device of the host that the kernel can limit.

    Raises:
        InvalidArgument: there is none.
        FailedPrecondition: it is a partition, whose disk alone has limits, or weights are not for it.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise InvalidArgument(f"{option}: {path!r} cannot be looked at: {error.strerror}") from error
    if not stat.S_ISBLK(found.st_mode):
        raise InvalidArgument(f"{option}: {path!r} is no block device", hint="see lsblk")
    numbers = os.major(found.st_rdev), os.minor(found.st_rdev)
    directory = f"{sysfs}/dev/block/{numbers[0]}:{numbers[1]}"
    if not os.path.isdir(directory):
        raise InvalidArgument(f"{option}: there is no device behind {path!r}", hint="see lsblk")
    if os.path.exists(f"{directory}/partition"):
        raise FailedPrecondition(f"{option}: {path!r} is a partition", hint="only the whole disk can be limited")
    if option == "--blkio-weight-device" and not _uses_bfq(directory):
        name = os.path.basename(os.path.realpath(directory))
        raise FailedPrecondition(
            f"{option}: {path!r} has a scheduler without weights", hint=f"echo bfq > /sys/block/{name}/queue/scheduler"
        )
    return numbers


def _uses_bfq(directory: str) -> bool:
    try:
        with open(f"{directory}/queue/scheduler", encoding="ascii") as file:
            return "[bfq]" in file.read()
    except OSError:
        return False
