"""Which plugin, which of its options, which line and which flag made a field what it is."""

from __future__ import annotations

import inspect
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import prun.engines.embedded as embedded
import prun_fake
from prun import explaining, hookimpl
from prun.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from prun.explained import explained, last_container
from prun.pipeline import explain, plan, run
from prun.plugins import Hooks
from prun.request.altering import parse_patch
from prun.spec import with_annotations, with_env
from prun.spec.provenance import value_at
from prun.state import Store
from prun.types import Mount, Origin, Problem, RunRequest

if TYPE_CHECKING:
    from collections.abc import Generator

    from prun.spec import SpecOpt
    from prun.spec.document import Spec

PATCHES = ['/process/cwd="/p"', '/process/env/-="P=1"', "/x=[1]", "/annotations={}", '/x={"y":null}']
KEYS = st.sampled_from(["A", "B", "C"])


class Site:
    """A plugin with options of prun, of its own made by a factory, and of its own that is one itself."""

    def __init__(
        self, env: tuple[str, ...] = ("A=site",), note: str = "x", mounts: tuple[str, ...] = ("/site",)
    ) -> None:
        self.env, self.note, self.mounts = env, note, mounts

    @hookimpl
    def prun_spec_opts(self) -> list[SpecOpt]:
        return [with_env(self.env), with_annotations({"note": self.note}), _with_terminal]

    @hookimpl
    def prun_mounts(self) -> list[Mount]:
        return [Mount(path, "tmpfs", "tmpfs") for path in self.mounts]


class Wrapper:
    """A plugin that rewrites what everyone has answered."""

    @hookimpl(wrapper=True)
    def prun_mounts(self) -> Generator[None, list[list[Mount]], list[list[Mount]]]:
        answers = yield
        return [[*(each for answer in answers for each in answer if each.destination != "/gone"), Mount("/wrapped")]]


def _with_terminal(spec: Spec) -> None:
    spec.setdefault("process", {})["terminal"] = True


def hooks_with(**plugins: object) -> Hooks:
    return Hooks.of(runtime=prun_fake, engine=embedded, plugins=plugins)


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    return RunRequest(
        "c" * 64, "scratch", ("sh",), runtime="fake", root=str(tmp_path / "root"), state=str(tmp_path / "state"),
        capture=True, env=("A=flag",), origins={"env": (Origin("defaults", "", "/p.toml", 3), Origin("flag", "--env"))},
    )  # fmt: skip


def test_every_step_names_its_plugin_its_option_and_the_line_that_made_it(request_: RunRequest) -> None:
    explanation = explain(request_, hooks_with(site=Site()))
    assert explanation.spec == plan(request_, hooks_with(site=Site()))
    site, flag = explanation.chain("/process/env/0")
    line = inspect.getsourcelines(Site.prun_spec_opts)[1] + 2
    assert (site.new, site.author) == ("A=site", ("plugin", "site", "with_env", f"{__name__}:{line}"))
    assert (flag.old, flag.new, flag.author[:3]) == ("A=site", "A=flag", ("flag", "flags", "with_env"))
    assert [said.words for said in flag.origins] == ["[defaults] (/p.toml:3)", "--env"]
    (own,) = explanation.chain("/process/terminal")
    assert own.author == ("plugin", "site", "_with_terminal", f"{__name__}:{line - 2}")


def test_mounts_have_authors_and_a_wrapper_is_the_author_of_what_it_puts_in(request_: RunRequest) -> None:
    hooks = hooks_with(site=Site(mounts=("/site", "/gone")), wrapper=Wrapper())
    explanation = explain(request_, hooks)
    authors = {mount["destination"]: explanation.chain(f"/mounts/{number}")[-1].author for number, mount in
               enumerate(explanation.spec["mounts"])}  # fmt: skip
    assert {path: author.plugin for path, author in authors.items()} == {"/site": "site", "/wrapped": "wrapper"}
    assert authors["/site"].option == "mount /site"


def test_a_spec_with_problems_is_not_explained_but_refused(request_: RunRequest) -> None:
    class Policy:
        @hookimpl
        def prun_check_spec(self) -> list[Problem]:
            return [Problem("/process", "is not allowed")]

    with pytest.raises(InvalidArgument, match="not allowed"):
        explain(request_, hooks_with(policy=Policy()))


def test_nothing_is_watched_once_it_was_explained(request_: RunRequest) -> None:
    hooks = hooks_with(site=Site(), wrapper=Wrapper())
    before = [impl.function for impl in hooks._pm.hook.prun_mounts.get_hookimpls()]
    explain(request_, hooks)
    assert [impl.function for impl in hooks._pm.hook.prun_mounts.get_hookimpls()] == before


@given(
    image=st.lists(st.tuples(KEYS, st.just("image"))),
    site=st.lists(st.tuples(KEYS, st.sampled_from(["site", "site2"]))),
    flags=st.lists(st.tuples(KEYS, st.just("flag")) | st.tuples(KEYS)),
    note=st.sampled_from(["", "x"]),
    mounts=st.lists(st.sampled_from(["/a", "/a/b", "/c"]), unique=True),
    own=st.lists(st.sampled_from(["/a", "/a/b", "/c", "/d"]), unique=True),
    patches=st.lists(st.sampled_from(PATCHES)),
)
def test_over_any_stack_each_chain_ends_in_the_value_and_the_chains_give_the_spec_back(
    image: list[tuple[str, ...]], site: list[tuple[str, ...]], flags: list[tuple[str, ...]], note: str,
    mounts: list[str], own: list[str], patches: list[str],
) -> None:  # fmt: skip
    class Images:
        @hookimpl
        def prun_resolve_image(self, request: RunRequest, platform: Any) -> Any:
            found = embedded.prun_resolve_image(request, platform)
            return found and found._replace(config={"Env": ["=".join(each) for each in image]})

    request = RunRequest(
        "c" * 64, "scratch", ("sh",), runtime="fake", env=tuple(map("=".join, flags)), annotations={"note": note},
        mounts=tuple(Mount(path, "tmpfs", "own") for path in own), workdir="/w" if note else "",
        patches=tuple(map(parse_patch, patches)),
    )  # fmt: skip
    hooks = hooks_with(images=Images(), site=Site(tuple(map("=".join, site)), "site", tuple(mounts)))
    explanation = explain(request, hooks)
    assert explanation.spec == plan(request, hooks)
    again = explaining.Explanation(explanation.changes)
    assert again.spec == explanation.spec
    for pointer in explanation.pointers():
        chain = again.chain(pointer)
        assert not chain[0].old
        assert chain[-1].new == value_at(explanation.spec, pointer)
        assert all(later.old == earlier.new for earlier, later in itertools.pairwise(chain))
    for number, entry in enumerate(explanation.spec["process"]["env"]):
        assert (explanation.chain(f"/process/env/{number}")[-1].author.tier == "patch") is (entry == "P=1")
    last = {"P": "1"} | dict(each for each in (*image, *site, *flags) if len(each) == 2)
    for number, entry in enumerate(explanation.spec["process"]["env"]):
        name, _, value = entry.partition("=")
        assert value == last[name]
        tiers = {"image": "default", "site": "plugin", "site2": "plugin", "flag": "flag", "1": "patch"}
        assert explanation.chain(f"/process/env/{number}")[-1].author.tier == tiers[value]


def test_what_is_asked_to_be_kept_goes_with_the_container(request_: RunRequest) -> None:
    hooks = hooks_with(site=Site())
    run(request_._replace(explain=True), hooks)
    with Store(request_.root, request_.state) as store:
        found = explained(store, last_container(store), lambda _: Hooks.of(runtime=prun_fake))
        assert found.recorded
        assert found.explanation.chain("/process/env/0")[0].author.plugin == "site"
        directory = store.directory(request_.id)
        Path(directory, explaining.FILE).write_text("{")
        with pytest.raises(DataLoss):
            explaining.kept(directory)


def test_a_run_that_does_not_ask_keeps_nothing_and_imports_nothing(request_: RunRequest, tmp_path: Path) -> None:
    run(request_, hooks_with())
    assert not list(tmp_path.rglob("explain.json"))
    with Store(request_.root, request_.state) as store:
        with pytest.raises(FailedPrecondition, match="--explain"):
            explained(store, last_container(store), lambda _: hooks_with())
        with pytest.raises(NotFound):
            explained(store, store.find("nobody"), lambda _: hooks_with())


def test_an_explanation_is_as_large_as_the_spec_and_not_its_square(request_: RunRequest) -> None:
    hooks = hooks_with(site=Site(mounts=tuple(f"/m{number}" for number in range(60))))
    explanation = explain(request_, hooks)
    assert len(json.dumps(explanation.plain(old=False))) < 60 * len(json.dumps(explanation.spec))
