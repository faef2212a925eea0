"""A scenario says what it means, or is refused with the nearest key."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from prun.errors import InvalidArgument, NotFound, PrunError, Unavailable
from prun_fake import scenario as module
from prun_fake.scenario import Scenario, Step, parse

if TYPE_CHECKING:
    from pathlib import Path


def scenario_file(directory: Path, text: str) -> dict[str, str]:
    path = directory / "scenario.toml"
    path.write_text(text)
    return {"scenario": str(path)}


def test_no_options_are_an_empty_scenario() -> None:
    assert parse({}) == Scenario()


def test_options_make_one_step() -> None:
    options = {"stdout": "out\n", "stderr": "err\n", "delay": "100ms", "exit": "3"}
    assert parse(options) == Scenario(steps=(Step(0.1, "out\n", "err\n"),), exit=3)


def test_a_file_says_everything_that_options_say_and_steps(tmp_path: Path) -> None:
    options = scenario_file(
        tmp_path,
        """
        exit = 3
        fail = "wait: the machine is gone"
        crash = "delete"
        record = "calls.jsonl"
        stdout = "last"
        [[step]]
        stdout = "first"
        [[step]]
        delay = 0.5
        stderr = "second"
        """,
    )
    steps = (Step(0, "first"), Step(0.5, "", "second"), Step(0, "last"))
    assert parse(options) == Scenario(
        steps, exit=3, fail=("wait", "the machine is gone"), crash="delete", record="calls.jsonl"
    )


def test_the_example_of_the_documentation_is_a_scenario(tmp_path: Path) -> None:
    example = dedent("".join(line for line in str(module.__doc__).splitlines(True) if line.startswith("    ")))
    assert parse(scenario_file(tmp_path, example)) == Scenario(
        (Step(0.1, "hello\n"),), exit=3, fail=("start", "no such device"), record="calls.jsonl"
    )


def test_an_option_wins_over_the_file(tmp_path: Path) -> None:
    assert parse({**scenario_file(tmp_path, "exit = 3\nsignal = 2"), "exit": "4"}) == Scenario(exit=4, signal=2)


@pytest.mark.parametrize(
    ("given", "seconds"), [("2", 2), ("0.5", 0.5), (".5", 0.5), ("100ms", 0.1), ("3s", 3), ("1.5s", 1.5), ("0", 0)]
)
def test_a_delay_is_seconds_unless_it_says_otherwise(given: str, seconds: float) -> None:
    assert parse({"delay": given, "stdout": "x"}).steps[0].delay_s == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"exti": "3"}, "fake option there is no 'exti'", "did you mean 'exit'?"),
        ({"zzzzzz": "3"}, "there is no 'zzzzzz'", "it may be one of crash, delay, exit, fail"),
        ({"exit": "three"}, "exit = 'three' is no whole number from 0 to 255", ""),
        ({"exit": "256"}, "exit = '256' is no whole number from 0 to 255", ""),
        ({"exit": "-1"}, "exit = '-1' is no whole number", ""),
        ({"signal": "0"}, "signal = '0' is no whole number from 1 to 64", ""),
        ({"delay": "soon"}, "delay = 'soon' is no duration", ""),
        ({"delay": "-1"}, "delay = '-1' is no duration", ""),
        ({"delay": "nan"}, "delay = 'nan' is no duration", ""),
        ({"fail": "creat"}, "fail = 'creat' names no stage: did you mean 'create'?", ""),
        ({"crash": "end"}, "crash = 'end' names no stage: it may be one of console, create, delete", ""),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(options)
    assert message in str(caught.value)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('exit = "3\n', "is no TOML"),
        ("exit = true", "exit = True is no whole number"),
        ("exit = 3.0", "exit = 3.0 is no whole number"),
        ("stdout = 3", "stdout = 3 is no text"),
        ("delay = true", "delay = True is no duration"),
        ('step = "x"', "step = 'x' is no array of tables"),
        ("step = [1]", "step = [1] is no array of tables"),
        ("[[step]]\nexit = 3", "[[step]] 1: there is no 'exit'"),
        ("[[step]]\n[[step]]\nstdout = 3", "[[step]] 2: stdout = 3 is no text"),
        ('scenario = "other.toml"', "there is no 'scenario'"),
        ("fail = 3", "fail = 3 is no text"),
    ],
)
def test_a_wrong_file_is_refused_by_its_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(scenario_file(tmp_path, text))
    assert message in str(caught.value)
    assert str(tmp_path / "scenario.toml") in str(caught.value) or "[[step]]" in message


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        parse({"scenario": str(tmp_path / "nope.toml")})
    with pytest.raises(InvalidArgument, match="cannot be read"):
        parse({"scenario": str(tmp_path)})


@pytest.mark.parametrize(
    ("args", "code", "sleep_s"),
    [
        (["exit", "7"], 7, 0),
        (["exit", "300"], 44, 0),
        (["exit", "no"], None, 0),
        (["exit"], None, 0),
        (["sleep", "2.5"], None, 2.5),
        (["sleep", "forever"], None, 0),
        (["sh", "-c", "exit 7"], None, 0),
    ],
)
def test_two_commands_are_understood(args: list[str], code: int | None, sleep_s: float) -> None:
    scenario = parse({}).for_command(args)
    assert scenario.exit == code
    assert sum(step.delay_s for step in scenario.steps) == sleep_s


def test_the_scenario_wins_over_the_command() -> None:
    assert parse({"exit": "3"}).for_command(["exit", "7"]).code == 3


def test_without_output_the_scenario_says_what_would_run() -> None:
    assert parse({}).for_command(["echo", "a b"]).steps == (Step(stdout='fake: would run ["echo", "a b"]\n'),)
    assert parse({"stdout": "x"}).for_command(["echo"]).steps == (Step(stdout="x"),)


def test_what_would_run_cannot_control_the_terminal() -> None:
    (step,) = parse({}).for_command(["\x1b[2J", "\udcff"]).steps
    assert step.stdout.isascii()
    assert "\x1b" not in step.stdout


@pytest.mark.parametrize(("options", "code"), [({}, 0), ({"exit": "3"}, 3), ({"signal": "9"}, 137)])
def test_the_exit_status_is_what_a_shell_would_see(options: dict[str, str], code: int) -> None:
    assert parse(options).code == code


def test_it_fails_and_crashes_at_its_stage_only() -> None:
    scenario = parse({"fail": "start: no space", "crash": "wait"})
    scenario.reach("create")
    with pytest.raises(Unavailable, match=r"^no space$"):
        scenario.reach("start")
    with pytest.raises(RuntimeError, match="told to crash at wait") as caught:
        scenario.reach("wait")
    assert not isinstance(caught.value, PrunError)
