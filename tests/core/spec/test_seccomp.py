from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prun.errors import FailedPrecondition, InvalidArgument
from prun.spec import seccomp
from prun.spec.linux import DEFAULT_CAPABILITIES

if TYPE_CHECKING:
    from prun.spec.document import Spec

KERNEL = (6, 1)
TEMPLATE = json.loads((Path(__file__).parents[2] / "data" / "seccomp-template.json").read_text())


def actions(profile: dict[str, Any], syscall: str) -> list[str]:
    return [rule["action"] for rule in profile["syscalls"] if syscall in rule["names"]]


@pytest.mark.parametrize(("capabilities", "action"), [([], "SCMP_ACT_ERRNO"), (["CAP_SYS_ADMIN"], "SCMP_ACT_ALLOW")])
def test_a_rule_holds_with_or_without_a_capability(capabilities: list[str], action: str) -> None:
    assert actions(seccomp.resolve(TEMPLATE, "amd64", capabilities, KERNEL), "bpf") == [action]


@pytest.mark.parametrize(("architecture", "held"), [("amd64", True), ("arm64", False), ("386", False)])
def test_a_rule_holds_on_its_architectures_only(architecture: str, held: bool) -> None:
    profile = seccomp.resolve(TEMPLATE, architecture, [], KERNEL)
    assert bool(actions(profile, "arch_prctl")) == held


@pytest.mark.parametrize(("kernel", "held"), [((4, 7), False), ((4, 8), True), ((5, 0), True), ((10, 0), True)])
def test_a_rule_holds_from_its_kernel_on(kernel: tuple[int, int], held: bool) -> None:
    assert bool(actions(seccomp.resolve(TEMPLATE, "amd64", [], kernel), "ptrace")) == held


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("amd64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        ("arm64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
        ("riscv64", None),
    ],
)
def test_architectures_come_from_the_map(architecture: str, expected: list[str] | None) -> None:
    assert seccomp.resolve(TEMPLATE, architecture, [], KERNEL).get("architectures") == expected


def test_an_architecture_that_the_kernel_cannot_execute_is_left_out() -> None:
    profile = seccomp.resolve(TEMPLATE, "amd64", [], KERNEL, ["SCMP_ARCH_X32"])
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]


def test_what_only_a_template_has_is_gone() -> None:
    profile = seccomp.resolve(TEMPLATE, "amd64", DEFAULT_CAPABILITIES, KERNEL)
    assert set(profile) == {"defaultAction", "defaultErrnoRet", "architectures", "syscalls"}
    assert {key for rule in profile["syscalls"] for key in rule} == {"names", "action", "args", "errnoRet"}


def test_the_name_of_an_errno_wins_over_its_number() -> None:
    profile = seccomp.resolve(
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "EPERM", "defaultErrnoRet": 38}, "amd64", [], KERNEL
    )
    assert profile["defaultErrnoRet"] == 1


def test_a_profile_in_oci_form_goes_through_unchanged() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {
                "names": ["read"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
            }
        ],
    }
    assert seccomp.resolve(profile, "amd64", [], KERNEL) == profile


def test_the_option_goes_by_the_capabilities_that_the_spec_has() -> None:
    spec: Spec = {"process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}}
    seccomp.with_seccomp(TEMPLATE, "amd64", KERNEL)(spec)
    assert actions(spec["linux"]["seccomp"], "bpf") == ["SCMP_ACT_ALLOW"]


ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
EQUAL = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}


def rule(**changes: object) -> dict[str, Any]:
    return {"defaultAction": ALLOW, "syscalls": [{"names": ["y"], "action": ERRNO, **changes}]}


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"defaultAction": ALLOW, "architectures": ["X"], "archMap": [{"architecture": "Y"}]}, "has both"),
        ({"defaultAction": ALLOW, "syscalls": [{"action": ERRNO}]}, "either 'name' or 'names'"),
        (rule(name="x"), "either 'name' or 'names'"),
        ({"defaultAction": ALLOW, "syscalls": [{"names": ["y"]}]}, "malformed"),
        ({"defaultAction": ALLOW, "syscalls": ["read"]}, "malformed"),
        ({"defaultAction": ALLOW, "syscalls": 7}, "malformed"),
        ({"defaultAction": ALLOW, "defaultErrno": "ENOTHING"}, "ENOTHING"),
        ({"defaultAction": ERRNO, "defaultErrnoRet": 5000}, "errno 5000"),
        ({"defaultAction": "SCMP_ACT_BOGUS"}, "unknown word 'SCMP_ACT_BOGUS'"),
        ({"defaultAction": ALLOW, "syscals": []}, "unknown key 'syscals' in its profile"),
        (rule(action="DENY"), "unknown word 'DENY'"),
        (rule(names=[5]), "names"),
        (rule(errnoRet="EPERM"), "errno 'EPERM'"),
        (rule(onlyFor="root"), "unknown key 'onlyFor' in its rule"),
        (rule(includes={"minKernel": "x"}), "malformed"),
        (rule(includes={"maxKernel": "5.1"}), "unknown key 'maxKernel' in its condition"),
        (rule(excludes={"capabilities": []}), "unknown key 'capabilities' in its condition"),
        (rule(args=[{**EQUAL, "index": 9}]), "index 0 to 5"),
        (rule(args=[{**EQUAL, "index": -1}]), "index 0 to 5"),
        (rule(args=[{**EQUAL, "value": 2**64}]), "64 bits"),
        (rule(args=[{**EQUAL, "value": "1"}]), "64 bits"),
        (rule(args=[{**EQUAL, "op": "EQ"}]), "unknown word 'EQ'"),
        (rule(args=[{**EQUAL, "mask": 1}]), "unknown key 'mask' in its argument"),
        (rule(args=[{"index": 0}]), "malformed"),
    ],
)
def test_a_malformed_profile_is_refused_before_a_spec_is_changed(profile: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match="seccomp") as caught:
        seccomp.with_seccomp(profile, "amd64", KERNEL)
    assert words in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", "{", '{"defaultAction": 1}'])
def test_a_file_that_is_no_profile_is_refused_with_its_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(InvalidArgument, match=r"p\.json"):
        seccomp.load_profile(str(tmp_path / "p.json"))


def test_a_file_that_does_not_exist_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="nowhere"):
        seccomp.load_profile(str(tmp_path / "nowhere"))


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "p.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidArgument):
        seccomp.load_profile(str(tmp_path / "p.json"))


def test_the_first_template_that_exists_is_the_default(tmp_path: Path) -> None:
    for name in ("second", "third"):
        (tmp_path / name).write_text(json.dumps({"defaultAction": name}))
    found = seccomp.default_profile([str(tmp_path / name) for name in ("first", "second", "third")])
    assert found["defaultAction"] == "second"


def test_no_template_at_all_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        seccomp.default_profile([str(tmp_path / "first")])
    assert "golang-github-containers-common" in caught.value.hint
    assert "seccomp=unconfined" in caught.value.hint


def test_the_distributions_template_resolves_to_a_filter_that_forbids_what_needs_a_capability() -> None:
    profile = seccomp.resolve(seccomp.default_profile(), "amd64", DEFAULT_CAPABILITIES, KERNEL)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    for syscall in ("bpf", "init_module", "kexec_load", "open_by_handle_at", "io_uring_setup"):
        assert "SCMP_ACT_ALLOW" not in actions(profile, syscall)
    for syscall in ("read", "execve", "chroot", "clone"):
        assert actions(profile, syscall) == ["SCMP_ACT_ALLOW"]
