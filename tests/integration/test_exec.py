"""``prun exec``: the command, the library, and what is left when somebody is killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from command import NOTHING, listed

from prun import Runner
from prun.errors import CommandNotFound, FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from command import Prun


@pytest.fixture
def box(prun: Prun) -> Iterator[str]:
    """A container with a monitor."""
    done = prun("run", "-d", "--name", "box", "-e", "A=image", "busybox", "sleep", "1000")
    assert done.returncode == 0, done.stderr
    yield "box"
    prun("rm", "-f", "box")
    assert sessions(prun) == []


def sessions(prun: Prun) -> list[str]:
    return listed(prun.state / "exec")


def until(condition: Callable[[], object], timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def events(prun: Prun) -> list[tuple[str, dict[str, str]]]:
    with sqlite3.connect(prun.root / "metadata.db") as database:
        rows = database.execute("select action, attributes from events where action like 'exec%' order by rowid")
        return [(action, json.loads(attributes)) for action, attributes in rows]


def processes(prun: Prun, box: str) -> str:
    return prun("exec", box, "ps", "-o", "args").stdout


@pytest.mark.parametrize("kind", ["monitored", "direct"])
def test_exit_codes_are_dockers_on_containers_with_and_without_a_monitor(prun: Prun, kind: str) -> None:
    """075.1."""
    words = ["run", "--rm", "--name", "any", "busybox", "sleep", "1000"]
    process = prun.popen(*words) if kind == "direct" else None
    if not process:
        assert prun("run", "-d", *words[1:]).returncode == 0
    until(lambda: prun("ps", "-q").stdout.strip())
    asked = {"true": 0, "exit 7": 7, "kill -9 $$": 137, "kill -TERM $$; sleep 1": 143}
    assert {text: prun("exec", "any", "sh", "-c", text).returncode for text in asked} == asked
    assert prun("exec", "any", "/etc").returncode == 126
    assert prun("exec", "any", "/no/such/command").returncode == 127
    assert prun("exec", "-d", "any", "nosuch").returncode == 127
    done = prun("exec", "any")
    assert (done.returncode, "COMMAND is missing" in done.stderr) == (125, True)
    assert prun("exec", "nobody", "true").returncode == 125
    assert prun("rm", "-f", "any").returncode == 0
    if process:
        process.communicate(timeout=20)


def test_options_end_at_the_container_and_help_is_the_commands(prun: Prun, box: str) -> None:
    assert prun("exec", "-e", "B=1", box, "sh", "-c", "echo $0 $1 $B", "-t", "--help").stdout == "-t --help 1\n"
    assert "Usage: prun exec" in prun("exec", "--help").stdout
    done = prun("exec", "--nosuch", box, "true")
    assert (done.returncode, "unknown flag: --nosuch" in done.stderr) == (125, True)


def test_environment_in_order_and_workdir(prun: Prun, box: str, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A=file\nB=file\nHOSTS\n")
    done = prun(
        *("exec", "--env-file", str(file), "-e", "B=flag", "-e", "OWN", "-w", "/tmp", box),
        *("sh", "-c", "echo $A $B $OWN $HOSTS; pwd"),
        OWN="mine",
        HOSTS="h",
    )
    assert done.stdout == "file flag mine h\n/tmp\n"
    assert prun("exec", box, "sh", "-c", "echo $A").stdout == "image\n"


def test_a_container_that_does_not_run_or_is_paused_is_refused(prun: Prun, box: str) -> None:
    assert prun("pause", box).returncode == 0
    done = prun("exec", box, "true")
    assert (done.returncode, "is paused, unpause the container before exec" in done.stderr) == (125, True)
    assert prun("unpause", box).returncode == 0
    assert prun("kill", box).returncode == 0
    done = prun("exec", box, "true")
    assert (done.returncode, "is not running" in done.stderr) == (125, True)
    assert prun("create", "--name", "new", "busybox", "true").returncode == 0
    assert prun("exec", "new", "true").returncode == 125


def test_stdin_arrives_whole_and_is_empty_without_i(prun: Prun, box: str) -> None:
    """075.3."""
    data = os.urandom(1_536_000)
    assert prun("exec", "-i", box, "dd", "of=/big", "bs=512", stdin=data).returncode == 0
    done = subprocess.run([*prun.words, "exec", box, "cat", "/big"], capture_output=True, check=True)
    assert done.stdout == data
    assert prun("exec", box, "cat", stdin=b"nothing").stdout == ""


def test_output_larger_than_a_buffer_is_complete(prun: Prun, tmp_path: Path) -> None:
    """075.5: of run and of exec, with a terminal (which makes two bytes of an end of line) and without."""
    data = b"".join(b"%04d%s\n" % (number, b"x" * 71) for number in range(270))  # 20 KB
    (tmp_path / "file").write_bytes(data)
    words = ["-v", f"{tmp_path}:/h", "busybox"]
    assert prun("run", "--rm", *words, "cat", "/h/file").stdout.encode() == data
    assert prun("run", "-d", "--name", "big", *words, "sleep", "1000").returncode == 0
    for _ in range(5):
        assert prun("exec", "big", "cat", "/h/file").stdout.encode() == data
        done = subprocess.run([*prun.words, "exec", "-t", "big", "cat", "/h/file"], capture_output=True, check=True)
        assert done.stdout == data.replace(b"\n", b"\r\n")


def test_the_mask_of_the_container_is_the_commands(prun: Prun, box: str) -> None:
    """075.6."""
    asked = ["grep", "Umask", "/proc/self/status"]
    assert prun("exec", box, *asked).stdout == "Umask:\t0022\n"
    assert prun("run", "-d", "--name", "masked", "--umask", "0724", "busybox", "sleep", "1000").returncode == 0
    assert prun("exec", "masked", *asked).stdout == "Umask:\t0724\n"
    assert prun("exec", "masked", "sh", "-c", "touch /foo; stat -c %a /foo").stdout == "42\n"
    assert prun("exec", "-t", "masked", *asked).stdout == "Umask:\t0724\r\n"
    assert prun("exec", "-d", "masked", "sh", "-c", "umask > /told").returncode == 0
    until(lambda: not sessions(prun))
    assert prun("exec", "-u", "7", "masked", "sh", "-c", "cat /told; umask").stdout == "0724\n0724\n"
    assert {path.stat().st_mode & 0o777 for path in prun.root.glob("metadata.db*")} <= {0o600, 0o644}


@pytest.mark.parametrize("run_t", ["", "-t"])
def test_the_terminals_name_is_what_e_says_and_else_there_with_a_terminal_only(prun: Prun, run_t: str) -> None:
    """075.7: -e of exec, then -e of run, then that either has a terminal."""
    seen, expected = {}, {}
    for run_term in "", "run-term":
        options = [*filter(None, [run_t]), *(["-e", f"TERM={run_term}"] if run_term else [])]
        name = f"named-{run_term}"
        assert prun("run", "-d", *options, "--name", name, "busybox", "sleep", "1000").returncode == 0
        for exec_t in "", "-t":
            for exec_term in "", "exec-term":
                words = [*filter(None, [exec_t]), *(["-e", f"TERM={exec_term}"] if exec_term else []), name]
                done = prun("exec", *words, "sh", "-c", "echo -n $TERM", TERM="host-term")
                case = (run_term, exec_t, exec_term)
                seen[case] = done.stdout
                expected[case] = exec_term or run_term or ("xterm" if run_t or exec_t else "")
    assert seen == expected


def test_a_command_that_cannot_be_executed_leaves_nothing(prun: Prun, box: str) -> None:
    """075.2, 075.8."""
    for _ in range(3):
        assert prun("exec", box, "nosuch").returncode == 127
        assert prun("exec", "-d", box, "nosuch").returncode == 127
        assert prun("exec", box, "true").returncode == 0
    assert sessions(prun) == []


def test_added_groups_stay_with_another_user(prun: Prun) -> None:
    """075.10."""
    prun("run", "-d", "--name", "groups", "--group-add", "1", "--group-add", "2", "busybox", "sleep", "1000")
    assert prun("exec", "groups", "id", "-G").stdout == prun("exec", "-u", "root", "groups", "id", "-G").stdout
    assert prun("exec", "-u", "0:0", "groups", "id", "-G").stdout == "0 1 2\n"
    assert prun("exec", "-u", "7:8", "groups", "id", "-G").stdout == "8 1 2\n"
    assert prun("run", "-d", "--name", "plain", "busybox", "sleep", "1000").returncode == 0
    assert prun("exec", "-u", "7:8", "plain", "id", "-G").stdout == "8\n"
    both = prun("exec", "plain", "grep", "-h", "^Groups:", "/proc/1/status", "/proc/self/status").stdout.splitlines()
    assert both[0] == both[1]


def test_descriptors_are_passed_on_when_asked_for_only(prun: Prun, box: str, tmp_path: Path) -> None:
    """075.9."""
    file = tmp_path / "file"
    file.write_text("content\n")
    shell = f'exec 3<{file}; exec "$@"'
    for words, expected in (
        (["exec", "--preserve-fds", "1", box, "sh", "-c", "cat <&3"], "content\n"),
        (["exec", box, "sh", "-c", "test -e /proc/self/fd/3 || echo none"], "none\n"),
    ):
        done = subprocess.run(
            ["sh", "-c", shell, "sh", *prun.words, *words], capture_output=True, text=True, check=False
        )
        assert done.stdout == expected, done.stderr


def test_detached_prints_nothing_and_its_end_is_told(prun: Prun, box: str) -> None:
    """075.1, 075.2."""
    before = len(events(prun))
    done = prun("exec", "-d", box, "sh", "-c", "sleep 0.3; echo > /done; exit 4")
    assert (done.returncode, done.stdout) == (0, "")
    until(lambda: not sessions(prun))
    assert prun("exec", box, "ls", "/done").returncode == 0
    told = events(prun)[before : before + 3]
    assert [action for action, _ in told] == ["exec_create", "exec_start", "exec_die"]
    assert told[2][1]["exitCode"] == "4"
    assert len({attributes["execID"] for _, attributes in told}) == 1


def test_quick_ones_detached_leave_nothing(prun: Prun, box: str) -> None:
    for _ in range(5):
        assert prun("exec", "-d", box, "true").returncode == 0
    until(lambda: not sessions(prun))


def test_a_signal_to_prun_is_the_commands(prun: Prun, box: str) -> None:
    process = prun.popen("exec", box, "sleep", "999")
    until(lambda: "sleep 999" in processes(prun, box))
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    assert "sleep 999" not in processes(prun, box)
    process.communicate()


@pytest.mark.parametrize("options", [(), ("-t",)])
def test_what_a_killed_prun_has_started_is_ended_by_the_next(prun: Prun, box: str, options: tuple[str, ...]) -> None:
    process = prun.popen("exec", *options, box, "sleep", "998")
    until(lambda: "sleep 998" in processes(prun, box))
    process.kill()
    process.communicate()
    until(lambda: "sleep 998" not in processes(prun, box))
    until(lambda: not sessions(prun))


def test_a_killed_conmon_ends_its_session_with_255(prun: Prun, box: str) -> None:
    process = prun.popen("exec", "-t", box, "sleep", "997")
    until(lambda: "sleep 997" in processes(prun, box))
    (session,) = sessions(prun)
    os.kill(int((prun.state / "exec" / session / "conmon.pid").read_text()), signal.SIGKILL)
    assert process.wait(10) == 255
    process.communicate()
    assert "sleep 997" not in processes(prun, box)


@pytest.mark.parametrize("how", ["foreground", "detached"])
def test_the_end_of_the_container_ends_every_session(prun: Prun, how: str) -> None:
    prun("run", "-d", "--name", "ends", "busybox", "sleep", "1000")
    if how == "detached":
        assert prun("exec", "-d", "ends", "sleep", "996").returncode == 0
    else:
        process = prun.popen("exec", "ends", "sleep", "996")
    until(lambda: "sleep 996" in processes(prun, "ends"))
    assert prun("rm", "-f", "ends").returncode == 0
    if how == "foreground":
        assert process.wait(10) == 137
        process.communicate()
    until(lambda: not sessions(prun) and prun.traces() == NOTHING)


def test_cidfile_names_the_container(prun: Prun, tmp_path: Path) -> None:
    file = tmp_path / "id"
    prun("run", "-d", "--cidfile", str(file), "busybox", "sleep", "1000")
    assert prun("exec", "--cidfile", str(file), "echo", "hi").stdout == "hi\n"


def test_the_library_returns_output_and_code_and_refuses_what_is_a_terminals(prun: Prun, box: str) -> None:
    runner = Runner(root=str(prun.root), state=str(prun.state), plugins=[])
    result = runner.exec(box, ["sh", "-c", "cat; echo err >&2; echo $B; exit 5"], stdin=b"in\n", env={"B": "b"})
    assert (result.exit_code, result.stdout, result.stderr, result.left) == (5, b"in\nb\n", b"err\n", False)
    assert runner.exec(box, ["sleep", "0.2"], detach=True).left
    with pytest.raises(CommandNotFound):
        runner.exec(box, ["nosuch"])
    with pytest.raises(InvalidArgument, match="command line only"):
        runner.exec(box, ["true"], tty=True)  # type: ignore[call-arg]
    with pytest.raises(InvalidArgument, match="is a string"):
        runner.exec(box, "true")
    prun("kill", box)
    with pytest.raises(FailedPrecondition):
        runner.exec(box, ["true"])
