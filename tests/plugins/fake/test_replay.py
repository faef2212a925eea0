"""What was recorded of one run is done again by another: its spec, output, failure and exit status."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from prun import hookimpl
from prun.errors import AlreadyExists, CommandNotFound, FailedPrecondition, InvalidArgument, NotFound, PrunError
from prun.spec import with_env, with_hostname
from prun.types import ExitStatus, FileStat, Image, Platform, Problem
from prun_fake.recorder import Recorder, prun_configure
from prun_fake.recording import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.testing import FakeRunner
    from prun.types import Console, Event, Rootfs, RunRequest

IMAGE = Image("registry.example.com/app:1", "sha256:" + "a" * 64, Platform("linux", "amd64"), {"Env": ["FROM=image"]})


class Real:
    """What stands for a real runtime: it has an image with a file, shapes the spec, and its process takes time."""

    def __init__(self, code: int = 3, failure: PrunError | None = None) -> None:
        self.code = code
        self.failure = failure

    @hookimpl
    def prun_resolve_image(self) -> Image:
        return IMAGE

    @hookimpl
    def prun_prepare_rootfs(self) -> Rootfs:
        return Files()

    @hookimpl
    def prun_spec_opts(self, rootfs: Rootfs) -> list[SpecOpt]:
        assert rootfs.read("/etc/passwd", 100) == b"root\xff\n"
        assert rootfs.stat("/etc") == FileStat(0o40755, 0, 0, 10)
        with pytest.raises(NotFound):
            rootfs.read("/etc/group", 100)
        return [with_hostname("real")]

    @hookimpl
    def prun_create_task(self, console: Console) -> Process:
        return Process(self, console)


class Files:
    path = ""
    mounts = ()

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None: ...

    def leave(self) -> None: ...

    def read(self, path: str, limit_bytes: int) -> bytes:
        if path != "/etc/passwd":
            raise NotFound(f"no {path}")
        return b"root\xff\n"

    def stat(self, path: str) -> FileStat | None:
        return FileStat(0o40755, 0, 0, 10) if path == "/etc" else None


class Process:
    pid = None

    def __init__(self, real: Real, console: Console) -> None:
        self.real, self.console = real, console

    def start(self) -> None:
        if self.real.failure:
            raise self.real.failure

    def wait(self, timeout_s: float | None = None) -> ExitStatus:
        os.write(self.console.stdout, b"one\n")
        time.sleep(0.2)
        os.write(self.console.stderr, b"two \xff\xc3\n")
        os.write(self.console.stdout, b"\xbc" * 70_000)
        return ExitStatus(self.real.code)

    def kill(self, signal: int) -> None: ...

    def delete(self) -> None: ...


class Seen:
    """What a plugin sees of a run."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    @hookimpl
    def prun_spec_opts(self, request: RunRequest, image: Image, rootfs: Rootfs) -> list[SpecOpt]:
        self.found += [image, request.args, request.labels, request.privileged, rootfs.read("/etc/passwd", 100)]
        self.found += [rootfs.stat("/etc"), rootfs.stat("/nowhere")]
        return []

    @hookimpl
    def prun_check_spec(self, spec: Spec) -> list[Problem]:
        self.found.append(json.loads(json.dumps(spec)))
        return []

    @hookimpl
    def prun_event(self, event: Event) -> None:
        self.found.append(event.kind)


@pytest.fixture
def recorded(prun_fake: FakeRunner, tmp_path: Path) -> Callable[..., tuple[Path, Any, list[Any]]]:
    """Record a run of ``Real``: the recording, the result or the error, and what a plugin saw."""

    def record(real: Real | None = None) -> tuple[Path, Any, list[Any]]:
        file, seen = tmp_path / "run.jsonl", Seen()
        runner = prun_fake.with_plugins(real or Real(), seen, Recorder(str(file)))
        asked: dict[str, Any] = {"env": {"A": "b"}, "label": ["who=me"], "privileged": True}
        try:
            return file, runner.run("app", ["serve", "--port", "80"], **asked), seen.found
        except PrunError as error:
            return file, error, seen.found

    return record


def test_a_replay_is_what_was_recorded(recorded: Callable[..., Any], prun_fake: FakeRunner) -> None:
    file, result, seen = recorded()
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"one\n" + b"\xbc" * 70_000, b"two \xff\xc3\n")
    again = Seen()
    assert prun_fake.with_plugins(again).replay(file) == result
    assert again.found == seen
    assert ("serve", "--port", "80") in seen
    assert file.stat().st_mode & 0o777 == 0o600


def test_plugins_of_a_test_change_the_recorded_spec_and_refuse_it(
    recorded: Callable[..., Any], prun_fake: FakeRunner
) -> None:
    class Site:
        @hookimpl
        def prun_spec_opts(self) -> list[SpecOpt]:
            return [with_env(["SITE=a"])]

        @hookimpl
        def prun_check_spec(self, spec: Spec) -> list[Problem]:
            assert spec["hostname"] == "real"
            assert {"SITE=a", "FROM=image", "A=b"} <= set(spec["process"]["env"])
            return [Problem("/hostname", "not here")]

    file, *_ = recorded()
    with pytest.raises(InvalidArgument, match="/hostname: not here"):
        prun_fake.with_plugins(Site()).replay(file)


def test_a_failure_is_replayed_at_its_stage(recorded: Callable[..., Any], prun_fake: FakeRunner) -> None:
    file, error, _ = recorded(Real(failure=CommandNotFound("command 'serve' does not exist", hint="look")))
    assert isinstance(error, CommandNotFound)
    with pytest.raises(CommandNotFound, match="command 'serve' does not exist") as caught:
        prun_fake.replay(file)
    assert (caught.value.stage, caught.value.hint) == ("start", "look")


def test_a_replay_takes_no_time_or_as_much_as_is_asked_for(recorded: Callable[..., Any], prun_fake: FakeRunner) -> None:
    file, *_ = recorded()
    spent = []
    for pace in (0.0, 2.0):
        began = time.monotonic()
        prun_fake.replay(file, pace=pace)
        spent.append(time.monotonic() - began)
    assert spent[1] >= 0.4
    assert spent[1] - spent[0] >= 0.3


def test_the_command_replays_with_the_engine_of_that_name(recorded: Callable[..., Any], prun_fake: FakeRunner) -> None:
    file, *_ = recorded()
    words = ("run", "--rm", "--engine", "replay", "--opt", f"replay={file}", "whatever")
    env = prun_fake.command("spec", *words[2:]).stdout
    assert '"hostname": "real"' in env
    assert "one" in prun_fake.command(*words, code=3).stdout


def test_a_recording_has_nothing_of_one_process(recorded: Callable[..., Any]) -> None:
    file, *_ = recorded()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    times = [line["at_s"] for line in lines]
    assert times == sorted(times)
    events = [line["event"] for line in lines if "event" in line]
    assert events == ["resolved", "prepared", "built", "created", "started", "exited", "deleted"]
    assert f'"{os.getpid()}"' not in file.read_text()
    recording = load(str(file))
    assert (recording.runtime, recording.code, recording.image) == ("fake", 3, IMAGE)


def test_a_recording_is_not_overwritten_and_no_file_is_no_recording(
    recorded: Callable[..., Any], prun_fake: FakeRunner, tmp_path: Path
) -> None:
    file, *_ = recorded()
    with pytest.raises(AlreadyExists, match="is there already"):
        prun_fake.with_plugins(Recorder(str(file))).run("scratch", ["true"])
    with pytest.raises(InvalidArgument, match="cannot be written"):
        prun_fake.with_plugins(Recorder(str(tmp_path / "no" / "x"))).run("scratch", ["true"])
    with pytest.raises(InvalidArgument, match="recorder: file"):
        prun_configure({})
    with pytest.raises(NotFound, match="does not exist"):
        prun_fake.replay(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "x", '{"at_s": 0, "recording": {"format": 99}}', '{"at_s": 0, "recording": {"format": 1}}']
)
def test_what_is_no_recording_is_refused(prun_fake: FakeRunner, tmp_path: Path, text: str) -> None:
    (tmp_path / "run.jsonl").write_text(text)
    with pytest.raises(InvalidArgument, match=r"recording .* is"):
        prun_fake.replay(tmp_path / "run.jsonl")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pace": "1"}, "pace is that of a replay"),
        ({"replay": "x", "exit": "3"}, "a replay has its scenario already"),
        ({"replay": "x", "stdout": "y"}, "a replay has its scenario already"),
        ({"replay": "x", "pace": "fast"}, "is no number"),
    ],
)
def test_options_that_contradict_a_replay_are_refused(
    prun_fake: FakeRunner, options: dict[str, str], told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told):
        prun_fake.run("scratch", ["true"], opt=options)


def test_the_engine_needs_a_recording(prun_fake: FakeRunner) -> None:
    assert "needs a recording" in prun_fake.command("run", "--rm", "--engine", "replay", "x", code=125).stderr


def test_a_run_whose_streams_go_elsewhere_is_refused(prun_fake: FakeRunner, tmp_path: Path) -> None:
    runner = prun_fake.with_plugins(Recorder(str(tmp_path / "x")))
    request = runner.request("scratch", ["true"])._replace(terminal=True)
    with pytest.raises((InvalidArgument, FailedPrecondition), match="cannot be recorded"):
        runner.execute(request)
    assert not (tmp_path / "x").exists()


def test_its_hooks_are_made_well(check_plugin: Callable[[object], None]) -> None:
    import prun_fake.replay

    check_plugin(Recorder("x"))
    check_plugin(prun_fake.replay)
