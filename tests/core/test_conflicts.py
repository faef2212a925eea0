"""Two plugins that set one field differently are told, with the names and the options of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import prun_fake
from prun import hookimpl
from prun.builtin.flags import Directory
from prun.config import PluginSettings
from prun.errors import FailedPrecondition
from prun.pipeline import build_spec
from prun.plugins import Hooks
from prun.spec import with_annotations, with_cwd, with_env, with_hostname
from prun.types import Image, Mount, Platform, RunRequest

if TYPE_CHECKING:
    from pathlib import Path

    from prun.spec import SpecOpt
    from prun.spec.document import Spec

IMAGE = Image("busybox", "sha256:0", Platform("linux", "amd64"), {"Cmd": ["sh"], "Env": ["A=image"]})


class Plugin:
    def __init__(self, *opts: SpecOpt, mounts: tuple[Mount, ...] = (), after: tuple[str, ...] = ()) -> None:
        self.opts, self.its_mounts, self.prun_after = opts, mounts, after

    @hookimpl
    def prun_spec_opts(self) -> list[SpecOpt]:
        return list(self.opts)

    @hookimpl
    def prun_mounts(self) -> list[Mount]:
        return list(self.its_mounts)


def told(tmp_path: Path, settings: dict[str, PluginSettings] | None = None, **plugins: object) -> list[str]:
    """Return what is said when a spec is built."""
    hooks = Hooks.of(runtime=prun_fake, plugins=plugins, settings=settings or {})
    said: list[str] = []
    hooks.warn = said.append
    request = RunRequest("c1", rootfs=str(tmp_path), hostname="flag", view_only=True)
    build_spec(request, IMAGE, Directory(request, IMAGE, ""), hooks)
    return said


def test_both_are_named_with_their_options_and_values(tmp_path: Path) -> None:
    (line,) = told(tmp_path, one=Plugin(with_env(["A=1", "B=2"])), two=Plugin(with_env(["A=3", "C=4"])))
    assert line == (
        'plugins do not agree about /process/env (A): one (with_env) sets it to "A=1", two (with_env) to "A=3" '
        '([plugins.two] after = ["one"] says that this is meant)'
    )


def with_limit(value: int) -> SpecOpt:
    def opt(spec: Spec) -> None:
        spec.setdefault("linux", {}).setdefault("resources", {}).setdefault("pids", {})["limit"] = value

    return opt


def without_cwd(spec: Any) -> None:
    spec["process"].pop("cwd")


DIFFERENT = {
    "/hostname": (with_hostname("x"), with_hostname("y")),
    "/process/cwd": (with_cwd("/x"), with_cwd("/y")),
    "/process/cwd: one (with_cwd) sets it to \"/x\", two (without_cwd) to nothing": (with_cwd("/x"), without_cwd),
    "/annotations/org.x~1y": (with_annotations({"org.x/y": "1"}), with_annotations({"org.x/y": "2"})),
    "/linux/resources/pids/limit": (with_limit(1), with_limit(2)),
}  # fmt: skip


@pytest.mark.parametrize("field", DIFFERENT)
def test_what_is_set_differently_is_told(tmp_path: Path, field: str) -> None:
    one, two = DIFFERENT[field]
    (line,) = told(tmp_path, one=Plugin(one), two=Plugin(two))
    assert f"about {field}" in line


def test_a_mount_at_one_place_is_a_field(tmp_path: Path) -> None:
    one, two = (Plugin(mounts=(Mount("/x", "bind", source),)) for source in ("/a", "/b"))
    (line,) = told(tmp_path, one=one, two=two)
    assert "/mounts (/x): one (mount /x)" in line


SAME = {
    "the same value": (with_env(["A=1"]), with_env(["A=1"])),
    "other variables": (with_env(["A=1"]), with_env(["B=1"])),
    "other fields": (with_hostname("x"), with_cwd("/x")),
    "other annotations": (with_annotations({"a": "1"}), with_annotations({"b": "2"})),
    "one of them alone": (with_env(["A=1"]), with_env([])),
}


@pytest.mark.parametrize("what", SAME)
def test_what_is_not_is_not(tmp_path: Path, what: str) -> None:
    one, two = SAME[what]
    assert told(tmp_path, one=Plugin(one), two=Plugin(two)) == []


def test_one_plugin_may_change_its_mind_and_go_over_image_and_runtime(tmp_path: Path) -> None:
    assert told(tmp_path, one=Plugin(with_env(["A=1"]), with_env(["A=2"])), two=Plugin()) == []


def with_default_hostname(spec: Spec) -> None:
    spec.setdefault("hostname", "x")


def test_who_only_sets_what_is_missing_is_suspected_and_not_told(tmp_path: Path) -> None:
    assert told(tmp_path, one=Plugin(with_hostname("y")), two=Plugin(with_default_hostname)) == []


@pytest.mark.parametrize(
    "settings",
    [{"two": PluginSettings(after=("one",))}, {"one": PluginSettings(before=("two",))},
     {"between": PluginSettings(after=("one",), before=("two",))}, {"one": PluginSettings(on_conflict="skip")}],
)  # fmt: skip
def test_whoever_has_said_who_comes_first_has_meant_it(tmp_path: Path, settings: dict[str, PluginSettings]) -> None:
    one, two = Plugin(with_hostname("x")), Plugin(with_hostname("y"))
    assert told(tmp_path, settings, one=one, two=two, between=Plugin()) == []
    assert told(tmp_path, one=one, two=Plugin(with_hostname("y"), after=("one",))) == []


@pytest.mark.parametrize("name", ["one", "two"])
def test_either_may_insist(tmp_path: Path, name: str) -> None:
    settings = {name: PluginSettings(on_conflict="fail")}
    with pytest.raises(FailedPrecondition, match=r"plugins do not agree about /hostname: one .* two ") as caught:
        told(tmp_path, settings, one=Plugin(with_hostname("x")), two=Plugin(with_hostname("y")))
    assert caught.value.hint == '[plugins.two] after = ["one"] says that this is meant'
