from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import InvalidArgument
from prun.request import fields_of
from prun.request.resources import ULIMITS, UNLIMITED, Resources, cgroup_parent, sysctls, ulimits
from prun.request.sizes import size_of

if TYPE_CHECKING:
    from prun.request import Words


def resources(**asked: Words) -> Resources | None:
    found = fields_of(asked)["resources"]
    assert found is None or isinstance(found, Resources)
    return found


@pytest.mark.parametrize(
    ("word", "size"),
    [
        ("0", 0),
        ("12", 12),
        ("12b", 12),
        ("512m", 512 << 20),
        ("512M", 512 << 20),
        ("1.5g", 3 << 29),
        (".5k", 512),
        ("2kb", 2048),
        ("2KiB", 2048),
        ("2 mib", 2 << 20),
        ("1t", 1 << 40),
        ("1P", 1 << 50),
        ("1.9b", 1),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_a_size_is_a_number_and_a_unit_of_base_1024(word: str, size: int) -> None:
    assert size_of("--memory", word) == size


@pytest.mark.parametrize(
    "word",
    ["", "m", "-1", "1e3", "1ki", "1bb", "1x", "1.m", "0x10", "\u0661", "inf", " 1", "1  m", "9223372036854775808"],
)
def test_what_is_no_size_is_refused_with_the_options_name(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--memory"):
        size_of("--memory", word)


@given(st.text(alphabet="0123456789.kKmMgGtTpPiIbB -+eE"))
def test_any_word_is_a_size_of_63_bits_or_is_refused(word: str) -> None:
    try:
        size = size_of("--memory", word)
    except InvalidArgument:
        return
    assert 0 <= size < 2**63


@given(st.integers(0, 2**63 - 1))
def test_a_bare_number_is_bytes(number: int) -> None:
    assert size_of("--memory", str(number)) == number


def test_all_limits_together_become_one_value() -> None:
    assert resources(
        memory="512m",
        memory_swap="1g",
        memory_reservation="256m",
        memory_swappiness="0",
        oom_kill_disable=True,
        cpus="1.5",
        cpu_shares="512",
        cpuset_cpus="0-3,5",
        cpuset_mems="0",
        pids_limit="100",
        blkio_weight="300",
        blkio_weight_device=("/dev/sda:200",),
        device_read_bps=("/dev/sda:1mb", "/dev/disk/by-path/pci-0000:00:1f.2:2k"),
        device_write_bps=("/dev/sda:1",),
        device_read_iops=("/dev/sda:10",),
        device_write_iops=("/dev/sda:20", "/dev/sda:30"),
    ) == Resources(
        memory_bytes=512 << 20,
        memory_swap_bytes=1 << 30,
        memory_reservation_bytes=256 << 20,
        memory_swappiness=0,
        oom_kill_disable=True,
        cpus=1.5,
        cpu_shares=512,
        cpuset_cpus="0-3,5",
        cpuset_mems="0",
        pids_limit=100,
        blkio_weight=300,
        blkio_weight_device=(("/dev/sda", 200),),
        device_read_bps=(("/dev/sda", 1 << 20), ("/dev/disk/by-path/pci-0000:00:1f.2", 2048)),
        device_write_bps=(("/dev/sda", 1),),
        device_read_iops=(("/dev/sda", 10),),
        device_write_iops=(("/dev/sda", 30),),
    )


def test_zero_is_no_limit() -> None:
    zeros = dict.fromkeys(("memory", "memory_swap", "memory_reservation", "cpus", "cpu_shares", "blkio_weight"), "0")
    assert resources(**zeros, memory_swappiness="-1", cpu_quota="0", cpu_period="0", oom_kill_disable=False) is None


@pytest.mark.parametrize("word", ["0", "-1"])
def test_both_spellings_of_any_number_of_processes_are_one(word: str) -> None:
    assert resources(pids_limit=word) == Resources(pids_limit=-1)


def test_swap_may_be_unlimited_with_and_without_a_memory_limit() -> None:
    assert resources(memory_swap="-1") == Resources(memory_swap_bytes=-1)
    assert resources(memory_swap="-1", memory="1g") == Resources(memory_bytes=1 << 30, memory_swap_bytes=-1)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"memory": "5m"}, "--memory 5242880 bytes is too little"),
        ({"memory": "-1"}, "--memory '-1' is not a size"),
        ({"memory_reservation": "1m"}, "--memory-reservation 1048576 bytes is too little"),
        ({"memory_swap": "1g"}, "--memory-swap is given without --memory"),
        ({"memory": "1g", "memory_swap": "512m"}, "--memory-swap .* is under --memory"),
        ({"memory": "64m", "memory_reservation": "65m"}, "--memory-reservation .* is over --memory"),
        ({"memory_swappiness": "101"}, "--memory-swappiness '101'"),
        ({"cpus": "-1"}, "--cpus '-1'"),
        ({"cpus": "1/2"}, "--cpus '1/2'"),
        ({"cpus": "nan"}, "--cpus 'nan'"),
        ({"cpus": "0.001"}, "--cpus 0.001 is too little"),
        ({"cpus": "1", "cpu_quota": "50000"}, "--cpus and --cpu-quota exclude each other"),
        ({"cpus": "1", "cpu_period": "50000"}, "--cpus and --cpu-period exclude each other"),
        ({"cpu_quota": "999"}, "--cpu-quota 999 is too little"),
        ({"cpu_quota": "-2"}, "--cpu-quota '-2'"),
        ({"cpu_period": "999"}, "--cpu-period 999 is too little"),
        ({"cpu_period": "1000001"}, "--cpu-period '1000001'"),
        ({"cpu_shares": "1"}, "--cpu-shares 1 is too little"),
        ({"cpu_shares": "262145"}, "--cpu-shares '262145'"),
        ({"cpuset_cpus": "0-"}, "--cpuset-cpus '0-'"),
        ({"cpuset_cpus": "3-1"}, "--cpuset-cpus '3-1'"),
        ({"cpuset_mems": "a"}, "--cpuset-mems 'a'"),
        ({"pids_limit": "-2"}, "--pids-limit '-2'"),
        ({"pids_limit": "many"}, "--pids-limit 'many'"),
        ({"blkio_weight": "9"}, "--blkio-weight 9 is out of range"),
        ({"blkio_weight": "1001"}, "--blkio-weight '1001'"),
        ({"blkio_weight_device": ("/dev/sda:9",)}, "--blkio-weight-device 9 is out of range"),
        ({"device_read_bps": ("/dev/sda",)}, "--device-read-bps '/dev/sda' is not DEVICE:LIMIT"),
        ({"device_read_bps": ("sda:1m",)}, "--device-read-bps 'sda:1m' does not name a device"),
        ({"device_write_bps": ("/dev/../etc/x:1m",)}, "--device-write-bps .* does not name a device"),
        ({"device_read_bps": ("/dev/sda:0",)}, "--device-read-bps .* is no rate"),
        ({"device_write_bps": ("/dev/sda:1x",)}, "--device-write-bps '1x' is not a size"),
        ({"device_read_iops": ("/dev/sda:1m",)}, "--device-read-iops .* is not a whole number"),
        ({"device_write_iops": ("/dev/sda:-1",)}, "--device-write-iops .* is not a whole number"),
        ({"shm_size": "0"}, "--shm-size must be greater than 0"),
        ({"oom_score_adj": "1001"}, "--oom-score-adj '1001'"),
        ({"oom_score_adj": ""}, "--oom-score-adj ''"),
    ],
)
def test_an_impossible_limit_is_refused_by_the_name_of_its_option(asked: dict[str, Words], expected: str) -> None:
    with pytest.raises(InvalidArgument, match=expected):
        fields_of(asked)


def test_the_other_fields_of_the_group() -> None:
    fields = fields_of({"shm_size": "1g", "oom_score_adj": "-1000", "cgroup_parent": "mine", "ulimit": ("core=0",)})
    assert fields == {
        "resources": None,
        "ulimits": {"RLIMIT_CORE": (0, 0)},
        "sysctls": {},
        "cgroup_parent": "/mine",
        "oom_score_adj": -1000,
        "shm_size_bytes": 1 << 30,
    }


@pytest.mark.parametrize(
    ("word", "limits"),
    [
        ("nofile=1024", (1024, 1024)),
        ("nofile=1024:2048", (1024, 2048)),
        ("nofile=-1", (UNLIMITED, UNLIMITED)),
        ("nofile=0:-1", (0, UNLIMITED)),
    ],
)
def test_a_missing_hard_limit_is_the_soft_one_and_minus_one_is_unlimited(word: str, limits: tuple[int, int]) -> None:
    assert ulimits((word,)) == {"RLIMIT_NOFILE": limits}


@pytest.mark.parametrize(
    "word",
    ["", "nofile", "nofile=", "nofile=a", "NOFILE=1", "as=1", "nofile=2:1", "nofile=-1:1", "nofile=-2", "nofile=1:2:3"],
)
def test_an_impossible_ulimit_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--ulimit"):
        ulimits((word,))


def test_a_later_ulimit_wins_over_those_of_this_process() -> None:
    limits = ulimits(("host", "nofile=5:6"))
    assert limits.keys() == {f"RLIMIT_{name.upper()}" for name in ULIMITS}
    assert limits["RLIMIT_NOFILE"] == (5, 6)
    own = resource.getrlimit(resource.RLIMIT_NPROC)
    assert limits["RLIMIT_NPROC"] == tuple(UNLIMITED if number == -1 else number for number in own)


def test_the_numbers_of_the_ulimits_are_those_of_this_system() -> None:
    known = {name: getattr(resource, f"RLIMIT_{name.upper()}") for name in ULIMITS if name != "locks"}
    assert {**known, "locks": 10} == ULIMITS


@given(st.sampled_from(sorted(ULIMITS)), st.integers(-1, 2**62), st.integers(-1, 2**62))
def test_soft_is_never_over_hard(name: str, soft: int, hard: int) -> None:
    try:
        [limits] = ulimits((f"{name}={soft}:{hard}",)).values()
    except InvalidArgument:
        assert hard != -1
        assert soft > hard or soft == -1
    else:
        assert limits[0] <= limits[1] <= UNLIMITED


@pytest.mark.parametrize(
    "key",
    ["net.ipv4.ip_forward", "kernel.shm_rmid_forced", "kernel.msgmax", "kernel.sem", "fs.mqueue.msg_max",
     "kernel.domainname", "net.ipv4.conf.br-0.forwarding"],
)  # fmt: skip
def test_the_parameters_of_a_containers_own_namespaces_are_taken(key: str) -> None:
    assert sysctls((f"{key}=1 2\t3",)) == {key: "1 2\t3"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("net.ipv4.ip_forward", "is not KEY=VALUE"),
        ("kernel.core_pattern=|/x", "is the whole machine's"),
        ("vm.swappiness=1", "is the whole machine's"),
        ("kernel.semx=1", "is the whole machine's"),
        ("kernel.hostname=x", "use --hostname|not set this way"),
        # CVE-2022-0811
        ("kernel.shm_rmid_forced=1+kernel.core_pattern=|/x", "is no value"),
        ("kernel.shm_rmid_forced=1+2", "is no value"),
        ("kernel.shm_rmid_forced=1=2", "is no value"),
        ("kernel.shm_rmid_forced=1\n2", "is no value"),
        ("kernel.shm_rmid_forced=1\x002", "is no value"),
        ("kernel.shm_rmid_forced=", "is no value"),
        ("net.ipv4/../../kernel/core_pattern=1", "is no kernel parameter"),
        ("net..core=1", "is no kernel parameter"),
        ("net.=1", "is no kernel parameter"),
        ("=1", "is no kernel parameter"),
    ],
)
def test_any_other_parameter_is_refused(word: str, expected: str) -> None:
    with pytest.raises(InvalidArgument, match=f"--sysctl .*({expected})"):
        sysctls((word,))


@given(st.text(), st.text())
def test_no_parameter_leads_out_of_proc_sys(key: str, value: str) -> None:
    try:
        [(name, text)] = sysctls((f"{key}={value}",)).items()
    except InvalidArgument:
        return
    assert not {"", ".."}.intersection(name.split("."))
    assert not set("/+=\n\0").intersection(name + text)


@pytest.mark.parametrize(
    ("word", "path"), [("/mine", "/mine"), ("mine/a/", "/mine/a"), ("//a//./b", "/a/b"), ("/", "/"), (".x", "/.x")]
)
def test_a_relative_cgroup_parent_starts_at_the_root(word: str, path: str) -> None:
    assert cgroup_parent(word) == path


@pytest.mark.parametrize("word", ["", "..", "/a/../b", "a\nb", "a\0b", "user.slice", "/a/b.slice", "x.scope/"])
def test_a_cgroup_parent_of_systemd_or_with_dots_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--cgroup-parent"):
        cgroup_parent(word)


@pytest.mark.parametrize(
    ("option", "most", "over"),
    [("memory", "4095p", "4096p"), ("pids_limit", "4194304", "4194305"), ("cpu_quota", str(2**44 - 1), str(2**44))],
)
def test_more_than_the_kernel_counts_is_refused(option: str, most: str, over: str) -> None:
    assert resources(**{option: most})
    with pytest.raises(InvalidArgument, match=f"--{option.replace('_', '-')}"):
        resources(**{option: over})
