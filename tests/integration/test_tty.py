"""A terminal, as a person uses it (S2)."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import termios
from typing import TYPE_CHECKING

import pexpect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from command import Prun

import pytest


@pytest.fixture
def shell(prun: Prun) -> Iterator[pexpect.spawn]:
    child = pexpect.spawn(
        prun.words[0], [*prun.words[1:], "run", "--rm", "-it", "busybox", "sh"], dimensions=(40, 100), timeout=20
    )
    child.expect("# ")
    yield child
    child.close(force=True)


def test_the_process_has_a_terminal_of_our_size(shell: pexpect.spawn) -> None:
    shell.sendline("test -t 0 && test -t 1 && test -t 2 && echo all-ttys; echo $TERM; stty size")
    shell.expect("all-ttys\r\nxterm\r\n40 100\r\n")


def test_a_new_size_is_passed_on(shell: pexpect.spawn) -> None:
    shell.setwinsize(50, 132)
    shell.sendline("sleep 0.3; stty size")
    shell.expect("50 132\r\n")


def test_ctrl_c_reaches_the_process_and_not_prun(shell: pexpect.spawn) -> None:
    shell.sendline("sleep 100; echo after $?")
    shell.expect("sleep 100")
    os.sched_yield()
    shell.sendline("")
    shell.sendintr()
    shell.expect("# ")
    shell.sendline("echo alive")
    shell.expect("alive\r\n")


def test_the_exit_code_and_the_callers_terminal_come_back(shell: pexpect.spawn) -> None:
    shell.sendline("exit 7")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 7


@pytest.mark.parametrize("ending", ["exit", "failure", "kill"])
def test_the_callers_modes_are_restored_whatever_happens(prun: Prun, ending: str) -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    command = {"exit": ["true"], "failure": ["nope"], "kill": ["sleep", "100"]}[ending]
    process = subprocess.Popen(
        [*prun.words, "run", "--rm", "-it", "busybox", *command], stdin=slave, stdout=slave, stderr=slave
    )
    if ending == "kill":
        import time

        deadline = time.monotonic() + 10
        while termios.tcgetattr(slave) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert termios.tcgetattr(slave) != before
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)  # sleep as pid 1 ignores it
        time.sleep(0.2)
        for row in prun("ps", "-q").stdout.split():
            prun("rm", "-f", row)
    assert process.wait(20) == {"exit": 0, "failure": 127, "kill": 137}[ending]
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_a_terminal_without_one_of_ours_is_refused_when_interactive(prun: Prun) -> None:
    done = prun("run", "--rm", "-it", "busybox", "true")
    assert done.returncode == 125
    assert "the input device is not a TTY" in done.stderr


def test_a_terminal_may_be_had_without_stdin(prun: Prun) -> None:
    assert prun("run", "--rm", "-t", "busybox", "sh", "-c", "test -t 1 && echo yes").stdout == "yes\r\n"
