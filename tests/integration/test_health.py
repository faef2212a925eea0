"""Health checks of real containers: the clock, the status, what is done on failure, and that nothing stays."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from running import made_image

from prun.state import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Prun

OFTEN = ("--health-interval", "100ms", "--health-retries", "2")


def until(condition: Callable[[], object], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def state_of(prun: Prun, name: str) -> Any:
    return json.loads(prun("inspect", name).stdout)[0]["State"]


def health_of(prun: Prun, name: str) -> str:
    return str(state_of(prun, name)["Health"]["Status"])


def run(prun: Prun, name: str, *options: str, command: tuple[str, ...] = ("sleep", "100")) -> None:
    done = prun("run", "-d", "--name", name, *options, "busybox", *command)
    assert done.returncode == 0, done.stderr


def test_it_becomes_unhealthy_and_well_again(prun: Prun, tmp_path: Path) -> None:
    check = ("--health-cmd", "echo looked; test -e /shared/well", "-v", f"{tmp_path}:/shared")
    run(prun, "web", *OFTEN, *check)
    for status in ("unhealthy", "healthy", "unhealthy", "healthy"):
        if status == "healthy":
            (tmp_path / "well").touch()
        else:
            (tmp_path / "well").unlink(missing_ok=True)
        until(lambda status=status: health_of(prun, "web") == status)  # type: ignore[misc]
    assert "(healthy)" in prun("ps").stdout
    log = state_of(prun, "web")["Health"]["Log"]
    assert log[-1]["Output"] == "looked\n"
    assert len(log) <= 5


def test_an_images_own_check_is_run_also_in_the_foreground(prun: Prun, tmp_path: Path) -> None:
    image = made_image(tmp_path, Healthcheck={"Test": ["CMD", "true"], "Interval": 100_000_000})
    process = prun.popen("run", "--rm", "--name", "web", image, "sleep", "100")
    until(lambda: "(healthy)" in prun("ps").stdout)
    assert prun("kill", "web").returncode == 0
    process.communicate(timeout=20)
    run_without = prun("run", "-d", "--name", "not", "--no-healthcheck", image, "sleep", "100")
    assert run_without.returncode == 0
    assert "Health" not in state_of(prun, "not")


def test_a_check_by_hand_says_how_it_is(prun: Prun) -> None:
    run(prun, "web", "--health-cmd", "test $WELL = yes", "--health-interval", "disable", "-e", "WELL=yes")
    run(prun, "ill", "--health-cmd", "exit 7", "--health-interval", "disable", "--health-retries", "1")
    done = prun("healthcheck", "run", "web")
    assert (done.returncode, done.stdout) == (0, "")
    done = prun("healthcheck", "run", "ill")
    assert (done.returncode, done.stdout) == (1, "unhealthy\n")
    run(prun, "none")
    assert prun("healthcheck", "run", "none").returncode == 125
    assert prun("stop", "-t", "0", "web").returncode == 0
    assert "not running" in prun("healthcheck", "run", "web").stderr


def test_a_check_that_takes_too_long_is_ended(prun: Prun) -> None:
    run(prun, "web", "--health-cmd", "sleep 4716", "--health-timeout", "200ms", "--health-interval", "disable")
    began = time.monotonic()
    assert prun("healthcheck", "run", "web").returncode == 1
    assert time.monotonic() - began < 10
    assert "exceeded timeout" in state_of(prun, "web")["Health"]["Log"][-1]["Output"]
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert b"sleep\x004716\x00" not in lines


def test_on_failure_it_is_killed_stopped_or_restarted(prun: Prun) -> None:
    for action in ("kill", "stop", "restart"):
        run(prun, action, *OFTEN, "--health-cmd", "false", "--health-on-failure", action, "--stop-timeout", "0")
    until(lambda: "Exited (137)" in prun("ps", "-a", "--filter", "name=kill").stdout)
    until(lambda: "Exited (137)" in prun("ps", "-a", "--filter", "name=stop").stdout)
    first = state_of(prun, "restart")["StartedAt"]
    until(lambda: state_of(prun, "restart")["StartedAt"] != first)


def test_a_paused_container_is_not_checked(prun: Prun) -> None:
    run(prun, "web", *OFTEN, "--health-cmd", "true")
    until(lambda: health_of(prun, "web") == "healthy")
    assert prun("pause", "web").returncode == 0
    time.sleep(0.5)
    before = state_of(prun, "web")["Health"]["Log"]
    time.sleep(0.5)
    assert state_of(prun, "web")["Health"]["Log"] == before
    assert prun("unpause", "web").returncode == 0
    until(lambda: state_of(prun, "web")["Health"]["Log"] != before)


def test_a_stopped_container_has_no_clock_and_a_started_one_has(prun: Prun) -> None:
    run(prun, "web", *OFTEN, "--health-cmd", "true", "--stop-timeout", "0")
    until(lambda: health_of(prun, "web") == "healthy")
    assert prun("stop", "web").returncode == 0
    until(lambda: not prun.traces()["processes"])
    assert prun("start", "web").returncode == 0
    until(lambda: health_of(prun, "web") == "healthy")


def test_the_events_tell_of_changes(prun: Prun) -> None:
    run(prun, "web", *OFTEN, "--health-cmd", "true")
    until(lambda: health_of(prun, "web") == "healthy")
    with Store(str(prun.root), str(prun.state)) as store:
        told = [event for event in store.metadata.events() if event.action.startswith("health_status")]
    assert [(event.action, event.attributes["name"]) for event in told][-1] == ("health_status: healthy", "web")
