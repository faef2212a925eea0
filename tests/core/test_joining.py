from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prun import joining
from prun.errors import FailedPrecondition, InvalidArgument, NotFound
from prun.joining import joined
from prun.state import Store
from prun.types import Mount, RunRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = {"linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}]}}
PRIVATE = {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "root"), str(tmp_path / "state")) as opened:
        yield opened


@pytest.fixture
def process() -> Iterator[int]:
    """A process of ours: what an OCI runtime would have made."""
    child = subprocess.Popen(["sleep", "60"])
    yield child.pid
    child.kill()
    child.wait()


@contextmanager
def running(
    store: Store, pid: int | None, spec: Any = None, name: str = "web", *, recorded: bool = False, **fields: Any
) -> Iterator[Path]:
    fields.setdefault("remove", True)
    request = RunRequest(f"{name}0123", "image", name=name, root=store.root, state=store.state, **fields)
    with store.container(request) as record:
        bundle = Path(record.bundle)
        (bundle / "config.json").write_text(json.dumps(spec or OWN))
        record.started(pid, ["sleep"])
        if not recorded:  # as where the pid became known only after the start
            record.set(start_time=0)
        yield bundle


def resolved(store: Store, **fields: Any) -> RunRequest:
    with joined(RunRequest("new", "image", **fields), store) as request:
        for word in request.namespaces.values():
            if "/fd/" in word:
                assert os.path.exists(word.removeprefix("ns:"))
        return request


@pytest.mark.parametrize("words", ["web", "web0123", "web0"])
def test_another_containers_namespace_is_a_descriptor_of_its_process(store: Store, process: int, words: str) -> None:
    with running(store, process), joined(RunRequest("new", namespaces={"uts": f"container:{words}"}), store) as request:
        path = request.namespaces["uts"].removeprefix("ns:")
        assert path.startswith(f"/proc/{os.getpid()}/fd/")
        assert os.readlink(path) == os.readlink(f"/proc/{process}/ns/uts")
        fd = int(path.rpartition("/")[2])
        assert os.get_inheritable(fd) is False
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_where_nothing_is_executed_the_path_is_that_of_the_process(store: Store, process: int) -> None:
    with running(store, process):
        request = resolved(store, namespaces={"pid": "container:web", "uts": "host"}, view_only=True)
    assert request.namespaces == {"pid": f"ns:/proc/{process}/ns/pid", "uts": "host"}


def test_a_namespace_that_the_other_shares_with_the_host_is_the_hosts(store: Store, process: int) -> None:
    with running(store, process):
        assert resolved(store, namespaces={"cgroup": "container:web"}).namespaces == {"cgroup": "host"}


def test_a_container_that_does_not_run_is_refused(store: Store, process: int) -> None:
    with pytest.raises(NotFound, match="web"):
        resolved(store, namespaces={"pid": "container:web"})
    with running(store, process, remove=False):
        pass
    with pytest.raises(FailedPrecondition, match="web is not running"):
        resolved(store, namespaces={"pid": "container:web"})


def test_the_beginning_of_an_id_must_be_one_containers(store: Store, process: int) -> None:
    with running(store, process, name="web1"), running(store, process, name="web2"):
        with pytest.raises(InvalidArgument, match="2 containers"):
            resolved(store, namespaces={"pid": "container:web"})
        with pytest.raises(NotFound):
            resolved(store, namespaces={"pid": "container:eb1"})


def test_a_pid_that_is_another_processs_by_now_is_not_joined(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the cgroup, where the container has one; else by its descent from the prun that runs it."""
    monkeypatch.setattr(joining, "START_TIMEOUT_S", 0.05)
    stranger = os.getppid()
    for spec in (OWN, {"linux": {**OWN["linux"], "cgroupsPath": "/prun/web0123"}}):
        with running(store, stranger, spec), pytest.raises(FailedPrecondition, match="is not running"):
            resolved(store, namespaces={"uts": "container:web"})


def test_a_process_that_was_recorded_with_its_start_is_the_containers(store: Store, process: int) -> None:
    with running(store, process, recorded=True):
        resolved(store, namespaces={"uts": "container:web"})


def test_the_process_is_looked_at_again_once_its_namespace_is_open(
    store: Store, process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, False])
    monkeypatch.setattr(joining, "_is_process_of", lambda *args: next(answers))
    descriptors = os.listdir("/proc/self/fd")
    with running(store, process), pytest.raises(FailedPrecondition, match="is not running"):
        resolved(store, namespaces={"uts": "container:web"})
    assert os.listdir("/proc/self/fd") == descriptors


def test_a_process_is_the_containers_by_its_cgroup(store: Store, process: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "1:name=systemd:/\n0::/outer/prun/web0123/below\n"
    real = joining._read
    monkeypatch.setattr(joining, "_read", lambda path: lines if path == f"/proc/{process}/cgroup" else real(path))
    monkeypatch.setattr(joining, "START_TIMEOUT_S", 0.05)
    for path, fits in (("/prun/web0123", True), ("/prun/web012", False), ("/prun/web01234", False)):
        spec = {"linux": {**OWN["linux"], "cgroupsPath": path}}
        with running(store, process, spec):
            if fits:
                resolved(store, namespaces={"uts": "container:web"})
            else:
                with pytest.raises(FailedPrecondition):
                    resolved(store, namespaces={"uts": "container:web"})


def test_the_pid_may_be_written_after_the_start(store: Store, process: int) -> None:
    from threading import Timer

    with running(store, None) as bundle:
        timer = Timer(0.1, (bundle / "pid").write_text, [str(process)])
        timer.start()
        begin = time.monotonic()
        assert "/fd/" in resolved(store, namespaces={"uts": "container:web"}).namespaces["uts"]
        assert time.monotonic() - begin < joining.START_TIMEOUT_S
        timer.join()


def test_ipc_is_shared_only_by_a_container_that_says_so(store: Store, process: int) -> None:
    with running(store, process, {**OWN, "mounts": [PRIVATE]}), pytest.raises(FailedPrecondition) as caught:
        resolved(store, namespaces={"ipc": "container:web"})
    assert "--ipc shareable" in caught.value.hint
    another = {**PRIVATE, "type": "bind", "source": "/somebody/elses/shm"}
    for mounts in ([another], []):
        with running(store, process, {**OWN, "mounts": mounts}), pytest.raises(FailedPrecondition):
            resolved(store, namespaces={"ipc": "container:web"})


def test_with_ipc_comes_the_others_shared_memory_and_a_mount_of_the_user_goes_over_it(
    store: Store, process: int
) -> None:
    source = os.path.join(store.bundle("web0123"), "mounts", "shm")
    shm = {"destination": "/dev/shm", "type": "bind", "source": source, "options": ["rbind", "nosuid"]}
    mine = Mount("/dev/shm", "bind", "/tmp")
    with running(store, process, {**OWN, "mounts": [shm]}):
        request = resolved(store, namespaces={"ipc": "container:web"}, mounts=(mine,))
        assert request.mounts == (Mount("/dev/shm", "bind", source, ("rbind", "nosuid")), mine)
        assert request.namespaces["ipc"].startswith("ns:")
        with pytest.raises(InvalidArgument, match="--shm-size"):
            resolved(store, namespaces={"ipc": "container:web"}, shm_size_bytes=1)


def test_the_hosts_ipc_is_shared_through_a_container_that_has_it(store: Store, process: int) -> None:
    spec = {"linux": {"namespaces": [{"type": "pid"}]}, "mounts": [{**PRIVATE, "type": "bind", "source": "/dev/shm"}]}
    with running(store, process, spec):
        request = resolved(store, namespaces={"ipc": "container:web"})
    assert (request.namespaces, request.mounts) == ({"ipc": "host"}, ())
