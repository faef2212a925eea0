"""Containers with a terminal, seen from a terminal: a small script runs them, pexpect is its terminal."""

from __future__ import annotations

import os
import re
import signal
import sys
import termios
import time
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

import prun_linux
from prun.errors import InvalidArgument
from prun.types import ExitStatus, RunRequest

from .conftest import BINARY, make_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Machine

pytestmark = pytest.mark.root

SCRIPT = """
import json, signal, sys
sys.path[:0] = {path!r}
import prun_linux
from prun.types import RunRequest
request = RunRequest({id!r}, args=("-",), state={state!r}, terminal=True, interactive={interactive},
                     options={{"binary": {binary!r}}})
spec = json.load(open({bundle!r} + "/config.json"))
with prun_linux.prun_open_console(request) as console:
    task = prun_linux.prun_create_task(request, {bundle!r}, spec, console)
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: task.kill(number))
        with console.attach(task):
            task.start()
            {body}
            code = task.wait().code
    finally:
        task.delete()
print("code", code)
sys.exit(code)
"""


class Terminal:
    """Starts containers on a terminal of their own."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.spawned: list[pexpect.spawn[str]] = []

    def __call__(self, *args: str, interactive: bool = True, body: str = "pass", **fields: Any) -> pexpect.spawn[str]:
        request = self.machine.request(*args, terminal=True, interactive=interactive)
        spec = make_spec(request)
        spec["process"]["terminal"] = True
        bundle = self.machine.bundle(request, spec)
        paths = {"path": sys.path, "bundle": bundle, "state": request.state, "id": request.id}
        code = SCRIPT.format(interactive=interactive, binary=BINARY, body=body, **paths)
        child = pexpect.spawn(sys.executable, ["-c", code], encoding="utf-8", timeout=20, **fields)
        child.delaybeforesend = None
        self.spawned.append(child)
        return child


@pytest.fixture
def terminal(machine: Machine) -> Iterator[Terminal]:
    here = Terminal(machine)
    yield here
    for child in here.spawned:
        child.close(force=True)


def finish(child: pexpect.spawn[str]) -> int | None:
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus


def test_the_process_has_a_terminal_of_the_callers_size(terminal: Terminal) -> None:
    child = terminal("sh", "-c", "tty; stty size; echo $TERM; exit 5", dimensions=(33, 77))
    child.expect("/dev/pts/0\r\n33 77\r\nxterm\r\ncode 5")
    assert finish(child) == 5


def test_the_size_follows_the_callers(terminal: Terminal) -> None:
    child = terminal(
        "sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done", dimensions=(24, 80)
    )
    child.expect("ready")
    child.setwinsize(40, 100)
    child.expect("40 100")
    child.kill(signal.SIGTERM)
    child.sendcontrol("c")
    assert finish(child) == 130


def test_keys_arrive_and_ctrl_c_is_one_of_them(terminal: Terminal) -> None:
    child = terminal("sh", "-c", "trap 'echo caught; exit 9' INT; read line; echo got $line; read line")
    child.sendline("hello")
    child.expect("got hello")
    child.sendcontrol("c")
    child.expect("caught")
    assert finish(child) == 9


def test_without_interactive_ctrl_c_is_a_signal_and_stdin_is_not_read(terminal: Terminal) -> None:
    child = terminal(
        "sh", "-c", "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done", interactive=False
    )
    child.expect("ready")
    child.sendcontrol("c")
    child.expect("caught")
    assert finish(child) == 9


def test_the_callers_terminal_is_raw_meanwhile_and_as_before_afterwards(terminal: Terminal) -> None:
    child = terminal("sh", "-c", "echo ready; read line", echo=True)
    before = termios.tcgetattr(child.child_fd)
    child.expect("ready")
    assert not termios.tcgetattr(child.child_fd)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    child.sendline("x")
    child.expect("code 0")
    assert termios.tcgetattr(child.child_fd) == before
    assert finish(child) == 0


def test_the_callers_terminal_is_restored_after_an_exception(terminal: Terminal) -> None:
    child = terminal("sleep", "60", body="raise RuntimeError('no')")
    before = termios.tcgetattr(child.child_fd)
    child.expect("RuntimeError: no")
    assert termios.tcgetattr(child.child_fd) == before
    assert finish(child) == 1


def test_everything_that_was_written_arrives_before_the_end(terminal: Terminal) -> None:
    child = terminal("sh", "-c", "seq 1 50000; echo last")
    child.expect("last\r\ncode 0", timeout=30)
    lines = [line for line in child.before.split("\r\n") if line]
    assert lines == [str(number) for number in range(1, 50001)]
    assert finish(child) == 0


def test_an_exit_right_after_the_start_still_delivers_the_output(terminal: Terminal) -> None:
    for _ in range(10):
        child = terminal("echo", "hello")
        child.expect("hello\r\ncode 0")
        assert finish(child) == 0


def test_a_megabyte_can_be_pasted(terminal: Terminal) -> None:
    size = 1 << 20
    child = terminal("sh", "-c", f"stty raw -echo; echo ready; head -c {size} | md5sum")
    child.expect("ready")
    line = "0123456789abcde\n" * (size // 16)
    child.send(line)
    import hashlib

    child.expect(hashlib.md5(line.encode()).hexdigest(), timeout=60)
    child.expect("code 0")


def test_a_megabyte_that_nobody_reads_does_not_keep_the_container_from_ending(terminal: Terminal) -> None:
    child = terminal("sh", "-c", "stty raw -echo; echo ready; sleep 0.5; exit 3")
    child.expect("ready")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "timeout", 10)
        os.set_blocking(child.child_fd, False)
        sent = 0
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            try:
                sent += os.write(child.child_fd, b"x" * 65536)
            except BlockingIOError:
                time.sleep(0.01)
        os.set_blocking(child.child_fd, True)
    child.expect("code 3")
    assert finish(child) == 3


def test_there_must_be_a_terminal_to_read_from(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.isatty", lambda fd: False)
    with pytest.raises(InvalidArgument, match="the input device is not a TTY"):
        prun_linux.prun_open_console(machine.request("sh", terminal=True, interactive=True))


def test_bytes_for_stdin_and_a_terminal_exclude_each_other(machine: Machine) -> None:
    with pytest.raises(InvalidArgument, match="terminal"):
        prun_linux.prun_open_console(machine.request("sh", terminal=True, stdin=b"x"))


def test_without_a_terminal_the_defaults_console_is_used() -> None:
    assert prun_linux.prun_open_console(RunRequest("c1")) is None


def test_the_output_of_a_terminal_can_be_captured(machine: Machine) -> None:
    def patch(spec: Any) -> None:
        spec["process"]["terminal"] = True

    request = machine.request("sh", terminal=True, capture=True)
    console = prun_linux.prun_open_console(request)
    assert console
    with machine.task("sh", "-c", "tty; tty >&2", console=console, patch=patch) as task, console.attach(task):
        task.start()
        assert task.wait() == ExitStatus(0)
    assert console.output() == (b"/dev/pts/0\r\n/dev/pts/0\r\n", b"")


def test_a_state_directory_of_any_length_will_do(machine: Machine) -> None:
    machine.state = machine.state / ("d" * 200)
    machine.state.mkdir()
    test_the_output_of_a_terminal_can_be_captured(machine)
    assert not [name for name in os.listdir(machine.state) if re.search("console", name)]


def test_a_console_that_is_never_attached_leaves_nothing(machine: Machine) -> None:
    console = prun_linux.prun_open_console(machine.request("sh", terminal=True))
    assert console
    with console:
        assert os.path.exists(console.socket)
    assert os.listdir(machine.state) == []
