"""Sessions at a terminal, as a person drives them: ``run -it``, ``exec -it``, ``attach``."""

from __future__ import annotations

import json
import os
import signal
import termios
import time
from typing import TYPE_CHECKING

import pexpect
import pytest
from command import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command import Prun

LEAVE = "\x10\x11"  # ctrl-p ctrl-q
STOP = "\x1a"  # ctrl-z


def until(condition: Callable[[], object], timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class Person:
    """Somebody at terminals of 40 rows and 100 columns."""

    def __init__(self, prun: Prun) -> None:
        self.prun = prun
        self.children: list[pexpect.spawn] = []

    def __call__(self, *words: str) -> pexpect.spawn:
        child = pexpect.spawn(
            self.prun.words[0], [*self.prun.words[1:], *words], timeout=15, dimensions=(40, 100), echo=True
        )
        child.delaybeforesend = None
        self.children.append(child)
        return child


@pytest.fixture
def person(prun: Prun) -> Iterator[Person]:
    here = Person(prun)
    yield here
    for child in here.children:
        child.close(force=True)
    for name in prun("ps", "-aq").stdout.split():
        prun("rm", "-f", name)
    until(lambda: listed(prun.state / "exec") == [])


@pytest.fixture
def box(prun: Prun) -> str:
    """A container with a monitor."""
    done = prun("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    assert done.returncode == 0, done.stderr
    return "box"


@pytest.fixture(params=["run", "exec", "exec in --rm"])
def shell(request: pytest.FixtureRequest, person: Person, prun: Prun) -> pexpect.spawn:
    """A shell at its prompt: the container's process, or one more in a container with or without a monitor."""
    if request.param == "run":
        child = person("run", "-it", "--name", "box", "busybox", "sh")
    else:
        words = ["run", "--name", "box"]
        if request.param == "exec":
            assert prun(*words, "-d", "busybox", "sleep", "1000").returncode == 0
        else:
            person(*words, "--rm", "busybox", "sleep", "1000")
            until(lambda: status(prun, "box") == "running")
        child = person("exec", "-it", "box", "sh")
    child.expect("# ")
    return child


def status(prun: Prun, name: str) -> str:
    done = prun("inspect", "--format", "{{.State.Status}}", name)
    return done.stdout.strip()


def pid_of(prun: Prun, name: str) -> int:
    pid: int = json.loads(prun("inspect", name).stdout)[0]["State"]["Pid"]
    return pid


def runs(prun: Prun, words: str) -> bool:
    return words in prun("exec", "box", "ps", "-o", "args").stdout.splitlines()


def left(child: pexpect.spawn) -> int | None:
    child.expect(pexpect.EOF)
    child.close()
    code: int | None = child.exitstatus
    return code


def ask(shell: pexpect.spawn, line: str, answer: str) -> None:
    shell.sendline(line)
    shell.expect(f"\r\n{answer}\r\n.*# ")


def bring_back(shell: pexpect.spawn, job: str) -> None:
    shell.sendline("fg")
    shell.expect(f"{job}\r\n")
    time.sleep(0.3)  # the shell says so before it gives its terminal to the job


# Size


def test_the_size_is_there_at_the_start_and_follows(shell: pexpect.spawn) -> None:
    """450.1, 450.6: of run and of exec."""
    ask(shell, "stty size", "40 100")
    shell.setwinsize(51, 133)
    ask(shell, "sleep 0.3; stty size", "51 133")


@pytest.mark.parametrize("how", ["run", "exec"])
def test_the_first_thing_a_command_sees_is_the_size(person: Person, box: str, how: str) -> None:
    """450.1: no default size first, which a full-screen program would draw itself in."""
    for _ in range(3):
        child = person(*(["exec", "-it", box] if how == "exec" else ["run", "--rm", "-it", "busybox"]), "stty", "size")
        child.expect("40 100\r\n")
        assert left(child) == 0


def test_a_new_size_is_a_signal_to_who_is_in_the_foreground(shell: pexpect.spawn) -> None:
    shell.sendline("sh -c 'trap \"echo new; stty size; exit\" WINCH; echo rea''dy; while :; do sleep 0.1; done'")
    shell.expect("ready\r\n")
    shell.setwinsize(33, 77)
    shell.expect("new\r\n33 77\r\n.*# ")


def test_the_size_is_the_last_of_many(shell: pexpect.spawn) -> None:
    for number in range(20):
        shell.setwinsize(30 + number, 90)
    ask(shell, "sleep 0.3; stty size", "49 90")


# Keys


def test_ctrl_c_interrupts_what_is_in_the_foreground_and_nothing_else(shell: pexpect.spawn, prun: Prun) -> None:
    shell.sendline("sleep 300; echo code $?")
    until(lambda: runs(prun, "sleep 300"))
    shell.sendintr()
    shell.expect("# ")
    assert not runs(prun, "sleep 300")
    ask(shell, "echo ali''ve", "alive")
    assert status(prun, "box") == "running"


def test_ctrl_d_ends_a_shell_and_the_code_is_its(shell: pexpect.spawn) -> None:
    ask(shell, "(exit 3); echo co''de $?", "code 3")
    shell.sendline("(exit 3)")
    shell.expect("# ")
    shell.sendeof()
    assert left(shell) == 3


def test_jobs_stop_go_on_behind_and_come_back(shell: pexpect.spawn, prun: Prun) -> None:
    shell.sendline("sleep 301 &")
    shell.expect("# ")
    bring_back(shell, "sleep 301")
    shell.send(STOP)
    shell.expect(r"\[1\]\+\s+Stopped\s+sleep 301")
    ask(shell, "bg", ".*sleep 301")
    ask(shell, "jobs", r"\[1\]\+\s+Running\s+sleep 301")
    bring_back(shell, "sleep 301")
    shell.sendintr()
    shell.expect("# ")
    assert not runs(prun, "sleep 301")
    ask(shell, "jobs; echo no''ne", "none")


def test_what_is_pasted_arrives_whole_and_bytes_that_are_no_text_too(shell: pexpect.spawn) -> None:
    shell.sendline("stty -echo; cat > /pasted; stty echo; wc -lc < /pasted; tail -1 /pasted")
    shell.expect("\r\n")
    time.sleep(0.3)
    for number in range(300):
        shell.sendline(f"{number:03} " + "é" * 20)
    shell.sendline("end")
    shell.sendeof()
    shell.expect(rf"\s*301\s+{300 * 45 + 4}\r\nend\r\n")


# Leaving


def test_who_left_a_run_comes_back_and_the_output_goes_on(person: Person, prun: Prun) -> None:
    script = "i=0; while :; do echo tick-$i; i=$((i+1)); sleep 0.1; done"
    child = person("run", "-it", "--name", "box", "busybox", "sh", "-c", script)
    before = termios.tcgetattr(child.child_fd)
    child.expect("tick-2\r\n")
    child.send(LEAVE)
    assert left(child) == 0
    assert status(prun, "box") == "running"
    again = person("attach", "box")
    again.expect(r"tick-(\d+)\r\n")
    assert int(again.match.group(1)) > 2
    again.send(LEAVE)
    until(lambda: termios.tcgetattr(again.child_fd) == before)
    assert left(again) == 0
    assert status(prun, "box") == "running"


def test_who_comes_back_has_the_shell_that_he_left_at_the_size_of_his_new_terminal(person: Person, prun: Prun) -> None:
    child = person("run", "-it", "--name", "box", "busybox", "sh")
    child.expect("# ")
    ask(child, "MINE=kept; echo se''t", "set")
    child.send(LEAVE)
    assert left(child) == 0
    again = person("attach", "box")
    again.setwinsize(25, 81)
    again.sendline("")
    again.expect("# ")
    ask(again, "echo $MINE; stty size", "kept\r\n25 81")
    again.sendline("exit 6")
    assert left(again) == 6
    assert status(prun, "box") == "exited"


@pytest.mark.parametrize(("options", "keys"), [((), LEAVE), (("--detach-keys", "ctrl-x,q"), "\x18q")])
def test_who_leaves_an_exec_leaves_its_command_running(
    person: Person, prun: Prun, box: str, options: tuple[str, ...], keys: str
) -> None:
    child = person("exec", "-it", *options, box, "sh", "-c", "echo ready; sleep 2; echo > /done; sleep 302")
    before = termios.tcgetattr(child.child_fd)
    child.expect("ready\r\n")
    child.send(keys)
    until(lambda: termios.tcgetattr(child.child_fd) == before)
    assert left(child) == 0
    assert runs(prun, "sleep 2")
    until(lambda: runs(prun, "sleep 302"))
    assert prun("exec", box, "ls", "/done").returncode == 0
    assert status(prun, box) == "running"


def test_keys_that_are_not_the_ones_of_an_exec_are_its_commands(person: Person, box: str) -> None:
    script = "stty raw -echo; echo ready; head -c 3 | od -c; exit 4"
    child = person("exec", "-it", "--detach-keys", "ctrl-x,q", box, "sh", "-c", script)
    child.expect("ready")
    for key in "\x10", "\x11", "a":
        child.send(key)
        time.sleep(0.05)
    child.expect(r"020\s+021\s+a")
    assert left(child) == 4


# Full-screen programs


def test_an_editor_draws_its_screen_and_saves(shell: pexpect.spawn, prun: Prun) -> None:
    shell.sendline("vi /written")
    shell.expect_exact("\x1b[")
    shell.expect_exact("\x1b[40;1H")  # the last row of ours: its line of status
    shell.expect("/written")
    shell.send("ihello from vi")
    shell.expect("hello from vi")
    shell.send("\x1b")
    time.sleep(0.3)  # what follows an escape at once would be a key's sequence
    shell.send(":wq\r")
    shell.expect("# ")
    assert prun("exec", "box", "cat", "/written").stdout == "hello from vi\n"
    ask(shell, "echo ali''ve", "alive")


def test_an_editor_draws_itself_anew_in_a_new_size(person: Person, box: str) -> None:
    child = person("exec", "-it", box, "vi", "/written")
    child.expect_exact("\x1b[40;1H")
    child.setwinsize(20, 60)
    time.sleep(0.3)
    child.send("\x0c")  # ctrl-l: draw
    child.expect_exact("\x1b[20;1H")
    child.send(":q!\r")
    assert left(child) == 0


# Ends


def test_a_run_whose_terminal_is_closed_goes_on(person: Person, prun: Prun, box: str) -> None:
    """As docker's: the client loses its terminal, the container nothing."""
    other = person("exec", "-it", box, "sh")
    other.expect("# ")
    child = person("run", "-it", "--name", "kept", "busybox", "sh", "-c", "trap '' HUP; echo ready; sleep 303")
    child.expect("ready\r\n")
    child.close(force=True)
    time.sleep(0.5)
    assert status(prun, "kept") == "running"
    ask(other, "echo ali''ve", "alive")
    again = person("attach", "kept")
    time.sleep(0.5)
    again.send(LEAVE)
    assert left(again) == 0
    assert prun("kill", "kept").returncode == 0
    until(lambda: status(prun, "kept") == "exited")


def test_an_exec_whose_terminal_is_closed_ends_no_other(person: Person, prun: Prun, box: str) -> None:
    other = person("exec", "-it", box, "sh")
    other.expect("# ")
    child = person("exec", "-it", box, "sh")
    child.expect("# ")
    child.close(force=True)
    until(lambda: len(listed(prun.state / "exec")) == 1)
    ask(other, "echo ali''ve", "alive")
    assert status(prun, box) == "running"


def test_a_killed_container_gives_the_terminal_back(shell: pexpect.spawn, person: Person, prun: Prun) -> None:
    fresh = person("--help")
    cooked = termios.tcgetattr(fresh.child_fd)
    assert termios.tcgetattr(shell.child_fd) != cooked
    os.kill(pid_of(prun, "box"), signal.SIGKILL)
    until(lambda: termios.tcgetattr(shell.child_fd) == cooked)
    assert left(shell) == 137


@pytest.mark.parametrize("how", ["run", "exec"])
def test_a_killed_conmon_gives_the_terminals_back(person: Person, prun: Prun, how: str) -> None:
    """Of the container: whoever ran it learns no code; a session's own conmon goes with it."""
    child = person("run", "-it", "--name", "box", "busybox", "sh")
    cooked = termios.tcgetattr(child.child_fd)
    child.expect("# ")
    if how == "exec":
        child.send(LEAVE)
        assert left(child) == 0
        child = person("exec", "-it", "box", "sh")
        child.expect("# ")
    assert termios.tcgetattr(child.child_fd) != cooked
    (bundle,) = (prun.state / "bundles").iterdir()
    os.kill(int((bundle / "conmon.pid").read_text()), signal.SIGKILL)
    if how == "exec":  # the shell of the container is hung up on, and its end is the session's
        until(lambda: status(prun, "box") == "exited")
    until(lambda: termios.tcgetattr(child.child_fd) == cooked)
    assert left(child) == (137 if how == "exec" else 255)


def test_a_killed_conmon_of_an_exec_gives_the_terminal_back_and_the_container_goes_on(
    person: Person, prun: Prun, box: str
) -> None:
    child = person("exec", "-it", box, "sh")
    cooked = termios.tcgetattr(child.child_fd)
    child.expect("# ")
    (session,) = listed(prun.state / "exec")
    os.kill(int((prun.state / "exec" / session / "conmon.pid").read_text()), signal.SIGKILL)
    until(lambda: termios.tcgetattr(child.child_fd) == cooked)
    assert left(child) == 255
    assert status(prun, box) == "running"


# Streams that are no terminal


@pytest.mark.parametrize("words", [("run", "--rm", "-it", "busybox"), ("exec", "-it", "box")])
def test_it_without_a_terminal_is_refused_and_t_alone_is_not(prun: Prun, box: str, words: tuple[str, ...]) -> None:
    """450.3: podman warns; docker refuses."""
    done = prun(*words, "echo", "hello")
    assert (done.returncode, "the input device is not a TTY" in done.stderr) == (125, True)
    alone = ["-t" if word == "-it" else word for word in words]
    assert prun(*alone, "echo", "hello").stdout == "hello\r\n"
    off = [*words[:-2], "-i", *words[-1:]] if words[0] == "exec" else ["run", "--rm", "--tty=false", "-i", "busybox"]
    done = prun(*off, "echo", "hello")
    assert (done.stdout, done.stderr) == ("hello\n", "")
