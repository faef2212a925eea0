from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prun.errors import InvalidArgument
from prun.spec import linux

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prun.spec.document import Spec


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
    ]


def test_a_host_file_is_mounted_read_only_and_a_missing_one_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "directory").mkdir()
    files = [str(tmp_path / name) for name in ("there", "dangling", "directory", "missing")]
    monkeypatch.setattr(linux, "HOST_FILES", files)
    mounts = linux.host_file_mounts()
    assert [(mount.source, mount.options) for mount in mounts] == [(files[0], ("rbind", "ro"))]


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
