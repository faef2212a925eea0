"""Tasks that outlive prun: made by conmon, found again by another task object, as by another process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

import prun_linux
from prun.carrying import Caller, carry
from prun.errors import CommandNotFound, FailedPrecondition, NotFound, Unavailable
from prun.request.supervision import LogRequest
from prun.types import ExitStatus
from prun_linux import monitor
from prun_linux.attachment import ConmonAttachment

from .conftest import until

if TYPE_CHECKING:
    from prun.live import LiveTask

    from .conftest import Machine

pytestmark = pytest.mark.root


class Unused:
    """The console of a task that has streams of its own."""

    stdin = stdout = stderr = -1

    def __enter__(self) -> Unused:
        return self

    def __exit__(self, *_: object) -> None:
        return


def made(machine: Machine, *args: str, **fields: Any) -> Any:
    return machine.task(*args, console=cast("Any", Unused()), monitored=True, **fields)


def output(task: LiveTask, stdin: int | bytes | None = None) -> dict[int, bytes]:
    got = {1: b"", 2: b""}

    def take(stream: int, data: bytes) -> None:
        got[stream] += data

    with task.attach() as attachment:
        task.start()
        assert carry(attachment, Caller(stdin, take))
    return got


@pytest.mark.parametrize("code", [0, 1, 127, 255])
def test_the_exit_code_is_the_containers(machine: Machine, code: int) -> None:
    with made(machine, "sh", "-c", f"exit {code}") as task:
        task.start()
        assert task.wait() == ExitStatus(code)
        assert task.wait() == ExitStatus(code)
        assert task.pid is None


def test_a_signal_that_ends_the_command_is_128_and_its_number(machine: Machine) -> None:
    with made(machine, "sleep", "60") as task:
        task.start()
        task.kill(signal.SIGKILL)
        assert task.wait() == ExitStatus(137)


def test_output_and_errors_are_apart_and_whole(machine: Machine) -> None:
    with made(machine, "sh", "-c", "echo out; echo err >&2; head -c 300000 /dev/zero") as task:
        assert output(task) == {1: b"out\n" + bytes(300000), 2: b"err\n"}
        assert task.wait() == ExitStatus(0)


def test_a_megabyte_goes_in_and_out(machine: Machine) -> None:
    data = os.urandom(1 << 20)
    with made(machine, "cat", stdin=data) as task:
        assert output(task, data)[1] == data


def test_two_clients_see_the_same(machine: Machine) -> None:
    with made(machine, "sh", "-c", "echo both") as task, task.attach() as other:
        first = output(task)
        second = {1: b"", 2: b""}
        while (came := other.receive()) is not None:
            second[came[0]] += came[1]
        assert first == second == {1: b"both\n", 2: b""}


def test_what_nobody_attaches_to_is_in_the_log(machine: Machine, tmp_path: Path) -> None:
    log = LogRequest(path=str(tmp_path / "log"))
    with made(machine, "sh", "-c", "echo out; echo err >&2", log=log) as task:
        task.start()
        task.wait()
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(line.split(" ", 1)[1] for line in lines) == ["stderr F err", "stdout F out"]


def test_a_terminal_has_the_size_it_is_given_before_it_starts(machine: Machine) -> None:
    def patch(spec: Any) -> None:
        spec["process"]["terminal"] = True

    with made(machine, "sh", "-c", "stty size; sleep 0.3; stty size", terminal=True, patch=patch) as task:
        got = bytearray()
        with task.attach() as attachment:
            attachment.resize(33, 99)
            task.start()
            while (came := attachment.receive()) is not None:
                got += came[1]
                if came[1].startswith(b"33 99"):
                    attachment.resize(44, 5000)
        assert got.split(b"\r\n")[:2] == [b"33 99", b"44 1000"]  # conmon takes no more


def test_another_process_finds_kills_and_deletes_it(machine: Machine) -> None:
    with made(machine, "sleep", "60") as task:
        task.start()
        found = prun_linux.prun_load_task(machine.container(machine.ids[-1], pid=task.pid, start_time=task.start_time))
        assert (found.pid, found.wait(0.01)) == (task.pid, None)
        assert cast("LiveTask", found).monitor_pid == task.monitor_pid
        found.kill(signal.SIGTERM)
        found.kill(signal.SIGKILL)
        assert found.wait() == task.wait() == ExitStatus(137)
        found.delete()
        found.delete()


def test_a_pid_that_is_another_processs_by_now_is_left_alone(machine: Machine) -> None:
    with made(machine, "sleep", "60") as task:
        task.start()
        found = prun_linux.prun_load_task(machine.container(machine.ids[-1], pid=os.getpid(), start_time=1))
        assert found.pid is None
        found.kill(signal.SIGKILL)  # we are still here


def test_pause_stops_it_where_it_stands(machine: Machine) -> None:
    with made(machine, "sh", "-c", "while :; do echo .; sleep 0.01; done") as task, task.attach() as attachment:
        task.start()
        attachment.receive()
        task.pause()
        for _ in range(1000):  # what was under way still comes
            quiet = threading.Timer(0.2, attachment.stop)
            quiet.start()
            came = attachment.receive()
            quiet.cancel()
            if came is None:
                break
        assert came is None
        task.resume()
        with task.attach() as again:
            assert again.receive() == (1, b".\n")


def test_a_signal_before_start_arrives_after_it(machine: Machine) -> None:
    with made(machine, "sleep", "60") as task:
        task.kill(signal.SIGUSR1)  # sleep is process 1: it has no handler, and is not ended by it
        task.kill(signal.SIGKILL)
        assert task.wait() == ExitStatus(137)


@pytest.mark.parametrize("started", [False, True])
def test_delete_ends_it_and_its_monitor_and_may_be_called_twice(machine: Machine, started: bool) -> None:
    with made(machine, "sleep", "60") as task:
        if started:
            task.start()
        assert task.monitor_pid is not None
        task.delete()
        task.delete()
        assert task.monitor_pid is None
        assert machine.leftovers() == []


def test_the_command_that_ends_it_is_called_once_it_has_ended(machine: Machine, tmp_path: Path) -> None:
    mark = tmp_path / "called"
    with made(machine, "true", exit_command=("/usr/bin/touch", str(mark))) as task:
        task.start()
        task.wait()
        until(mark.exists)


def test_a_prun_that_holds_the_lock_keeps_it_from_being_called(machine: Machine, tmp_path: Path) -> None:
    import fcntl

    mark = tmp_path / "called"
    with made(machine, "true", exit_command=("/usr/bin/touch", str(mark))) as task:
        bundle = machine.state / "bundles" / machine.ids[-1]
        with open(bundle / "client", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            task.start()
            task.wait()
            until(lambda: task.monitor_pid is None)
        assert not mark.exists()


def test_a_command_that_is_not_there_is_127_and_leaves_nothing(machine: Machine) -> None:
    with pytest.raises(CommandNotFound), made(machine, "nothing-like-it"):
        pass
    assert machine.leftovers() == []


def test_a_failure_of_the_runtime_carries_its_words_and_leaves_nothing(machine: Machine) -> None:
    def patch(spec: Any) -> None:
        spec["linux"]["namespaces"].append({"type": "network", "path": "/nonexistent"})
        spec["linux"]["namespaces"] = [each for each in spec["linux"]["namespaces"] if each != {"type": "network"}]

    with pytest.raises(Unavailable, match="nonexistent"), made(machine, "true", patch=patch):
        pass
    assert machine.leftovers() == []


def test_a_timeout_is_the_monitors_to_keep(machine: Machine) -> None:
    with made(machine, "sleep", "60", timeout_s=0.5) as task:
        task.start()
        assert task.wait() == ExitStatus(137)
        assert task.timed_out


def test_it_is_started_only_once(machine: Machine) -> None:
    with made(machine, "sleep", "60") as task:
        task.start()
        with pytest.raises(FailedPrecondition, match="started already"):
            task.start()


def test_no_descriptor_of_ours_is_the_monitors_or_the_containers(machine: Machine) -> None:
    with open(os.devnull) as file:
        os.set_inheritable(file.fileno(), True)
        with made(machine, "sh", "-c", "ls /proc/self/fd | wc -l") as task:
            held = {os.readlink(path) for path in Path(f"/proc/{task.monitor_pid}/fd").iterdir()}
            assert not any("rootfs" in path for path in held)
            assert output(task)[1] == b"4\n"  # 0, 1, 2 and that of ls


def test_the_monitor_is_given_nothing_that_steers_a_program(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "PYTHONPATH", "GCONV_PATH", "SECRET"):
        monkeypatch.setenv(name, "/nonexistent")
    with made(machine, "sleep", "60") as task, open(f"/proc/{task.monitor_pid}/environ", "rb") as file:
        assert b"nonexistent" not in file.read()


def test_nobody_listens_at_a_container_without_a_monitor(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="cannot be reached"):
        ConmonAttachment(str(tmp_path))
    with machine.task("sleep", "60") as task:
        task.start()
        found = cast("LiveTask", prun_linux.prun_load_task(machine.container(machine.ids[-1])))
        with pytest.raises(FailedPrecondition, match="those of the prun that runs it"):
            found.attach()


def test_more_files_than_this_conmon_keeps_are_refused(machine: Machine, tmp_path: Path) -> None:
    binary = monitor.find_conmon()
    assert monitor.version(binary) >= (2, 1)
    log = LogRequest(path=str(tmp_path / "log"), size_bytes=1000, files=3)
    if monitor.version(binary) < (2, 2):
        with pytest.raises(FailedPrecondition, match="keeps one file"), made(machine, "true", log=log):
            pass
    else:
        with made(machine, "true", log=log) as task:
            task.start()
            assert task.wait() == ExitStatus(0)


def test_without_conmon_the_remedy_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "CONMON_DIRECTORIES", ("/nonexistent",))
    with pytest.raises(NotFound, match="no conmon") as caught, made(machine, "true"):
        pass
    assert caught.value.hint == "apt install conmon"
