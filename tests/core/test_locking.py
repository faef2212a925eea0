"""Locks: what made a run, written, read and compared; a lock that is read is somebody else's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prun import Runner
from prun.errors import FailedPrecondition, InvalidArgument, NotFound, PrunError
from prun.locking import compared, read_lock, said
from prun.spec.difference import differences
from prun.spec.normal import hash_of, normalised, normalised_file
from prun.spec.provenance import ABSENT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from prun.spec.difference import Difference

ID = "0123456789ab" * 5 + "0123"
VOLUME = "f" * 64
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**12) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
EVERYTHING: dict[str, Any] = {
    "env": {"A": "b"}, "user": "1:2", "workdir": "/w", "labels": {"x": "y"}, "entrypoint": ["e"], "memory": "64m",
    "volume": ["/:/host:ro", "named:/v", "/anonymous"], "tmpfs": ["/t:size=1m"], "ulimit": ["nofile=3:4"],
    "cap_add": ["kill"],
    "sysctl": {"kernel.shm_rmid_forced": "1"}, "secret": ["s"], "log_opt": {"max-size": "1m"}, "health_cmd": "true",
    "patch": ['/hostname="h"'], "platform": "linux/amd64", "stop_signal": "INT", "timeout": 3, "name": "n",
}  # fmt: skip


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(runtime="fake", root=str(tmp_path / "root"), state=str(tmp_path / "state"))


@pytest.fixture
def lock(runner: Runner, tmp_path: Path) -> Path:
    runner.run("scratch", ["true"], env={"A": "b"}, lock=str(tmp_path / "run.lock"))
    return tmp_path / "run.lock"


def changed(path: Path, /, **parts: Any) -> str:
    """Write the lock with other parts, and return its path."""
    document = {**json.loads(path.read_text()), **parts}
    document["specHash"] = parts.get("specHash") or hash_of(document["spec"])
    path.write_text(json.dumps(document))
    return str(path)


def test_a_lock_has_what_made_the_run_and_nothing_of_its_store(lock: Path, tmp_path: Path) -> None:
    text = lock.read_text()
    assert str(tmp_path) not in text
    document = json.loads(text)
    assert document["image"] == {"name": "scratch", "digest": "", "platform": document["image"]["platform"]}
    assert document["request"]["args"] == ["true"]
    assert not {"id", "root", "state", "config", "origins"} & document["request"].keys()
    assert document["runtime"] == "fake"
    assert document["plugins"]["runtime prun_fake"].startswith("prun ")
    assert document["machine"].keys() >= {"os", "kernel", "machine"}
    assert lock.stat().st_mode & 0o777 == 0o600


def test_a_replay_gives_the_same_spec_in_another_store(lock: Path, tmp_path: Path) -> None:
    other = Runner(runtime="fake", root=str(tmp_path / "r2"), state=str(tmp_path / "s2"))
    told: list[Sequence[Difference]] = []
    assert other.replay_lock(str(lock), strict=True, differing=told.append).exit_code == 0
    assert told == []


def test_every_field_of_a_request_survives_a_lock(runner: Runner, tmp_path: Path) -> None:
    from prun.locking import lock_of
    from prun.types import Image, Platform

    request = runner.request("scratch", ["a", "b"], **EVERYTHING)
    document = lock_of(request, Image("scratch", "", Platform("linux", "amd64"), {}), {}, runner.hooks)
    (tmp_path / "run.lock").write_text(json.dumps(document))
    again = read_lock(str(tmp_path / "run.lock")).request
    kept = {name for name in request._fields if name not in ("id", "root", "state", "config", "aliases", "origins")}
    assert {name: getattr(again, name) for name in kept} == {name: getattr(request, name) for name in kept}


def test_what_is_not_as_it_was_is_told_field_by_field_and_refused_if_strict(lock: Path, runner: Runner) -> None:
    document = json.loads(lock.read_text())
    path = changed(
        lock, prun="0.0.9", plugins={**document["plugins"], "runtime prun_fake": "prun 0.0.9", "audit": "x 1"},
        machine={**document["machine"], "kernel": "2.6"}, spec={**document["spec"], "hostname": "other"},
    )  # fmt: skip
    told: list[Difference] = []
    assert runner.replay_lock(path, differing=told.extend).exit_code == 0
    pointers = {each.pointer for each in told}
    assert pointers == {"/prun", "/plugins/runtime prun_fake", "/plugins/audit", "/machine/kernel", "/spec/hostname"}
    assert [said(each) for each in told if each.pointer == "/plugins/audit"] == ['- /plugins/audit: "x 1"']
    with pytest.raises(FailedPrecondition, match="would not be the same: /prun, ") as caught:
        runner.replay_lock(path, strict=True)
    assert '! /prun: "0.0.9" -> ' in caught.value.evidence
    assert caught.value.stage == "spec"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"lock": 2}, "has format 2"),
        ({"lock": True}, "/lock is missing or of the wrong type"),
        ({"spec": []}, "/spec is missing or of the wrong type"),
        ({"spec": {"process": {"args": "x"}}}, "/process/args is not an array"),
        ({"specHash": "sha256:0"}, "not the one of /specHash"),
        ({"more": 1}, "/more is not known"),
        ({"image": {"name": "x"}}, "/image has not"),
        ({"image": {"name": "x", "digest": "../../etc", "platform": "linux/amd64"}}, "/image has not"),
        ({"image": {"name": "x", "digest": "", "platform": "///"}}, "platform"),
        ({"plugins": {"a": 1}}, "/plugins/a is no text"),
        ({"request": {"root": "/"}}, "/request/root is not known"),
        ({"request": {"capture": True}}, "/request/capture is not known"),
        ({"request": {"args": "true"}}, "/request/args is of the wrong type"),
        ({"request": {"env": [1]}}, "/request/env is of the wrong type"),
        ({"request": {"args": ["a\0b"]}}, "/request/args is of the wrong type"),
        ({"request": {"volumes": [{"$": "Platform", "os": "a", "architecture": "b"}]}}, "/request/volumes is of"),
        ({"request": {"resources": {"$": "Resources", "memory_bytes": "x"}}}, "/request/resources is of"),
        ({"request": {"resources": {"$": "Nothing"}}}, "cannot be read"),
        ({"request": {"platform": {"$": "Platform"}}}, "cannot be read"),
        ({"request": {"nosuch": 1}}, "/request/nosuch is not known"),
    ],
)
def test_a_lock_that_is_none_is_refused_by_field(parts: dict[str, Any], message: str, lock: Path) -> None:
    with pytest.raises(InvalidArgument, match=message):
        read_lock(changed(lock, **parts))


@pytest.mark.parametrize("text", ["", "[]", "{", "NaN", "[" * 5000, '{"a":' * 5000, "\xff", '{"lock": 1}'])
def test_a_file_that_is_no_lock_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text, encoding="latin-1")
    with pytest.raises(InvalidArgument):
        read_lock(str(tmp_path / "x"))


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_lock(str(tmp_path / "nosuch"))
    for path in (str(tmp_path), "/dev/zero"):
        with pytest.raises(PrunError):
            read_lock(path)


@settings(max_examples=150)
@given(data=st.data())
def test_no_lock_is_a_trap(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Change one value of a lock of everything to any other: it is refused, or it runs."""
    from prun.locking import lock_of
    from prun.types import Image, Platform

    base = tmp_path_factory.mktemp("fuzz")
    runner = Runner(runtime="fake", root=str(base / "root"), state=str(base / "state"))
    request = runner.request("scratch", ["a"], **{k: v for k, v in EVERYTHING.items() if k in ("env", "user", "patch")})
    document = lock_of(request, Image("scratch", "", Platform("linux", "amd64"), {}), {}, runner.hooks)
    at: Any = document
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(at[key], dict | list) or data.draw(st.booleans()):
            at[key] = data.draw(JSON)
            break
        at = at[key]
    if isinstance(document["spec"], dict) and data.draw(st.booleans()):
        document["specHash"] = hash_of(document["spec"])
    (base / "lock").write_text(json.dumps(document))
    try:
        runner.replay_lock(str(base / "lock"))
    except PrunError as error:
        assert error.exit_code in (125, 126, 127)  # noqa: PT017  either is fine


def test_a_hook_file_that_is_not_the_locked_one_is_not_executed(runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("from prun import hookimpl\n@hookimpl\ndef prun_mounts():\n    return []\n")
    file.chmod(0o600)
    runner.run("scratch", ["true"], hook=[str(file)], lock=str(tmp_path / "run.lock"))
    assert runner.replay_lock(str(tmp_path / "run.lock"), strict=True).exit_code == 0
    file.write_text("raise SystemExit(3)\n")
    with pytest.raises(FailedPrecondition, match="is not the one that was locked"):
        runner.replay_lock(str(tmp_path / "run.lock"))


def test_a_lock_that_cannot_be_written_stops_the_run_before_anything_is_created(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(PrunError, match="cannot be written"):
        runner.run("scratch", ["true"], lock=str(tmp_path / "nosuch" / "run.lock"))
    assert [path.name for path in tmp_path.iterdir() if ".new" in path.name] == []


def test_a_spec_is_normal_without_what_belongs_to_one_container() -> None:
    spec: Any = {
        "hostname": ID[:12],
        "process": {"env": [f"HOSTNAME={ID[:12]}", "A=/var/lib/prunish", f"L=/state:{ID}"]},
        "root": {"path": f"/state/bundles/{ID}/rootfs"},
        "mounts": [
            {"source": f"/state/bundles/{ID}/hosts"}, {"source": f"/var/lib/prun/volumes/{VOLUME}/_data"},
            {"source": "/state/other"}, {"source": f"/x/{VOLUME}"}, {"source": "/home/me"},
        ],
        "linux": {
            "cgroupsPath": f"/prun/{ID}", "namespaces": [{"type": "network", "path": "/proc/4711/ns/net"}],
            "uidMappings": [{"containerID": 0, "hostID": 165536, "size": 9}],
        },
    }  # fmt: skip
    before = json.dumps(spec)
    found: Any = normalised(spec, container_id=ID, root="/var/lib/prun", state="/state", auto_ids=True)
    assert found == {
        "hostname": "{id}",
        "process": {"env": ["HOSTNAME={id}", "A=/var/lib/prunish", "L={state}:{id}"]},
        "root": {"path": "{bundle}/rootfs"},
        "mounts": [
            {"source": "{bundle}/hosts"}, {"source": "{root}/volumes/{random 1}/_data"},
            {"source": "{state}/other"}, {"source": "/x/{random 1}"}, {"source": "/home/me"},
        ],
        "linux": {
            "cgroupsPath": "/prun/{id}", "namespaces": [{"type": "network", "path": "/proc/{pid}/ns/net"}],
            "uidMappings": [{"containerID": 0, "hostID": 0, "size": 9}],
        },
    }  # fmt: skip
    assert json.dumps(spec) == before
    assert normalised_file(spec)["linux"]["cgroupsPath"] == "/prun/{id}"
    assert normalised_file({"hostname": "x"}) == {"hostname": "x"}


def test_an_id_of_the_users_own_changes_no_other_word() -> None:
    spec: Any = {"process": {"args": ["web", "webserver", "/srv/web", "my-web"]}}
    found: Any = normalised(spec, container_id="web", root="/r", state="/s")
    assert found["process"]["args"] == ["{id}", "webserver", "/srv/{id}", "my-web"]


@given(JSON, JSON)
def test_differences_are_none_where_documents_are_equal_and_are_there_where_not(first: Any, second: Any) -> None:
    assert list(differences(first, first)) == []
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (list(differences(first, second)) == []) is same


def test_differences_of_arrays_are_those_elements_that_come_and_go() -> None:
    first: Any = {"a/b": ["A=1", "B=2", "C=3"], "m": [{"d": "/x", "o": ["ro"]}]}
    second: Any = {"a/b": ["B=2", "C=4", "D=5"], "m": [{"d": "/x", "o": ["rw"]}]}
    assert list(differences(first, second)) == [
        ("/a~1b/0", "A=1", ABSENT), ("/a~1b/2", "C=3", "C=4"), ("/a~1b/2", ABSENT, "D=5"), ("/m/0/o/0", "ro", "rw"),
    ]  # fmt: skip
    assert compared({"spec": {"a": 1}, "prun": "1"}, {"spec": {"a": 2}}) == [("/spec/a", 1, 2)]
