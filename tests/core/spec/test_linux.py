from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prun.errors import InvalidArgument
from prun.spec import linux

if TYPE_CHECKING:
    from collections.abc import Callable

    from prun.spec.document import Device, Spec


def test_the_default_capabilities_are_the_seeds_fourteen() -> None:
    words = (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT "
        "KILL AUDIT_WRITE"
    )
    assert tuple(f"CAP_{word}" for word in words.split()) == linux.DEFAULT_CAPABILITIES


def test_the_capability_numbers_are_the_kernels() -> None:
    assert [linux.CAPABILITIES.index(f"CAP_{name}") for name in ("CHOWN", "SYS_ADMIN", "SYS_RESOURCE")] == [0, 21, 24]
    assert len(linux.CAPABILITIES) == 41


def test_capabilities_never_become_inheritable_or_ambient() -> None:
    spec: Spec = {"process": {"capabilities": {"ambient": ["CAP_KILL"], "inheritable": ["CAP_KILL"]}}}
    linux.with_capabilities(["chown", "CAP_KILL"])(spec)
    both = ["CAP_CHOWN", "CAP_KILL"]
    assert spec["process"]["capabilities"] == {"bounding": both, "effective": both, "permitted": both}


def test_the_default_mounts_are_the_seeds_in_its_order() -> None:
    assert [mount.destination for mount in linux.DEFAULT_MOUNTS] == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
        "/run",
        "/sys/fs/cgroup",
    ]


def test_namespaces_replace_those_that_were_there() -> None:
    spec: Spec = {"linux": {"namespaces": [{"type": "user", "path": "/x"}]}}
    linux.with_namespaces(["pid", "mount", "pid"])(spec)
    assert spec["linux"]["namespaces"] == [{"type": "pid"}, {"type": "mount"}]


def test_a_resource_limit_replaces_the_one_of_its_type_only() -> None:
    spec: Spec = {"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]}}
    linux.with_rlimits({"RLIMIT_NOFILE": (1, 2)})(spec)
    linux.with_rlimits({"RLIMIT_NOFILE": (3, 4)})(spec)
    assert spec["process"]["rlimits"] == [
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_NOFILE", "soft": 3, "hard": 4},
    ]


def test_device_rules_deny_everything_first() -> None:
    spec: Spec = {}
    linux.with_default_devices(spec)
    rules = spec["linux"]["resources"]["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert all(rule["allow"] and rule["type"] == "c" for rule in rules[1:])
    assert {"allow": True, "type": "c", "major": 136, "access": "rwm"} in rules


def test_a_user_keeps_the_groups_it_was_given() -> None:
    spec: Spec = {}
    linux.with_user(1, 2, [3])(spec)
    assert spec["process"]["user"] == {"uid": 1, "gid": 2, "additionalGids": [3]}


def test_the_remaining_options_set_their_field() -> None:
    spec: Spec = {}
    for opt in (
        linux.with_no_new_privileges(True),
        linux.with_cgroups_path("/prun/x"),
        linux.with_masked_paths(["/proc/a"]),
        linux.with_readonly_paths(["/proc/b"]),
    ):
        opt(spec)
    assert spec == {
        "process": {"noNewPrivileges": True},
        "linux": {"cgroupsPath": "/prun/x", "maskedPaths": ["/proc/a"], "readonlyPaths": ["/proc/b"]},
    }


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: linux.with_capabilities(["CAP_FLY"]), "CAP_FLY"),
        (lambda: linux.with_namespaces(["net"]), "net"),
        (lambda: linux.with_rlimits({"NOFILE": (1, 1)}), "NOFILE"),
        (lambda: linux.with_rlimits({"RLIMIT_NOFILE": (2, 1)}), "2:1"),
        (lambda: linux.with_user(2**31, 0), "2147483648"),
        (lambda: linux.with_user(0, 0, [-1]), "-1"),
        (lambda: linux.with_cgroups_path("/a/../b"), "/a/../b"),
        (lambda: linux.with_cgroups_path("a"), "'a'"),
        (lambda: linux.with_masked_paths(["proc"]), "proc"),
        (lambda: linux.with_readonly_paths(["/a\0"]), "x00"),
    ],
)
def test_a_factory_refuses_a_value_and_names_it(make: Callable[[], object], word: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert word in str(caught.value)


def test_ambient_capabilities_leave_the_bounding_set() -> None:
    spec: Spec = {}
    linux.with_capabilities(["chown", "kill"])(spec)
    linux.with_ambient_capabilities(["net_admin"])(spec)
    sets = spec["process"]["capabilities"]
    assert sets.pop("bounding") == ["CAP_CHOWN", "CAP_KILL"]
    assert sets == {kind: ["CAP_NET_ADMIN"] for kind in ("effective", "permitted", "inheritable", "ambient")}


def test_groups_are_added_once_and_the_umask_replaced() -> None:
    spec: Spec = {}
    linux.with_user(1, 2, [3])(spec)
    linux.with_added_groups([4, 3, 4])(spec)
    linux.with_umask(0o77)(spec)
    assert spec["process"]["user"] == {"uid": 1, "gid": 2, "additionalGids": [3, 4], "umask": 0o77}
    for refused in (lambda: linux.with_umask(0o1000), lambda: linux.with_added_groups([2**31])):
        with pytest.raises(InvalidArgument):
            refused()


def test_a_device_takes_the_place_of_one_of_its_path_and_rules_come_last() -> None:
    spec: Spec = {}
    linux.with_default_devices(spec)
    first: Device = {"path": "/dev/a", "type": "c", "major": 1, "minor": 1}
    linux.with_added_devices([first], [])(spec)
    linux.with_added_devices([{**first, "minor": 2}], [{"allow": True, "access": "r"}])(spec)
    assert spec["linux"]["devices"] == [{**first, "minor": 2}]
    assert spec["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert spec["linux"]["resources"]["devices"][-1] == {"allow": True, "access": "r"}


def test_hooks_are_appended_to_those_of_their_name() -> None:
    spec: Spec = {"hooks": {"poststop": [{"path": "/a"}]}}
    linux.with_added_hooks([("poststop", {"path": "/b"}), ("prestart", {"path": "/c"})])(spec)
    assert spec["hooks"] == {"poststop": [{"path": "/a"}, {"path": "/b"}], "prestart": [{"path": "/c"}]}


def test_paths_are_hidden_and_shown_by_name_or_pattern() -> None:
    spec: Spec = {}
    linux.with_masked_paths(["/proc/a", "/proc/b", "/sys/c/d"])(spec)
    linux.with_readonly_paths(["/proc/e"])(spec)
    linux.with_added_masked_paths(["/x", "/proc/a"])(spec)
    assert spec["linux"]["maskedPaths"] == ["/proc/a", "/proc/b", "/sys/c/d", "/x"]
    linux.without_hidden_paths(["/proc/?", "/sys/*"])(spec)
    assert spec["linux"]["maskedPaths"] == ["/sys/c/d", "/x"]
    assert spec["linux"]["readonlyPaths"] == []
    with pytest.raises(InvalidArgument):
        linux.without_hidden_paths(["proc"])


def test_namespaces_may_have_paths() -> None:
    spec: Spec = {}
    linux.with_namespaces(["pid", "ipc"], {"ipc": "/p", "uts": "/not/asked/for"})(spec)
    assert spec["linux"]["namespaces"] == [{"type": "pid"}, {"type": "ipc", "path": "/p"}]


def test_an_apparmor_profile_replaces_another() -> None:
    spec: Spec = {"process": {"apparmorProfile": "x"}}
    linux.with_apparmor_profile("y")(spec)
    assert spec["process"]["apparmorProfile"] == "y"
