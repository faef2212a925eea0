"""What run() does in which order, and what it leaves behind when a step fails."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

import prun.engines.embedded as embedded
import prun_fake
from prun import hookimpl
from prun.errors import FailedPrecondition, InvalidArgument, PluginError, PrunError
from prun.pipeline import plan, run
from prun.plugins import Hooks
from prun.signals import ForwardedSignals, Interrupted
from prun.state import Store
from prun.types import Event, Mount, Platform, Problem, RunRequest, RuntimeInfo

if TYPE_CHECKING:
    from pathlib import Path

    from prun.spec.document import Spec

STEPS = ["resolved", "prepared", "built", "created", "started", "exited", "deleted"]


class Recorder:
    """Remember every event, and fail at one of them if asked."""

    def __init__(self, fail_at: str = "") -> None:
        self.seen: list[str] = []
        self.fail_at = fail_at

    @hookimpl
    def prun_event(self, event: Event) -> None:
        self.seen.append(event.kind)
        if event.kind == self.fail_at:
            raise RuntimeError(event.kind)


def hooks_with(**plugins: object) -> Hooks:
    return Hooks.of(runtime=prun_fake, engine=embedded, plugins=plugins)


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    return RunRequest(
        "c" * 64, "scratch", ("exit", "3"), runtime="fake", root=str(tmp_path / "root"), state=str(tmp_path / "state"),
        capture=True,
    )  # fmt: skip


def left(request: RunRequest) -> list[str]:
    """Return the containers and the bundles that are there."""
    with Store(request.root, request.state) as store:
        bundles = os.path.join(store.state, "bundles")
        return [row.id for row in store.metadata.containers()] + (os.listdir(bundles) if os.path.isdir(bundles) else [])


def test_steps_happen_in_order(request_: RunRequest) -> None:
    recorder = Recorder()
    outcome = run(request_._replace(remove=True), hooks_with(recorder=recorder))
    assert outcome.status.code == 3
    assert recorder.seen == STEPS
    assert left(request_) == []


def test_a_container_that_is_kept_is_stopped_with_its_code(request_: RunRequest) -> None:
    run(request_, hooks_with())
    with Store(request_.root, request_.state) as store:
        row = store.metadata.containers()[0]
    assert (row.status, row.exit_code, row.runtime) == ("stopped", 3, "fake")


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_failing_step_cleans_up(request_: RunRequest, step: str) -> None:
    recorder = Recorder(fail_at=step)
    with pytest.raises(PluginError, match=step) as caught:
        run(request_._replace(remove=True), hooks_with(recorder=recorder))
    assert caught.value.plugin == "recorder"
    assert ("deleted" in recorder.seen) is (STEPS.index(step) >= STEPS.index("created"))
    assert left(request_) == []


@pytest.mark.parametrize("stage", ["resolve", "prepare", "spec", "console", "create", "start", "wait", "delete"])
def test_an_error_names_its_stage(request_: RunRequest, stage: str) -> None:
    with pytest.raises(PrunError) as caught:
        run(request_._replace(remove=True, options={"fail": stage}), hooks_with())
    assert caught.value.stage == stage
    assert left(request_) == []


def test_a_runtime_that_cannot_run_here_says_why_and_nothing_is_made(request_: RunRequest) -> None:
    class Absent:
        @hookimpl
        def prun_describe_runtime(self) -> RuntimeInfo:
            return RuntimeInfo("absent", (Platform("plan9", "mips"),), "no such machine", "buy one")

    with pytest.raises(FailedPrecondition, match="absent cannot run here: no such machine"):
        run(request_, Hooks.of(runtime=Absent(), engine=embedded))
    assert not os.path.exists(request_.root)


def test_an_option_that_the_runtime_does_not_know_is_named(request_: RunRequest) -> None:
    with pytest.raises(InvalidArgument, match="runtime fake has no option 'colour'"):
        run(request_._replace(options={"colour": "red"}), hooks_with())
    with pytest.raises(InvalidArgument, match="runtime fake has no option 'colour'"):
        plan(request_._replace(options={"colour": "red"}), hooks_with())


def test_all_problems_of_a_spec_are_reported_together(request_: RunRequest) -> None:
    class Checks:
        def __init__(self, *problems: Problem) -> None:
            self.problems = list(problems)

        @hookimpl
        def prun_check_spec(self, spec: Spec) -> list[Problem]:
            return self.problems

    hooks = hooks_with(
        policy=Checks(Problem("/process/user", "root is not allowed", "use --user")), other=Checks(Problem("", "no"))
    )
    with pytest.raises(InvalidArgument) as caught:
        run(request_, hooks)
    assert str(caught.value) == "no; /process/user: root is not allowed (use --user)"
    assert caught.value.stage == "spec"


def test_a_plan_makes_nothing(request_: RunRequest) -> None:
    spec = plan(request_, hooks_with())
    assert spec["process"]["args"] == ["exit", "3"]
    assert not os.path.exists(os.path.join(request_.state, "bundles"))


def test_mounts_of_all_tiers_are_joined_and_the_most_specific_wins(request_: RunRequest) -> None:
    class Mounts:
        def __init__(self, *mounts: Mount) -> None:
            self.mounts = list(mounts)

        @hookimpl
        def prun_mounts(self) -> list[Mount]:
            return self.mounts

    hooks = hooks_with(
        a=Mounts(Mount("/a", source="/a1"), Mount("/b", source="/b1")), b=Mounts(Mount("/a", source="/a2"))
    )
    spec = plan(request_._replace(mounts=(Mount("/c", source="/c3"),)), hooks)
    assert [(mount["destination"], mount["source"]) for mount in spec["mounts"]] == [
        ("/a", "/a2"), ("/b", "/b1"), ("/c", "/c3"),
    ]  # fmt: skip


def test_a_signal_before_there_is_a_process_cleans_up(request_: RunRequest) -> None:
    class Kills:
        @hookimpl
        def prun_event(self, event: Event) -> None:
            if event.kind == "built":
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as caught, ForwardedSignals() as signals:
        run(request_, hooks_with(kills=Kills()), signals)
    assert caught.value.exit_code == 143
    assert left(request_) == []


def test_a_signal_to_us_becomes_one_to_the_process(request_: RunRequest) -> None:
    class Kills:
        @hookimpl
        def prun_event(self, event: Event) -> None:
            if event.kind == "started":
                os.kill(os.getpid(), signal.SIGTERM)

    with ForwardedSignals() as signals:
        outcome = run(request_._replace(options={"delay": "30"}, remove=True), hooks_with(kills=Kills()), signals)
    assert outcome.status.code == 143
    assert left(request_) == []


def test_output_is_captured(request_: RunRequest) -> None:
    outcome = run(request_._replace(options={"stdout": "out", "stderr": "err"}), hooks_with())
    assert b"out" in outcome.stdout
    assert b"err" in outcome.stderr
