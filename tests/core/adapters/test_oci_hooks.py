"""hooks.d: which files count, for which containers, and what is refused."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

import prun_fake
from prun.adapters import oci_hooks
from prun.builtin.flags import Directory
from prun.errors import InvalidArgument, NotFound, PermissionDenied
from prun.guard import Guard
from prun.loading import configured
from prun.pipeline import build_spec
from prun.plugins import Hooks
from prun.request.mounts import MountRequest
from prun.types import Image, Platform, RunRequest

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = Image("busybox", "sha256:0", Platform("linux", "amd64"), {"Cmd": ["/bin/sh"]})
TRUE = {"path": "/bin/true", "args": ["true", "x"], "env": ["A=b"], "timeout": 3}


def write(directory: Path, name: str, **changes: Any) -> None:
    directory.mkdir(exist_ok=True)
    document = {"version": "1.0.0", "hook": TRUE, "when": {"always": True}, "stages": ["prestart"], **changes}
    (directory / name).write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def hooks_of(*directories: Path, request: RunRequest | None = None) -> dict[str, Any]:
    """Return the hooks of the spec of a container."""
    plugin = configured(oci_hooks, Guard("oci-hooks"), {"hooks-dir": [str(each) for each in directories]})
    request = request or RunRequest("c1", "busybox", rootfs=str(directories[0]))
    spec = build_spec(request, IMAGE, Directory(request, IMAGE, ""), Hooks.of(runtime=prun_fake, plugins={"o": plugin}))
    return dict(spec.get("hooks", {}))


def test_a_hook_is_added_at_each_of_its_stages(tmp_path: Path) -> None:
    write(tmp_path / "d", "a.json", stages=["createRuntime", "poststop", "poststop"])
    assert hooks_of(tmp_path / "d") == {"createRuntime": [TRUE], "poststop": [TRUE]}


def test_files_are_in_the_order_of_their_names_whatever_their_case(tmp_path: Path) -> None:
    for name in ("B.json", "a.json", "c.json", "0.json", "x.conf"):
        write(tmp_path / "d", name, hook={"path": "/bin/true", "args": [name]})
    found = hooks_of(tmp_path / "d")["prestart"]
    assert [hook["args"] for hook in found] == [["0.json"], ["a.json"], ["B.json"], ["c.json"]]


def test_a_later_directory_hides_files_of_the_same_name(tmp_path: Path) -> None:
    write(tmp_path / "d", "a.json", hook={"path": "/bin/true", "args": ["first"]})
    write(tmp_path / "d", "b.json", hook={"path": "/bin/true", "args": ["b"]})
    write(tmp_path / "e", "a.json", hook={"path": "/bin/true", "args": ["second"]})
    found = hooks_of(tmp_path / "d", tmp_path / "e")["prestart"]
    assert [hook["args"] for hook in found] == [["second"], ["b"]]


BIND = RunRequest("c1", volumes=(MountRequest("bind", "/srv", "/mnt"),), annotations={"org.site.kind": "web"})


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({}, False), ({"always": True}, True), ({"always": False}, False),
        ({"commands": ["/sh$"]}, True), ({"commands": ["^sh"]}, False), ({"commands": ["nope", "sh"]}, True),
        ({"annotations": {r"^org\.site": "^w"}}, True), ({"annotations": {"kind$": "^x"}}, False),
        ({"annotations": {"kind": "web", "other": "x"}}, False), ({"annotations": {}}, False),
        ({"hasBindMounts": True}, True), ({"hasBindMounts": False}, False),
        ({"always": True, "commands": ["^nope"]}, False), ({"always": True, "hasBindMounts": True}, True),
        ({"hasBindMounts": True, "annotations": {"kind": "x"}}, False),
    ],
)  # fmt: skip
def test_all_conditions_must_hold_and_one_there_must_be(tmp_path: Path, when: dict[str, Any], holds: bool) -> None:
    write(tmp_path / "d", "a.json", when=when)
    request = BIND._replace(rootfs=str(tmp_path), view_only=True)
    assert bool(hooks_of(tmp_path / "d", request=request)) is holds


def test_a_container_without_bind_mounts_has_none(tmp_path: Path) -> None:
    write(tmp_path / "d", "a.json", when={"hasBindMounts": True})
    assert hooks_of(tmp_path / "d") == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "0.1.0"}, "version '0.1.0', not 1.0.0"), ({"version": None}, "version None"),
        ({"hook": None}, "has no hook"), ({"when": None}, "has no when"), ({"stages": None}, "stages that are no list"),
        ({"stages": []}, "has no stages"), ({"stages": ["precreate"]}, "stage 'precreate'"),
        ({"hook": {"path": "true"}}, "the program 'true'"), ({"hook": {"path": "/nowhere"}}, "the program '/nowhere'"),
        ({"hook": {**TRUE, "args": "x"}}, "args that are no list"), ({"hook": {**TRUE, "env": ["A"]}}, "KEY=value"),
        ({"hook": {**TRUE, "timeout": 0}}, "the timeout 0"), ({"hook": {**TRUE, "user": "x"}}, "key 'user' in hook"),
        ({"when": {"or": True}}, "unknown key 'or' in when"), ({"when": {"always": 1}}, "always 1"),
        ({"when": {"commands": ["("]}}, "missing"), ({"when": {"annotations": ["x"]}}, "annotations that are no obj"),
        ({"more": 1}, "unknown key 'more'"),
    ],
)  # fmt: skip
def test_what_is_none_of_the_format_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path / "d", "a.json", **changes)
    with pytest.raises(InvalidArgument, match=message) as caught:
        hooks_of(tmp_path / "d")
    assert f"oci-hooks: {tmp_path}/d/a.json: " in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff", '{"a": ' * 100_000, " " * (1 << 20) + "{}"])
def test_so_is_what_is_no_json_or_too_much_of_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content, encoding="latin-1")
    with pytest.raises(InvalidArgument, match=r"a\.json: "):
        hooks_of(tmp_path)


def test_directories_that_are_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is no directory"):
        hooks_of(tmp_path / "nowhere")
    with pytest.raises(InvalidArgument, match="no list of absolute paths"):
        configured(oci_hooks, Guard("oci-hooks"), {"hooks-dir": "/etc"})
    configured(oci_hooks, Guard("oci-hooks"), {})


@pytest.mark.root
@pytest.mark.parametrize("which", ["directory", "file", "program"])
def test_what_another_user_may_change_is_not_used(tmp_path: Path, which: str) -> None:
    program = tmp_path / "program"
    program.touch()
    write(tmp_path / "d", "a.json", hook={"path": str(program)})
    path = {"directory": tmp_path / "d", "file": tmp_path / "d" / "a.json", "program": program}[which]
    assert hooks_of(tmp_path / "d")
    os.chown(path, 12345, 12345)
    with pytest.raises(PermissionDenied, match=f"{path} is not used: {path} belongs to uid 12345"):
        hooks_of(tmp_path / "d")
