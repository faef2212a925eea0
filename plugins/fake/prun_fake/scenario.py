"""What a fake container is told to do: a scenario, from ``--opt`` and from a TOML file.

    exit = 3                        # or signal = 9
    fail = "start:no such device"   # or crash = "start"
    record = "calls.jsonl"
    [[step]]
    delay = "100ms"
    stdout = "hello\\n"

``--opt scenario=FILE`` reads such a file, every other ``--opt`` is one of its keys and wins over it; ``stdout``,
``stderr`` and ``delay`` outside of a ``[[step]]`` make a step after all others.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from prun.errors import InvalidArgument, NotFound, Unavailable
from prun.types import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prun.errors import PrunError
    from prun.spec.document import Spec

OPTIONS = {
    "scenario": "a TOML file that holds any of the other options, and [[step]]s of delay, stdout and stderr",
    "stdout": "text to write to the standard output",
    "stderr": "text to write to the standard error",
    "delay": "how long to run before that: seconds, or a number with ms or s",
    "exit": "exit status, 0 to 255",
    "signal": "number of the signal to be ended by; the exit status is 128 more",
    "fail": f"STAGE or STAGE:MESSAGE; fail there as prun or an engine would: {', '.join(get_args(Stage))}",
    "crash": "STAGE; raise there what a broken plugin would",
    "record": "file to append every call to, one JSON object a line",
    "replay": "recording of a real run (the plugin recorder) to do again: its spec, output, failure and exit status",
    "pace": "how much of the recorded time a replay takes, from 0 (none, the default) to 1 (all of it) and more",
}


class Step(NamedTuple):
    """Wait, then write."""

    delay_s: float = 0
    stdout: str = ""
    stderr: str = ""


class Scenario(NamedTuple):
    """A container's life; ``exit`` None leaves the exit status to the command.

    Of a ``replay``, the recording has said the rest: ``spec`` replaces what there is of the spec, ``failure`` is the
    stage and the error that ended the recorded run.
    """

    steps: tuple[Step, ...] = ()
    exit: int | None = None
    signal: int = 0
    fail: tuple[str, str] = ("", "")
    crash: str = ""
    record: str = ""
    replay: str = ""
    spec: Spec | None = None
    failure: tuple[str, PrunError] | None = None

    @property
    def code(self) -> int:
        """The exit status that a shell would see."""
        return 128 + self.signal if self.signal else self.exit or 0

    def reach(self, stage: Stage) -> None:
        """Fail or crash, if this is the stage to do so.

        Raises:
            Unavailable: the scenario says ``fail``.
            RuntimeError: it says ``crash``.
            PrunError: the recorded run failed here.
        """
        if self.failure is not None and self.failure[0] == stage:
            raise self.failure[1]
        if self.crash == stage:
            raise RuntimeError(f"fake: told to crash at {stage}")
        if self.fail[0] == stage:
            raise Unavailable(self.fail[1] or f"fake: told to fail at {stage}")

    def for_command(self, args: Sequence[str]) -> Scenario:
        """Add what the command says, where the scenario itself says nothing.

        A scenario without output tells what would have run.  ``exit N`` ends with N, ``sleep N`` takes N seconds.
        """
        if self.replay:
            return self
        scenario = self
        if not any(step.stdout or step.stderr for step in self.steps):
            told = Step(stdout=f"fake: would run {json.dumps(args)}\n")
            scenario = scenario._replace(steps=(told, *self.steps))
        match args:
            case ["exit", number] if self.exit is None and number.isdecimal():
                scenario = scenario._replace(exit=int(number) & 0xFF)
            case ["sleep", time] if _DURATION.fullmatch(time):
                scenario = scenario._replace(steps=(*scenario.steps, Step(_seconds(time))))
        return scenario


def parse(options: Mapping[str, str]) -> Scenario:
    """Read a scenario from runtime options and from the file that they name.

    Raises:
        InvalidArgument: an unknown key, or a value that cannot be used.
        NotFound: there is no such file.
    """
    own = dict(options)
    path = own.pop("scenario", None)
    values: dict[str, Any] = {} if path is None else _converted(_read(path), f"scenario {path}:")
    steps = values.pop("step", ())
    values |= _converted(own, "fake option")
    pace = values.pop("pace", None)
    if "replay" in values:
        if values.keys() - {"replay", "record"} or steps:
            raise InvalidArgument("a replay has its scenario already", hint="leave out all but replay, pace and record")
        from prun_fake.replay import scenario_of

        return scenario_of(values["replay"], pace or 0.0)._replace(record=values.get("record", ""))
    if pace is not None:
        raise InvalidArgument("pace is that of a replay", hint="--opt replay=FILE")
    last = Step(values.pop("delay", 0), values.pop("stdout", ""), values.pop("stderr", ""))
    return Scenario(steps if last == Step() else (*steps, last), **values)


def _read(path: str) -> dict[str, Any]:
    import tomli

    try:
        with open(path, "rb") as file:
            return tomli.load(file)
    except FileNotFoundError as error:
        raise NotFound(f"scenario {path} does not exist") from error
    except OSError as error:
        raise InvalidArgument(f"scenario {path} cannot be read: {error.strerror}") from error
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"scenario {path} is no TOML: {error}") from error


def _converted(
    given: Mapping[str, Any], where: str, known: Iterable[str] = ("step", *OPTIONS.keys() - {"scenario"})
) -> dict[str, Any]:
    result = {}
    for key, value in given.items():
        if key not in known:
            raise InvalidArgument(f"{where} there is no {key!r}", hint=_nearest(key, known))
        try:
            result[key] = _CONVERT[key](value)
        except ValueError as error:
            raise InvalidArgument(f"{where} {key} = {value!r} {error}") from error
    return result


def _nearest(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    for match in get_close_matches(word, known, 1):
        return f"did you mean {match!r}?"
    return f"it may be one of {', '.join(sorted(known))}"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text")
    return value


def _whole(lowest: int, highest: int) -> Callable[[object], int]:
    def convert(value: object) -> int:
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError(f"is no whole number from {lowest} to {highest}")
        return value

    return convert


_DURATION = re.compile(r"(\d+|\d*\.\d+)(ms|s)?", re.ASCII)


def _seconds(value: object) -> float:
    found = None if isinstance(value, bool) else _DURATION.fullmatch(str(value))
    if not found:
        raise ValueError("is no duration such as 2, 0.5 or '100ms'")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def _pace(value: object) -> float:
    if isinstance(value, bool) or not re.fullmatch(r"\d+|\d*\.\d+", str(value), re.ASCII):
        raise ValueError("is no number such as 0, 0.5 or 1")
    return float(str(value))


def _stage(value: object) -> str:
    if value not in get_args(Stage):
        raise ValueError(f"names no stage: {_nearest(str(value), get_args(Stage))}")
    return str(value)


def _failure(value: object) -> tuple[str, str]:
    stage, _, message = _text(value).partition(":")
    return _stage(stage), message.strip()


def _steps(value: object) -> tuple[Step, ...]:
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise ValueError("is no array of tables ([[step]])")
    tables = [_converted(table, f"[[step]] {n}:", ("delay", "stdout", "stderr")) for n, table in enumerate(value, 1)]
    return tuple(Step(table.get("delay", 0), table.get("stdout", ""), table.get("stderr", "")) for table in tables)


_CONVERT: dict[str, Callable[[object], object]] = {
    "step": _steps,
    "stdout": _text,
    "stderr": _text,
    "delay": _seconds,
    "exit": _whole(0, 255),
    "signal": _whole(1, 64),
    "fail": _failure,
    "crash": _stage,
    "record": _text,
    "replay": _text,
    "pace": _pace,
}
