"""``--hook``: a file of hookimpls for one run, and what policies and explanations see of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import prun.builtin.no_loosening
import prun.engines.embedded as embedded
import prun_fake
from prun import hookfile, hookimpl
from prun.errors import InvalidArgument, NotFound, PermissionDenied, PluginError
from prun.pipeline import explain, plan, run
from prun.plugins import Hooks
from prun.request.altering import parse_hook, parse_patch
from prun.request.stored import dumped, loaded
from prun.types import Problem, RunRequest

if TYPE_CHECKING:
    from pathlib import Path

HOOKS = """
from prun import hookimpl
from prun.spec import with_annotations
from prun.types import Mount

@hookimpl
def prun_spec_opts(request):
    return [with_annotations({"hooked": request.id[:2]})]

@hookimpl
def prun_mounts():
    return [Mount("/h", "bind", "/etc")]
"""
VETO = """
from prun import hookimpl

@hookimpl(wrapper=True)
def prun_check_spec():
    yield
    return []
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "h.py"
    path.write_text(HOOKS)
    return path


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    return RunRequest(
        "c" * 64, "scratch", ("sh",), runtime="fake", root=str(tmp_path / "root"), state=str(tmp_path / "state"),
        capture=True,
    )  # fmt: skip


def hooks_with(**plugins: object) -> Hooks:
    return Hooks.of(runtime=prun_fake, engine=embedded, plugins=plugins)


def test_it_acts_on_one_run_only_and_is_shown(file: Path, request_: RunRequest) -> None:
    hooks, hooked = hooks_with(), request_._replace(hook_files=(parse_hook(str(file)),))
    explanation = explain(hooked, hooks)
    assert explanation.spec["annotations"] == {"hooked": "cc"}
    (change,) = explanation.chain("/annotations/hooked")
    assert change.author == ("hook", "hook h.py", "with_annotations", "h:8")
    assert "annotations" not in plan(request_, hooks)
    assert run(hooked, hooks).status.code == 0


def test_one_hook_of_the_file_can_be_chosen(file: Path, request_: RunRequest) -> None:
    for word in ("mounts", "prun_mounts"):
        spec = plan(request_._replace(hook_files=(parse_hook(f"{file}:{word}"),)), hooks_with())
        assert ("annotations" in spec, spec["mounts"][0]["destination"]) == (False, "/h")
    with pytest.raises(NotFound, match="no prun_console"):
        hookfile.load_hooks(f"{file}:console")
    with pytest.raises(NotFound, match="there is no file"):
        parse_hook(f"{file}.bak:mounts")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("x = 1", InvalidArgument, "has no hookimpl"),
        ("x = (", PluginError, "line 1: SyntaxError"),
        ("a = 1\nraise KeyError('k')", PluginError, "line 2: KeyError"),
        ("import sys\nsys.exit(3)", PluginError, "line 2: SystemExit"),
        ("from prun import hookimpl\n@hookimpl\ndef prun_nonsense(): pass", PluginError, "prun_nonsense"),
    ],
)
def test_a_file_that_does_not_load_is_an_error_with_its_line(
    text: str, error: type, words: str, file: Path, request_: RunRequest
) -> None:
    file.write_text(text)
    with pytest.raises(error, match=words):
        plan(request_._replace(hook_files=(f"{file}:",)), hooks_with())


def test_as_root_only_what_nobody_else_may_write_is_executed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prun.state.is_root", lambda: True)
    file.chmod(0o644)
    for directory in (file.parent, *file.parent.parents):
        if os.stat(directory).st_mode & 0o022 and not os.stat(directory).st_mode & 0o1000:
            pytest.fail(f"{directory} is writable by all")
    assert hookfile.load_hooks(f"{file}:")[0] == "hook h.py"
    file.chmod(0o666)
    with pytest.raises(PermissionDenied, match="mode 666"):
        hookfile.load_hooks(f"{file}:")
    file.chmod(0o644)
    file.parent.chmod(0o777)
    with pytest.raises(PermissionDenied, match="mode 777"):
        hookfile.load_hooks(f"{file}:")
    file.parent.chmod(0o700)
    link = file.parent / "link.py"
    link.symlink_to(file)
    assert hookfile.load_hooks(f"{link}:")[0] == "hook link.py"


def test_what_a_hook_and_a_patch_loosen_is_said_and_under_the_policy_refused(file: Path, request_: RunRequest) -> None:
    said: list[str] = []
    hooks = hooks_with()
    hooks.warn = said.append
    hooked = request_._replace(
        hook_files=(parse_hook(str(file)),), patches=(parse_patch('/mounts/-={"destination": "/x", "type": "sysfs"}'),)
    )
    plan(hooked, hooks)
    words = ["shows the host's /etc at /h (/mounts)", "mounts sysfs at /x (/mounts)"]
    assert said == [f"--patch and --hook: {each}" for each in words]
    with pytest.raises(InvalidArgument) as found:
        plan(hooked, hooks_with(policy=prun.builtin.no_loosening))
    assert all(each in str(found.value) for each in words)
    assert plan(request_._replace(patches=(parse_patch('/hostname="a"'),)), hooks_with(p=prun.builtin.no_loosening))


def test_a_hook_does_not_take_a_veto_away(file: Path, request_: RunRequest) -> None:
    class Policy:
        @hookimpl
        def prun_check_spec(self) -> list[Problem]:
            return [Problem("", "not here")]

    file.write_text(VETO)
    with pytest.raises(InvalidArgument, match="not here"):
        plan(request_._replace(hook_files=(f"{file}:",)), hooks_with(policy=Policy()))


def test_patches_and_hooks_are_kept_with_the_request(file: Path, request_: RunRequest) -> None:
    request = request_._replace(hook_files=(parse_hook(str(file)),), patches=(parse_patch("/a=1"),), capture=False)
    assert loaded(dumped(request)) == request
