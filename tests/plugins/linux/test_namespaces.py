from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from prun.errors import FailedPrecondition, InvalidArgument
from prun.types import RunRequest
from prun_linux import kernelfiles
from prun_linux.namespaces import CLONE_NEW, check_namespace

from .conftest import make_spec

if TYPE_CHECKING:
    from pathlib import Path

    from prun.spec.document import Spec

KINDS = {"cgroup": "cgroup", "ipc": "ipc", "network": "net", "pid": "pid", "user": "user", "uts": "uts"}


def spec_of(namespaces: dict[str, str], **fields: Any) -> Spec:
    fields = {"security": ("seccomp=unconfined",), "state": "/run/prun", **fields}
    return make_spec(RunRequest("x", args=("sh",), namespaces=namespaces, **fields))


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "cgroup"])
def test_a_namespace_of_the_host_is_left_out(kind: str) -> None:
    kinds = [namespace["type"] for namespace in spec_of({kind: "host"})["linux"]["namespaces"]]
    assert kinds == [name for name in ("pid", "ipc", "uts", "mount", "network", "cgroup") if name != kind]


def test_the_hosts_network_and_another_namespace_can_be_shared_together() -> None:
    kinds = [namespace["type"] for namespace in spec_of({"pid": "host"}, network="host")["linux"]["namespaces"]]
    assert kinds == ["ipc", "uts", "mount", "cgroup"]


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "cgroup"])
def test_a_namespace_with_a_path_is_joined(kind: str) -> None:
    path = f"/proc/self/ns/{kind}"
    found = {each["type"]: each.get("path") for each in spec_of({kind: f"ns:{path}"})["linux"]["namespaces"]}
    assert found == {**dict.fromkeys(("pid", "ipc", "uts", "mount", "network", "cgroup")), kind: path}


@pytest.mark.parametrize("kind", CLONE_NEW)
def test_every_kind_is_told_from_every_other(kind: str) -> None:
    for other, name in KINDS.items():
        path = f"/proc/self/ns/{name}"
        if other == kind:
            check_namespace(kind, path)
        else:
            with pytest.raises(FailedPrecondition, match=f"is no {kind} namespace"):
                check_namespace(kind, path)


def test_what_is_no_namespace_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    for name in ("file", "fifo", "missing"):
        with pytest.raises(FailedPrecondition, match=name):
            spec_of({"ipc": f"ns:{tmp_path}/{name}"})


def test_a_shared_host_name_is_not_changed() -> None:
    for word in ("host", "ns:/proc/self/ns/uts"):
        assert "hostname" not in spec_of({"uts": word})
        with pytest.raises(InvalidArgument, match="--hostname 'web'"):
            spec_of({"uts": word}, hostname="web")
    assert spec_of({"ipc": "host"}, hostname="web")["hostname"] == "web"


def shm(ipc: str, **fields: Any) -> Any:
    mounts = kernelfiles.mounts(RunRequest("x", state="/run/prun", namespaces={"ipc": ipc}, **fields))
    return next((mount for mount in mounts if mount.destination == "/dev/shm"), None)


def test_shared_memory_goes_with_the_ipc_namespace() -> None:
    assert shm("none") is None
    assert shm("host").source == "/dev/shm"
    assert shm("shareable").source == "/run/prun/bundles/x/mounts/shm"
    assert shm("ns:/proc/self/ns/ipc").type == "tmpfs"
    for ipc in ("host", "none"):
        with pytest.raises(InvalidArgument, match="--shm-size"):
            shm(ipc, shm_size_bytes=4096)
    assert shm("ns:/proc/self/ns/ipc", shm_size_bytes=4096).options[-1] == "size=4096"
