"""Health checks: what is asked, what the image says, and how results become a status."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from prun import clock, health
from prun.errors import FailedPrecondition, InvalidArgument
from prun.image.config import parse_config
from prun.metadata import ContainerRow
from prun.request import fields_of
from prun.request.health import HealthRequest
from prun.state import Store
from prun.types import Image, Platform

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SECOND = 10**9


def image(**healthcheck: Any) -> Image:
    config: Any = {"Healthcheck": healthcheck} if healthcheck else {}
    return Image("img", "sha256:0", Platform("linux", "amd64"), config)


def asked(**words: Any) -> HealthRequest:
    found = fields_of(words)["health"]
    assert isinstance(found, HealthRequest)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "root"), str(tmp_path / "state")) as opened:
        yield opened


def made(store: Store, **words: Any) -> ContainerRow:
    row = ContainerRow("c" * 64, "web", "img", "", "linux", status="running")
    store.metadata.add_container(row, None)
    text = health.initial(asked(health_cmd="check", **words), image())
    store.metadata.update_container(row.id, health=text)
    return row._replace(health=text)


def checked(store: Store, row: ContainerRow, code: int | None, output: bytes = b"") -> dict[str, Any]:
    now = store.metadata.container(row.id)
    assert now is not None
    return health.check(store, now, lambda words, timeout_s: (code, output))


@pytest.mark.parametrize(
    ("words", "test"),
    [
        ("wget -q localhost", ("CMD-SHELL", "wget -q localhost")),
        ('["CMD", "a", "b"]', ("CMD", "a", "b")),
        ('["a", "b"]', ("CMD", "a", "b")),
        ('["CMD-SHELL", "a b"]', ("CMD-SHELL", "a b")),
        ("none", ("NONE",)),
    ],
)
def test_a_check_is_a_line_for_the_shell_or_a_list_of_words(words: str, test: tuple[str, ...]) -> None:
    assert asked(health_cmd=words).test == test


def test_durations_are_gos_and_bare_numbers_seconds() -> None:
    found = asked(health_cmd="x", health_interval="1m30s", health_timeout="5", health_start_period="500ms")
    assert (found.interval_ns, found.timeout_ns, found.start_period_ns) == (90 * SECOND, 5 * SECOND, SECOND // 2)
    assert asked(health_interval="disable").interval_ns == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"health_cmd": " "}, "is empty"),
        ({"health_cmd": "[1]"}, "no list of words"),
        ({"health_cmd": "["}, "no list of words"),
        ({"health_interval": "often"}, "--health-interval 'often' is no duration"),
        ({"health_interval": "-1s"}, "too short"),
        ({"health_timeout": "1us"}, "too short"),
        ({"health_retries": "0"}, "--health-retries"),
        ({"health_on_failure": "cry"}, "none, kill, restart, stop"),
        ({"no_healthcheck": True, "health_cmd": "x"}, "conflicts"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(words: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        fields_of(words)


def test_what_is_not_asked_is_the_images_and_then_the_default() -> None:
    own = image(Test=["CMD", "probe"], Interval=7 * SECOND, Retries=9)
    found = json.loads(health.initial(asked(health_timeout="2s"), own))
    assert found["Config"] == {
        "Test": ["CMD", "probe"], "Retries": 9, "Interval": 7 * SECOND, "Timeout": 2 * SECOND, "StartPeriod": 0,
        "StartInterval": 5 * SECOND,
    }  # fmt: skip
    assert (found["Status"], found["FailingStreak"], found["Log"]) == ("starting", 0, [])
    assert json.loads(health.initial(None, own))["Config"]["Timeout"] == 30 * SECOND


@pytest.mark.parametrize(
    ("request_", "own"),
    [
        (None, {}),
        (None, {"Test": ["NONE"]}),
        (None, {"Test": ["CMD"]}),
        (None, {"Test": ["EXEC", "x"]}),
        (HealthRequest(("NONE",)), {"Test": ["CMD", "x"]}),
        (HealthRequest(interval_ns=1), {}),
    ],
)
def test_where_there_is_nothing_to_check_nothing_is(request_: HealthRequest | None, own: dict[str, Any]) -> None:
    assert health.initial(request_, image(**own)) == ""


@pytest.mark.parametrize("wrong", [{"Test": "true"}, {"Test": [1]}, {"Interval": "1s"}, {"Retries": -1}, []])
def test_an_images_check_of_the_wrong_shape_is_refused(wrong: object) -> None:
    document = {"config": {"Healthcheck": wrong}, "rootfs": {"diff_ids": []}}
    with pytest.raises(InvalidArgument, match="Healthcheck"):
        parse_config(json.dumps(document).encode(), 0)


def test_it_is_unhealthy_after_so_many_failures_in_a_row(store: Store) -> None:
    row = made(store, health_retries="3")
    statuses = [checked(store, row, code)["Status"] for code in (0, 1, 1, 0, 1, 1, 1, 0)]
    assert statuses == ["healthy"] * 6 + ["unhealthy", "healthy"]
    told = [event.action for event in store.metadata.events()]
    assert told == ["health_status: healthy", "health_status: unhealthy", "health_status: healthy"]


def test_failures_while_it_starts_do_not_count_until_it_was_well_once(store: Store) -> None:
    row = made(store, health_start_period="1h", health_retries="1")
    assert [checked(store, row, code)["FailingStreak"] for code in (1, 1)] == [0, 0]
    assert [checked(store, row, code)["Status"] for code in (0, 1)] == ["healthy", "unhealthy"]


def test_a_check_that_takes_too_long_has_failed(store: Store) -> None:
    found = checked(store, made(store, health_timeout="2s"), None)
    assert (found["Log"][-1]["ExitCode"], found["Log"][-1]["Output"]) == (-1, "Health check exceeded timeout (2s)")


def test_the_log_has_the_last_five_and_a_bounded_output(store: Store) -> None:
    row = made(store)
    for number in range(7):
        found = checked(store, row, 0, f"{number}".encode() + b"\xff" * 10000)
    assert [entry["Output"][0] for entry in found["Log"]] == ["2", "3", "4", "5", "6"]
    assert len(found["Log"][0]["Output"]) == 4096


def test_the_shell_is_only_for_a_line(store: Store) -> None:
    seen: list[Sequence[str]] = []

    def probe(words: Sequence[str], timeout_s: float) -> tuple[int, bytes]:
        seen.append(words)
        return 0, b""

    row = made(store)
    health.check(store, row, probe)
    text = health.initial(asked(health_cmd='["CMD", "a", "b c"]'), image())
    health.check(store, row._replace(health=text), probe)
    assert seen == [["/bin/sh", "-c", "check"], ["a", "b c"]]


def test_what_does_not_run_or_has_no_check_is_refused(store: Store) -> None:
    row = made(store)
    with pytest.raises(FailedPrecondition, match="not running"):
        health.check(store, row._replace(status="stopped"), lambda *_: (0, b""))
    with pytest.raises(FailedPrecondition, match="no defined healthcheck"):
        health.check(store, row._replace(health=""), lambda *_: (0, b""))


def test_while_it_starts_it_is_checked_more_often(store: Store) -> None:
    row = made(store, health_interval="20s", health_start_period="1h", health_start_interval="2s")
    assert health.next_check_s(store, row.id) == 2
    checked(store, row, 0)
    assert health.next_check_s(store, row.id) == 20
    store.metadata.update_container(row.id, status="stopped")
    assert health.next_check_s(store, row.id) == 0
    assert health.next_check_s(store, "d" * 64) == 0


def test_the_clock_calls_again_until_there_is_nothing_to_check(store: Store, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    script = tmp_path / "prun"
    script.write_text(f'#!/bin/sh\necho "$@" >> {calls}\ntest $(wc -l < {calls}) -lt 3 && echo 0.01\n')
    script.chmod(0o755)
    row = made(store, health_interval="10ms")
    clock.watch(store, row, (str(script),))
    watched = store.metadata.container(row.id)
    assert watched is not None
    timer = json.loads(watched.health)["Timer"]
    deadline = time.monotonic() + 10
    while clock.is_process(timer["Pid"], timer["StartTime"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert calls.read_text().splitlines() == [f"healthcheck run --periodic {row.id}"] * 3


def test_the_clock_ends_with_the_container(store: Store) -> None:
    row = made(store, health_interval="1h")
    clock.watch(store, row, ("/bin/false",))
    watched = store.metadata.container(row.id)
    assert watched is not None
    timer = json.loads(watched.health)["Timer"]
    assert clock.is_process(timer["Pid"], timer["StartTime"])
    clock.unwatch(watched)
    deadline = time.monotonic() + 10
    while clock.is_process(timer["Pid"], timer["StartTime"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    clock.unwatch(watched)  # again: nothing


def test_a_clock_whose_pid_is_anothers_by_now_is_left_alone(store: Store) -> None:
    import os

    row = made(store)
    text = json.dumps({**json.loads(row.health), "Timer": {"Pid": os.getpid(), "StartTime": 1}})
    clock.unwatch(row._replace(health=text))  # we are still here
