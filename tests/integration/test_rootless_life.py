"""The life of containers of a real ordinary user: nothing of it needs root, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from second_user import NOTHING, SecondUser, second_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def everyone(archive: Path) -> Iterator[SecondUser]:
    with second_user(f"pruns{os.getpid()}") as made:
        done = made.prun("load", "--tag", "busybox", "-", stdin=archive.read_bytes())
        assert done.returncode == 0, done.stderr
        yield made


@pytest.fixture
def user(everyone: SecondUser) -> Iterator[SecondUser]:
    """Give the user to one test, which must leave no trace but stopped containers."""
    yield everyone
    for container in everyone.prun("ps", "-aq").stdout.split():
        assert everyone.prun("rm", "-f", container).returncode == 0
    assert everyone.settled() == NOTHING


def shown(user: SecondUser, name: str) -> str:
    return user.prun("ps", "-a", "--filter", f"name=^{name}$", "--format", "{{.State}} {{.ExitCode}}").stdout.strip()


def test_a_container_lives_without_root_as_with_it(user: SecondUser) -> None:
    script = "trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.05; done"
    done = user.prun("run", "-d", "--name", "alive", "busybox", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 10
    while user.prun("logs", "alive").stdout != "up\n":
        assert time.monotonic() < deadline
    assert shown(user, "alive") == "running 0"
    assert user.prun("exec", "alive", "id", "-u").stdout == "0\n"
    assert user.prun("stop", "alive").returncode == 0
    assert shown(user, "alive") == "exited 4"
    for words in (["start", "alive"], ["restart", "alive"]):
        assert user.prun(*words).returncode == 0
        assert shown(user, "alive") == "running 0"
    assert user.prun("kill", "alive").returncode == 0
    assert user.prun("wait", "alive").stdout == "137\n"
    assert user.prun("rm", "alive").returncode == 0
    assert user.settled() == NOTHING


def test_what_ends_at_once_keeps_its_exit_code_and_attached_starts_carry_it(user: SecondUser) -> None:
    for code in (3, 5, 7):
        assert user.prun("run", "-d", "--name", "quick", "busybox", "sh", "-c", f"exit {code}").returncode == 0
        assert user.prun("wait", "quick").stdout == f"{code}\n"
        assert user.prun("rm", "quick").returncode == 0
    assert user.prun("create", "--name", "later", "--rm", "-i", "busybox", "sh", "-c", "cat; exit 6").returncode == 0
    done = user.prun("start", "-a", "-i", "later", stdin=b"carried")
    assert (done.returncode, done.stdout) == (6, "carried")
    assert user.settled() == NOTHING


def test_a_killed_monitor_of_an_ordinary_user_s_container_leaves_it_up(user: SecondUser) -> None:
    container = user.prun("run", "-d", "--name", "alone", "busybox", "sleep", "100").stdout.strip()
    os.kill(int((user.state / "bundles" / container / "conmon.pid").read_text()), signal.SIGKILL)
    assert shown(user, "alone") == "running 0"
    assert user.prun("kill", "alone").returncode == 0
    assert shown(user, "alone") == "exited 255"
    assert user.prun("start", "alone").returncode == 0
    assert user.prun("rm", "-f", "alone").returncode == 0
    assert user.settled() == NOTHING


def test_a_restart_policy_is_followed_without_root(user: SecondUser) -> None:
    words = ["--restart", "on-failure:2", "busybox", "sh", "-c", "exit 9"]
    assert user.prun("run", "-d", "--name", "again", *words).returncode == 0
    deadline = time.monotonic() + 20
    while user.prun("ps", "-a", "--format", "{{.State}} {{.Restarts}}").stdout != "exited 2\n":
        assert time.monotonic() < deadline
    assert user.prun("rm", "again").returncode == 0
