"""Plugins in any language: what they are asked, what they may answer, and what becomes of those that are broken."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import prun_fake
from prun.adapters import external
from prun.errors import FailedPrecondition, InvalidArgument, PermissionDenied, PluginError, PrunError
from prun.guard import Guard
from prun.loading import configured
from prun.plugins import Hooks
from prun.types import Event, Image, Mount, Platform, Problem, RunRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHELL = """#!/bin/sh
# A policy in sh: nothing privileged, and a label on everything.
read -r question
case "$question" in
  *'"hook":"hello"'*) echo '{"prun":1,"hooks":["prun_check_spec","prun_spec_opts","prun_event"],"after":["audit?"]}' ;;
  *'"hook":"prun_spec_opts"'*) echo '{"prun":1,"patch":[{"op":"add","path":"/annotations/site","value":"yes"}]}' ;;
  *'"privileged":true'*) echo '{"prun":1,"problems":[{"pointer":"","message":"nothing privileged","hint":"no"}]}' ;;
  *) echo '{"prun":1}' ;;
esac
"""
PYTHON = f"""#!{sys.executable} -IS
import json, os, sys
question = json.loads(sys.stdin.readline())
answer = {{"prun": 1}}
match question["hook"]:
    case "hello":
        answer["hooks"] = ["prun_mounts", "prun_event"]
        answer["hooks"] += question["options"].get("more", [])
    case "prun_mounts":
        source = question["request"]["labels"]["data"]
        answer["mounts"] = [{{"destination": "/data", "type": "bind", "source": source, "options": ["ro"]}}]
    case "prun_event":
        if question["event"]["kind"] == "exited":
            answer["error"], answer["hint"] = f"not {{question['event']['detail']}}", "never"
    case "prun_check_spec":
        facts = [os.getuid(), os.getgroups(), sorted(os.listdir("/proc/self/fd")), sorted(os.environ), os.getcwd()]
        status = dict(line.split()[:2] for line in open("/proc/self/status") if len(line.split()) > 1)
        facts += [status[key] for key in ("CapEff:", "CapBnd:", "NoNewPrivs:")]
        answer["problems"] = [{{"pointer": "", "message": json.dumps(facts)}}]
print(json.dumps(answer))
"""
REQUEST = RunRequest("c1", "busybox", labels={"data": "/srv"}, stdin=b"secret")
IMAGE = Image("busybox", "sha256:0", Platform("linux", "amd64"), {"Env": ["A=b"]})


@pytest.fixture
def program() -> Iterator[Callable[[str], Path]]:
    """A function that makes a program, where every user can execute it and only root can change it."""
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))  # no other directory of tests is open to everyone
    directory.chmod(0o755)

    def make(source: str) -> Path:
        path = directory / f"program{len(os.listdir(directory))}"
        path.write_text(source)
        path.chmod(0o755)
        return path

    yield make
    shutil.rmtree(directory)


def plugin(path: Path, timeout_s: float = 20, **options: object) -> Any:
    return configured(external, Guard("site", timeout_s=timeout_s), {"command": [str(path)], **options})


def hooks_of(path: Path, timeout_s: float = 20, **options: object) -> Hooks:
    guards = {"site": Guard("site", timeout_s=timeout_s)}
    return Hooks.of(runtime=prun_fake, plugins={"site": plugin(path, **options)}, guards=guards)


def test_a_plugin_in_sh(program: Callable[[str], Path]) -> None:
    path = program(SHELL)
    hooks = hooks_of(path)
    (opt,) = [opt for opt in hooks.spec_opts(REQUEST, IMAGE, None) if "external" in opt.__module__]  # type: ignore[arg-type]
    spec: dict[str, Any] = {}
    opt(spec)  # type: ignore[arg-type]
    assert spec == {"annotations": {"site": "yes"}}
    assert hooks.check_spec(REQUEST, {"process": {"args": ["x"]}}) == []
    (problem,) = hooks.check_spec(REQUEST._replace(privileged=True), {"process": {"args": ["x"]}})
    assert problem == Problem("", "nothing privileged", "no")
    assert plugin(path).prun_after == ("audit?",)


def test_the_example_of_the_documentation_is_a_policy(program: Callable[[str], Path]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "adapters.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```sh\n(.*?)```", page, re.S)
    hooks = hooks_of(program(source))
    assert hooks.check_spec(REQUEST, {"process": {"args": ["x"]}}) == []
    (problem,) = hooks.check_spec(REQUEST._replace(privileged=True), {"process": {"args": ["x"]}})
    assert problem.message == "nothing privileged here"


def test_a_plugin_in_python(program: Callable[[str], Path]) -> None:
    hooks = hooks_of(program(PYTHON))
    assert hooks.mounts(REQUEST, IMAGE)[-1:] == [Mount("/data", "bind", "/srv", ("ro",))]
    hooks.event(Event("c1", "started", 7))
    with pytest.raises(FailedPrecondition, match="not 3") as caught:
        hooks.event(Event("c1", "exited", 3))
    assert caught.value.plugin == "site"
    assert caught.value.hint == "never"


@pytest.mark.root
def test_it_has_no_privileges(program: Callable[[str], Path]) -> None:
    path = program(PYTHON)
    (problem,) = hooks_of(path, options={"more": ["prun_check_spec"]}).check_spec(REQUEST, {"process": {"args": ["x"]}})
    uid, groups, descriptors, environment, cwd, effective, bounding, no_new = json.loads(problem.message)
    assert (uid, cwd, no_new) == (65534, "/", "1")
    assert groups in ([], [65534])
    assert int(effective, 16) == int(bounding, 16) == 0
    assert len(descriptors) == 4, "stdin, stdout, stderr, and that of the listing"
    assert environment == ["LANG", "PATH"]
    (problem,) = hooks_of(path, options={"more": ["prun_check_spec"]}, user="root").check_spec(
        REQUEST, {"process": {"args": ["x"]}}
    )
    assert json.loads(problem.message)[0] == 0
    assert int(json.loads(problem.message)[5], 16) == 0


def test_what_it_is_told_is_json_without_what_is_prun_s_own() -> None:
    assert external.plain(REQUEST) == {"id": "c1", "image": "busybox", "labels": {"data": "/srv"}}
    assert external.plain(IMAGE)["config"] == {"Env": ["A=b"]}


HELLO = """#!/bin/sh
read -r q
case "$q" in *'"hook":"hello"'*) echo '{"prun":1,"hooks":["prun_check_spec","prun_spec_opts"]}'; exit ;; esac
"""
BROKEN = {
    "dies": ("echo nothing works >&2; exit 3", r"/program0 exited with 3: nothing works"),
    "is killed": ("kill -9 $$", "died of signal 9"),
    "answers nothing": ("exit 0", "answered nothing to prun_check_spec"),
    "answers no JSON": ("echo hello", "answered to prun_check_spec what is not one JSON text: 'hello'"),
    "answers too many lines": ("echo '{\"prun\":1}'; echo '{\"prun\":1}'", "not one JSON text"),
    "answers what is no object": ("echo '[1]'", "does not speak version 1 of the protocol"),
    "speaks another version": ("echo '{\"prun\":2}'", r"does not speak version 1 of the protocol: '{\"prun\":2}'"),
    "answers something else": ("echo '{\"prun\":1,\"problems\":3}'", "answered problems that are no list"),
    "answers another shape": ("echo '{\"prun\":1,\"problems\":[{\"x\":1}]}'", "answered problems with"),
    "answers other types": (
        "echo '{\"prun\":1,\"problems\":[{\"pointer\":1,\"message\":2}]}'", "which is not a list of Problems"
    ),
    "floods stdout": ("yes", "writes more than 1048576 bytes"),
    "floods stderr": ("yes >&2", "writes more than 65536 bytes"),
    "nests too deep": ("printf '%0200000d' 0 | tr 0 '['", "not one JSON text"),
    "takes too much memory": ("exec perl -e '$x = \"a\" x (1 << 31)'", "exited with|died of"),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_one_that_is_broken_is_one_clear_error(program: Callable[[str], Path], how: str) -> None:
    command, message = BROKEN[how]
    hooks = hooks_of(program(f"{HELLO}{command}\n"))
    with pytest.raises(PluginError, match=message) as caught:
        hooks.check_spec(REQUEST, {"process": {"args": ["x"]}})
    assert caught.value.plugin == "site"


def test_one_that_hangs_is_killed_with_its_children(program: Callable[[str], Path], tmp_path: Path) -> None:
    pids = Path(tempfile.mkstemp(dir="/var/tmp")[1])
    pids.chmod(0o666)
    try:
        hooks = hooks_of(program(f"{HELLO}sleep 60 & echo $! $$ > {pids}; wait\n"), timeout_s=0.5)
        began = time.monotonic()
        with pytest.raises(PluginError, match="took longer than"):
            hooks.check_spec(REQUEST, {"process": {"args": ["x"]}})
        assert time.monotonic() - began < 10
        while any(alive(int(pid)) for pid in pids.read_text().split()):
            assert time.monotonic() - began < 10
            time.sleep(0.01)
    finally:
        pids.unlink()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_it_leaves_in_the_background_is_ended(program: Callable[[str], Path]) -> None:
    hooks = hooks_of(
        program(f'{HELLO}sleep 60 & echo \'{{"prun":1,"problems":[{{"pointer":"","message":"\'$!\'"}}]}}\'')
    )
    began = time.monotonic()
    (problem,) = hooks.check_spec(REQUEST, {"process": {"args": ["x"]}})
    assert time.monotonic() - began < 10, "the sleep has its stdout"
    while alive(int(problem.message)):
        assert time.monotonic() - began < 10
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ('{"op":"remove","path":"/nothing"}', "remove /nothing"),
        ('{"op":"add","path":"/process/env","value":"text"}', "/process/env is not an array"),
        ('{"op":"add","path":"no pointer","value":1}', "no JSON pointer|no pointer"),
        ('{"op":"frobnicate","path":"/a"}', "frobnicate /a"),
        ('{"op":"add","path":"/a"}', "add /a"),
        ('{"op":"test","path":"/hostname","value":"x"}', "test /hostname"),
    ],
)
def test_a_patch_that_cannot_be_applied_is_named(program: Callable[[str], Path], patch: str, message: str) -> None:
    echo = f'echo \'{{"prun":1,"patch":[{patch}]}}\''
    (opt,) = plugin(program(f"{HELLO}{echo}\n")).prun_spec_opts(REQUEST, IMAGE)
    with pytest.raises(PrunError, match=message):
        opt({"process": {"args": ["x"]}})


def test_add_makes_what_is_missing_above_it(program: Callable[[str], Path]) -> None:
    patch = '{"op":"add","path":"/process/env/-","value":"A=b"},{"op":"add","path":"/linux/x/y","value":1}'
    (opt,) = plugin(program(f'{HELLO}echo \'{{"prun":1,"patch":[{patch}]}}\'\n')).prun_spec_opts(REQUEST, IMAGE)
    spec: dict[str, Any] = {}
    opt(spec)
    assert spec == {"process": {"env": ["A=b"]}, "linux": {"x": {"y": 1}}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"command": "/bin/true"}, "command is no list"),
        ({"command": ["true"]}, "'true' is no absolute path"),
        ({"command": ["/nowhere/at/all"]}, "/nowhere/at/all exited with"),
        ({"command": ["/bin/true"]}, "answered nothing to hello"),
        ({"command": ["/bin/true"], "cpu_limit_s": 0}, "cpu_limit_s is 0"),
        ({"command": ["/bin/true"], "user": 3}, "user is 3"),
        ({"command": ["/bin/true"], "user": "nobody-at-all"}, "there is no user|only root can"),
        ({"command": ["/bin/echo", '{"prun":1,"hooks":["prun_create_task"]}']}, "implements"),
        ({"comand": ["/bin/true"]}, "has no option 'comand'"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises((InvalidArgument, PluginError), match=message):
        configured(external, Guard("site", timeout_s=20), options)


@pytest.mark.root
def test_as_root_a_program_that_others_may_change_is_not_executed(program: Callable[[str], Path]) -> None:
    path = program(SHELL)
    os.chown(path, 12345, 12345)
    with pytest.raises(PermissionDenied, match=f"{path} is not executed as root: {path} belongs to uid 12345"):
        plugin(path)
