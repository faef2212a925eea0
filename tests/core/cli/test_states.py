from __future__ import annotations

import json
from typing import Any

import pytest

from prun.cli.ps import command_line
from prun.cli.states import health_of, state_of, status_of
from prun.metadata import ContainerRow

NOW = 1_000_000.0


def row(status: str, **columns: Any) -> ContainerRow:
    return ContainerRow("0" * 64, "web", "busybox", "", "linux", status=status, **columns)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("container", "words"),
    [
        (row("created"), "Created"),
        (row("running", started_at=NOW - 180), "Up 3 minutes"),
        (row("running", started_at=NOW - 180, health='{"Status": "healthy"}'), "Up 3 minutes (healthy)"),
        (row("running", started_at=NOW - 70, health='{"Status": "unhealthy"}'), "Up About a minute (unhealthy)"),
        (row("running", started_at=NOW, health='{"Status": "starting"}'), "Up Less than a second (health: starting)"),
        (row("running", started_at=NOW - 5, health='{"Status": "none"}'), "Up 5 seconds"),
        (row("paused", started_at=NOW - 120, health='{"Status": "healthy"}'), "Up 2 minutes (Paused)"),
        (row("stopped"), "Exited (unknown)"),
    ],
)
def test_the_status_is_dockers(container: ContainerRow, words: str) -> None:
    assert status_of(container, NOW) == words


def test_what_has_ended_says_how_and_when(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    assert status_of(row("stopped", exit_code=0, finished_at=NOW - 5), NOW) == "Exited (0) 5 seconds ago"
    assert status_of(row("restarting", exit_code=1, finished_at=NOW - 7200), NOW) == "Restarting (1) 2 hours ago"


def test_states_and_health_have_dockers_words() -> None:
    assert [state_of(row(status)) for status in ("stopped", "running", "created")] == ["exited", "running", "created"]
    assert health_of(row("running")) == "none"
    assert health_of(row("running", health=json.dumps({"Status": "unhealthy", "FailingStreak": 3}))) == "unhealthy"


def test_a_command_is_one_line() -> None:
    assert command_line(()) == ""
    assert command_line(("sh", "-c", "echo a b", "x")) == "sh -c 'echo a b' x"
