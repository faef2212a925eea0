"""Real containers.  They run with the OCI runtime that PRUN_TEST_OCI_RUNTIME names, runc if it names none."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import prun_linux
from prun.console import Captured
from prun.errors import CommandNotFound, CommandNotInvocable, FailedPrecondition, PrunError, Unavailable
from prun.types import ExitStatus, Mount
from prun_linux.task import Launch

from .conftest import BINARY, both, make_spec, until

if TYPE_CHECKING:
    from .conftest import Machine

pytestmark = pytest.mark.root
LOOP = "while :; do sleep 0.05; done"


@both
@pytest.mark.parametrize("code", [0, 1, 7, 125, 127, 255])
def test_the_exit_code_is_the_containers(machine: Machine, code: int, two_step: bool) -> None:
    assert machine.run("sh", "-c", f"exit {code}", two_step=two_step)[0] == ExitStatus(code)


@both
def test_a_signal_that_ends_the_command_is_128_and_its_number(machine: Machine, two_step: bool) -> None:
    # The first process of a pid namespace ignores its own signals, so a child of it must die of one.
    status, _, _ = machine.run("sh", "-c", "sh -c 'kill -TERM $$'; exit $?", two_step=two_step)
    assert status == ExitStatus(143)


@both
def test_the_container_has_its_own_hostname_pid_and_root(machine: Machine, two_step: bool) -> None:
    command = "hostname; echo $$; ls -d /bin /work; echo $HOME $PATH"
    status, out, err = machine.run("sh", "-c", command, two_step=two_step)
    assert status == ExitStatus(0)
    name, pid, *rest = out.decode().splitlines()
    assert (name, pid) == (machine.ids[-1][:12], "1")
    assert rest == ["/bin", "/ /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    assert b"/work" in err


@both
def test_the_process_is_confined(machine: Machine, two_step: bool) -> None:
    _, out, _ = machine.run("cat", "/proc/self/status", two_step=two_step)
    status = dict(line.split(":\t", 1) for line in out.decode().splitlines() if ":\t" in line)
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["CapBnd"] == status["CapEff"] == status["CapPrm"] == "00000000a80425fb"
    assert status["CapInh"] == status["CapAmb"] == "0000000000000000"


def test_forbidden_things_do_not_work(machine: Machine) -> None:
    commands = (
        "mount -t tmpfs none /tmp",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "cat /proc/kcore | head -c 1 | grep .",
        "mknod /tmp/sda b 8 0 && head -c 1 /tmp/sda",
        "nice -n -5 true",
        "touch /sys/x",
        "hostname other",
    )
    script = "\n".join(f"({command}) 2>/dev/null && echo '{number} worked'" for number, command in enumerate(commands))
    assert machine.run("sh", "-c", script + "\ntrue")[:2] == (ExitStatus(0), b"")


@both
def test_an_exit_before_wait_is_not_lost(machine: Machine, two_step: bool) -> None:
    with machine.task("sh", "-c", "exit 3", two_step=two_step) as task:
        task.start()
        until(lambda: task.wait(0) is not None)
        assert task.wait(0) == task.wait() == task.wait(1) == ExitStatus(3)


@both
def test_an_exit_right_after_start_is_not_lost_fifty_times(machine: Machine, two_step: bool) -> None:
    for number in range(50):
        with machine.task("sh", "-c", f"exit {number}", two_step=two_step) as task:
            task.start()
            assert task.wait() == ExitStatus(number)


@both
def test_wait_returns_none_when_its_time_is_over_and_uses_no_processor(machine: Machine, two_step: bool) -> None:
    with machine.task("sleep", "60", two_step=two_step) as task:
        task.start()
        before = time.process_time()
        assert task.wait(0.5) is None
        assert time.process_time() - before < 0.1


@both
def test_delete_ends_a_running_container_and_may_be_called_twice(machine: Machine, two_step: bool) -> None:
    with machine.task("sleep", "60", two_step=two_step) as task:
        task.start()
        until(lambda: task.pid is not None)
        begin = time.monotonic()
        task.delete()
        task.delete()
        assert time.monotonic() - begin < 5
        assert task.wait() == ExitStatus(137)
        assert task.pid is None


@both
def test_a_task_that_was_never_started_can_be_deleted(machine: Machine, two_step: bool) -> None:
    with machine.task("sleep", "60", two_step=two_step) as task:
        task.delete()


@both
def test_a_task_starts_only_once(machine: Machine, two_step: bool) -> None:
    with machine.task("true", two_step=two_step) as task:
        task.start()
        with pytest.raises(FailedPrecondition):
            task.start()
        task.wait()


@both
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command(machine: Machine, number: int, two_step: bool) -> None:
    console = Captured()
    script = f"trap 'exit 42' {number}; echo ready; {LOOP}"
    with machine.task("sh", "-c", script, console=console, two_step=two_step) as task, console.attach(task):
        task.start()
        until(lambda: console.output()[0])
        task.kill(number)
        assert task.wait(10) == ExitStatus(42)
        task.kill(number)


@both
def test_kill_ends_a_command_that_ignores_everything_else(machine: Machine, two_step: bool) -> None:
    console = Captured()
    script = f"trap '' TERM INT HUP; echo ready; {LOOP}"
    with machine.task("sh", "-c", script, console=console, two_step=two_step) as task, console.attach(task):
        task.start()
        until(lambda: console.output()[0])
        task.kill(signal.SIGTERM)
        assert task.wait(0.2) is None
        task.kill(signal.SIGKILL)
        assert task.wait(10) == ExitStatus(137)


@both
def test_stop_and_continue_reach_the_command(machine: Machine, two_step: bool) -> None:
    with machine.task("sleep", "60", two_step=two_step) as task:
        task.start()
        until(lambda: task.pid is not None)
        pid = task.pid

        def state() -> str:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0]

        task.kill(signal.SIGSTOP)
        until(lambda: state() == "T")
        task.kill(signal.SIGCONT)
        until(lambda: state() == "S")


@both
@pytest.mark.parametrize("delay_s", [0, 0.001, 0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_at_any_time_of_the_start_leaves_nothing_behind(
    machine: Machine, number: int, delay_s: float, two_step: bool
) -> None:
    script = f"trap 'exit 42' TERM; {LOOP}"
    with machine.task("sh", "-c", script, two_step=two_step) as task:
        task.start()
        time.sleep(delay_s)
        task.kill(number)
        status = task.wait(0.5)
        # Between the runtime's first moments and the command's trap, pid 1 ignores the signal, as it does in docker.
        assert status in (None, ExitStatus(128 + number), ExitStatus(42))


@both
def test_a_signal_before_start_arrives_after_it(machine: Machine, two_step: bool) -> None:
    with machine.task("sleep", "60", two_step=two_step) as task:
        task.kill(signal.SIGKILL)
        try:
            task.start()
        except Unavailable:
            assert two_step  # the container is there and dead: the OCI runtime has nothing to start
        assert task.wait(10) == ExitStatus(137)


@both
def test_stdin_arrives(machine: Machine, two_step: bool) -> None:
    assert machine.run("sh", "-c", "cat; exit 4", stdin=b"hello", two_step=two_step)[:2] == (ExitStatus(4), b"hello")


@both
def test_a_megabyte_goes_in_and_out(machine: Machine, two_step: bool) -> None:
    data = os.urandom(1 << 20)
    assert machine.run("cat", stdin=data, two_step=two_step)[:2] == (ExitStatus(0), data)


@both
def test_output_and_errors_are_apart(machine: Machine, two_step: bool) -> None:
    assert machine.run("sh", "-c", "echo out; echo err >&2", two_step=two_step)[1:] == (b"out\n", b"err\n")


@both
def test_no_descriptor_but_the_standard_ones_reaches_the_container(machine: Machine, two_step: bool) -> None:
    leak = os.open("/etc", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        _, out, _ = machine.run("ls", "-l", "/proc/self/fd", two_step=two_step)
    finally:
        os.close(leak)
    links = [line.split(b" -> ")[1] for line in out.splitlines() if b" -> " in line]
    assert 3 <= len(links) <= 4  # the fourth is ls reading the directory
    assert not any(link.startswith(b"/etc") for link in links)


def test_the_runtimes_environment_is_not_ours(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "PYTHONPATH", "NOTIFY_SOCKET", "LISTEN_FDS"):
        monkeypatch.setenv(name, "/nonexistent")
    with machine.task("sleep", "60") as task:
        task.start()
        until(lambda: task.pid is not None)
        runtime = []
        for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if b"--bundle" in cmdline.read_bytes() and machine.ids[-1].encode() in cmdline.read_bytes():
                    runtime.append(cmdline.with_name("environ").read_bytes())
        assert runtime
        names = {entry.partition(b"=")[0] for env in runtime for entry in env.split(b"\0") if entry}
        assert names <= {b"PATH", b"_LIBCONTAINER_CLONED_BINARY"}  # the latter is crun's word to itself


@both
@pytest.mark.parametrize("command", ["nosuch", "/bin/nosuch", "nosuch/x", "bin/nosuch"])
def test_a_missing_command_is_127_and_one_line(
    machine: Machine, command: str, two_step: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandNotFound) as caught:
        machine.run(command, two_step=two_step)
    assert caught.value.exit_code == 127
    assert command in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@both
@pytest.mark.parametrize(
    ("command", "reason"),
    [("/bin/plain", "permission denied"), ("/bin", "directory"), ("/bin/script", "'/no/sh'"), ("script", "'/no/sh'")],
)
def test_a_command_that_cannot_be_executed_is_126(machine: Machine, command: str, reason: str, two_step: bool) -> None:
    (machine.tree / "bin/plain").write_text("data")
    (machine.tree / "bin/script").write_text("#!/no/sh -e\n")
    (machine.tree / "bin/script").chmod(0o755)
    with pytest.raises(CommandNotInvocable, match=reason) as caught:
        machine.run(command, two_step=two_step)
    assert caught.value.exit_code == 126


@both
@pytest.mark.parametrize(
    ("command", "kind"),
    [("/data/nosuch", CommandNotFound), ("/data/plain", CommandNotInvocable)],
)
def test_a_command_below_a_mount_is_judged_by_the_runtimes_words(
    machine: Machine, tmp_path: Path, command: str, kind: type[PrunError], two_step: bool
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/plain").write_text("data")
    mount = Mount("/data", "bind", str(tmp_path / "data"), ("rbind",))
    with pytest.raises(kind) as caught:
        machine.run(command, mounts=(mount,), two_step=two_step)
    if two_step:
        return
    assert caught.value.stage == "start"


def test_a_failure_is_raised_by_every_wait(machine: Machine, tmp_path: Path) -> None:
    mount = Mount("/data", "bind", str(tmp_path), ("rbind",))
    with machine.task("/data/nosuch", mounts=(mount,)) as task:
        task.start()
        for _ in range(2):
            with pytest.raises(CommandNotFound):
                task.wait()


@both
def test_a_failure_of_the_runtime_carries_its_words_and_leaves_nothing(machine: Machine, two_step: bool) -> None:
    def patch(spec: Any) -> None:
        spec["mounts"].append({"destination": "/x", "type": "nosuchfs", "source": "none"})

    with pytest.raises(
        Unavailable, match=rf"{BINARY} could not start the container: .*nosuchfs|no such device|No such"
    ):
        machine.run("true", patch=patch, two_step=two_step)


@both
@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_a_link_in_place_of_dev_proc_or_sys_is_refused(
    machine: Machine, tmp_path: Path, name: str, two_step: bool
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (machine.tree / name).rmdir()
    (machine.tree / name).symlink_to(victim)
    with pytest.raises(FailedPrecondition, match=f"/{name} "):
        machine.run("true", two_step=two_step)
    assert list(victim.iterdir()) == []


def test_the_caller_is_no_subreaper_afterwards(machine: Machine) -> None:
    import ctypes

    machine.run("true", two_step=True)
    value = ctypes.c_int(-1)
    ctypes.CDLL(None).prctl(37, ctypes.byref(value), 0, 0, 0)
    assert value.value == 0


def test_containers_of_threads_do_not_disturb_each_other(machine: Machine) -> None:
    results: dict[int, ExitStatus | None] = {}

    def run(number: int) -> None:
        results[number] = machine.run("sh", "-c", f"exit {number}", two_step=number % 2 == 0)[0]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: ExitStatus(number) for number in range(1, 9)}


class Interruption(BaseException):
    """What a signal handler raises."""


@both
@pytest.mark.parametrize("delay_s", [0.0002, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.04, 0.08])
def test_an_exception_at_any_time_leaves_nothing_behind(machine: Machine, delay_s: float, two_step: bool) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise Interruption

    machine.interrupted = True
    request = machine.request("sleep", "60", two_step=two_step)
    spec = make_spec(request)
    bundle = machine.bundle(request, spec)
    machine.run("true", two_step=two_step)  # what is imported is imported
    before = signal.signal(signal.SIGALRM, interrupt)
    task = None
    try:
        with Captured() as console, pytest.raises(Interruption):  # noqa: PT012
            signal.setitimer(signal.ITIMER_REAL, delay_s)
            task = prun_linux.prun_create_task(request, bundle, spec, console)
            task.start()
            task.wait()
    finally:
        signal.signal(signal.SIGALRM, before)
        if task:
            task.delete()


def test_a_process_that_got_lost_in_its_making_is_found(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = Launch.spawn

    def interrupted(launch: Launch, *words: str) -> Any:
        lost.append(spawn(launch, *words))
        raise Interruption

    lost: list[Any] = []
    with machine.task("sleep", "60") as task:
        monkeypatch.setattr(Launch, "spawn", interrupted)
        with pytest.raises(Interruption):
            task.start()
        task.delete()
        assert lost[0].wait(10) != 0
