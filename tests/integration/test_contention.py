"""Several commands at one container at once: one clear winner, the others say why, and nothing stays."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from command import Prun


def until(condition: Callable[[], object], timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def ends(*processes: subprocess.Popen[bytes]) -> list[tuple[int, str]]:
    """Wait for all; nobody sees a traceback, or more than one line."""
    found = []
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert err.count(b"\n") <= 1, err
        assert b"fault of prun" not in err, err
        found.append((process.returncode, err.decode()))
    return found


def stopped(prun: Prun, name: str, *options: str, code: int = 0) -> None:
    assert prun("run", "-d", "--name", name, *options, "busybox", "sh", "-c", f"exit {code}").returncode == 0
    assert prun("wait", name).stdout == f"{code}\n"


def running(prun: Prun, name: str, *options: str, command: str = "sleep 100") -> None:
    assert prun("run", "-d", "--name", name, *options, "busybox", "sh", "-c", command).returncode == 0


def names(prun: Prun) -> list[str]:
    return prun("ps", "-a", "--format", "{{.Names}}").stdout.split()


def test_the_exit_code_of_a_process_that_ends_at_once_is_never_lost(prun: Prun) -> None:
    for code in range(1, 13):
        running(prun, "quick", command=f"exit {code}")
        assert prun("wait", "quick").stdout == f"{code}\n"
        assert prun("rm", "quick").returncode == 0


@pytest.mark.slow
def test_rm_and_start_at_once(prun: Prun) -> None:
    """Either it is gone, or it runs; it is never made anew by the start."""
    for _ in range(6):
        assert prun("create", "--name", "both", "busybox", "sleep", "100").returncode == 0
        (removed, _), (started, words) = ends(prun.popen("rm", "both"), prun.popen("start", "both"))
        if removed == 0:
            assert "both" not in names(prun)
            assert started in (0, 125), words
        else:
            assert started == 0, words
            assert prun("rm", "-f", "both").returncode == 0


@pytest.mark.slow
def test_start_and_start_at_once(prun: Prun) -> None:
    for _ in range(4):
        assert prun("create", "--name", "twice", "busybox", "sleep", "100").returncode == 0
        found = ends(*(prun.popen("start", "twice") for _ in range(3)))
        assert 0 in [code for code, _ in found]
        assert all(code == 0 or "is running" in words or "is being worked on" in words for code, words in found), found
        assert prun("ps", "--format", "{{.Names}}").stdout == "twice\n"
        assert prun("rm", "-f", "twice").returncode == 0


def test_stop_and_stop_at_once(prun: Prun) -> None:
    running(prun, "halted", command="trap 'exit 3' TERM; while :; do sleep 0.05; done")
    time.sleep(0.3)
    assert [code for code, _ in ends(*(prun.popen("stop", "halted") for _ in range(4)))] == [0] * 4
    assert prun("wait", "halted").stdout == "3\n"


@pytest.mark.slow
def test_kill_and_the_end_of_the_process_itself(prun: Prun) -> None:
    chance = random.Random(1)
    for _ in range(6):
        running(prun, "racing", command="sleep 0.3; exit 4")
        time.sleep(chance.uniform(0.0, 0.4))
        ((code, words),) = ends(prun.popen("kill", "racing"))
        assert code == 0 or "is not running" in words, words
        assert prun("wait", "racing").stdout in ("4\n", "137\n")
        assert prun("rm", "racing").returncode == 0


def test_one_of_twenty_gets_the_name_of_a_detached_container(prun: Prun) -> None:
    found = ends(*(prun.popen("run", "-d", "--name", "wanted", "busybox", "sleep", "100") for _ in range(20)))
    assert sorted(code for code, _ in found) == [0] + [125] * 19
    assert all("the name 'wanted' is in use" in words for code, words in found if code)
    assert names(prun) == ["wanted"]


def test_rename_and_rm_at_once(prun: Prun) -> None:
    for _ in range(3):
        stopped(prun, "old")
        (renamed, _), (removed, words) = ends(prun.popen("rename", "old", "new"), prun.popen("rm", "old"))
        assert removed in (0, 125), words
        assert names(prun) == ([] if removed == 0 else ["new"])
        if names(prun):
            assert renamed == 0
            assert prun("rm", "new").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stop", "kill", "rm"])
def test_a_container_that_is_being_restarted_is_ended_for_good(prun: Prun, how: str) -> None:
    chance = random.Random(how)
    for _ in range(4):
        running(prun, "again", "--restart", "always", command="sleep 0.1; exit 6")
        time.sleep(chance.uniform(0.2, 1.5))
        words = {"stop": ["stop", "again"], "kill": ["kill", "again"], "rm": ["rm", "-f", "again"]}[how]
        ((code, said),) = ends(prun.popen(*words))
        assert code == 0 or "is not running" in said, said
        if how == "kill" and code:  # it waited to run again, as another command saw it
            assert prun("stop", "again").returncode == 0
        time.sleep(1.0)
        shown = prun("ps", "-a", "--format", "{{.State}}").stdout
        assert shown == ("" if how == "rm" else "exited\n")
        if how != "rm":
            assert prun("rm", "again").returncode == 0


@pytest.mark.parametrize("options", [[], ["--rm"]])
def test_five_that_wait_get_the_exit_code(prun: Prun, options: list[str]) -> None:
    running(prun, "awaited", *options, command="sleep 1; exit 9")
    waiting = [prun.popen("wait", "awaited") for _ in range(5)]
    assert [process.communicate(timeout=60)[0] for process in waiting] == [b"9\n"] * 5


def test_what_its_policy_starts_again_is_awaited_once(prun: Prun) -> None:
    running(prun, "policy", "--restart", "on-failure:1", command="sleep 0.5; exit 5")
    assert prun("wait", "policy").stdout == "5\n"
    until(lambda: prun("ps", "-a", "--format", "{{.State}} {{.Restarts}}").stdout == "exited 1\n")
    until(lambda: prun.traces()["processes"] == [])
