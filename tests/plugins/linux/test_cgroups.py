from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from prun_linux import cgroups


def test_the_cgroup_mode_is_one_of_those_there_are() -> None:
    assert cgroups.mode() in ("", "v1", "hybrid", "v2")
    assert Path(cgroups.MOUNT).exists() == bool(cgroups.mode())


@pytest.mark.root
def test_processes_in_a_left_cgroup_are_killed_and_it_is_removed() -> None:
    path = f"/prun-test-{os.getpid()}"
    roots = [mount for mount, kind in cgroups._mounts() if kind in ("cgroup", "cgroup2")]
    chosen = next(root for root in roots if os.path.basename(root) in ("pids", "cgroup", "systemd"))
    os.makedirs(f"{chosen}{path}/child")
    with subprocess.Popen(["sleep", "60"]) as process:
        with open(f"{chosen}{path}/child/cgroup.procs", "w") as file:
            file.write(str(process.pid))
        waiter = threading.Thread(target=process.wait)
        waiter.start()
        assert cgroups.remove(path) == []
        waiter.join(5)
        assert process.returncode == -signal.SIGKILL
    assert cgroups.directories(path) == []
