from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

import prun_linux
from prun.errors import FailedPrecondition, NotFound
from prun.types import RunRequest
from prun_linux import cdi

from .conftest import make_spec

if TYPE_CHECKING:
    from pathlib import Path

    from prun.spec.document import Spec

NULL = {"path": "/dev/v0", "hostPath": "/dev/null"}


def described(*devices: Any, **more: Any) -> dict[str, Any]:
    devices = devices or ({"name": "a", "containerEdits": {"env": ["A=1"]}},)
    return {"cdiVersion": "0.6.0", "kind": "vendor.com/dev", "devices": list(devices), **more}


def written(directory: Path, content: Any, name: str = "v.json", mode: int = 0o644) -> Path:
    directory.mkdir(exist_ok=True, mode=0o755)
    path = directory / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def request(directories: Path | str, *names: str, **fields: Any) -> RunRequest:
    fields = {"security": ("seccomp=unconfined",), "state": "/run/prun", **fields}
    names = names or ("vendor.com/dev=a",)
    return RunRequest("x", args=("sh",), devices=names, options={"cdi-dir": str(directories)}, **fields)


def spec_of(*args: Any, **fields: Any) -> Spec:
    return make_spec(request(*args, **fields))


def edited(directory: Path, edits: dict[str, Any], version: str = "0.7.0", **fields: Any) -> Spec:
    written(directory, {**described({"name": "a", "containerEdits": edits}), "cdiVersion": version})
    return spec_of(directory, **fields)


def refused(directory: Path, content: Any) -> str:
    written(directory, content)
    with pytest.raises(NotFound) as caught:
        spec_of(directory)
    assert "'vendor.com/dev=a'" in str(caught.value)
    return str(caught.value)


def test_a_device_changes_the_environment_devices_mounts_hooks_and_groups(tmp_path: Path) -> None:
    hook = {"hookName": "createContainer", "path": "/bin/true", "args": ["true", "x"], "env": ["K=V"], "timeout": 3}
    edits = {
        "env": ["A=1", "PATH=/v"],
        "deviceNodes": [{**NULL, "permissions": "rw", "uid": 3, "gid": 4, "fileMode": 0o640}],
        "mounts": [{"hostPath": "/usr", "containerPath": "/v/lib", "options": ["ro", "rbind"]}],
        "hooks": [hook],
        "additionalGids": [0, 44],
    }
    spec = edited(tmp_path, edits)
    assert {"A=1", "PATH=/v"} <= set(spec["process"]["env"])
    assert spec["linux"]["devices"] == [
        {"path": "/dev/v0", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 3, "gid": 4}
    ]
    rule = spec["linux"]["resources"]["devices"][-1]
    assert rule == {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}
    assert spec["mounts"][-1] == {
        "destination": "/v/lib", "type": "bind", "source": "/usr", "options": ["ro", "rbind"],
    }  # fmt: skip
    expected = {key: value for key, value in hook.items() if key != "hookName"}
    assert spec["hooks"] == {"createContainer": [expected]}
    assert spec["process"]["user"]["additionalGids"] == [0, 44]


def test_a_node_belongs_to_the_containers_user_unless_the_file_says_another(tmp_path: Path) -> None:
    node = edited(tmp_path, {"deviceNodes": [NULL]}, user="7:8")["linux"]["devices"][0]
    assert (node["uid"], node["gid"], node["fileMode"]) == (7, 8, os.stat("/dev/null").st_mode & 0o7777)
    node = edited(tmp_path, {"deviceNodes": [{**NULL, "uid": 0, "gid": 1}]}, user="7:8")["linux"]["devices"][0]
    assert (node["uid"], node["gid"]) == (0, 1)


def test_a_node_may_have_numbers_of_its_own_and_a_fifo_has_no_rule(tmp_path: Path) -> None:
    nodes = [{"path": "/dev/x", "type": "b", "major": 9, "minor": 1}, {"path": "/dev/p", "type": "p", "fileMode": 384}]
    linux = edited(tmp_path, {"deviceNodes": nodes})["linux"]
    assert [(node["path"], node["type"]) for node in linux["devices"]] == [("/dev/x", "b"), ("/dev/p", "p")]
    assert linux["resources"]["devices"][-1]["major"] == 9


@pytest.mark.parametrize("node", [{"path": "/dev/no-such"}, {"path": "/dev/x", "hostPath": "/etc/passwd"},
                                  {"path": "/dev/null", "type": "b"}])  # fmt: skip
def test_a_node_that_the_host_does_not_have_is_refused(tmp_path: Path, node: dict[str, str]) -> None:
    with pytest.raises(NotFound, match=node.get("hostPath", node["path"])):
        edited(tmp_path, {"deviceNodes": [node]})


def test_mounts_are_binds_unless_said_otherwise_and_parents_come_first(tmp_path: Path) -> None:
    mounts = [
        {"hostPath": "/usr/bin", "containerPath": "/v/lib/deep"},
        {"hostPath": "tmpfs", "containerPath": "/v", "type": "tmpfs", "options": ["size=1m"]},
    ]
    found = edited(tmp_path, {"mounts": mounts})["mounts"][-2:]
    assert [(mount["destination"], mount["type"], mount["options"]) for mount in found] == [
        ("/v", "tmpfs", ["size=1m"]),
        ("/v/lib/deep", "bind", ["rbind"]),
    ]


def test_what_a_file_says_of_all_its_devices_is_done_once_and_first(tmp_path: Path) -> None:
    hooks = [{"hookName": "poststop", "path": "/bin/true"}]
    written(
        tmp_path,
        described(
            {"name": "a", "containerEdits": {"env": ["X=a"]}},
            {"name": "b", "containerEdits": {"env": ["X=b"]}},
            containerEdits={"env": ["X=all", "Y=all"], "hooks": hooks},
        ),
    )
    spec = spec_of(tmp_path, "vendor.com/dev=a", "vendor.com/dev=b", "vendor.com/dev=a")
    assert {"X=b", "Y=all"} <= set(spec["process"]["env"])
    assert len(spec["hooks"]["poststop"]) == 1


def test_a_later_directory_has_priority_and_in_one_directory_two_files_conflict(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    written(first, described({"name": "a", "containerEdits": {"env": ["X=1"]}}))
    written(second, described({"name": "a", "containerEdits": {"env": ["X=2"]}}))
    assert "X=2" in spec_of(f"{first}:{second}")["process"]["env"]
    assert "X=1" in spec_of(f"{second}:{first}")["process"]["env"]
    written(first, described(), "w.json")
    assert "X=2" in spec_of(f"{first}:{second}")["process"]["env"]
    with pytest.raises(FailedPrecondition, match=r"v\.json and .*w\.json"):
        spec_of(f"{second}:{first}")


def test_yaml_is_read_and_other_files_are_not(tmp_path: Path) -> None:
    text = "cdiVersion: 0.6.0\nkind: vendor.com/dev\ndevices:\n- name: a\n  containerEdits:\n    env: [Z=1]\n"
    written(tmp_path, text, "v.yaml")
    written(tmp_path, described(), "v.json.bak")
    written(tmp_path, described(), "v.yml")
    assert "Z=1" in spec_of(tmp_path)["process"]["env"]


@pytest.mark.parametrize("text", ["{", "a: [", "!!python/object/apply:os.system ['true']", "- &a [*a]", ""])
def test_yaml_of_another_kind_is_reported_and_executes_nothing(tmp_path: Path, text: str) -> None:
    written(tmp_path, text, "v.yaml")
    with pytest.raises(NotFound, match=r"v\.yaml"):
        spec_of(tmp_path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "not JSON"),
        ([], "no object"),
        ({}, "malformed"),
        (described(cdiVersion="2.0.0"), "'2.0.0'"),
        (described(cdiVersion=1), "1"),
        (described(kind="vendor"), "'vendor'"),
        (described(kind="vendor.com/a/b"), "'vendor.com/a/b'"),
        (described(devices=[]), "no device"),
        (described({"name": "a"}, {"name": "a"}), "twice"),
        (described({"name": "a b"}), "'a b'"),
        (described({"name": "a", "surprise": 1}), "'surprise'"),
        (described(restrict="all"), "'restrict'"),
        (described({"name": "a", "containerEdits": {"seccomp": {}}}), "'seccomp'"),
        (described({"name": "a", "containerEdits": {"env": ["NOVALUE"]}}), "'NOVALUE'"),
        (described({"name": "a", "containerEdits": {"deviceNodes": [{"path": "dev/x"}]}}), "'dev/x'"),
        (described({"name": "a", "containerEdits": {"deviceNodes": [{"path": "/d", "permissions": "rx"}]}}), "'/d'"),
        (described({"name": "a", "containerEdits": {"deviceNodes": [{"path": "/d", "major": -1}]}}), "'/d'"),
        (described({"name": "a", "containerEdits": {"hooks": [{"hookName": "later", "path": "/x"}]}}), "'later'"),
        (described({"name": "a", "containerEdits": {"hooks": [{"hookName": "poststop", "path": "x"}]}}), "'poststop'"),
        (described({"name": "a", "containerEdits": {"mounts": [{"hostPath": "/x"}]}}), "containerPath"),
        (described({"name": "a", "containerEdits": {"additionalGids": ["x"]}}), "additionalGids"),
        (described({"name": "a", "containerEdits": {"additionalGids": [1]}}), "0.7.0"),
        ({**described({"name": "a"}, annotations={"k": "v"}), "cdiVersion": "0.5.0"}, "0.6.0"),
        ({**described({"name": "a", "containerEdits": {"deviceNodes": [NULL]}}), "cdiVersion": "0.4.0"}, "0.5.0"),
    ],
)
def test_a_file_that_is_not_by_the_specification_is_not_used_and_the_reason_is_said(
    tmp_path: Path, content: Any, why: str
) -> None:
    assert why in refused(tmp_path, content)


def test_a_file_for_another_device_may_be_broken(tmp_path: Path) -> None:
    written(tmp_path, "{", "broken.json")
    written(tmp_path, described())
    assert "A=1" in spec_of(tmp_path)["process"]["env"]


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_to_is_not_used(tmp_path: Path, mode: int) -> None:
    written(tmp_path, described(), mode=mode)
    with pytest.raises(NotFound, match="can be written by others"):
        spec_of(tmp_path)


def test_a_directory_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    written(tmp_path / "cdi", described())
    (tmp_path / "cdi").chmod(0o777)
    with pytest.raises(NotFound, match="can be written by others"):
        spec_of(tmp_path / "cdi")


@pytest.mark.root
def test_a_file_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    os.chown(written(tmp_path, described()), 12345, 0)
    with pytest.raises(NotFound, match="belongs to uid 12345"):
        spec_of(tmp_path)


@pytest.mark.root
def test_the_machines_root_is_nobody_to_an_ordinary_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(written(tmp_path, described()), 65534, 0)
    with pytest.raises(NotFound, match="belongs to uid 65534"):
        spec_of(tmp_path)
    monkeypatch.setattr(cdi, "is_rootless", lambda: True)
    assert spec_of(tmp_path)


def test_a_fifo_or_a_file_without_end_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdi, "FILE_LIMIT_BYTES", 10)
    os.mkfifo(tmp_path / "f.json", 0o600)
    (tmp_path / "z.json").symlink_to("/dev/zero")
    written(tmp_path, described())
    with pytest.raises(NotFound) as caught:
        spec_of(tmp_path)
    assert str(caught.value).count("is no regular file") == 2
    assert "longer than 10" in str(caught.value)


def test_what_prun_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="intelRdt"):
        edited(tmp_path, {"intelRdt": {"closID": "x"}})
    with pytest.raises(FailedPrecondition, match="netDevices"):
        edited(tmp_path, {"netDevices": [{"hostInterfaceName": "eth0", "name": "e"}]}, "1.1.0")


def test_a_gpu_without_a_file_names_the_tool_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        spec_of(tmp_path / "none", "nvidia.com/gpu=all")
    assert "nvidia-ctk cdi generate" in caught.value.hint


def test_host_devices_and_cdi_devices_can_be_asked_for_together(tmp_path: Path) -> None:
    written(tmp_path, described())
    spec = spec_of(tmp_path, "/dev/null:/dev/mine", "vendor.com/dev=a")
    assert [node["path"] for node in spec["linux"]["devices"]] == ["/dev/mine"]
    assert "A=1" in spec["process"]["env"]


def test_without_a_cdi_device_no_file_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdi, "edits", None)
    assert all(mount.source != "x" for mount in prun_linux.prun_mounts(request("/x", "/dev/null")))
