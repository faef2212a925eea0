from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from prun.errors import FailedPrecondition, InvalidArgument
from prun.request.resources import Resources
from prun.rootfs.idmap import IdMaps, IdRange
from prun.spec.linux import DEFAULT_MOUNTS
from prun.types import Image, Platform, RunRequest
from prun.userns import UserNamespace
from prun_linux import userns

from .conftest import NoRootfs

if TYPE_CHECKING:
    from pathlib import Path

    from prun.spec.document import Spec

MAPS = IdMaps((IdRange(0, 100000, 4),), (IdRange(0, 200000, 4),))
IMAGE = Image("i", "", Platform("linux", "amd64"), {})


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prun.userns.found", lambda request: UserNamespace(MAPS))


@pytest.fixture
def rootless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userns, "is_rootless", lambda: True)
    monkeypatch.setattr(userns, "delegated_cgroup", lambda: "")
    monkeypatch.setenv("PRUN_ROOTLESS", "1000")


def applied(request: RunRequest, spec: Spec) -> Spec:
    for opt in userns.spec_opts(request, IMAGE, NoRootfs()):
        opt(spec)
    return spec


@pytest.mark.usefixtures("namespace")
def test_the_namespace_and_its_maps_are_in_the_spec() -> None:
    linux = applied(RunRequest("c"), {"process": {"user": {"uid": 3, "gid": 3}}})["linux"]
    assert linux["namespaces"] == [{"type": "user"}]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 100000, "size": 4}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 200000, "size": 4}]


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize(
    "user", [{"uid": 4, "gid": 0}, {"uid": 0, "gid": 4}, {"uid": 0, "gid": 0, "additionalGids": [1, 29]}]
)
def test_a_user_or_group_that_is_not_mapped_is_refused(user: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument, match=r"(4|29) of the container is not mapped"):
        applied(RunRequest("c"), {"process": {"user": user}})  # type: ignore[typeddict-item]


@pytest.mark.usefixtures("namespace")
def test_mounts_are_those_that_root_of_a_namespace_may_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    request = RunRequest("c", network="host", namespaces={"ipc": "host", "pid": "host"})
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    assert "/dev/mqueue" not in [mount.destination for mount in userns.adapted(DEFAULT_MOUNTS, request)]
    monkeypatch.setattr(os.path, "isdir", lambda path: True)
    found = {mount.destination: mount for mount in userns.adapted(DEFAULT_MOUNTS, request)}
    assert (found["/sys"].type, found["/sys"].source) == ("bind", "/sys")
    assert "ro" in found["/sys"].options
    assert (found["/proc"].type, found["/proc"].source) == ("bind", "/proc")
    assert (found["/dev/mqueue"].type, found["/dev/mqueue"].source) == ("bind", "/dev/mqueue")
    assert "gid=5" not in found["/dev/pts"].options
    assert found["/run"] in DEFAULT_MOUNTS


@pytest.mark.usefixtures("rootless")
def test_limits_without_a_cgroup_are_refused_by_their_options() -> None:
    request = RunRequest("c", resources=Resources(memory_bytes=5, cpu_quota_us=7), cgroup_parent="/x")
    with pytest.raises(FailedPrecondition, match=r"^--cgroup-parent, --memory, --cpu-quota: user 1000 may write no"):
        userns.refuse_limits(request)
    userns.refuse_limits(RunRequest("c"))


@pytest.mark.usefixtures("rootless")
def test_without_a_cgroup_the_spec_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    spec: Spec = {"linux": {"cgroupsPath": "/prun/c", "resources": {"devices": [], "pids": {"limit": 1}}}}
    assert applied(RunRequest("c"), spec)["linux"] == {"resources": {"devices": []}}
    monkeypatch.setattr(userns, "delegated_cgroup", lambda: "/user.slice/app.slice")
    spec = {"linux": {"cgroupsPath": "/prun/c", "resources": {"pids": {"limit": 1}}}}
    linux = applied(RunRequest("c"), spec)["linux"]
    assert linux == {"cgroupsPath": "/user.slice/app.slice/prun-c", "resources": {"pids": {"limit": 1}}}


def test_a_cgroup_is_the_user_s_where_its_parent_may_be_written(tmp_path: Path) -> None:
    app = tmp_path / "user.slice" / "app.slice"
    app.mkdir(parents=True)
    membership = tmp_path / "membership"
    membership.write_text("0::/user.slice/app.slice/run-1.scope\n")
    assert userns.delegated_cgroup(str(tmp_path), str(membership)) == ""
    for path in (tmp_path / "cgroup.controllers", app / "cgroup.procs"):
        path.write_text("")
    assert userns.delegated_cgroup(str(tmp_path), str(membership)) == ""
    (app / "cgroup.subtree_control").write_text("memory pids")
    assert userns.delegated_cgroup(str(tmp_path), str(membership)) == "/user.slice/app.slice"
    membership.write_text("0::/\n")
    assert userns.delegated_cgroup(str(tmp_path), str(membership)) == ""


def test_a_directory_that_the_container_s_root_cannot_go_through_is_named(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    blocked = userns._blocked(str(inner), UserNamespace(MAPS), 100000, 200000)
    (tmp_path / "a").chmod(0o700)
    first = next((p for p in [*reversed(tmp_path.parents), tmp_path] if not os.stat(p).st_mode & 0o001), None)
    assert blocked == (str(first) if first else "")
    assert userns._blocked(str(inner), UserNamespace(MAPS), 100000, 200000) == str(first or tmp_path / "a")
