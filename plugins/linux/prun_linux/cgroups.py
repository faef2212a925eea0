"""Control groups as the host has mounted them: which version, and what a dead container left in them."""

from __future__ import annotations

import os
import time

MOUNT = "/sys/fs/cgroup"


def mode(mount: str = MOUNT) -> str:
    """Return ``v2``, ``hybrid`` (v1 controllers beside a v2 tree), ``v1``, or an empty string where none is mounted."""
    if os.path.exists(f"{mount}/cgroup.controllers"):
        return "v2"
    if os.path.exists(f"{mount}/unified/cgroup.controllers"):
        return "hybrid"
    return "v1" if files_below(mount, "cgroup.procs") else ""


def hierarchy(controller: str, mount: str = MOUNT) -> str:
    """Return the root directory of the hierarchy that has a controller, by its v1 name; empty where none has it.

    In hybrid mode the controllers of the v2 tree do not count: OCI runtimes use the v1 ones.
    """
    if mode(mount) == "v2":
        there = words_of(f"{mount}/cgroup.controllers")
        return mount if {"blkio": "io"}.get(controller, controller) in there else ""
    path = f"{mount}/{controller}"
    return path if os.path.exists(f"{path}/cgroup.procs") else ""


def roots(mount: str = MOUNT) -> list[str]:
    """Return the root directory of every hierarchy."""
    if mode(mount) == "v2":
        return [mount]
    return [os.path.dirname(path) for path in files_below(mount, "cgroup.procs")]


def has_file(directory: str, name: str) -> bool:
    """Tell whether cgroups of a hierarchy have a file; some are only in cgroups that are not its root."""
    return os.path.exists(f"{directory}/{name}") or bool(files_below(directory, name))


def files_below(directory: str, name: str) -> list[str]:
    """Return the files of this name one level down."""
    import glob

    return glob.glob(f"{glob.escape(directory)}/*/{name}")


def split_controllers() -> bool:
    """Tell whether the v2 tree of a hybrid machine has controllers: crun refuses to work then."""
    try:
        with open(f"{MOUNT}/unified/cgroup.controllers", encoding="ascii") as file:
            return bool(file.read().strip())
    except OSError:
        return False


def directories(cgroups_path: str) -> list[str]:
    """Return the directories that exist for an absolute ``cgroupsPath``, in every hierarchy."""
    paths = (mount + cgroups_path for mount, kind in _mounts() if kind in ("cgroup", "cgroup2"))
    return [path for path in paths if os.path.isdir(path)]


def pids(cgroups_path: str) -> list[int]:
    """Return the pids of the processes in an absolute ``cgroupsPath`` and in the cgroups below it."""
    found: set[int] = set()
    for top in directories(cgroups_path):
        for directory, _, _ in os.walk(top):
            found.update(int(word) for word in words_of(f"{directory}/cgroup.procs"))
    return sorted(found - {0})


def remove(cgroups_path: str, timeout_s: float = 5.0) -> list[str]:
    """Kill what is in a container's cgroups and remove them; return those that could not be removed in time.

    A process that dies stays in its cgroup until it is reaped, so the kernel may need to be asked again.
    """
    deadline = time.monotonic() + timeout_s
    while left := [path for path in directories(cgroups_path) if not _remove(path)]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.005)
    return []


def _remove(path: str) -> bool:
    for directory, _, _ in os.walk(path, topdown=False):
        _kill(directory)
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError:
            return False
    return True


def _kill(directory: str) -> None:
    import signal

    try:
        with open(f"{directory}/cgroup.procs", encoding="ascii") as file:
            pids = [int(line) for line in file]
    except OSError:
        return  # gone, or a threaded cgroup, which has no processes of its own
    for pid in pids:
        if pid <= 0:  # in a pid namespace that is not below ours; kill(2) would take 0 for our own group
            continue
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def words_of(path: str) -> list[str]:
    """Return the words of one of the kernel's files, none where it is not there."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


def _mounts() -> list[tuple[str, str]]:
    """Return mount point and file system type of each mount (proc_pid_mountinfo(5))."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.split(" - ", 1) for line in file]
    return [(left.split()[4], right.split()[0]) for left, right in lines]
