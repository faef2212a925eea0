"""What plugin authors are given finds what plugin authors get wrong."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from prun import hookimpl
from prun.errors import PrunError
from prun.testing import RULES, Subject, check_plugin, runtime_conformance
from prun.types import ExitStatus, Image, Mount, Platform, RunRequest, RuntimeInfo, Task
from prun_fake.scenario import parse
from prun_fake.task import FakeTask

if TYPE_CHECKING:
    import collections.abc
    from collections.abc import Generator
    from pathlib import Path

    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import Console


class Good:
    @hookimpl
    def prun_mounts(self, request: RunRequest) -> list[Mount]:
        return []

    @hookimpl
    def prun_resolve_image(self, platform: Platform, request: RunRequest) -> Image:
        raise AssertionError

    @hookimpl(wrapper=True)
    def prun_create_task(self) -> Generator[None, Task | None, Task | None]:
        return (yield)

    @hookimpl(wrapper=True)
    def prun_spec_opts(self) -> Generator[None, list[list[SpecOpt]], list[list[SpecOpt]]]:
        return (yield)

    @hookimpl(specname="prun_event")
    def whatever(self) -> None: ...

    def helper(self, anything: int = 3) -> int:
        return anything


def test_a_good_plugin_has_no_problems() -> None:
    assert check_plugin(Good()) == []
    assert check_plugin(Good) == []


def test_annotations_may_be_written_in_other_ways() -> None:
    import typing

    import prun.types

    def prun_resolve_image(request: prun.types.RunRequest) -> typing.Optional[Image]:  # noqa: UP045
        return None

    def prun_open_console(request: RunRequest) -> None:
        return None

    def prun_mounts(request: RunRequest) -> list[Mount]:
        return []

    # As in a module without ``from __future__ import annotations``: objects, not their names.
    prun_mounts.__annotations__ = {"request": RunRequest, "return": list[Mount]}

    def prun_create_task() -> collections.abc.Generator[None, Task | None, Task]:
        return (yield)

    plugin = SimpleNamespace(
        prun_resolve_image=hookimpl(prun_resolve_image),
        prun_open_console=hookimpl(prun_open_console),
        prun_mounts=hookimpl(prun_mounts),
        prun_create_task=hookimpl(prun_create_task, wrapper=True),
    )
    assert check_plugin(plugin) == []


def case(function: object, **options: object) -> object:
    return SimpleNamespace(**{function.__name__: hookimpl(function, **options)})  # type: ignore[attr-defined, call-overload]


def unknown_hook() -> object:
    def prun_nope() -> None: ...

    return case(prun_nope)


def unknown_argument() -> object:
    def prun_mounts(bundle: str) -> list[Mount]:
        return []

    return case(prun_mounts)


def keyword_arguments() -> object:
    def prun_mounts(**kwargs: object) -> list[Mount]:
        return []

    return case(prun_mounts)


def wrong_type() -> object:
    def prun_mounts(request: Image) -> list[Mount]:
        return []

    return case(prun_mounts)


def no_type() -> object:
    def prun_mounts(request) -> list[Mount]:
        return []

    return case(prun_mounts)


def default_value() -> object:
    def prun_mounts(request: RunRequest | None = None) -> list[Mount]:
        return []

    return case(prun_mounts)


def wrong_answer() -> object:
    def prun_mounts() -> tuple[Mount, ...]:
        return ()

    return case(prun_mounts)


def no_answer_type() -> object:
    def prun_mounts():
        return []

    return case(prun_mounts)


def plain_answer_of_a_wrapper() -> object:
    def prun_mounts() -> list[Mount]:
        return (yield)  # type: ignore[misc]

    return case(prun_mounts, wrapper=True)


def forgotten_wrapper() -> object:
    def prun_mounts() -> Generator[None, list[list[Mount]], list[list[Mount]]]:
        return (yield)

    return case(prun_mounts)


def coroutine() -> object:
    async def prun_event() -> None:
        await asyncio.sleep(0)

    return case(prun_event)


def unmarked() -> object:
    def prun_mounts(request: RunRequest) -> list[Mount]:
        return []

    return SimpleNamespace(prun_mounts=prun_mounts)


@pytest.mark.parametrize(
    ("plugin", "problem"),
    [
        (unknown_hook, "prun_nope: there is no such hook"),
        (unknown_argument, "prun_mounts: the hook has no argument 'bundle', it has request, image"),
        (keyword_arguments, "prun_mounts: the hook has no argument '**kwargs', it has request, image"),
        (wrong_type, "prun_mounts: argument 'request' is Image, the hook gives RunRequest"),
        (no_type, "prun_mounts: argument 'request' is not annotated, the hook gives RunRequest"),
        (default_value, "prun_mounts: argument 'request' has a default value"),
        (wrong_answer, "prun_mounts: returns tuple[Mount, ...], the hook wants list[Mount]"),
        (no_answer_type, "prun_mounts: returns not annotated, the hook wants list[Mount]"),
        (plain_answer_of_a_wrapper, "returns list[Mount], the hook wants Generator[None, list[list[Mount]], list"),
        (forgotten_wrapper, "prun_mounts: yields, but is not marked with @hookimpl(wrapper=True)"),
        (coroutine, "prun_event: is async"),
        (unmarked, "prun_mounts: not marked with @hookimpl, it would never be called"),
    ],
)
def test_a_mistake_is_named(plugin, problem: str) -> None:
    assert any(problem in found for found in check_plugin(plugin())), check_plugin(plugin())


class LosesTheExit(FakeTask):
    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        return ExitStatus(0)


class WaitsOnce(FakeTask):
    waited = False

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        first, self.waited = not self.waited, True
        return super().wait(timeout_s) if first else ExitStatus(255)


class IgnoresTheTimeout(FakeTask):
    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        return super().wait(None if timeout_s == 0.05 else timeout_s)


class CannotBeKilled(FakeTask):
    def kill(self, signal: int) -> None:
        super().kill(15)


class DiesTwice(FakeTask):
    def kill(self, signal: int) -> None:
        super().kill(signal)
        self._status = ExitStatus(128 + signal)


class DeletesOnce(FakeTask):
    deleted = False

    def delete(self) -> None:
        assert not self.deleted, "deleted twice"
        self.deleted = True
        super().delete()


class KilledTooSoonHangs(FakeTask):
    def kill(self, signal: int) -> None:
        if self._started:
            super().kill(signal)
            return
        self._scenario = self._scenario._replace(steps=(), exit=0)


class SaysNothing(FakeTask):
    def _play(self, stdout: int, stderr: int) -> None:
        self._status = ExitStatus(self._scenario.code)


class CannotBeKilledWhileOthersWait(FakeTask):
    waiting = 0

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        self.waiting += 1
        return super().wait(timeout_s) if self.waiting < 2 else ExitStatus(1)


class LeavesADescriptor(FakeTask):
    def delete(self) -> None:
        super().delete()
        left.append(os.open(os.devnull, os.O_RDONLY))


left: list[int] = []


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (KilledTooSoonHangs, "a kill while it starts ends it"),
        (SaysNothing, "everything written arrives"),
        (CannotBeKilledWhileOthersWait, "several may wait"),
        (LeavesADescriptor, "nothing is left behind"),
        (FakeTask, "stdin is what was given"),
        (FakeTask, "a missing command is said to be missing"),
        (FakeTask, "a task that was loaded can be deleted"),
        (LosesTheExit, "the exit status is the commands"),
        (LosesTheExit, "an exit right after start is not lost"),
        (WaitsOnce, "wait may be repeated"),
        (IgnoresTheTimeout, "wait ends at its timeout"),
        (CannotBeKilled, "kill ends the process"),
        (DiesTwice, "kill after the end does nothing"),
        (DeletesOnce, "delete may be repeated"),
    ],
)
def test_a_broken_task_breaks_its_rule(kind: type[FakeTask], broken: str, tmp_path: Path) -> None:
    (rule,) = (rule for rule in RULES if rule.__name__.replace("_", " ") == broken)
    with pytest.raises((AssertionError, PrunError)):
        rule(subject(kind, tmp_path))
    for fd in left:
        os.close(fd)
    left.clear()


def test_every_rule_that_does_not_hold_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        runtime_conformance(subject(FakeTask, tmp_path))
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "a task that was loaded can be deleted",
        "stdin is what was given",
        "a missing command is said to be missing",
    ]


def subject(kind: type[FakeTask], directory: Path) -> Subject:
    class Runtime:
        @hookimpl
        def prun_describe_runtime(self) -> RuntimeInfo:
            return RuntimeInfo("broken", (Platform("linux", "amd64"),), executes=False)

        @hookimpl
        def prun_create_task(self, request: RunRequest, spec: Spec, console: Console) -> Task:
            return kind(request.id, parse({}).for_command(spec["process"]["args"]), console)

    request = RunRequest("c1", "scratch", root=str(directory / "root"), state=str(directory / "state"))
    # What is still running here "sleeps" for a second: a rule that hangs is found all the same.
    return Subject(
        Runtime(),
        request,
        lambda code: ("exit", str(code)),
        lambda seconds: ("sleep", "1"),
        writes=lambda text: (text,),
    )
