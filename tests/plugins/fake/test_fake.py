"""A fake run goes through the same hooks as a real one, and fails wherever it is told to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import prun_fake
from prun import hookimpl
from prun.errors import InvalidArgument, PluginError, PrunError, Unavailable
from prun.pipeline import Outcome, run
from prun.testing import RULES, Subject, hooks_with
from prun.types import Event, Platform, RunRequest

if TYPE_CHECKING:
    from pathlib import Path

STAGES = ["resolve", "prepare", "spec", "console", "create", "start", "wait", "delete"]


@pytest.fixture
def request_of(tmp_path: Path):
    """Make requests for the empty image, in directories of the test's own."""

    def make(*args: str, **options: str) -> RunRequest:
        return RunRequest(
            "c1",
            "scratch",
            args,
            runtime="fake",
            options=options,
            capture=True,
            remove=True,
            root=str(tmp_path / "root"),
            state=str(tmp_path / "state"),
        )

    return make


def run_fake(request: RunRequest, *plugins: object) -> Outcome:
    return run(request, hooks_with(prun_fake, *plugins))


class Seen:
    """Remember the events."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    @hookimpl
    def prun_event(self, event: Event) -> None:
        self.kinds.append(event.kind)


def test_it_needs_neither_image_nor_root_nor_operating_system(request_of) -> None:
    outcome = run_fake(request_of("echo", "hi"))
    assert outcome.status.code == 0
    assert outcome.stdout == b'fake: would run ["echo", "hi"]\n'
    assert outcome.stderr == b"fake: nothing was executed (runtime fake)\n"


def test_the_command_chooses_the_exit_status(request_of) -> None:
    assert run_fake(request_of("exit", "7")).status.code == 7


def test_scripted_output_says_that_it_is_fake_too(request_of) -> None:
    outcome = run_fake(request_of("sh", stdout="scripted", delay="10ms", exit="3"))
    assert outcome == (Outcome((3,), b"scripted", b"fake: nothing was executed (runtime fake)\n"))


def test_any_platform_is_accepted(request_of) -> None:
    request = request_of("ver")._replace(platform=Platform("windows", "amd64", os_version="10.0.20348.1"))
    assert run_fake(request).status.code == 0


@pytest.mark.parametrize("stage", STAGES)
def test_it_fails_at_any_stage_and_leaves_nothing(request_of, tmp_path: Path, stage: str) -> None:
    with pytest.raises(Unavailable, match=r"^no space left$") as caught:
        run_fake(request_of("sh", fail=f"{stage}:no space left"))
    assert caught.value.stage == stage
    assert list((tmp_path / "state" / "bundles").glob("*")) == []
    assert run_fake(request_of("sh")).status.code == 0, "the id is still taken"


@pytest.mark.parametrize("stage", ["resolve", "prepare", "spec", "console", "create"])
def test_a_crash_in_a_hook_is_the_plugins_fault(request_of, stage: str) -> None:
    with pytest.raises(PluginError, match=f"RuntimeError: fake: told to crash at {stage}") as caught:
        run_fake(request_of("sh", crash=stage))
    assert "prun_fake" in caught.value.plugin


@pytest.mark.parametrize("stage", ["start", "wait", "delete"])
def test_a_crash_in_the_task_leaves_nothing(request_of, tmp_path: Path, stage: str) -> None:
    with pytest.raises((PrunError, RuntimeError), match=f"told to crash at {stage}"):
        run_fake(request_of("sh", crash=stage))
    assert list((tmp_path / "state" / "bundles").glob("*")) == []


def test_the_record_tells_every_call_in_order(request_of, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    run_fake(request_of("echo", "hi", record=str(path)))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["id"] for line in lines} == {"c1"}
    assert [line.get("event") or line["call"] for line in lines] == [
        "prun_resolve_image",
        "resolved",
        "prun_prepare_rootfs",
        "prepared",
        "prun_spec_opts",
        "prun_mounts",
        "prun_check_spec",
        "built",
        "prun_open_console",
        "prun_create_task",
        "created",
        "Task.start",
        "started",
        "Task.wait",
        "exited",
        "Task.delete",
        "deleted",
    ]
    assert lines[0]["request"] == {"image": "scratch", "args": ["echo", "hi"]}


def test_the_record_holds_the_call_that_failed(request_of, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    with pytest.raises(Unavailable):
        run_fake(request_of("sh", record=str(path), fail="prepare"))
    assert json.loads(path.read_text().splitlines()[-1])["call"] == "prun_prepare_rootfs"


def test_a_record_that_cannot_be_written_is_an_error(request_of, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot be written"):
        run_fake(request_of("sh", record=str(tmp_path)))


def test_a_run_without_a_record_writes_none(request_of, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    with pytest.raises(Unavailable):
        run_fake(request_of("sh", record=str(path), fail="prepare"))
    before = path.read_text()
    run_fake(request_of("sh"))
    assert path.read_text() == before


def test_other_plugins_see_a_fake_run_as_any_other(request_of) -> None:
    seen = Seen()
    run_fake(request_of("sh"), seen)
    assert seen.kinds == ["resolved", "prepared", "built", "created", "started", "exited", "deleted"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_it_keeps_the_contract_of_tasks(request_of, rule) -> None:
    subject = Subject(
        prun_fake,
        request_of(),
        exits=lambda code: ("exit", str(code)),
        sleeps=lambda s: ("sleep", str(s)),
        writes=lambda text: ("echo", text),
        copies=(),
        missing=(),
    )
    rule(subject)
