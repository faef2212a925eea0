from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from prun.errors import InvalidArgument, NotFound
from prun.types import RunRequest
from prun_linux import devices

from .conftest import make_spec

NULL = {"type": "c", "major": 1, "minor": 3}


def linux_of(*words: str, **fields: Any) -> Any:
    fields = {"security": ("seccomp=unconfined",), "state": "/run/prun", **fields}
    return make_spec(RunRequest("x", args=("sh",), devices=words, **fields))["linux"]


def test_a_device_has_the_hosts_numbers_mode_and_owner_and_a_rule() -> None:
    info = os.stat("/dev/null")
    linux = linux_of("/dev/null:/dev/nothing:rw")
    assert linux["devices"] == [
        {**NULL, "path": "/dev/nothing", "fileMode": stat.S_IMODE(info.st_mode), "uid": info.st_uid, "gid": info.st_gid}
    ]
    assert linux["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert linux["resources"]["devices"][-1] == {**NULL, "allow": True, "access": "rw"}


def test_a_link_is_followed_and_keeps_its_name_in_the_container(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    node = linux_of(f"{tmp_path}/link:/dev/cdrom:r")["devices"][0]
    assert (node["path"], node["major"], node["minor"]) == ("/dev/cdrom", 1, 3)
    assert linux_of(f"{tmp_path}/link")["devices"][0]["path"] == f"{tmp_path}/link"


@pytest.mark.root
def test_of_a_directory_all_devices_are_given_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    os.mknod(tmp_path / "d" / "a", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    os.mknod(tmp_path / "d" / "sub" / "b", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    (tmp_path / "d" / "file").touch()
    os.mkfifo(tmp_path / "d" / "fifo")
    (tmp_path / "d" / "link").symlink_to("/dev/mem")
    found = linux_of(f"{tmp_path}/d:/dev/them:r")
    assert [(node["path"], node["type"], node["major"]) for node in found["devices"]] == [
        ("/dev/them/a", "c", 1),
        ("/dev/them/sub/b", "b", 7),
    ]
    assert [rule["access"] for rule in found["resources"]["devices"][-2:]] == ["r", "r"]


def test_what_is_no_device_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("file", "fifo", "empty"):
        with pytest.raises(InvalidArgument, match=name):
            linux_of(f"{tmp_path}/{name}")
    with pytest.raises(NotFound, match="missing"):
        linux_of(f"{tmp_path}/missing")


@pytest.mark.parametrize("target", ["/", "/dev", "/dev/", "/proc/x", "/dev/../sys/y", "//dev"])
def test_no_device_is_made_where_none_can_be(target: str) -> None:
    with pytest.raises(InvalidArgument, match="/dev/null"):
        linux_of(f"/dev/null:{target}")


def test_a_rule_is_added_without_a_node() -> None:
    linux = linux_of(device_rules=("c 42:* rwm", "b *:7 r", "a *:* m"))
    assert linux.get("devices", []) == []
    assert linux["resources"]["devices"][-3:] == [
        {"allow": True, "type": "c", "access": "rwm", "major": 42},
        {"allow": True, "type": "b", "access": "r", "minor": 7},
        {"allow": True, "type": "a", "access": "m"},
    ]


@pytest.mark.root
def test_a_privileged_container_has_every_device_of_the_host_but_those_it_makes_itself() -> None:
    paths = {node["path"] for node in linux_of(privileged=True)["devices"]}
    assert {"/dev/null", "/dev/full"} <= paths
    assert not any(Path(path).parts[2] in ("pts", "shm", "console", "fd", "mqueue") for path in paths)
    assert not any(Path(path).is_symlink() for path in paths)


def test_the_default_container_has_no_device_of_the_host() -> None:
    assert "devices" not in linux_of()


@pytest.mark.parametrize("where", ["/dev/pts/7", "/dev/ptmx", "/dev/console", "/dev/stdin", "/dev/fd", "/sys/x"])
def test_a_device_where_the_oci_runtimes_put_something_else_is_refused(where: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be a device"):
        linux_of(f"/dev/null:{where}")


def test_without_root_the_machines_terminals_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"/dev/{name}" for name in ("null", "tty", "tty0", "tty63", "ttyS0")]
    monkeypatch.setattr(devices, "walk", lambda directory: names)
    monkeypatch.setattr(devices, "node_of", lambda host, container: {"path": container})
    assert [node["path"] for node in devices.host_nodes()] == names
    monkeypatch.setattr(devices, "is_rootless", lambda: True)
    assert [node["path"] for node in devices.host_nodes()] == ["/dev/null", "/dev/tty", "/dev/ttyS0"]
