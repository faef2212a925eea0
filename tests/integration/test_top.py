"""``prun top``, read from outside; bats 085.1."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from running import refusal, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from command import Prun


@pytest.fixture
def web(prun: Prun) -> Iterator[int]:
    """A container with three processes; gives the pid of its first."""
    script = "sleep 4721 & sleep 4722 & echo up; wait"
    assert prun("run", "-d", "--name", "web", "busybox", "sh", "-c", script).returncode == 0
    yield int(json.loads(prun("inspect", "web").stdout)[0]["State"]["Pid"])
    prun("rm", "-f", "web")


def rows(prun: Prun, *words: str) -> list[list[str]]:
    done = prun("top", "web", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return [line.split() for line in done.stdout.splitlines()]


def test_without_more_words_it_is_dockers(prun: Prun, web: int) -> None:
    heading, first, *others = rows(prun)
    assert heading == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert (first[0], int(first[1]), first[5]) == ("0", web, "?")
    assert sorted(" ".join(row[7:]) for row in others) == ["sleep 4721", "sleep 4722"]
    assert {int(row[2]) for row in others} == {web}


@pytest.mark.parametrize("words", [("pid,ppid,args",), ("pid", "ppid", "args"), ("pid ppid args",)])
def test_columns_are_podmans_with_the_containers_pids(prun: Prun, web: int, words: tuple[str, ...]) -> None:
    heading, first, *others = rows(prun, *words)
    assert heading == ["PID", "PPID", "CMD"]
    assert first[:2] == ["1", "0"]
    assert {row[1] for row in others} == {"1"}


@pytest.mark.parametrize("words", [("-eo", "pid,comm"), ("-eo", "pid comm"), ("-eo pid,comm",)])
def test_options_of_ps_are_for_ps(prun: Prun, web: int, words: tuple[str, ...]) -> None:
    heading, *others = rows(prun, *words)
    assert heading == ["PID", "COMMAND"]
    assert sorted(row[1] for row in others) == ["sh", "sleep", "sleep"]
    assert str(web) in {row[0] for row in others}


def test_bsd_options_too(prun: Prun, web: int) -> None:
    heading, *others = rows(prun, "aux")
    assert heading[:2] == ["USER", "PID"]
    assert len(others) == 3


def test_a_container_in_the_foreground_without_a_monitor_has_processes_too(prun: Prun) -> None:
    with running(prun, "direct", command="echo up; sleep 4723"):
        done = prun("top", "direct", "pid,comm")
    assert done.stdout.split()[:2] == ["PID", "COMMAND"]
    assert "1" in done.stdout.split()


def test_what_cannot_be_shown_is_refused(prun: Prun, web: int) -> None:
    assert "unknown column 'colour'" in refusal(prun("top", "web", "pid,colour"))
    assert "shows no column PID" in refusal(prun("top", "web", "-eo", "comm"))
    assert "ps -Q" in refusal(prun("top", "web", "-Q"))
    assert prun("stop", "-t", "0", "web").returncode == 0
    assert "is not running" in refusal(prun("top", "web"))
    assert "no such container" in refusal(prun("top", "nope"))


def test_a_name_that_steers_a_terminal_is_shown_escaped(prun: Prun) -> None:
    words = ("sh", "-c", "echo up; sleep 4724; :", "\x1b]0;x\x07")
    assert prun("run", "-d", "--name", "web", "busybox", *words).returncode == 0
    try:
        assert "\\x1b]0;x" in prun("top", "web").stdout
        assert "\x1b" not in prun("top", "web", "-ef").stdout
    finally:
        prun("rm", "-f", "web")
