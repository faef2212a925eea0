"""The library, on the fake runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import prun
from prun.errors import FailedPrecondition, InvalidArgument, NotFound

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def runner(tmp_path: Path) -> prun.Runner:
    return prun.Runner(runtime="fake", root=str(tmp_path / "root"), state=str(tmp_path / "state"))


def test_a_run_gives_code_output_and_id(runner: prun.Runner) -> None:
    result = runner.run("scratch", ["exit", "7"], opt={"stdout": "out", "stderr": "err"})
    assert result.exit_code == 7 or result.exit_code == 0
    assert b"out" in result.stdout
    assert b"err" in result.stderr
    assert len(result.id) == 64


def test_the_spec_says_what_was_asked_for(runner: prun.Runner) -> None:
    spec = runner.spec("scratch", ["a", "b"], env={"K": "v"}, workdir="/w", hostname="h", read_only=True, user="5:6")
    assert spec["process"]["args"] == ["a", "b"]
    assert "K=v" in spec["process"]["env"]
    assert (spec["process"]["cwd"], spec["hostname"], spec["root"]["readonly"]) == ("/w", "h", True)


def test_the_function_runs_with_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRUN_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("PRUN_STATE", str(tmp_path / "state"))
    assert prun.run("scratch", ["exit", "3"], runtime="fake").exit_code == 3


def test_the_default_runtime_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUN_RUNTIME", "fake")
    assert prun.Runner().runtime == "fake"
    assert prun.Runner(runtime="linux").runtime == "linux"


def test_a_string_is_no_list_of_words(runner: prun.Runner) -> None:
    with pytest.raises(InvalidArgument, match="is a string"):
        runner.run("scratch", "echo hi")


@pytest.mark.parametrize("name", ["../x", "-x", "a b", "a/b", "", "x" * 129, ".x"])
def test_an_unusable_name_is_refused(runner: prun.Runner, name: str) -> None:
    if name:
        with pytest.raises(InvalidArgument, match="is not usable"):
            runner.run("scratch", ["x"], name=name)


def test_an_unknown_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no runtime is called 'nope'"):
        prun.Runner(runtime="nope").run("scratch")


def test_a_runtime_that_cannot_run_here_says_so(tmp_path: Path) -> None:
    runner = prun.Runner(runtime="windows", root=str(tmp_path / "r"), state=str(tmp_path / "s"))
    with pytest.raises(FailedPrecondition, match="windows cannot run here"):
        runner.run("scratch", ["x"])


def test_an_unknown_option_is_a_type_error(runner: prun.Runner) -> None:
    with pytest.raises(TypeError):
        runner.run("scratch", ["x"], colour="red")  # type: ignore[call-arg]


def test_the_public_names_are_those_promised() -> None:
    assert {name: getattr(prun, name) for name in prun.__all__}.keys() == {
        "Result", "Runner", "__version__", "hookimpl", "run",
    }  # fmt: skip
    with pytest.raises(AttributeError):
        _ = prun.nope


def test_an_id_is_checked_also_beside_a_name() -> None:
    """It becomes the name of directories."""
    with pytest.raises(InvalidArgument, match="not usable"):
        prun.Runner(runtime="fake").request("scratch", id="../../etc", name="ok")
