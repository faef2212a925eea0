"""Further processes in a container that runs (``prun exec``), without the pipeline; test_crun.py runs it for crun."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

import prun_linux
from prun.carrying import Caller, carry
from prun.console import Captured
from prun.errors import CommandNotFound, CommandNotInvocable, FailedPrecondition, InvalidArgument, NotFound
from prun.live import ExecRequest
from prun.types import ExitStatus

from .test_monitored import Unused, made

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.live import LiveTask, Session

    from .conftest import Machine

pytestmark = pytest.mark.root
DEFAULT_CAPS = "00000000a80425fb"


class Place:
    """A container that runs, and directories for what is executed in it."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self.id = machine.ids[-1]
        self.task = cast("LiveTask", prun_linux.prun_load_task(machine.container(self.id)))
        self.rootfs = machine.state / "bundles" / self.id / "rootfs"
        self.directory = directory

    def prepare(self, *args: str, console: Any = None, **fields: Any) -> tuple[Session, str]:
        request = ExecRequest(secrets.token_hex(32), args, exit_command=("/bin/true",), **fields)
        path = self.directory / request.id[:8]
        path.mkdir()
        return self.task.exec(request, str(path), console or Unused()), str(path)

    def run(self, *args: str, stdin: bytes = b"", **fields: Any) -> tuple[ExitStatus | None, bytes, bytes]:
        with Captured(stdin) as console:
            session, _ = self.prepare(*args, console=console, **fields)
            with console.attach(session):
                try:
                    session.start()
                    status = session.wait()
                finally:
                    session.delete()
        return status, *console.output()

    def status(self, *names: str, **fields: Any) -> dict[str, str]:
        _, out, _ = self.run("cat", "/proc/self/status", **fields)
        return {
            line.split(":")[0]: line.split()[1] for line in out.decode().splitlines() if line.split(":")[0] in names
        }


@pytest.fixture
def place(machine: Machine, tmp_path: Path) -> Iterator[Place]:
    with made(machine, "sleep", "100", env=("KEPT=1",)) as task:
        task.start()
        (tmp_path / "exec").mkdir()
        yield Place(machine, tmp_path / "exec")


@pytest.mark.parametrize("code", [0, 1, 7, 126, 127, 137, 255])
def test_the_exit_code_is_the_commands(place: Place, code: int) -> None:
    assert place.run("sh", "-c", f"exit {code}")[0] == ExitStatus(code)


def test_the_streams_are_apart_and_stdin_is_read_to_its_end(place: Place) -> None:
    data = os.urandom(300_000)
    status, out, err = place.run("sh", "-c", "cat; echo done >&2", stdin=data)
    assert (status, out, err) == (ExitStatus(0), data, b"done\n")


@pytest.mark.parametrize(
    ("command", "error"),
    [("nosuch", CommandNotFound), ("/no/such", CommandNotFound), ("/etc", CommandNotInvocable)],
)
def test_a_look_finds_what_cannot_be_executed(place: Place, command: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        place.prepare(command)


@pytest.mark.parametrize("terminal", [False, True])
def test_what_only_the_runtime_finds_out_is_told_too(place: Place, terminal: bool) -> None:
    session, path = place.prepare("true", terminal=terminal, console=None if terminal else cast("Any", Streams()))
    spec = Path(path, "process.json")
    spec.write_text(json.dumps({**json.loads(spec.read_text()), "args": ["nosuch"]}))
    with pytest.raises(CommandNotFound):
        ended(session)
    session.delete()


def ended(session: Session) -> ExitStatus | None:
    session.start()
    return session.wait()


class Streams(Unused):
    stdin = stdout = stderr = -3  # subprocess.DEVNULL


def test_nothing_is_inherited_or_ambient_and_only_root_has_capabilities(place: Place) -> None:
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    none = "0" * 16
    root = place.status(*names)
    assert root == dict(zip(names, (none, DEFAULT_CAPS, DEFAULT_CAPS, DEFAULT_CAPS, none), strict=True))
    other = place.status(*names, user="1")
    assert other == dict(zip(names, (none, none, none, DEFAULT_CAPS, none), strict=True))


def test_privileged_gives_what_prun_has_and_takes_no_confinement_away(place: Place) -> None:
    found = place.status("CapEff", "CapInh", "CapAmb", "Seccomp", "NoNewPrivs", privileged=True)
    assert int(found["CapEff"], 16) > int(DEFAULT_CAPS, 16)
    assert (found["CapInh"], found["CapAmb"], found["Seccomp"], found["NoNewPrivs"]) == ("0" * 16, "0" * 16, "2", "1")


def test_a_user_is_numbers_for_the_runtime(place: Place) -> None:
    # CVE-2026-30892: crun took "-u 1" for root.
    assert place.run("id", "-u", user="1")[1] == b"1\n"
    (place.rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:7:8::/home/me:/bin/sh\n")
    (place.rootfs / "etc/group").write_text("more:x:9:me\n")
    _, out, _ = place.run("sh", "-c", "id -u; id -g; id -G; echo $HOME", user="me")
    assert out == b"7\n8\n8 9\n/home/me\n"
    with pytest.raises(NotFound):
        place.prepare("true", user="nobody-here")


def test_a_passwd_file_that_is_a_trap_neither_hangs_nor_shows_the_hosts(place: Place) -> None:
    os.mkfifo(place.rootfs / "etc/passwd")
    began = time.monotonic()
    with pytest.raises(InvalidArgument):
        place.prepare("true", user="root")
    (place.rootfs / "etc/passwd").unlink()
    (place.rootfs / "etc/passwd").symlink_to("/../../../../../../etc/passwd")
    with pytest.raises(NotFound):
        place.prepare("true", user="daemon")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("directory", ["/proc", "/proc/self/fd/7", "/bin/../proc/self", "link", "/no/such", "/bin/sh"])
def test_a_working_directory_below_proc_or_that_is_none_is_refused(place: Place, directory: str) -> None:
    (place.rootfs / "link").symlink_to("/proc/self/fd/7")
    with pytest.raises(InvalidArgument):
        place.prepare("true", workdir=f"/{directory}" if directory == "link" else directory)


def test_environment_and_working_directory_go_over_the_containers(place: Place) -> None:
    _, out, _ = place.run("sh", "-c", "pwd; echo $A$PATH", env=("A=1", "PATH=/bin:/x"), workdir="/tmp")
    assert out == b"/tmp\n1/bin:/x\n"


def test_a_signal_is_passed_on_and_sigkill_reaches_the_process(place: Place) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        session, path = place.prepare("sleep", "100", console=cast("Any", Streams()))
        session.start()
        while not Path(path, "pid").exists():
            time.sleep(0.005)
        time.sleep(0.1)
        session.kill(number)
        assert session.wait(5) == ExitStatus(128 + number)
        session.delete()


def test_delete_ends_the_process_and_may_be_called_twice(place: Place) -> None:
    session, path = place.prepare("sleep", "100", console=cast("Any", Streams()))
    session.start()
    while not Path(path, "pid").exists():
        time.sleep(0.005)
    session.delete()
    session.delete()
    assert b"sleep\0100\0" not in b"".join(place.run("sh", "-c", "cat /proc/[2-9]*/cmdline")[1:])


def test_a_terminal_has_its_streams_from_before_its_start(place: Place) -> None:
    got = bytearray()
    session, path = place.prepare("sh", "-c", "tty; read x; echo got $x; exit 3", terminal=True)
    with session.attach() as attachment:
        threading.Timer(0.3, lambda: attachment.send(b"word\n")).start()
        session.start()
        assert carry(attachment, Caller(None, lambda _, data: got.extend(data), terminal=False))
    assert session.wait() == ExitStatus(3)
    session.delete()
    assert got == b"/dev/pts/0\r\nword\r\ngot word\r\n"
    assert place.task.session(path).pid is None


def test_a_detached_one_is_found_again_and_ended(place: Place) -> None:
    session, path = place.prepare("sleep", "100", detach=True)
    session.start()
    session.leave()
    found = place.task.session(path)
    assert found.pid
    assert found.monitor_pid
    assert found.wait(0) is None
    found.delete()
    assert (found.pid, found.monitor_pid) == (None, None)
    assert found.wait(0) == ExitStatus(137)


def test_the_containers_end_ends_what_is_executed_in_it(place: Place) -> None:
    session, path = place.prepare("sleep", "100", detach=True)
    session.start()
    session.leave()
    place.task.kill(signal.SIGKILL)
    assert place.task.wait(5) == ExitStatus(137)
    found = place.task.session(path)
    deadline = time.monotonic() + 5
    while found.monitor_pid and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (found.pid, found.monitor_pid) == (None, None)
    with pytest.raises(FailedPrecondition):
        place.prepare("true")
