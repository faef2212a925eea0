"""Patches of a finished spec: what they set, and what is refused with the nearest thing that is there."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.altering import patch_opt
from prun.errors import FailedPrecondition, InvalidArgument, NotFound, PrunError
from prun.request.altering import Patch, parse_patch
from prun.spec.loosening import loosened
from prun.spec.patching import _merged
from prun.spec.shape import check_shape

if TYPE_CHECKING:
    from pathlib import Path

SPEC: dict[str, Any] = {
    "process": {
        "args": ["sh"], "cwd": "/", "noNewPrivileges": True, "user": {"uid": 7, "gid": 7, "additionalGids": [7]},
        "capabilities": {"bounding": ["CAP_CHOWN"]}, "apparmorProfile": "docker-default",
    },
    "root": {"path": "rootfs", "readonly": True},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "ro"]}],
    "linux": {
        "namespaces": [{"type": "pid"}, {"type": "user"}], "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "cgroupsPath": "/prun/x", "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "resources": {"memory": {"limit": 1000}, "pids": {"limit": 10}, "devices": [{"allow": False, "access": "rwm"}]},
        "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]},
    },
}  # fmt: skip


def patched(word: str | Patch) -> dict[str, Any]:
    spec = copy.deepcopy(SPEC)
    patch_opt(parse_patch(word) if isinstance(word, str) else word)(spec)  # type: ignore[arg-type]
    return spec


def a_file(path: Path, document: object) -> str:
    path.write_text(json.dumps(document))
    return str(path)


def test_a_field_is_set_an_element_replaced_or_appended() -> None:
    assert patched("/process/noNewPrivileges=false")["process"]["noNewPrivileges"] is False
    assert patched('/process/args/0="ls"')["process"]["args"] == ["ls"]
    assert patched('/process/args/-="-l=a"')["process"]["args"] == ["sh", "-l=a"]
    assert patched('/annotations={"a/~": "b"}')["annotations"] == {"a/~": "b"}
    assert patched("/linux/resources/pids/limit=5")["linux"]["resources"]["pids"] == {"limit": 5}


def test_a_file_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    operations = [
        {"op": "test", "path": "/process/cwd", "value": "/"},
        {"op": "move", "from": "/process/cwd", "path": "/process/args/1"},
        {"op": "add", "path": "/process/cwd", "value": "/x"},
        {"op": "remove", "path": "/linux/seccomp"},
    ]
    spec = patched(a_file(tmp_path / "p.json", operations))
    assert (spec["process"]["args"], spec["process"]["cwd"], "seccomp" in spec["linux"]) == (["sh", "/"], "/x", False)
    spec = patched(f"@{a_file(tmp_path / 'a=b.json', {'linux': {'seccomp': None}, 'process': {'args': ['id']}})}")
    assert (spec["process"]["args"], "seccomp" in spec["linux"]) == (["id"], False)
    assert spec["linux"]["maskedPaths"] == SPEC["linux"]["maskedPaths"]


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("/process/foo/bar=1", "the spec has no /process/foo", "/process has"),
        ("/proces/cwd=1", "the spec has no /proces", "the spec has process"),
        ("/process/args/7=1", "has 1 elements", "/process/args/-"),
        ("/process/cwd/x=1", "neither an object nor an array", ""),
        ("/process/cwd=x", "is not JSON", "has quotes"),
        ("/process/cwd=NaN", "is not JSON", "has quotes"),
        ("/process~3=1", "no JSON pointer", ""),
        ("/process/cwd=1", "/process/cwd is not a text", "config.md"),
        ("/process/noNewPrivileges=1", "is not true or false", ""),
        ("/process/user/uid=true", "/process/user/uid is not a whole number", ""),
        ("/mounts={}", "/mounts is not an array", ""),
        ("/linux/sysctl={\"a\": 1}", "/linux/sysctl/a is not a text", ""),
        ("nothing.json", "cannot be read: No such file", "POINTER=VALUE"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_refused_by_name(word: str, message: str, hint: str) -> None:
    with pytest.raises((InvalidArgument, NotFound), match=message) as found:
        patched(word)
    assert hint in found.value.hint


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("x", "neither an array nor an object"),
        ([{"op": "put", "path": "/a"}], "operation 1 has no 'op' of add"),
        ([{"op": "add", "path": "/a"}], "operation 1 .add. has no 'value'"),
        ([{"op": "add", "path": "a", "value": 1}], "no JSON pointer"),
        ([{"op": "move", "path": "/a"}], "has no 'from'"),
        ([{"op": "remove", "path": "/linux/secomp"}], "operation 1 .remove /linux/secomp."),
        ([{"op": "replace", "path": "", "value": 1}], "the document is not an object"),
        ([{"op": "add", "path": "/process/args/9", "value": "x"}], "operation 1"),
        ([{"op": "test", "path": "/process/cwd", "value": "/x"}], "another value"),
        ([1], "operation 1 has no 'op'"),
    ],
)
def test_a_file_that_is_no_patch_changes_nothing(document: object, message: str, tmp_path: Path) -> None:
    with pytest.raises((InvalidArgument, FailedPrecondition), match=message):
        patched(a_file(tmp_path / "p.json", document))


# RFC 7396, appendix A: the original, the patch, the result.
@pytest.mark.parametrize(
    ("original", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_the_rfc_says(original: object, patch: object, result: object) -> None:
    assert _merged(original, patch) == result


LOOSER: list[tuple[str, str]] = [
    ("/process/noNewPrivileges=false", "gain privileges"),
    ('/process/capabilities/bounding/-="CAP_SYS_ADMIN"', "adds CAP_SYS_ADMIN to /process/capabilities/bounding"),
    ('/process/capabilities/ambient=["CAP_CHOWN"]', "ambient"),
    ("/process/user/uid=0", "root's (/process/user/uid)"),
    ("/process/user/gid=0", "/process/user/gid"),
    ("/process/user/additionalGids/-=0", "root's group"),
    ('/process/apparmorProfile="unconfined"', "AppArmor"),
    ("/root/readonly=false", "writable"),
    ('/root/path="/"', "takes / as the root file system"),
    ("/linux/seccomp={}", "every system call"),
    ('/linux/seccomp/defaultAction="SCMP_ACT_ALLOW"', "no rule names"),
    ('/linux/seccomp/syscalls/-={"names": ["bpf"], "action": "SCMP_ACT_ALLOW"}', "bpf"),
    ("/linux/seccomp/architectures=[]", "architectures"),
    ("/linux/maskedPaths=[]", "shows /proc/kcore"),
    ("/linux/readonlyPaths=[]", "makes writable /proc/sys"),
    ('/linux/namespaces=[{"type": "user"}]', "host's pid namespace"),
    ('/linux/namespaces=[{"type": "pid"}]', "host's user namespace"),
    ('/linux/namespaces/0={"type": "pid", "path": "/proc/1/ns/pid"}', "joins the pid namespace"),
    ("/linux/uidMappings=[]", "maps other ids"),
    ('/linux/cgroupsPath="/"', "cgroup /"),
    ('/linux/rootfsPropagation="rshared"', "reach the host"),
    ('/linux/devices=[{"path": "/dev/sda", "type": "b", "major": 8, "minor": 0}]', "/dev/sda"),
    ('/linux/resources/devices/-={"allow": true, "access": "rwm"}', "allows more devices"),
    ("/linux/resources/devices=[]", "denies fewer devices"),
    ("/linux/resources/memory/limit=2000", "memory/limit"),
    ("/linux/resources/pids={}", "pids/limit"),
    ('/mounts/-={"destination": "/h", "type": "bind", "source": "/etc"}', "host's /etc at /h"),
    ('/mounts/-={"destination": "/h", "type": "none", "source": "/etc", "options": ["rbind"]}', "host's /etc at /h"),
    ('/mounts/-={"destination": "/s", "type": "sysfs", "source": "sysfs"}', "mounts sysfs at /s"),
    ('/mounts/0/options=["nosuid"]', "drops ro of the mount at /proc"),
    ('/hooks={"poststart": [{"path": "/bin/sh"}]}', "runs /bin/sh on the host"),
]  # fmt: skip


@pytest.mark.parametrize(("word", "said"), LOOSER)
def test_what_loosens_is_said(word: str, said: str) -> None:
    found = loosened(SPEC, patched(word))
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    "word",
    [
        '/hostname="web"', '/process/args=["id"]', "/process/capabilities/bounding=[]", "/linux/resources/pids/limit=5",
        '/linux/maskedPaths/-="/proc/keys"', '/mounts/-={"destination": "/t", "type": "tmpfs", "source": "tmpfs"}',
        '/linux/readonlyPaths/-="/x"', '/linux/namespaces/-={"type": "ipc"}', "/process/user/uid=9",
    ],
)  # fmt: skip
def test_what_tightens_or_is_neither_is_not(word: str) -> None:
    assert loosened(SPEC, patched(word)) == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "path", "names"]), inner),
    max_leaves=4,
)
PLACES = st.sampled_from(
    [
        *("/process", "/process/user", "/process/capabilities", "/mounts", "/mounts/0", "/linux", "/hooks", "/root"),
        *("/linux/namespaces", "/linux/namespaces/0", "/linux/resources", "/linux/resources/memory", "/linux/devices"),
        *("/linux/seccomp", "/linux/seccomp/syscalls", "/linux/seccomp/syscalls/0", "/linux/seccomp/architectures"),
        "/linux/uidMappings",
    ]
)


@given(PLACES, VALUES)
def test_whatever_is_set_is_refused_or_judged(place: str, value: object) -> None:
    try:
        spec = patched(f"{place}={json.dumps(value)}")
    except PrunError:
        return
    check_shape(spec, "x")
    assert isinstance(loosened(SPEC, spec), list)
    assert isinstance(loosened(spec, SPEC), list)
