"""Whatever the end of a run, the machine and a process that runs many are as they were before."""

from __future__ import annotations

import gc
import os
import pty
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import NOTHING, Prun, children

import prun as library
from prun.errors import CommandNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytestmark = pytest.mark.alone

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def running_namespaces() -> Counter[str]:
    """The namespaces that a process is in, counted by kind (lsns counts the same)."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for kind in NAMESPACES:
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                continue  # it has ended
    return Counter(name.partition(":")[0] for name in found)


def machine(store: Prun) -> Mapping[str, object]:
    """Everything that a container is made of and that outlives a process when nobody removes it."""
    return {
        "mounts": Counter(line.split(" - ")[1] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "cgroups": [str(path) for path in Path("/sys/fs/cgroup").glob("**/prun/*") if path.is_dir()],
        "namespaces": running_namespaces(),
        "named network namespaces": names_in("/run/netns"),
        "interfaces": names_in("/sys/class/net"),
        "shared memory": names_in("/dev/shm"),
        "message queues": names_in("/dev/mqueue"),
        "temporary": [name for name in names_in("/tmp") if "prun" in name or "runc" in name],
        "loop devices": names_in("/sys/block"),
        "terminals": int(Path("/proc/sys/kernel/pty/nr").read_text()),
        "zombies": zombies(),
        "store": store.traces(),
        "state": names_in(str(store.state / "bundles")) + names_in("/run/runc") + names_in("/run/crun"),
        "writable layers": names_in(str(store.root / "snapshots" / "active")),
    }


def names_in(path: str) -> list[str]:
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def zombies() -> list[str]:
    """Our own children that have ended and that nobody has waited for."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z" and int(fields[1]) in (1, os.getpid()):
            found.append(pid)
    return found


def settled(store: Prun, before: Mapping[str, object]) -> Mapping[str, object]:
    """What of ``machine`` still differs after a grace period: other processes of this machine come and go, too."""
    deadline = time.monotonic() + 10
    while True:
        now = machine(store)
        different = {key: (value, now[key]) for key, value in before.items() if now[key] != value}
        if "zombies" in different and set(zombies()) <= set(before["zombies"]):
            del different["zombies"]  # an old one of somebody else's has been waited for
        if not different or time.monotonic() > deadline:
            return different
        time.sleep(0.1)


def good(store: Prun) -> None:
    assert store("run", "--rm", "busybox", "true").returncode == 0


def not_zero(store: Prun) -> None:
    assert store("run", "--rm", "busybox", "sh", "-c", "echo out; exit 7").returncode == 7


def without_a_command(store: Prun) -> None:
    assert store("run", "--rm", "busybox", "/no/such").returncode == 127


def refused(store: Prun) -> None:
    assert store("run", "--rm", "-u", "nobody:nogroup:x", "busybox", "true").returncode == 125


def refused_by_the_runtime(store: Prun) -> None:
    assert store("run", "--rm", "-w", "/bin/busybox/x", "busybox", "true").returncode == 125


def broken_in_the_container(store: Prun) -> None:
    """A descendant stays behind when the first process ends; the pid namespace ends it."""
    assert store("run", "--rm", "busybox", "sh", "-c", "sleep 1000 </dev/null >/dev/null 2>&1 & exit 0").returncode == 0


def kept_and_removed(store: Prun) -> None:
    assert store("run", "--name", "kept", "busybox", "touch", "/x", "/dev/shm/x").returncode == 0
    assert store("rm", "kept").returncode == 0


def terminated(store: Prun) -> None:
    process = store.popen(
        "run", "--rm", "busybox", "sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 3


def killed(store: Prun) -> None:
    """``kill -9`` of prun: the next command, whatever it is, clears up."""
    process = store.popen("run", "--rm", "busybox", "sh", "-c", "echo up; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.kill()
    process.wait(20)
    assert store("ps", "-aq").stdout == ""
    process.communicate(timeout=20)  # the container's copies of the pipes are closed, too


def on_a_terminal(store: Prun) -> None:
    ours, theirs = pty.openpty()
    words = [*store.words, "run", "--rm", "-it", "busybox", "sh", "-c", "test -t 0 && exit 5"]
    assert subprocess.run(words, stdin=theirs, stdout=theirs, stderr=theirs, timeout=60, check=False).returncode == 5
    os.close(ours)
    os.close(theirs)


def on_a_terminal_that_hangs_up(store: Prun) -> None:
    ours, theirs = pty.openpty()
    words = [*store.words, "run", "--rm", "-it", "busybox", "sh", "-c", "echo up; sleep 1000"]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"up" not in seen:
        seen += os.read(ours, 100)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    for container in store("ps", "-aq").stdout.split():  # sh as pid 1 may ignore the signal
        store("rm", "-f", container)
    process.wait(20)


MIX: tuple[Callable[[Prun], None], ...] = (
    good, not_zero, without_a_command, refused, refused_by_the_runtime, broken_in_the_container, kept_and_removed,
    terminated, killed, on_a_terminal, on_a_terminal_that_hangs_up, good,
)  # fmt: skip


def test_sixty_runs_of_every_kind_leave_the_machine_as_it_was(store: Prun) -> None:
    good(store)  # what is made once stays: the store, the parent of the containers' cgroups
    before = machine(store)
    for number in range(60):
        MIX[number % len(MIX)](store)
    assert settled(store, before) == {}
    assert store("ps", "-aq").stdout == ""
    assert store("system", "check").stdout == "nothing is left over\n"


def test_a_process_that_runs_many_containers_keeps_nothing_of_them(store: Prun) -> None:
    """Descriptors, threads, children and memory maps of a library's process."""
    runner = library.Runner(root=str(store.root), state=str(store.state))

    def one(number: int) -> None:
        if number % 5 == 4:
            with pytest.raises(CommandNotFound):
                runner.run("busybox", ["/no/such"])
        else:
            result = runner.run("busybox", ["sh", "-c", f"cat; exit {number}"], stdin=b"x" * 1000)
            assert (result.exit_code, len(result.stdout)) == (number, 1000)

    one(0)  # what is loaded once stays
    gc.collect()
    descriptors, threads, others = os.listdir("/proc/self/fd"), threading.active_count(), children()
    maps = len(Path("/proc/self/maps").read_text().splitlines())
    for number in range(30):
        one(number)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)
    assert threading.active_count() == threads
    assert len(Path("/proc/self/maps").read_text().splitlines()) < maps + 30
    assert children() <= others
    assert store.traces() == NOTHING
