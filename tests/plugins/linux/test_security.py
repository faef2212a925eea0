from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import FailedPrecondition, InvalidArgument
from prun.spec.linux import CAPABILITIES, DEFAULT_CAPABILITIES, MASKED_PATHS, READONLY_PATHS
from prun.types import RunRequest
from prun_linux import isolation, kernelfiles, security

from .conftest import make_spec

if TYPE_CHECKING:
    from pathlib import Path

    from prun.spec.document import Spec

UNCONFINED = "seccomp=unconfined"
OWN = [name for name in CAPABILITIES if name != "CAP_SYS_RESOURCE"]


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "thermal_paths", lambda: ("/sys/devices/system/cpu/cpu0/thermal_throttle",))
    monkeypatch.setattr(security, "own_capabilities", lambda: OWN)
    monkeypatch.setattr(security, "APPARMOR", "/no/such")
    monkeypatch.setattr("prun_linux.devices.host_nodes", list)


def spec_of(*words: str, **fields: Any) -> Spec:
    return make_spec(RunRequest("x", args=("sh",), state="/run/prun", security=(UNCONFINED, *words), **fields))


def bounding(**fields: Any) -> list[str]:
    return spec_of(**fields)["process"]["capabilities"]["bounding"]


# Capabilities


def test_capabilities_are_added_to_the_default_ones() -> None:
    assert bounding(cap_add=("CAP_NET_ADMIN", "CAP_CHOWN")) == [*DEFAULT_CAPABILITIES, "CAP_NET_ADMIN"]


def test_capabilities_are_dropped_from_the_default_ones() -> None:
    assert bounding(cap_drop=("CAP_CHOWN", "CAP_SYS_ADMIN")) == [
        name for name in DEFAULT_CAPABILITIES if name != "CAP_CHOWN"
    ]


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        (("ALL",), (), OWN),
        (("ALL",), ("CAP_CHOWN",), OWN[1:]),
        ((), ("ALL",), []),
        (("CAP_NET_ADMIN",), ("ALL",), ["CAP_NET_ADMIN"]),
        (("ALL", "CAP_CHOWN"), (), OWN),
        (("CAP_NET_ADMIN",), ("ALL", "CAP_KILL"), ["CAP_NET_ADMIN"]),
    ],
)
def test_all_is_added_before_others_are_dropped_and_dropped_before_others_are_added(
    add: tuple[str, ...], drop: tuple[str, ...], expected: list[str]
) -> None:
    assert bounding(cap_add=add, cap_drop=drop) == expected


def test_of_a_privileged_container_single_capabilities_can_be_dropped() -> None:
    assert bounding(privileged=True) == OWN
    assert bounding(privileged=True, cap_drop=("CAP_CHOWN",)) == OWN[1:]
    assert bounding(privileged=True, cap_drop=("ALL",), cap_add=("CAP_KILL",)) == ["CAP_KILL"]


def test_a_capability_that_prun_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(FailedPrecondition, match="CAP_SYS_RESOURCE"):
        bounding(cap_add=("CAP_SYS_RESOURCE",))


def test_a_user_keeps_what_was_added_by_name_and_nothing_else() -> None:
    """podman's rule; a container of root has no ambient capabilities (CVE-2022-24769)."""
    sets = spec_of(user="5", cap_add=("CAP_NET_ADMIN",))["process"]["capabilities"]
    kept = [sets["effective"], sets["permitted"], sets["inheritable"], sets["ambient"]]
    assert kept == [["CAP_NET_ADMIN"]] * 4
    assert sets["bounding"] == [*DEFAULT_CAPABILITIES, "CAP_NET_ADMIN"]
    assert spec_of(user="5", cap_add=("ALL",))["process"]["capabilities"]["ambient"] == OWN
    for fields in ({"cap_add": ("CAP_NET_ADMIN",)}, {"user": "5", "privileged": True}, {"user": "5"}):
        assert "ambient" not in spec_of(**fields)["process"]["capabilities"]  # type: ignore[arg-type]


def test_our_own_capabilities_are_among_the_kernels() -> None:
    assert set(security.own_capabilities()) <= set(CAPABILITIES)


# --security-opt


@pytest.mark.parametrize(
    "word", ["no-new-privileges", "no-new-privileges=1", "no-new-privileges:T", "no-new-privileges="]
)
def test_no_new_privileges_may_be_said_as_docker_has_it(word: str) -> None:
    assert spec_of("no-new-privileges=0", word)["process"]["noNewPrivileges"] is True
    assert spec_of(word, "no-new-privileges:False")["process"]["noNewPrivileges"] is False


def test_masked_paths_are_added_and_taken_away() -> None:
    linux = spec_of("mask=/a:/b", "mask=/a", "unmask=/proc/acpi:/proc/sys")["linux"]
    assert linux["maskedPaths"][-2:] == ["/a", "/b"]
    assert "/proc/acpi" not in linux["maskedPaths"]
    assert "/proc/asound" in linux["maskedPaths"]
    assert "/proc/sys" not in linux["readonlyPaths"]
    assert "/proc/bus" in linux["readonlyPaths"]


@pytest.mark.parametrize(
    ("pattern", "masked", "readonly"),
    [
        ("/proc/*", [path for path in MASKED_PATHS if path.startswith("/sys")], ["/sys/fs/cgroup"]),
        (
            "/proc/a*",
            [path for path in MASKED_PATHS if not path.startswith("/proc/a")],
            [*READONLY_PATHS, "/sys/fs/cgroup"],
        ),
        ("/*", [*MASKED_PATHS], [*READONLY_PATHS, "/sys/fs/cgroup"]),
        ("/sys/*/*/*", [path for path in MASKED_PATHS if path.count("/") != 4], [*READONLY_PATHS, "/sys/fs/cgroup"]),
    ],
)
def test_a_pattern_matches_within_one_component(pattern: str, masked: list[str], readonly: list[str]) -> None:
    linux = spec_of(f"unmask={pattern}")["linux"]
    assert [path for path in linux["maskedPaths"] if "thermal" not in path] == masked
    assert linux["readonlyPaths"] == readonly


@pytest.mark.parametrize("word", ["unmask=ALL", "unmask=all", "systempaths=unconfined", "systempaths:unconfined"])
def test_everything_can_be_unmasked_and_then_something_masked(word: str) -> None:
    linux = spec_of(word, "mask=/proc/kcore")["linux"]
    assert linux["maskedPaths"] == ["/proc/kcore"]
    assert linux["readonlyPaths"] == []


def test_options_of_proc_are_added_to_those_that_keep_it_harmless() -> None:
    mounts = {mount["destination"]: mount for mount in spec_of("proc-opts=hidepid=2,subset=pid")["mounts"]}
    assert mounts["/proc"]["options"] == ["nosuid", "noexec", "nodev", "hidepid=2", "subset=pid"]


@pytest.mark.parametrize(
    "word",
    [
        "mask=", "mask=a", "unmask=/a:b", "unmask=/../a", "mask=/a:", "systempaths=all", "proc-opts=", "proc-opts=suid",
        "proc-opts=hidepid=", "proc-opts=gid", "proc-opts=hidepid=2,dev", "seccomp=", "apparmor=", "label", "label=",
        "label=secret:x",
        "no-new-privileges=yes", "no_new_privileges", "credentialspec=file://x",
    ],
)  # fmt: skip
def test_any_other_word_is_refused_and_repeated(word: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        security.parse_security((word,))
    assert repr(word) in str(caught.value)
    assert caught.value.hint


@given(st.text(alphabet="lsunmaprockhied=-:/ALx,*", max_size=30))
def test_whatever_is_said_is_understood_or_refused(word: str) -> None:
    try:
        said = security.parse_security((word,))
    except (InvalidArgument, FailedPrecondition):
        return
    assert said != security.Security() or word.startswith("label")


@pytest.mark.parametrize("label", ["user:u", "role:r", "type:t", "level:l", "filetype:f", "nested"])
def test_labels_are_refused_because_there_is_no_selinux(label: str) -> None:
    assert "selinuxLabel" not in spec_of("label=disable")["process"]
    with pytest.raises(FailedPrecondition, match="SELinux"):
        spec_of(f"label={label}")


def test_an_apparmor_profile_must_be_loaded_in_a_kernel_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "apparmorProfile" not in spec_of("apparmor=unconfined")["process"]
    with pytest.raises(FailedPrecondition, match="'mine': AppArmor is not enabled"):
        spec_of("apparmor=mine")
    (tmp_path / "profiles").write_text("mine (enforce)\nother thing (complain)\n")
    monkeypatch.setattr(security, "APPARMOR", str(tmp_path / "profiles"))
    assert spec_of("apparmor=mine")["process"]["apparmorProfile"] == "mine"
    assert spec_of("apparmor=other thing")["process"]["apparmorProfile"] == "other thing"
    with pytest.raises(FailedPrecondition, match="'min' is not loaded"):
        spec_of("apparmor=min")


@pytest.mark.parametrize(
    ("words", "privileged", "profile"),
    [
        ((), False, ""),
        (("seccomp=builtin",), False, ""),
        (("seccomp=/p", "seccomp=default"), False, ""),
        (("seccomp=/p",), False, "/p"),
        ((), True, "unconfined"),
        (("seccomp=/p",), True, "/p"),
        (("seccomp=builtin",), True, ""),
    ],
)
def test_the_seccomp_profile_is_the_last_one_said_else_the_default_but_for_a_privileged_container(
    words: tuple[str, ...], privileged: bool, profile: str
) -> None:
    request = RunRequest("x", privileged=privileged)
    assert security.seccomp_profile(request, security.parse_security(words)) == profile


# --privileged


def test_a_privileged_container_is_not_confined() -> None:
    spec = make_spec(RunRequest("x", args=("sh",), state="/run/prun", privileged=True))
    linux = spec["linux"]
    assert "seccomp" not in linux
    assert linux["maskedPaths"] == linux["readonlyPaths"] == []
    assert linux["resources"]["devices"][-1] == {"allow": True, "access": "rwm"}
    assert spec["process"]["noNewPrivileges"] is False
    options = {mount["destination"]: mount.get("options", []) for mount in spec["mounts"]}
    assert "ro" not in options["/sys"]
    assert "ro" not in options["/sys/fs/cgroup"]
    assert "nosuid" in options["/sys"]


def test_a_privileged_container_can_be_confined_word_by_word() -> None:
    spec = spec_of("no-new-privileges", "mask=/x", privileged=True)
    assert spec["process"]["noNewPrivileges"] is True
    assert spec["linux"]["maskedPaths"] == ["/x"]


# The kernel's file systems


def test_what_the_user_mounts_over_control_groups_is_not_made_read_only() -> None:
    from prun.types import Mount

    assert "/sys/fs/cgroup" in spec_of()["linux"]["readonlyPaths"]
    mount = Mount("/sys/fs/cgroup", "bind", "/sys/fs/cgroup", ("rbind", "rw"))
    assert "/sys/fs/cgroup" not in spec_of(mounts=(mount,))["linux"]["readonlyPaths"]


@pytest.mark.parametrize(
    ("word", "version", "writable"),
    [("/sys/fs/cgroup", "v2", True), ("ALL", "v2", True), ("ALL", "hybrid", False), ("/proc/*", "v2", False)],
)
def test_control_groups_are_writable_when_unmasked_with_cgroup_v2(
    word: str, version: str, writable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prun_linux.cgroups.mode", lambda: version)
    mounts = kernelfiles.mounts(RunRequest("x", security=(f"unmask={word}",)))
    options = next(mount.options for mount in mounts if mount.destination == "/sys/fs/cgroup")
    assert ("ro" not in options) == writable


def test_shared_memory_has_the_size_that_is_asked_for() -> None:
    mounts = {mount.destination: mount for mount in kernelfiles.mounts(RunRequest("x", shm_size_bytes=4096))}
    assert mounts["/dev/shm"].options == ("nosuid", "noexec", "nodev", "mode=1777", "size=4096")
