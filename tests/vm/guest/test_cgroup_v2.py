"""A machine with cgroup v2 alone: containers run, see their own cgroup only, and leave none."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from command import NOTHING

if TYPE_CHECKING:
    from command import Prun
    from vm.guest.conftest import Run

CGROUPS = Path("/sys/fs/cgroup")


def test_this_machine_has_cgroup_v2_and_nothing_of_v1():
    kinds = [line.split(" - ")[1].split()[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert [kind for kind in kinds if kind.startswith("cgroup")] == ["cgroup2"]
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set((CGROUPS / "cgroup.subtree_control").read_text().split())


def test_a_container_sees_the_root_of_its_cgroup_namespace_read_only(run: Run):
    mounts = "grep ' /sys/fs/cgroup ' /proc/mounts | cut -d ' ' -f 3-4 | cut -d , -f 1 | sort -u"
    script = f"cat /proc/self/cgroup; {mounts}; mkdir /sys/fs/cgroup/x; exit 7"
    done = run("busybox", "sh", "-c", script)
    assert (done.stdout, done.returncode) == ("0::/\ncgroup2 ro\n", 7)
    assert "Read-only file system" in done.stderr


def test_in_the_hosts_cgroup_namespace_a_container_is_below_the_parent_asked_for(run: Run):
    words = ("--cgroupns", "host", "--cgroup-parent", "/mine", "--id", "it")
    try:
        assert run(*words, "busybox", "cat", "/proc/self/cgroup").stdout == "0::/mine/it\n"
        assert list(CGROUPS.glob("mine/*/")) == []
    finally:
        (CGROUPS / "mine").rmdir()


def test_cgroups_that_a_privileged_container_makes_go_with_it(run: Run):
    script = "mkdir -p /sys/fs/cgroup/a/b; echo 0 >/sys/fs/cgroup/a/b/cgroup.procs; cat /proc/self/cgroup"
    done = run("--privileged", "busybox", "sh", "-c", script)
    assert (done.stdout, done.returncode) == ("0::/a/b\n", 0), done.stderr
    assert list(CGROUPS.glob("prun/*/")) == []


def test_what_a_killed_prun_leaves_is_cleared(store: Prun, binary: str):
    words = ["run", "--rm", "--opt", f"binary={binary}", "busybox", "sh", "-c", "echo begun; exec sleep 100"]
    with store.popen(*words) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        assert [path.parent.name for path in CGROUPS.glob("prun/*/cgroup.procs")] != []
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
    checked = store("system", "check")
    assert checked.returncode == 0, checked.stderr
    deadline = time.monotonic() + 20
    while store.traces() != NOTHING and time.monotonic() < deadline:
        time.sleep(0.1)
    assert store.traces() == NOTHING
    assert list(CGROUPS.glob("prun/*/")) == []
