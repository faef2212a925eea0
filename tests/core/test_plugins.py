"""Which plugins are loaded, in which order, and who has the last word."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

import prun_fake
from prun import discovery, hookimpl
from prun.builtin.flags import Directory
from prun.config import PluginSettings
from prun.discovery import EntryPoint
from prun.errors import InvalidArgument, NotFound, PluginError, Unimplemented
from prun.guard import Guard
from prun.loading import chosen, configured, load, names_of
from prun.ordering import ordered
from prun.pipeline import build_spec
from prun.plugins import Hooks
from prun.spec import with_env
from prun.types import Event, Image, Platform, RunRequest, RuntimeInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from prun.spec import SpecOpt

PLATFORM = Platform("linux", "amd64")
REQUEST = RunRequest("c1", "busybox", env=("WHO=flags",))
IMAGE = Image("busybox", "sha256:0", PLATFORM, {"Cmd": ["sh"], "Env": ["WHO=image", "A=image"]})


class Sets:
    """A plugin that sets some variables to its own name."""

    def __init__(self, name: str, *keys: str) -> None:
        self.env = [f"{key}={name}" for key in keys]

    @hookimpl
    def prun_spec_opts(self) -> list[SpecOpt]:
        return [with_env(self.env)]


def environment(hooks: Hooks, tmp_path: Path) -> dict[str, str]:
    spec = build_spec(REQUEST, IMAGE, Directory(REQUEST._replace(rootfs=str(tmp_path)), IMAGE, ""), hooks)
    return dict(entry.split("=", 1) for entry in spec["process"]["env"])


def test_later_tiers_override_earlier_ones(tmp_path: Path) -> None:
    hooks = Hooks.of(
        runtime=Sets("runtime", "A", "B", "C", "D", "WHO"),
        engine=Sets("engine", "B", "C", "D", "WHO"),
        plugins={"p2": Sets("p2", "D", "WHO"), "p1": Sets("p1", "C", "D", "WHO")},
    )
    found = environment(hooks, tmp_path)
    assert {key: found[key] for key in ("A", "B", "C", "D", "WHO")} == {
        "A": "runtime", "B": "engine", "C": "p1", "D": "p2", "WHO": "flags",
    }  # fmt: skip


def test_the_first_answer_is_the_most_specific() -> None:
    class Says:
        def __init__(self, digest: str) -> None:
            self.digest = digest

        @hookimpl
        def prun_resolve_image(self, request: RunRequest) -> Image:
            return Image(request.image, self.digest, PLATFORM, {})

    hooks = Hooks.of(runtime=prun_fake, engine=Says("engine"), plugins={"cache": Says("cache")})
    assert hooks.resolve_image(REQUEST, PLATFORM).digest == "cache"


def test_a_hook_that_nobody_answers_is_named() -> None:
    with pytest.raises(Unimplemented, match="prun_create_task"):
        Hooks.of(runtime=Sets("r")).create_task(REQUEST, "", {}, None)  # type: ignore[arg-type]


class After:
    prun_after: tuple[str, ...] = ()
    prun_before: tuple[str, ...] = ()

    def __init__(self, *after: str, before: tuple[str, ...] = ()) -> None:
        self.prun_after, self.prun_before = after, before


def test_plugins_are_ordered_by_name_and_then_by_their_wishes() -> None:
    plugins = {"c": After(), "a": After("b"), "b": After(), "d": After(before=("b",))}
    assert [name for name, _ in ordered(plugins)] == ["c", "d", "b", "a"]


def test_order_does_not_depend_on_how_plugins_are_given() -> None:
    plugins = {"c": After(), "a": After("b"), "b": After(), "d": After(before=("b",))}
    assert ordered(plugins) == ordered(dict(reversed(plugins.items())))


def test_contradicting_wishes_are_a_cycle() -> None:
    with pytest.raises(PluginError, match=r"in a circle: a < c < b < a$"):
        ordered({"a": After("b"), "b": After("c"), "c": After("a"), "d": After()})


def test_a_wish_for_a_missing_plugin_is_refused() -> None:
    with pytest.raises(PluginError, match="'a' wants to be ordered by 'z'"):
        ordered({"a": After("z")})


def test_a_wish_may_be_for_a_plugin_that_need_not_be_there() -> None:
    assert [name for name, _ in ordered({"a": After("z?"), "b": After(before=("y?",))})] == ["a", "b"]
    assert [name for name, _ in ordered({"a": After("z?"), "z": After()})] == ["z", "a"]


def test_the_configuration_has_wishes_too() -> None:
    wishes = {"b": PluginSettings(before=("a",)), "a": PluginSettings(after=("c",))}
    assert [name for name, _ in ordered({"a": After(), "b": After(), "c": After()}, wishes)] == ["b", "c", "a"]


def test_a_failing_plugin_is_named() -> None:
    class Broken:
        @hookimpl
        def prun_event(self, event: Event) -> None:
            raise ValueError("what a day")

    with pytest.raises(PluginError, match=r"prun_event failed: ValueError: what a day") as caught:
        Hooks.of(runtime=prun_fake, plugins={"broken": Broken()}).event(Event("c1", "started"))
    assert caught.value.plugin == "broken"


def test_an_error_on_purpose_keeps_its_class_and_gets_the_plugins_name() -> None:
    class Vetoes:
        @hookimpl
        def prun_event(self, event: Event) -> None:
            raise InvalidArgument("not today")

    with pytest.raises(InvalidArgument) as caught:
        Hooks.of(runtime=prun_fake, plugins={"policy": Vetoes()}).event(Event("c1", "started"))
    assert caught.value.plugin == "policy"


def test_an_unknown_hook_is_refused() -> None:
    class Typo:
        @hookimpl
        def prun_spec_opt(self) -> None: ...

    with pytest.raises(PluginError, match="prun_spec_opt"):
        Hooks.of(runtime=prun_fake, plugins={"typo": Typo()})


def test_an_unknown_argument_is_refused() -> None:
    class Typo:
        @hookimpl
        def prun_event(self, evnt: Event) -> None: ...

    with pytest.raises(PluginError, match="evnt"):
        Hooks.of(runtime=prun_fake, plugins={"typo": Typo()})


def test_an_answer_that_is_no_list_is_refused() -> None:
    class Wrong:
        @hookimpl
        def prun_mounts(self) -> object:
            return ("a",)

    with pytest.raises(PluginError, match=r"prun_mounts answered \('a',\), which is not a list of Mounts"):
        Hooks.of(runtime=prun_fake, plugins={"wrong": Wrong()}).mounts(REQUEST, IMAGE)


def test_a_plugin_may_ask_for_the_gap_between_create_and_start() -> None:
    class Between:
        prun_two_step = True

    assert Hooks.of(runtime=prun_fake, plugins={"between": Between()}).two_step
    assert not Hooks.of(runtime=prun_fake).two_step


def test_an_unknown_runtime_lists_those_installed() -> None:
    with pytest.raises(NotFound, match="no runtime is called 'nope'") as caught:
        load("nope")
    assert "linux" in caught.value.hint


def test_an_unknown_plugin_is_refused() -> None:
    with pytest.raises(NotFound, match="no plugin is called 'nope'"):
        load("fake", only=["nope"])


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Let a module ``gone`` be registered as the plugin of that name; it does not import."""

    def install(name: str) -> None:
        real = discovery.entry_points
        entry = EntryPoint(name, f"prun_test_{name}", "prun-test", "1.0", str(tmp_path))
        monkeypatch.setattr(
            discovery, "entry_points", lambda group: {name: entry} if group == "prun.plugins" else real(group)
        )

    return install


def test_a_plugin_that_does_not_import_stops_the_run(installed: Callable[[str], None]) -> None:
    installed("gone")
    with pytest.raises(PluginError, match=r"'gone' of prun-test 1\.0"):
        load("fake")


def test_a_tolerated_plugin_is_left_out_with_a_warning(installed: Callable[[str], None]) -> None:
    installed("gone")
    warnings: list[str] = []
    hooks = load("fake", settings={"gone": PluginSettings(on_error="warn")}, warn=warnings.append)
    assert "gone" not in hooks.names()
    assert len(warnings) == 1
    assert "plugin gone is left out" in warnings[0]


def test_a_plugin_may_be_left_out_without_a_word(installed: Callable[[str], None]) -> None:
    installed("gone")
    warnings: list[str] = []
    load("fake", settings={"gone": PluginSettings(on_error="skip")}, warn=warnings.append)
    assert warnings == []


def test_a_plugin_that_is_configured_and_not_installed_stops_the_run() -> None:
    with pytest.raises(NotFound, match="no plugin is called 'nowhere'"):
        load("fake", settings={"nowhere": PluginSettings()})
    assert "nowhere" not in load("fake", settings={"nowhere": PluginSettings(enabled=False)}).names()


def test_those_of_prun_itself_are_loaded_where_they_are_configured() -> None:
    found = {
        "audit": EntryPoint("audit", "prun_audit", "prun", "1", ""),
        "cache": EntryPoint("cache", "cache", "prun", "1", ""),
        "site": EntryPoint("site", "site", "prun-site", "1", ""),
        "twice": EntryPoint("twice", "twice", "prun-twice", "1", ""),
    }
    wishes = {
        "audit": PluginSettings(),
        "one": PluginSettings(use="twice"),
        "two": PluginSettings(use="twice"),
        "off": PluginSettings(enabled=False),
    }
    assert sorted(chosen(found, None, wishes)) == ["audit", "one", "site", "two"]
    assert chosen(found, ["cache", "one"], wishes) == ["cache", "one"]
    assert chosen(found, None, {"site": PluginSettings(enabled=False)}) == ["twice"]


class Configurable:
    prun_options: ClassVar = {"file": "where to write"}

    def prun_configure(self, options: Mapping[str, object]) -> object:
        if options.get("file") == "":
            raise ValueError("no name")
        return Sets(str(options.get("file", "nowhere")))


def test_a_plugin_is_what_it_makes_of_its_options() -> None:
    made = configured(Configurable(), Guard("audit"), {"file": "/x"})
    assert isinstance(made, Sets)
    plain = Sets("x")
    assert configured(plain, Guard("plain"), {}) is plain


def test_an_option_that_a_plugin_has_not_is_refused_with_those_that_it_has() -> None:
    with pytest.raises(InvalidArgument, match="plugin audit has no option 'fill'") as caught:
        configured(Configurable(), Guard("audit"), {"fill": 1})
    assert caught.value.hint == "it knows: file"
    with pytest.raises(InvalidArgument, match="plugin plain has no option 'x'"):
        configured(Sets("x"), Guard("plain"), {"x": 1})
    with pytest.raises(PluginError, match="prun_configure failed: ValueError: no name"):
        configured(Configurable(), Guard("audit"), {"file": ""})


def test_a_plugin_that_is_switched_off_is_not_imported(installed: Callable[[str], None]) -> None:
    installed("gone")
    assert "gone" not in load("fake", settings={"gone": PluginSettings(enabled=False)}).names()
    assert "gone" not in load("fake", only=[]).names()


@pytest.mark.root
def test_as_root_a_plugin_that_others_may_change_is_refused(installed: Callable[[str], None], tmp_path: Path) -> None:
    import os

    installed("gone")
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(PluginError, match="not loaded as root"):
        load("fake")


@pytest.mark.parametrize(
    ("value", "names"), [(None, None), ("", None), ("none", []), ("a", ["a"]), ("a, b", ["a", "b"])]
)
def test_plugins_are_named_by_commas(value: str | None, names: list[str] | None) -> None:
    assert names_of(value) == names


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="names an empty one"):
        names_of("a,,b")


def test_every_hook_call_can_be_traced(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Runtime:
        @hookimpl
        def prun_describe_runtime(self) -> RuntimeInfo:
            return RuntimeInfo("traced", (PLATFORM,))

        @hookimpl
        def prun_event(self, event: Event) -> None:
            raise ValueError("traced too")

    monkeypatch.setenv("PRUN_TRACE_HOOKS", "1")
    hooks = Hooks.of(runtime=Runtime())
    assert hooks.describe_runtime().name == "traced"
    with pytest.raises(PluginError) as caught:
        hooks.event(Event("c1", "started"))
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("prun: hook prun_describe_runtime [runtime Runtime]")
    assert "RuntimeInfo(name=" in told[0]
    assert "prun_event [runtime Runtime]" in told[1]
    assert "raised ValueError: traced too" in told[1]
    assert caught.value.plugin == "runtime Runtime"
