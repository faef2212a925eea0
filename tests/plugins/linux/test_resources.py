"""Limits and the machines that can or cannot give them: trees of cgroup v1, hybrid and v2 made by hand."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prun.errors import FailedPrecondition, InvalidArgument
from prun.request.resources import Resources
from prun.spec import apply
from prun.types import RunRequest
from prun_linux import cgroups, limits, loaded, resources, sysctls
from prun_linux.resources import block_device, spec_opts

from .test_isolation import schema, spec_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prun.spec.document import Spec

V1 = {
    "memory": (
        *("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.swappiness"),
        "memory.oom_control",
    ),
    "cpu": ("cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"),
    "cpuset": ("cpuset.cpus", "cpuset.mems"),
    "pids": (),
    "blkio": tuple(f"blkio.throttle.{way}_{unit}_device" for way in ("read", "write") for unit in ("bps", "iops")),
}
V2_CHILD = (
    "memory.max",
    "memory.swap.max",
    "memory.low",
    "cpu.max",
    "cpu.weight",
    "pids.max",
    "io.max",
    "io.bfq.weight",
)
ALL = Resources(
    memory_bytes=64 << 20,
    memory_swap_bytes=128 << 20,
    memory_reservation_bytes=32 << 20,
    memory_swappiness=10,
    oom_kill_disable=True,
    cpu_shares=512,
    cpu_quota_us=50000,
    cpu_period_us=100000,
    cpuset_cpus="0",
    cpuset_mems="0",
    pids_limit=10,
    blkio_weight=100,
)


def write(path: Path, words: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(words)


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    """A machine with all controllers of v1, and weights in those that are no root."""
    for controller, files in V1.items():
        for name in ("cgroup.procs", *files):
            write(tmp_path / controller / name, "0-3\n" if name.startswith("cpuset") else "")
        write(tmp_path / controller / "some" / "cgroup.procs")
    for name in ("blkio.bfq.weight", "blkio.bfq.weight_device"):
        write(tmp_path / "blkio" / "some" / name)
    write(tmp_path / "pids" / "some" / "pids.max")
    return tmp_path


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    """A machine with v2, and one cgroup that has all controllers."""
    write(tmp_path / "cgroup.controllers", "cpuset cpu io memory pids\n")
    write(tmp_path / "cgroup.subtree_control", "cpuset cpu io memory pids\n")
    write(tmp_path / "cgroup.procs", "1\n2\n")
    for name in ("cpuset.cpus.effective", "cpuset.mems.effective"):
        write(tmp_path / name, "0-3\n")
    for name in (*V2_CHILD, "cpuset.cpus", "cpuset.mems"):
        write(tmp_path / "some" / name)
    return tmp_path


def spec_for(asked: Resources, mount: Path, **fields: Any) -> Spec:
    request = RunRequest("c1", resources=asked, **fields)
    path: Spec = {"linux": {"cgroupsPath": "/prun/c1"}}
    return apply(path, spec_opts(request, str(mount)))


def refused(asked: Resources, mount: Path, **fields: Any) -> list[str]:
    """The options that cannot be given, by the first word of each problem."""
    binary = fields.pop("binary", "runc")
    found = limits.problems(spec_for(asked, mount, **fields), binary, str(mount))
    assert all(problem.hint for problem in found)
    return [problem.message.partition(":")[0] for problem in found]


def test_v1_gives_everything_that_it_has_files_for(v1: Path) -> None:
    assert refused(ALL, v1) == []


def test_v2_gives_everything_but_what_went_with_v1(v2: Path) -> None:
    assert refused(ALL, v2) == ["--memory-swappiness", "--oom-kill-disable"]


def test_the_controllers_of_a_hybrid_machine_are_those_of_v1(v1: Path) -> None:
    write(v1 / "unified" / "cgroup.controllers", "cpu memory")
    assert cgroups.mode(str(v1)) == "hybrid"
    assert refused(ALL, v1) == []
    (v1 / "memory" / "cgroup.procs").unlink()
    assert refused(Resources(memory_bytes=64 << 20), v1) == ["--memory"]


@pytest.mark.parametrize(
    ("missing", "options"),
    [
        ("memory", {"--memory", "--memory-swap", "--memory-reservation", "--memory-swappiness", "--oom-kill-disable"}),
        ("cpu", {"--cpu-shares", "--cpu-quota (--cpus)", "--cpu-period (--cpus)"}),
        ("cpuset", {"--cpuset-cpus", "--cpuset-mems"}),
        ("pids", {"--pids-limit"}),
        ("blkio", {"--blkio-weight"}),
    ],
)
def test_a_controller_that_is_not_there_is_missed_by_every_option_that_needs_it(
    v1: Path, missing: str, options: set[str]
) -> None:
    (v1 / missing).rename(v1 / f"no-{missing}")
    (v1 / f"no-{missing}" / "cgroup.procs").unlink()
    assert set(refused(ALL, v1)) == options


@pytest.mark.parametrize(
    ("missing", "option"),
    [("memory", "--memory"), ("cpu", "--cpu-shares"), ("cpuset", "--cpuset-cpus"), ("pids", "--pids-limit"),
     ("io", "--blkio-weight")],
)  # fmt: skip
def test_a_controller_that_v2_does_not_list_is_missed(v2: Path, missing: str, option: str) -> None:
    there = (v2 / "cgroup.controllers").read_text().split()
    write(v2 / "cgroup.controllers", " ".join(name for name in there if name != missing))
    assert option in refused(ALL, v2)
    assert "--pids-limit" not in refused(ALL, v2) or missing == "pids"


def test_a_machine_without_cgroups_is_told_so(tmp_path: Path) -> None:
    found = limits.problems(spec_for(Resources(memory_bytes=64 << 20), tmp_path), "", str(tmp_path))
    assert [str(problem) for problem in found] == [
        f"/linux/resources/memory/limit: --memory: no cgroups are mounted (mount -t cgroup2 none {tmp_path})"
    ]


def test_swap_that_is_not_counted_is_refused_when_asked_for_and_left_out_else(v1: Path) -> None:
    (v1 / "memory" / "memory.memsw.limit_in_bytes").unlink()
    assert refused(Resources(memory_bytes=64 << 20, memory_swap_bytes=64 << 20), v1) == ["--memory-swap"]
    for swap in (0, -1):
        spec = spec_for(Resources(memory_bytes=64 << 20, memory_swap_bytes=swap), v1)
        assert spec["linux"]["resources"]["memory"] == {"limit": 64 << 20}


def test_without_memory_swap_there_is_as_much_swap_as_memory(v1: Path) -> None:
    assert spec_for(Resources(memory_bytes=8 << 20), v1)["linux"]["resources"]["memory"]["swap"] == 16 << 20
    assert spec_for(Resources(memory_swap_bytes=-1), v1)["linux"]["resources"]["memory"] == {"swap": -1}
    assert "memory" not in spec_for(Resources(cpu_shares=2), v1)["linux"]["resources"]


def test_no_file_for_weights_means_no_weight_in_v1(v1: Path) -> None:
    (v1 / "blkio" / "some" / "blkio.bfq.weight").unlink()
    assert refused(Resources(blkio_weight=100), v1) == ["--blkio-weight"]


def test_either_file_for_weights_will_do_in_v2(v2: Path) -> None:
    (v2 / "some" / "io.bfq.weight").unlink()
    assert refused(Resources(blkio_weight=100), v2) == ["--blkio-weight"]
    write(v2 / "some" / "io.weight")
    assert refused(Resources(blkio_weight=100), v2) == []
    assert not limits.is_offered("blockIO/weightDevice", str(v2))


@pytest.mark.parametrize("bfq", [True, False])
def test_weights_that_cannot_be_seen_in_any_cgroup_are_there_with_their_scheduler(
    v2: Path, monkeypatch: pytest.MonkeyPatch, bfq: bool
) -> None:
    for name in ("io.max", "io.bfq.weight"):
        (v2 / "some" / name).unlink()
    monkeypatch.setattr(limits, "_has_bfq", lambda: bfq)
    assert refused(Resources(blkio_weight=100), v2) == ([] if bfq else ["--blkio-weight"])
    write(v2 / "io.cost.qos")
    assert refused(Resources(blkio_weight=100), v2) == []
    assert limits.is_offered("blockIO/weightDevice", str(v2)) == bfq
    assert limits.is_offered("blockIO/throttleReadBpsDevice", str(v2))


def test_crun_is_refused_a_weight_that_it_cannot_write(v1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "find_binary", lambda name: "/usr/bin/crun")
    assert refused(Resources(blkio_weight=100), v1) == ["--blkio-weight"]
    write(v1 / "blkio" / "some" / "blkio.weight")
    assert refused(Resources(blkio_weight=100), v1) == []


@pytest.mark.parametrize("tree", ["v1", "v2"])
def test_a_cpu_that_is_not_there_is_refused(tree: str, request: pytest.FixtureRequest) -> None:
    mount = request.getfixturevalue(tree)
    asked = Resources(cpuset_cpus="2-4", cpuset_mems="4")
    found = limits.problems(spec_for(asked, mount), "", str(mount))
    assert [problem.message for problem in found] == [
        "--cpuset-cpus 2-4: there is no CPU 4 for it",
        "--cpuset-mems 4: there is no memory node 4 for it",
    ]


@pytest.mark.parametrize(("tree", "directory", "name"), [
    ("v1", "cpuset/mine", "cpuset.cpus"), ("v2", "mine", "cpuset.cpus.effective"),
])  # fmt: skip
def test_a_parent_with_fewer_cpus_has_no_others_to_give(
    tree: str, directory: str, name: str, request: pytest.FixtureRequest
) -> None:
    mount = request.getfixturevalue(tree)
    asked = Resources(cpuset_cpus="2")
    write(mount / directory / name, "\n")
    assert refused(asked, mount, cgroup_parent="/mine") == []  # not yet filled
    write(mount / directory / name, "0-1\n")
    assert refused(asked, mount, cgroup_parent="/mine/below") == ["--cpuset-cpus 2"]
    assert refused(asked, mount) == []


def test_a_quota_over_the_parents_is_refused_where_the_kernel_would(v1: Path) -> None:
    write(v1 / "cpu" / "mine" / "cpu.cfs_quota_us", "50000\n")
    write(v1 / "cpu" / "mine" / "cpu.cfs_period_us", "100000\n")
    [message] = refused(Resources(cpus=0.6), v1, cgroup_parent="/mine")
    assert message == f"--cpu-quota (--cpus) 0.6 CPUs are more than {v1}/cpu/mine has"
    assert refused(Resources(cpus=0.5), v1, cgroup_parent="/mine") == []
    assert refused(Resources(cpu_quota_us=60000), v1, cgroup_parent="/mine/below") != []


def test_a_cgroup_with_processes_hands_nothing_down_in_v2(v2: Path) -> None:
    write(v2 / "busy" / "cgroup.type", "domain\n")
    write(v2 / "busy" / "cgroup.subtree_control", "cpu\n")
    write(v2 / "busy" / "cgroup.procs", "1\n")
    [problem] = limits.problems(spec_for(Resources(pids_limit=3), v2, cgroup_parent="/busy"), "", str(v2))
    assert problem.message == f"cgroup {v2}/busy has processes, so that it cannot hand down pids"
    assert refused(Resources(cpu_shares=3), v2, cgroup_parent="/busy") == []
    assert refused(Resources(pids_limit=3), v2) == []  # the root has processes, too: it may


@pytest.mark.parametrize("tree", ["v1", "v2"])
def test_a_file_is_no_parent(tree: str, request: pytest.FixtureRequest) -> None:
    mount = request.getfixturevalue(tree)
    [problem] = limits.problems(spec_for(Resources(), mount, cgroup_parent="/cgroup.procs"), "", str(mount))
    assert problem.message.endswith("cgroup.procs is no cgroup")


def test_cpus_are_a_quota_of_the_usual_period(v1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert spec_for(Resources(cpus=1.5), v1)["linux"]["resources"]["cpu"] == {"quota": 150000, "period": 100000}
    assert spec_for(Resources(cpus=0.29), v1)["linux"]["resources"]["cpu"]["quota"] == 29000
    with pytest.raises(InvalidArgument, match=r"--cpus 2.01 is more than this machine has"):
        spec_for(Resources(cpus=2.01), v1)


def test_the_cgroup_is_below_the_parent_that_was_asked_for(v1: Path) -> None:
    for parent, path in (("/mine/a", "/mine/a/c1"), ("/", "/c1")):
        assert spec_for(Resources(), v1, cgroup_parent=parent)["linux"]["cgroupsPath"] == path


def test_a_finished_spec_with_every_limit_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "block_device", lambda option, path: (8, 0))
    rates = dict.fromkeys(resources.THROTTLES, (("/dev/sda", 1000),))
    asked = ALL._replace(**rates, blkio_weight_device=(("/dev/sda", 100),))
    spec = spec_of(
        resources=asked,
        ulimits={"RLIMIT_NOFILE": (5, 2**64 - 1)},
        sysctls={"net.core.somaxconn": "5"},
        cgroup_parent="/mine",
        oom_score_adj=0,
    )
    assert [error.message for error in schema().iter_errors(spec)] == []
    assert spec["process"]["oomScoreAdj"] == 0
    assert spec["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 2**64 - 1}]
    assert spec["linux"]["resources"]["blockIO"] == {
        "weight": 100,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 100}],
        **{kind: [{"major": 8, "minor": 0, "rate": 1000}] for kind in resources.THROTTLES.values()},
    }
    assert spec["linux"]["resources"]["devices"]


class Device:
    """A block device behind a path: a fake node (stat) and a fake sysfs."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sysfs = str(directory)
        self.directory = directory / "dev" / "block" / "8:1"
        node = os.stat_result((stat.S_IFBLK | 0o660, 0, 0, 1, 0, 0, 0, 0, 0, 0), {"st_rdev": os.makedev(8, 1)})
        real = os.stat
        monkeypatch.setattr(os, "stat", lambda path, **more: node if path == "/dev/sda" else real(path, **more))

    def numbers(self, option: str = "--device-read-bps") -> tuple[int, int]:
        return block_device(option, "/dev/sda", self.sysfs)


def test_only_whole_disks_have_limits_and_weights_need_their_scheduler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        device = Device(tmp_path, patch)
        with pytest.raises(InvalidArgument, match="there is no device behind"):
            device.numbers()
        write(device.directory / "queue" / "scheduler", "[none] bfq\n")
        found = device.numbers()
        with pytest.raises(FailedPrecondition, match="has a scheduler without weights"):
            device.numbers("--blkio-weight-device")
        write(device.directory / "queue" / "scheduler", "none [bfq]\n")
        weighed = device.numbers("--blkio-weight-device")
        write(device.directory / "partition", "1\n")
        with pytest.raises(FailedPrecondition, match="is a partition"):
            device.numbers()
    assert found == weighed == (8, 1)


@pytest.mark.parametrize(
    ("path", "expected"), [("/dev/null", "is no block device"), ("/dev/nope", "cannot be looked at")]
)
def test_what_is_no_block_device_is_refused_by_its_option(path: str, expected: str) -> None:
    with pytest.raises(InvalidArgument, match=f"--device-read-bps: '{path}' {expected}"):
        block_device("--device-read-bps", path)


def sysctl_problems(parameters: dict[str, str], namespaces: Iterable[dict[str, str]]) -> list[str]:
    spec: Any = {"linux": {"sysctl": parameters, "namespaces": list(namespaces)}}
    return [str(problem) for problem in sysctls.problems(spec)]


def test_a_parameter_of_the_hosts_namespace_is_refused() -> None:
    found = sysctl_problems({"net.core.somaxconn": "5"}, [{"type": "ipc"}])
    assert "it would change the host's, because of --network host" in found[0]
    found = sysctl_problems({"kernel.shmmax": "5"}, [{"type": "ipc", "path": "/proc/self/ns/ipc"}])
    assert "because of --ipc host" in found[0]
    found = sysctl_problems({"kernel.domainname": "x"}, [{"type": "network"}])
    assert "because of --uts host" in found[0]


def test_a_parameter_whose_file_the_container_cannot_write_is_refused() -> None:
    """The OCI runtimes write it from within: runc 1.1.5 and crun 1.8.1 fail, after everything else is done."""
    own = [{"type": "uts"}, {"type": "ipc"}, {"type": "user"}]
    found = sysctl_problems({"kernel.domainname": "x", "kernel.shm_rmid_forced": "1"}, own)
    assert len(found) == 1
    assert "kernel.domainname: it cannot be set in a user namespace" in found[0]
    spec: Any = {
        "linux": {"sysctl": {"kernel.shm_rmid_forced": "1"}, "namespaces": own},
        "mounts": [{"destination": "/proc", "type": "proc", "options": ["nosuid", "subset=pid"]}],
    }
    assert "proc-opts=subset=pid" in str(next(sysctls.problems(spec)))


def test_a_parameter_that_a_plugin_smuggles_in_is_refused() -> None:
    every = [{"type": kind} for kind in ("network", "ipc", "uts")]
    assert "is the whole machine's" in sysctl_problems({"kernel.core_pattern": "|/x"}, every)[0]
    assert "is no value" in sysctl_problems({"kernel.sem": "1+kernel.core_pattern=|/x"}, every)[0]


@pytest.mark.root
def test_the_kernel_is_asked_whether_it_takes_a_value_and_the_host_keeps_its_own() -> None:
    keys = ("net.core.somaxconn", "kernel.shm_rmid_forced", "kernel.domainname")
    before = [Path("/proc/sys", *key.split(".")).read_text() for key in keys]
    threads = threading.active_count()
    namespace = os.readlink("/proc/thread-self/ns/net")
    assert sysctls.refused(dict.fromkeys(keys, "1")) == {}
    words = sysctls.refused({"net.core.somaxconn": "many", "net.core.nope": "1", "kernel.shm_rmid_forced": "2"})
    assert words == {
        "net.core.somaxconn": "Invalid argument",
        "net.core.nope": "No such file or directory",
        "kernel.shm_rmid_forced": "Invalid argument",
    }
    assert [Path("/proc/sys", *key.split(".")).read_text() for key in keys] == before
    assert os.readlink("/proc/thread-self/ns/net") == namespace
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('{"linux": {"cgroupsPath": "/mine/c1"}}', "/mine/c1"),
        ('{"linux": {"cgroupsPath": "/user.slice/prun-c1"}}', "/user.slice/prun-c1"),
        ('{"linux": {"cgroupsPath": "/mine/c2"}}', "/prun/c1"),
        ('{"linux": {"cgroupsPath": "/a/../c1"}}', "/prun/c1"),
        ('{"linux": {"cgroupsPath": "mine/c1"}}', "/prun/c1"),
        ('{"linux": {"cgroupsPath": 5}}', "/prun/c1"),
        ('{"linux": []}', "/prun/c1"),
        ('{"linux": {"cgr', "/prun/c1"),
        (None, "/prun/c1"),
    ],
)
def test_a_leftovers_cgroup_is_the_one_in_its_bundle_if_it_can_be_its_own(
    tmp_path: Path, written: str | None, expected: str
) -> None:
    from prun.types import Container

    if written is not None:
        write(tmp_path / "config.json", written)
    container = Container("c1", "linux", str(tmp_path), "", str(tmp_path))
    assert loaded._cgroups_path(container) == expected


def test_doctor_is_told_what_is_missing(v1: Path) -> None:
    assert limits.missing(str(v1)) == []
    (v1 / "blkio" / "some" / "blkio.bfq.weight").unlink()
    assert limits.missing(str(v1)) == ["--blkio-weight"]
