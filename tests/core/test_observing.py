"""A run that is watched: --timing, --trace, --events-fd."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from prun import Runner, hookimpl
from prun.cli import command
from prun.cli.waterfall import lines
from prun.errors import InvalidArgument, PluginError, PrunError
from prun.observing import WatchedHooks
from prun.plugins import Hooks
from prun.timeline import Timeline
from prun.types import Event, Image, Platform

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from prun.types import Mount, RunRequest

KINDS = ["resolved", "prepared", "built", "created", "started", "exited", "deleted"]
STAGES = ["plugins", "resolve", "prepare", "spec", "console", "create", "start", "wait", "delete"]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    return ["--root", str(tmp_path / "root"), "--state", str(tmp_path / "state")]


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(runtime="fake", root=str(tmp_path / "root"), state=str(tmp_path / "state"))


def test_every_event_is_a_line_of_json_and_nothing_else_is(runner: Runner) -> None:
    read, write = os.pipe()
    result = runner.run("scratch", ["true"], events_fd=write)
    os.close(write)
    with open(read, encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    assert [event["kind"] for event in events] == KINDS
    assert {event["container"] for event in events} == {result.id}
    assert events[2]["detail"]["process"]["args"] == ["true"]
    assert [event["detail"] for event in events if event["kind"] == "exited"] == [0]
    times = [event["time_ns"] for event in events]
    assert times == sorted(times)


def test_a_reader_of_events_that_goes_away_is_no_fault_of_the_run(runner: Runner) -> None:
    read, write = os.pipe()
    os.close(read)
    assert runner.run("scratch", ["true"], events_fd=write).exit_code == 0
    os.close(write)


def test_a_descriptor_that_is_none_is_refused_before_anything_is_made(runner: Runner, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(write)
    for fd, reason in ((write, "is not open"), (read, "cannot be written to"), (0, "no descriptor")):
        with pytest.raises(InvalidArgument, match=reason):
            runner.run("scratch", ["true"], events_fd=fd)
    os.close(read)
    assert not (tmp_path / "state" / "bundles").exists()


def test_a_descriptor_that_the_container_would_get_too_is_refused(runner: Runner) -> None:
    request = runner.request("scratch", events_fd=4)._replace(preserve_fds=2)
    with pytest.raises(InvalidArgument, match="--preserve-fds 2 would give it to the container"):
        runner.execute(request)


def test_the_waterfall_shows_every_stage_and_hook_with_its_plugin(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command([*words, "run", "--rm", "--timing", "--runtime", "fake", "scratch", "true"]) == 0
    shown = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("fake: ")]
    names = [line.rpartition("| ")[2] for line in shown]
    assert [name for name in names if name in STAGES] == STAGES
    assert "  prun_create_task [runtime prun_fake]" in names
    assert "start-up" in names
    assert all("#" in line for line in shown[1:])
    assert len({len(line.rpartition("| ")[0]) for line in shown}) == 1


def test_a_run_that_fails_has_its_waterfall_too(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert command([*words, "run", "--timing", "--runtime", "fake", "--pull", "never", "nosuch"]) == 125
    assert "| resolve !NotFound" in capfd.readouterr().err


def test_the_trace_is_of_the_format_that_perfetto_reads(runner: Runner, tmp_path: Path) -> None:
    result = runner.run("scratch", ["true"], trace=str(tmp_path / "trace.json"), timing=True)
    trace = json.loads((tmp_path / "trace.json").read_text())
    spans = {event["name"]: event for event in trace["traceEvents"] if event["ph"] == "X"}
    whole = spans["run"]
    for event in trace["traceEvents"]:
        assert event["pid"] == os.getpid()
        assert event["ph"] in "XiM"
        if event["ph"] == "X":
            assert event["ts"] >= whole["ts"]
            assert event["ts"] + event["dur"] <= whole["ts"] + whole["dur"] + 1
    assert set(STAGES) <= set(spans)
    assert spans["prun_create_task [runtime prun_fake]"]["args"] == {"plugin": "runtime prun_fake"}
    assert [event["name"] for event in trace["traceEvents"] if event["ph"] == "i"] == KINDS
    assert result.timeline is not None
    assert len(result.timeline.spans) == len([event for event in trace["traceEvents"] if event["ph"] == "X"])


@pytest.mark.parametrize("where", ["", "/nonexistent/trace.json", "/"])
def test_a_trace_that_cannot_be_written_is_refused_before_the_run(runner: Runner, where: str, tmp_path: Path) -> None:
    with pytest.raises(PrunError, match="--trace"):
        runner.run("scratch", ["true"], trace=where)
    assert not (tmp_path / "state" / "bundles").exists()


def test_a_trace_that_could_not_be_written_in_the_end_is_a_warning(tmp_path: Path) -> None:
    told: list[str] = []
    runner = Runner(runtime="fake", root=str(tmp_path / "r"), state=str(tmp_path / "s"), warn=told.append)
    assert runner.run("scratch", ["true"], trace="/dev/full").exit_code == 0
    assert told == ["--trace /dev/full: No space left on device"]


def test_without_the_exporter_otlp_is_refused_with_what_to_install(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    with pytest.raises(PrunError, match="needs OpenTelemetry") as caught:
        runner.run("scratch", ["true"], trace="otlp")
    assert "pip install opentelemetry-exporter-otlp-proto-http" in caught.value.hint


def test_open_telemetry_gets_the_same_spans(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from prun.otlp import export

    monkeypatch.setenv("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    timeline = runner.run("scratch", ["true"], timing=True).timeline
    assert timeline is not None
    exporter = InMemorySpanExporter()
    assert export(timeline, exporter) == ""
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == [span.name for span in timeline.spans]
    by_id = {span.context.span_id: span for span in spans}
    for span, ours in zip(spans, timeline.spans, strict=True):
        assert span.parent is not None
        assert span.context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
        above = by_id.get(span.parent.span_id)
        assert (above.name if above else None) == (None if ours.parent is None else timeline.spans[ours.parent].name)
        assert (span.start_time, span.end_time) == (timeline.wall_ns(ours.begin_ns), timeline.wall_ns(ours.end_ns or 0))
    assert [event.name for event in spans[0].events] == KINDS


class Wrapper:
    """A plugin that wraps the mounts of all others, in pluggy's new way."""

    @hookimpl(wrapper=True)
    def prun_mounts(self, request: RunRequest) -> Generator[None, Any, Any]:
        return [*(yield), [self.mount]] if request.name else (yield)

    @hookimpl(wrapper=True)
    def prun_resolve_image(self, request: RunRequest) -> Generator[None, Any, Any]:
        try:
            return (yield)
        except PrunError:
            return Image("from the wrapper", "", Platform("linux", "amd64"), {})

    @hookimpl(wrapper=True)
    def prun_check_spec(self, request: RunRequest) -> Generator[None, Any, Any]:
        raise ValueError("wrapped")
        yield

    mount: Mount


class Runtime:
    @hookimpl
    def prun_resolve_image(self, request: RunRequest) -> Image:
        raise InvalidArgument("no")


def test_wrappers_do_under_the_clock_what_they_do_without(runner: Runner) -> None:
    hooks = Hooks.of(runtime=Runtime(), plugins={"w": Wrapper()})
    timeline = Timeline("x")
    watched = WatchedHooks(hooks, timeline)
    request = runner.request("scratch")
    assert watched.resolve_image(request, Platform("linux", "amd64")).name == "from the wrapper"
    assert watched.mounts(request, Image("", "", Platform("linux", "amd64"), {})) == []
    with pytest.raises(PluginError, match="wrapped") as caught:
        watched.check_spec(request, {})
    assert caught.value.plugin == "w"
    names = [(span.name, span.plugin, span.error) for span in timeline.spans]
    assert ("prun_resolve_image (before)", "w", "") in names
    assert ("prun_resolve_image", "runtime Runtime", "InvalidArgument") in names
    assert ("prun_mounts (after)", "w", "") in names
    assert hooks.base is hooks
    assert watched.base is watched


def test_the_hooks_of_one_run_are_timed_too(runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("from prun import hookimpl\n@hookimpl\ndef prun_mounts():\n    return []\n")
    file.chmod(0o600)
    timeline = runner.run("scratch", ["true"], timing=True, hook=[str(file)]).timeline
    assert timeline is not None
    assert [span.name for span in timeline.spans if "own.py" in span.plugin] == ["prun_mounts"]


def test_the_plugins_of_other_runs_are_left_alone(runner: Runner) -> None:
    before = [impl.function for impl in runner.hooks._pm.hook.prun_resolve_image.get_hookimpls()]
    runner.run("scratch", ["true"], timing=True)
    assert [impl.function for impl in runner.hooks._pm.hook.prun_resolve_image.get_hookimpls()] == before
    assert runner.run("scratch", ["true"]).timeline is None


def test_what_steers_a_terminal_does_not_get_there_and_a_narrow_one_has_bars(runner: Runner) -> None:
    timeline = Timeline("abc")
    with timeline.span("a\x1b[0m", "stage", "p\n"):
        timeline.happened(Event("abc", "created"))
    for line in lines(timeline, 10):
        assert line.isprintable()


def test_the_observation_is_not_kept_with_the_container(runner: Runner) -> None:
    from prun.request.stored import dumped, loaded

    assert loaded(dumped(runner.request("scratch", timing=True))).observation is None
