"""Whatever plugins there are, the spec is what a simple model says, and nothing accidental changes it."""

from __future__ import annotations

import sys
from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prun_fake
from prun import hookimpl
from prun.builtin.flags import Directory
from prun.config import PluginSettings
from prun.errors import PluginError
from prun.guard import Guard
from prun.loading import configured, load
from prun.pipeline import build_spec
from prun.plugins import Hooks
from prun.spec import with_env, with_hostname
from prun.types import Image, Mount, Platform, RunRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from random import Random

    from prun.spec import SpecOpt
    from prun.spec.document import Spec

NAMES = ("audit", "b", "cdi", "policy", "z")
KEYS = ("A", "B", "C", "WHO")
REQUEST = RunRequest("c1", "busybox", env=("WHO=flags",), rootfs="/")
IMAGE = Image("busybox", "", Platform("linux", "amd64"), {"Cmd": ["sh"], "Env": ["A=image", "B=image"]})


class Told(NamedTuple):
    """What a plugin is told in prun.toml, and what it and the configuration say of its place."""

    env: tuple[str, ...]
    hostname: str
    mounts: tuple[str, ...]
    own: tuple[tuple[str, ...], tuple[str, ...]]
    configured: tuple[tuple[str, ...], tuple[str, ...]]


class Plugin:
    """One that does what its options say, and signs it with its name."""

    prun_options = dict.fromkeys(("env", "hostname", "mounts"), "")

    def __init__(self, name: str, told: Told) -> None:
        self.name = name
        self.prun_before, self.prun_after = told.own
        self.options: Mapping[str, object] = {}

    def prun_configure(self, options: Mapping[str, object]) -> None:
        self.options = options

    @hookimpl
    def prun_spec_opts(self) -> list[SpecOpt]:
        opts: list[SpecOpt] = [with_env([f"{key}={self.name}" for key in self.options["env"]])]
        return [*opts, with_hostname(self.options["hostname"])] if self.options["hostname"] else opts

    @hookimpl
    def prun_mounts(self) -> list[Mount]:
        return [Mount(destination, "bind", f"/{self.name}") for destination in self.options["mounts"]]


names = st.lists(st.sampled_from(NAMES), max_size=1, unique=True).map(tuple)
wishes = st.tuples(names, names)
told = st.builds(
    Told,
    st.lists(st.sampled_from(KEYS), unique=True).map(tuple),
    st.sampled_from(("", "one", "two")),
    st.lists(st.sampled_from(("/m1", "/m2", "/m3")), unique=True).map(tuple),
    wishes,
    wishes,
)
sets = st.dictionaries(st.sampled_from(NAMES), told, max_size=len(NAMES))


def model_order(plugins: Mapping[str, Told]) -> list[str] | None:
    """The first, in the order of a dictionary, of all orders that fulfil every wish; None where there is none."""
    for order in permutations(sorted(plugins)):
        place = {name: index for index, name in enumerate(order)}
        pairs = [
            pair
            for name, told in plugins.items()
            for before, after in (told.own, told.configured)
            for pair in (*((name, other) for other in before), *((other, name) for other in after))
        ]
        if all(place.get(first, len(place)) < place.get(second, -1) for first, second in pairs):
            return list(order)
    return None


def model_spec(plugins: Mapping[str, Told], order: Sequence[str]) -> tuple[dict[str, str], str | None, dict[str, str]]:
    env, hostname, mounts = {"A": "image", "B": "image"}, None, {}
    for name in order:
        env.update(dict.fromkeys(plugins[name].env, name))
        hostname = plugins[name].hostname or hostname
        mounts.update(dict.fromkeys(plugins[name].mounts, f"/{name}"))
    return {**env, "WHO": "flags"}, hostname, mounts


def built(plugins: Mapping[str, Told], registered: Sequence[str]) -> Spec:
    table = {
        name: PluginSettings(before=told.configured[0], after=told.configured[1], options=told._asdict())
        for name, told in plugins.items()
    }
    objects = {}
    for name in registered:
        options = {key: table[name].options[key] for key in Plugin.prun_options}
        objects[name] = configured(Plugin(name, plugins[name]), Guard(name), options)
    hooks = Hooks.of(runtime=prun_fake, plugins=objects, settings=table)
    return build_spec(REQUEST, IMAGE, Directory(REQUEST, IMAGE, ""), hooks)


@given(sets, st.randoms(use_true_random=False))
def test_the_spec_is_the_models_and_does_not_depend_on_the_order_of_registration(
    plugins: dict[str, Told], chance: Random
) -> None:
    order = model_order(plugins)
    shuffled = chance.sample(sorted(plugins), len(plugins))
    if order is None:  # a circle, or a plugin that is not there
        for registered in (sorted(plugins), shuffled):
            with pytest.raises(PluginError, match=r"circle|which is not loaded"):
                built(plugins, registered)
        return
    spec, again = built(plugins, sorted(plugins)), built(plugins, shuffled)
    assert spec == again
    env, hostname, mounts = model_spec(plugins, order)
    assert dict(entry.split("=", 1) for entry in spec["process"]["env"]) == env
    assert spec.get("hostname") == hostname
    assert {mount["destination"]: mount["source"] for mount in spec["mounts"]} == mounts


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PRUN_PLUGINS")
    return tmp_path


@given(
    st.permutations(("plug_a", "plug_b", "plug_c")),
    st.permutations(("plug_a", "plug_b", "plug_c")),
    st.permutations((0, 1, 2)),
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_does_not_depend_on_when_and_where_plugins_were_installed_and_imported(
    here: Path, installed: list[str], imported: list[str], places: list[int]
) -> None:
    import importlib

    with pytest.MonkeyPatch.context() as patch:
        base = here / uuid4().hex
        for name, place in zip(installed, places, strict=True):
            directory = base / str(place)
            info = directory / f"{name}-1.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
            (info / "entry_points.txt").write_text(f"[prun.plugins]\n{name} = {name}\n")
            before = "prun_before = ('plug_a',)" if name == "plug_c" else ""
            (directory / f"{name}.py").write_text(before)
        patch.setattr(sys, "path", [*(str(base / str(place)) for place in range(3)), *sys.path])
        importlib.invalidate_caches()
        for name in imported:
            importlib.import_module(name)
        try:
            order = [name for name in load("fake").names() if name.startswith("plug_")]
        finally:
            for name in imported:
                del sys.modules[name]
        assert order == ["plug_b", "plug_c", "plug_a"]
