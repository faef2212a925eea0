"""How a run begins and ends: init, time limit, id files, attached streams, leaving, descriptors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command import Prun


def until(condition: Callable[[], object], timeout_s: float = 15) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def state_of(prun: Prun, name: str) -> dict[str, object]:
    state: dict[str, object] = json.loads(prun("inspect", name).stdout)[0]["State"]
    return state


# --init


def test_the_init_is_process_1_and_reaps_what_the_command_leaves(prun: Prun, tmp_path: Path) -> None:
    """``sleep`` as process 1 would have a zombie for a child for as long as it runs."""
    script = "sh -c 'sleep 0.2 & exit 0'; exec sleep 60"
    process = prun.popen("run", "--rm", "--init", "--pidfile", str(tmp_path / "pid"), "busybox", "sh", "-c", script)
    until((tmp_path / "pid").exists)
    pid = (tmp_path / "pid").read_text()
    until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"/run/prun-init\0--\0sh\0"))
    children = Path(f"/proc/{pid}/task/{pid}/children")
    until(lambda: len(children.read_text().split()) == 2)  # the command, and what it has left
    until(lambda: len(children.read_text().split()) == 1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)


def test_the_init_leaves_no_file_in_the_image(prun: Prun) -> None:
    assert prun("run", "--name", "kept", "--init", "busybox", "true").returncode == 0
    found = subprocess.run(
        ["find", str(prun.root / "snapshots" / "active"), "-name", "*init*"], capture_output=True, check=True
    )
    assert found.stdout == b""


@pytest.mark.parametrize("tty", [[], ["-t"]])
def test_behind_the_init_the_exit_code_is_the_commands(prun: Prun, tty: list[str]) -> None:
    def code(*command: str) -> int:
        return prun("run", "--rm", *tty, "--init", "busybox", *command).returncode

    assert code("sh", "-c", "exit 7") == 7
    assert code("sh", "-c", "kill -9 $$") == 137
    assert code("nope") == 127
    assert code("/etc") == 126


def test_the_init_passes_signals_on(prun: Prun) -> None:
    process = prun.popen("run", "--rm", "--init", "busybox", "sleep", "60")  # which, as process 1, ignores them
    until(lambda: prun("ps", "-q").stdout)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143


# --timeout


def test_when_the_time_is_up_the_container_is_killed_and_prun_says_so(prun: Prun) -> None:
    before = time.monotonic()
    done = prun("run", "--name", "late", "--timeout", "2", "busybox", "sh", "-c", "echo out; sleep 60")
    assert 2 <= time.monotonic() - before < 20
    assert (done.returncode, done.stdout) == (137, "out\n")
    assert done.stderr == "prun: warning: container late was killed: it ran for 2 s (--timeout)\n"
    assert state_of(prun, "late")["ExitCode"] == 137


def test_who_is_done_in_time_is_left_alone(prun: Prun) -> None:
    done = prun("run", "--rm", "--timeout", "30", "busybox", "sh", "-c", "exit 3")
    assert (done.returncode, done.stderr) == (3, "")
    assert prun("run", "--rm", "--timeout", "0", "busybox", "true").returncode == 0


def test_the_library_says_that_the_time_was_up(prun: Prun) -> None:
    from prun.api import Runner

    runner = Runner(root=str(prun.root), state=str(prun.state), plugins=[])
    result = runner.run("busybox", ["sh", "-c", "echo out; sleep 60"], timeout=0.5)
    assert (result.exit_code, result.timed_out, result.stdout) == (137, True, b"out\n")
    assert not runner.run("busybox", ["true"], timeout=30).timed_out


# --cidfile, --pidfile


def test_the_id_file_is_written_once_and_stays(prun: Prun, tmp_path: Path) -> None:
    path = tmp_path / "cid"
    assert prun("run", "--name", "kept", "--cidfile", str(path), "busybox", "true").returncode == 0
    assert path.read_text() == json.loads(prun("inspect", "kept").stdout)[0]["Id"]
    assert len(path.read_text()) == 64
    done = prun("run", "--rm", "--cidfile", str(path), "busybox", "echo", "ran")
    assert (done.returncode, done.stdout) == (125, "")
    assert f"container ID file found, make sure the other container isn't running or delete {path}" in done.stderr
    assert prun("rm", "kept").returncode == 0
    assert path.exists()


@pytest.mark.parametrize(("command", "left"), [("true", ["cid"]), ("nope", [])])
def test_the_id_file_stays_after_rm_too_and_goes_when_the_run_fails(
    prun: Prun, tmp_path: Path, command: str, left: list[str]
) -> None:
    prun("run", "--rm", "--cidfile", str(tmp_path / "cid"), "busybox", command)
    assert os.listdir(tmp_path) == left


@pytest.mark.parametrize("tty", [[], ["-t"]])
def test_the_pid_file_names_the_containers_process(prun: Prun, tmp_path: Path, tty: list[str]) -> None:
    path = tmp_path / "pid"
    process = prun.popen("run", "--rm", *tty, "--name", "named", "--pidfile", str(path), "busybox", "sleep", "60")
    until(path.exists)
    pid = int(path.read_bytes())
    until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0060\0")
    assert state_of(prun, "named")["Pid"] == pid
    os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode == 137


# -a


@pytest.mark.parametrize(
    ("words", "out", "err"),
    [
        ([], "out\n", "err\n"), (["-a", "stdout"], "out\n", ""), (["-a", "STDERR"], "", "err\n"),
        (["-a", "stdin"], "ID\n", ""), (["-i", "-a", "stdout"], "inout\n", ""), (["-i", "-a", "stdin"], "ID\n", ""),
        (["-a", "stdout", "-a", "stderr"], "out\n", "err\n"),
    ],
)  # fmt: skip
def test_what_is_not_attached_goes_nowhere(prun: Prun, words: list[str], out: str, err: str) -> None:
    script = "cat; echo out; echo err >&2; exit 5"
    done = prun("run", "--rm", "--id", "ID", *words, "busybox", "sh", "-c", script, stdin=b"in")
    assert (done.returncode, done.stdout, done.stderr) == (5, out, err)


def test_of_a_terminal_there_is_only_stdout(prun: Prun) -> None:
    assert prun("run", "--rm", "-t", "-a", "stdout", "busybox", "echo", "out").stdout == "out\r\n"
    assert prun("run", "--rm", "-t", "-a", "stderr", "busybox", "echo", "out").stdout == ""


# --detach-keys


class Terminal:
    """A terminal with ``prun run -it`` on it."""

    def __init__(self, prun: Prun) -> None:
        self.prun = prun
        self.children: list[pexpect.spawn] = []

    def __call__(self, *words: str) -> pexpect.spawn:
        child = pexpect.spawn(self.prun.words[0], [*self.prun.words[1:], "run", "-it", *words], timeout=20)
        child.delaybeforesend = None
        self.children.append(child)
        return child


@pytest.fixture
def terminal(prun: Prun) -> Iterator[Terminal]:
    here = Terminal(prun)
    yield here
    for child in here.children:
        child.close(force=True)
    for name in prun("ps", "-aq").stdout.split():
        prun("rm", "-f", name)


def left(child: pexpect.spawn) -> int | None:
    child.expect(pexpect.EOF)
    child.close()
    code: int | None = child.exitstatus
    return code


def test_who_leaves_gets_0_and_his_terminal_and_the_container_goes_on(prun: Prun, terminal: Terminal) -> None:
    import termios

    child = terminal("--name", "left", "busybox", "sh", "-c", "echo ready; sleep 2; echo unseen; exit 5")
    before = termios.tcgetattr(child.child_fd)
    child.expect("ready\r\n")
    child.send("\x10\x11")
    until(lambda: termios.tcgetattr(child.child_fd) == before)
    assert left(child) == 0
    assert b"unseen" not in child.before
    assert state_of(prun, "left")["Status"] == "running"
    until(lambda: state_of(prun, "left")["Status"] == "exited")
    assert state_of(prun, "left")["ExitCode"] == 5


def test_a_container_that_was_left_writes_as_much_as_it_likes_and_is_removed_at_its_end(
    prun: Prun, terminal: Terminal
) -> None:
    script = "echo ready; sleep 0.5; i=0; while test $i -lt 20000; do echo $i; i=$((i+1)); done"
    child = terminal("--rm", "--name", "left", "busybox", "sh", "-c", script)
    child.expect("ready\r\n")
    child.send("\x10\x11")
    assert left(child) == 0
    until(lambda: prun("ps", "-aq").stdout == "", 30)


def test_a_container_that_was_left_can_be_ended(prun: Prun, terminal: Terminal) -> None:
    child = terminal("--name", "left", "busybox", "sh")
    child.expect("# ")
    child.send("\x10\x11")
    assert left(child) == 0
    assert prun("rm", "-f", "left").returncode == 0
    assert prun("ps", "-aq").stdout == ""


def test_keys_that_are_not_all_of_them_reach_the_process(prun: Prun, terminal: Terminal) -> None:
    script = "stty raw -echo; echo ready; busybox head -c 4 | busybox od -c; exit 3"
    child = terminal("--rm", "busybox", "sh", "-c", script)
    child.expect("ready")
    for key in "\x10", "a", "\x11", "b":
        child.send(key)
        time.sleep(0.05)
    child.expect(r"020\s+a\s+021\s+b")
    assert left(child) == 3


def test_other_keys_may_be_chosen_and_none(prun: Prun, terminal: Terminal) -> None:
    child = terminal("--detach-keys", "x,ctrl-a", "--name", "chosen", "busybox", "sh")
    child.expect("# ")
    child.send("x\x01")
    assert left(child) == 0
    assert state_of(prun, "chosen")["Status"] == "running"
    script = "stty raw -echo; echo ready; read -n 2 x; exit 4"
    child = terminal("--detach-keys", "", "--rm", "busybox", "sh", "-c", script)
    child.expect("ready")
    child.send("\x10\x11")
    assert left(child) == 4


def test_a_killed_prun_is_as_one_who_left(prun: Prun, terminal: Terminal) -> None:
    """As with docker, whose client may die."""
    child = terminal("--name", "left", "busybox", "sh")
    child.expect("# ")
    child.kill(signal.SIGKILL)
    until(lambda: not child.isalive())
    time.sleep(0.5)
    assert state_of(prun, "left")["Status"] == "running"
    assert prun("rm", "-f", "left").returncode == 0


def test_who_is_left_by_his_monitor_gets_his_terminal_back(prun: Prun, terminal: Terminal) -> None:
    """The container's terminal ends with conmon, which holds it; nobody knows how the process ended."""
    import termios

    child = terminal("--name", "killed", "busybox", "sh")
    before = termios.tcgetattr(child.child_fd)
    child.expect("# ")
    (bundle,) = (prun.state / "bundles").iterdir()
    os.kill(int((bundle / "conmon.pid").read_text()), signal.SIGKILL)
    until(lambda: termios.tcgetattr(child.child_fd) == before)
    assert left(child) == 255
    assert "Exited (255)" in prun("ps", "-a").stdout


def test_a_signal_to_prun_reaches_the_process(prun: Prun, terminal: Terminal) -> None:
    script = "trap 'echo caught; exit 6' TERM; echo ready; while :; do sleep 0.1; done"
    child = terminal("--rm", "busybox", "sh", "-c", script)
    child.expect("ready")
    child.kill(signal.SIGTERM)
    child.expect("caught")
    assert left(child) == 6


# --sig-proxy


def test_a_signal_that_is_not_passed_on_ends_prun_and_not_the_container(prun: Prun) -> None:
    process = prun.popen("run", "--name", "alone", "--sig-proxy=false", "busybox", "sh", "-c", "sleep 2; exit 4")
    until(lambda: prun("ps", "-q").stdout)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    assert state_of(prun, "alone")["Status"] == "running"
    until(lambda: state_of(prun, "alone")["Status"] == "exited")
    assert state_of(prun, "alone")["ExitCode"] == 4
    process.communicate(timeout=10)


def test_without_signals_a_run_is_as_any_other(prun: Prun) -> None:
    done = prun("run", "--rm", "-i", "--sig-proxy=false", "busybox", "sh", "-c", "cat; exit 4", stdin=b"in")
    assert (done.returncode, done.stdout, done.stderr) == (4, "in", "")
    done = prun("run", "--rm", "--sig-proxy=false", "busybox", "nope")
    assert (done.returncode, done.stderr.count("\n")) == (127, 1)


# --preserve-fds


@pytest.mark.parametrize("two_step", [False, True])
def test_the_descriptors_that_were_asked_for_are_passed_on_and_no_other(
    prun: Prun, tmp_path: Path, two_step: bool
) -> None:
    pid_file = f"--pidfile {tmp_path}/pid" if two_step else ""
    command = " ".join(prun.words)
    script = f"{command} run --rm --preserve-fds 2 {pid_file} busybox sh -c 'cat <&3; cat <&4; ls /proc/self/fd'"
    done = subprocess.run(
        ["bash", "-c", f"{script} 3<<<three 4<<<four 5</etc/passwd 9</"], capture_output=True, text=True, check=False
    )
    lines = done.stdout.split()
    assert lines[:2] == ["three", "four"], done.stderr
    assert [number for number in lines[2:] if number not in ("0", "1", "2", "3", "4")] in (["5"], ["6"])  # ls's own


def test_a_descriptor_that_is_not_open_is_refused(prun: Prun) -> None:
    done = prun("run", "--rm", "--preserve-fds", "1", "busybox", "echo", "ran")
    assert (done.returncode, done.stdout) == (125, "")
    assert "--preserve-fds 1: descriptor 3 is not open" in done.stderr


# --stop-signal, --pull, -q


def test_the_stop_signal_is_in_the_record(prun: Prun) -> None:
    assert prun("run", "--name", "a", "--stop-signal", "int", "busybox", "true").returncode == 0
    assert prun("run", "--name", "b", "busybox", "true").returncode == 0
    shown = [json.loads(prun("inspect", name).stdout)[0]["Config"]["StopSignal"] for name in ("a", "b")]
    assert shown == ["SIGINT", "SIGTERM"]


def test_an_image_that_is_here_is_not_pulled(prun: Prun) -> None:
    for policy in ("missing", "never"):
        assert prun("run", "--rm", "-q", "--pull", policy, "busybox", "echo", "ran").stdout == "ran\n"
    done = prun("run", "--rm", "--pull", "never", "nope", "true")
    assert done.returncode == 125
    assert "`prun pull nope`" in done.stderr
