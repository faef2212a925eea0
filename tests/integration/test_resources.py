"""Limits of real containers, on runc and on crun: what the cgroup's files say, and that the limit holds (cgroup v1)."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import cgroups_of

from prun_linux import cgroups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command import Prun

    Run = Callable[..., subprocess.CompletedProcess[str]]
    Started = Callable[..., "contextmanager[Files]"]

pytestmark = pytest.mark.skipif(cgroups.mode() == "v2", reason="tests/vm/guest/test_resources_v2.py is its counterpart")
# crun does not work where the v2 tree of a hybrid machine has controllers, so it gets a machine without that tree.
FOR_CRUN = """
if mountpoint -q /sys/fs/cgroup/unified; then
    umount /sys/fs/cgroup/unified
    mount -t tmpfs -o size=1m none /sys/fs/cgroup/unified
fi
exec "$@"
"""
DISK = next(
    f"/dev/{path.name}"
    for path in sorted(Path("/sys/block").iterdir())
    if path.name.startswith(("vd", "sd", "nvme", "xvd")) and Path(f"/dev/{path.name}").is_block_device()
)
WAIT = ("busybox", "sh", "-c", "echo up; exec cat")
SLEEP = ("busybox", "sh", "-c", "echo up; exec sleep 600")


class Files:
    """The cgroup of a running container, seen from the host."""

    def __init__(self, container_id: str, parent: str = "/prun") -> None:
        self.path = f"{parent}/{container_id}"

    def __call__(self, controller: str, name: str) -> str:
        return Path(f"/sys/fs/cgroup/{controller}{self.path}/{name}").read_text().strip()


@pytest.fixture
def words(prun: Prun, binary: str) -> list[str]:
    before = ["unshare", "--mount", "sh", "-c", FOR_CRUN, "sh"] if binary == "crun" else []
    return [*before, *prun.words, "run", "--rm", "--opt", f"binary={binary}"]


@pytest.fixture
def run(words: list[str]) -> Run:
    def call(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*words, *more], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )

    return call


@pytest.fixture
def started(words: list[str]) -> Callable[..., object]:
    """Start a container that waits for the end of its input, which is the end of the block; its cgroup must go."""

    @contextmanager
    def start(*more: str, parent: str = "/prun") -> Iterator[Files]:
        container_id = os.urandom(32).hex()
        command = [*words, "-i", "--id", container_id, *more, *WAIT]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout
            try:
                assert process.stdout.readline() == b"up\n"
                yield Files(container_id, parent)
            finally:
                process.communicate(timeout=30)
        assert cgroups_of(container_id) == []

    return start


@pytest.fixture
def parent() -> Iterator[str]:
    """The name of a cgroup that nobody has; removed in every hierarchy."""
    path = f"/prun-test-{os.getpid()}"
    yield path
    assert cgroups.remove(path) == []


def test_every_limit_stands_in_its_file(started: Started) -> None:
    with started(
        *("-m", "64m", "--memory-swap", "96m", "--memory-reservation", "32m", "--memory-swappiness", "10"),
        *("--oom-kill-disable", "--cpus", "0.5", "-c", "512", "--cpuset-cpus", "0", "--cpuset-mems", "0"),
        *("--pids-limit", "50"),
    ) as files:
        assert files("memory", "memory.limit_in_bytes") == str(64 << 20)
        assert files("memory", "memory.memsw.limit_in_bytes") == str(96 << 20)
        assert files("memory", "memory.soft_limit_in_bytes") == str(32 << 20)
        assert files("memory", "memory.swappiness") == "10"
        assert "oom_kill_disable 1" in files("memory", "memory.oom_control")
        assert files("cpu", "cpu.cfs_quota_us") == "50000"
        assert files("cpu", "cpu.cfs_period_us") == "100000"
        assert files("cpu", "cpu.shares") == "512"
        assert files("cpuset", "cpuset.cpus") == "0"
        assert files("cpuset", "cpuset.mems") == "0"
        assert files("pids", "pids.max") == "50"


def test_without_options_nothing_is_limited(started: Started) -> None:
    with started() as files:
        assert int(files("memory", "memory.limit_in_bytes")) > 2**62
        assert files("cpu", "cpu.cfs_quota_us") == "-1"
        assert files("cpu", "cpu.shares") == "1024"
        assert files("pids", "pids.max") == "max"


def test_unlimited_is_a_limit_that_can_be_asked_for(started: Started) -> None:
    with started("--pids-limit", "-1", "--memory-swap", "-1", "--cpu-quota", "-1", "--cpu-period", "50000") as files:
        assert files("pids", "pids.max") == "max"
        assert int(files("memory", "memory.memsw.limit_in_bytes")) > 2**62
        assert files("cpu", "cpu.cfs_quota_us") == "-1"
        assert files("cpu", "cpu.cfs_period_us") == "50000"


def test_memory_alone_allows_as_much_swap_again(started: Started) -> None:
    with started("-m16m") as files:
        assert files("memory", "memory.memsw.limit_in_bytes") == str(32 << 20)


def test_rates_of_a_disk_stand_in_the_throttle_files(started: Started) -> None:
    number = os.stat(DISK).st_rdev
    device = f"{os.major(number)}:{os.minor(number)}"
    with started(
        *("--device-read-bps", f"{DISK}:1mb", "--device-write-bps", f"{DISK}:2m"),
        *("--device-read-iops", f"{DISK}:100", "--device-write-iops", f"{DISK}:200"),
    ) as files:
        assert files("blkio", "blkio.throttle.read_bps_device") == f"{device} {1 << 20}"
        assert files("blkio", "blkio.throttle.write_bps_device") == f"{device} {2 << 20}"
        assert files("blkio", "blkio.throttle.read_iops_device") == f"{device} 100"
        assert files("blkio", "blkio.throttle.write_iops_device") == f"{device} 200"


def test_a_weight_is_given_or_refused_with_the_reason_before_anything_runs(
    started: Started, run: Run, binary: str
) -> None:
    known = list(Path("/sys/fs/cgroup/blkio").glob("*/blkio.bfq.weight"))
    if known and binary == "runc":
        with started("--blkio-weight", "500") as files:
            assert files("blkio", "blkio.bfq.weight") == "500"
    else:
        done = run("--blkio-weight", "500", "busybox", "true")
        assert done.returncode == 125
        assert "--blkio-weight: " in done.stderr
        assert done.stderr.startswith("prun: spec: ")  # not a word of the runtime's own
        assert done.stderr.count("\n") == 1


def test_more_memory_than_allowed_ends_the_process(run: Run) -> None:
    done = run("-m", "16m", "busybox", "sh", "-c", "x=a; while :; do x=$x$x; done")
    assert done.returncode == 137, done.stderr


def test_no_more_processes_than_allowed_are_made(run: Run) -> None:
    loop = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 5 & done; wait"
    done = run("--pids-limit", "10", "busybox", "sh", "-c", loop)
    assert done.returncode != 0
    assert "can't fork" in done.stderr


def test_more_cpu_time_than_allowed_is_not_had(words: list[str]) -> None:
    container_id = os.urandom(32).hex()
    work = "echo up; timeout 2 sh -c 'while :; do :; done'; true"
    command = [*words, "--id", container_id, "--cpus", "0.1", "busybox", "sh", "-c", work]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        time.sleep(1)
        stat = dict(line.split() for line in Files(container_id)("cpu", "cpu.stat").splitlines())
        assert int(stat["nr_throttled"]) > 0
        process.communicate(timeout=30)


def test_ulimits_are_those_of_the_process(run: Run) -> None:
    done = run(
        *(
            "--ulimit",
            "nofile=100:200",
            "--ulimit",
            "core=-1",
            "--ulimit",
            "nproc=5000",
            "--ulimit",
            "fsize=1000000:-1",
        ),
        *("busybox", "cat", "/proc/self/limits"),
    )
    limits = {line[:25].strip(): line[25:].split()[:2] for line in done.stdout.splitlines()}
    assert limits["Max open files"] == ["100", "200"]
    assert limits["Max core file size"] == ["unlimited", "unlimited"]
    assert limits["Max processes"] == ["5000", "5000"]
    assert limits["Max file size"] == ["1000000", "unlimited"]


def test_the_hosts_ulimits_are_those_of_prun(run: Run) -> None:
    own = Path("/proc/self/limits").read_text()
    assert run("--ulimit", "host", "busybox", "cat", "/proc/self/limits").stdout == own


def test_kernel_parameters_are_the_containers_own(run: Run) -> None:
    paths = ("net/core/somaxconn", "kernel/shm_rmid_forced", "fs/mqueue/msg_max", "kernel/domainname")
    before = [Path("/proc/sys", path).read_text() for path in paths]
    done = run(
        *("--sysctl", "net.core.somaxconn=77", "--sysctl", "kernel.shm_rmid_forced=1"),
        *("--sysctl", "fs.mqueue.msg_max=20", "--sysctl", "kernel.domainname=example.org"),
        *("busybox", "cat", *(f"/proc/sys/{path}" for path in paths)),
    )
    assert done.stdout.split() == ["77", "1", "20", "example.org"], done.stderr
    assert [Path("/proc/sys", path).read_text() for path in paths] == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--sysctl", "kernel.core_pattern=|/x"), "--sysctl 'kernel.core_pattern' is the whole machine's"),
        (("--sysctl", "kernel.shm_rmid_forced=1+kernel.core_pattern=|/x"), "--sysctl 'kernel.shm_rmid_forced': "),
        (("--sysctl", "net.core.somaxconn=5", "--network", "host"), "it would change the host's"),
        (("--sysctl", "kernel.sem=5", "--ipc", "host"), "it would change the host's"),
        (("--sysctl", "kernel.sem=5", "--security-opt", "proc-opts=subset=pid"), "with --security-opt proc-opts"),
        (("--sysctl", "net.core.somaxconn=many"), "the kernel refuses it: Invalid argument"),
        (("--cpuset-cpus", "4095"), "--cpuset-cpus 4095: there is no CPU 4095"),
        (("--cpus", "4096"), "--cpus 4096 is more than this machine has"),
        (("--device-read-bps", "/dev/null:1m"), "--device-read-bps: '/dev/null' is no block device"),
        (("--ulimit", "nofile=-1"), "hard 18446744073709551615 is over"),
        (("--cgroup-parent", "/cgroup.procs"), "is no cgroup"),
        (("--cgroup-parent", "user.slice"), "belongs to systemd"),
        (("-m", "5m"), "6m is the least"),
    ],
)
def test_what_cannot_be_is_refused_by_prun_and_not_by_the_runtime(
    run: Run, options: tuple[str, ...], expected: str
) -> None:
    done = run(*options, "busybox", "true")
    assert done.returncode == 125
    assert expected in done.stderr
    assert done.stderr.startswith("prun: ")
    assert done.stderr.count("\n") == 1


def test_an_oom_score_is_the_processes_and_one_under_our_own_is_refused(run: Run) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    done = run("--oom-score-adj", str(min(1000, own + 300)), "busybox", "cat", "/proc/self/oom_score_adj")
    assert done.stdout.strip() == str(min(1000, own + 300))
    done = run("--oom-score-adj", "-1000", "busybox", "cat", "/proc/self/oom_score_adj")
    assert done.stdout.strip() == "-1000" or "--oom-score-adj -1000 is under this process's own" in done.stderr


def test_the_size_of_dev_shm(run: Run) -> None:
    done = run("--shm-size", "1.5m", "busybox", "df", "-k", "/dev/shm")
    assert done.stdout.splitlines()[-1].split()[1] == "1536", done.stderr


@pytest.mark.parametrize("name", ["", "/below"])
def test_a_cgroup_parent_has_the_container_below_it_and_stays(started: Started, parent: str, name: str) -> None:
    with started("--cgroup-parent", (parent + name).lstrip("/"), "-m", "32m", parent=parent + name) as files:
        assert files("memory", "memory.limit_in_bytes") == str(32 << 20)
        assert files("memory", "cgroup.procs") != ""
    assert os.path.isdir(f"/sys/fs/cgroup/memory{parent}{name}")


def test_after_a_crash_the_cgroup_below_another_parent_is_found_again(
    prun: Prun, words: list[str], binary: str, parent: str
) -> None:
    container_id = os.urandom(32).hex()
    command = [*words, "--id", container_id, "--cgroup-parent", parent, *SLEEP]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    assert cgroups_of(container_id) != []
    process.kill()  # sh and unshare have been replaced: it is prun itself
    process.wait()
    process.stdout.close()
    # The OCI runtime's own state is gone, too: now only the bundle says where the container is.
    subprocess.run(["rm", "-r", str(prun.state / binary / container_id)], check=True)
    assert prun("ps").returncode == 0
    assert cgroups_of(container_id) == []
