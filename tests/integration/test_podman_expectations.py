"""How a run begins, what its process finds, how it ends: what podman's bats suite expects of it.

Each test names the rows of expectations.md that it shows; 030 is ``test/system/030-run.bats`` and so on.  Where docker
and podman differ, prun is as docker, and the test says so.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from images import file, symlink
from running import made_image, refusal, refused, running, shown

if TYPE_CHECKING:
    from command import Prun

MTIME = 1_600_000_000  # 2020-09-13 12:26:40 UTC


@pytest.mark.parametrize("command", [["true"], ["sh", "-c", "true"]])
def test_success_is_zero(prun: Prun, command: list[str]) -> None:
    """030.1, 030.10."""
    assert shown(prun, "busybox", *command) == ""


@pytest.mark.parametrize(
    ("command", "code"),
    [(["false"], 1), (["sh", "-c", "false"], 1), (["sh", "-c", "exit 32"], 32)],
)
def test_failure_is_the_commands_own(prun: Prun, command: list[str], code: int) -> None:
    """030.1, 030.10."""
    done = prun("run", "--rm", "busybox", *command)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize(("command", "code"), [("/no/such/command", 127), ("/etc", 126)])
def test_what_cannot_be_executed_is_told_apart_and_leaves_nothing(prun: Prun, command: str, code: int) -> None:
    """030.2, 030.3, 030.76."""
    done = prun("run", "--rm", "busybox", command)
    assert (done.returncode, done.stdout) == (code, "")
    assert command in done.stderr
    assert prun("ps", "-aq").stdout == ""


def test_an_unknown_option_of_the_runtime_is_named(prun: Prun, tmp_path: Path) -> None:
    """030.4, 030.5."""
    assert "invalidflag" in refused(prun, "--opt", "invalidflag=1", "busybox", "true")
    (tmp_path / "prun.toml").write_text("[runtimes.linux]\ninvalidflag = '1'\n")
    done = prun("--config", str(tmp_path / "prun.toml"), "run", "--rm", "busybox", "true")
    assert "invalidflag" in refusal(done)


def test_a_named_container_stays_until_it_is_removed(prun: Prun) -> None:
    """030.11, 030.41."""
    assert prun("run", "--name", "kept", "busybox", "true").returncode == 0
    by_name = json.loads(prun("inspect", "kept").stdout)[0]
    image = json.loads(prun("inspect", "busybox").stdout)[0]
    assert (by_name["Config"]["Image"], by_name["Image"]) == ("busybox", image["Id"])
    assert json.loads(prun("inspect", by_name["Id"]).stdout)[0] == by_name
    assert prun("rm", by_name["Id"]).returncode == 0
    assert prun("inspect", "kept").returncode == 125


@pytest.mark.parametrize("name", ["kept/bad", "kept/"])
def test_a_name_with_a_slash_in_it_is_refused(prun: Prun, name: str) -> None:
    """030.93."""
    assert name in refused(prun, "--name", name, "busybox", "true")


def test_a_slash_before_a_name_is_dropped(prun: Prun) -> None:
    """030.94."""
    assert prun("run", "--name", "/kept", "busybox", "true").returncode == 0
    assert json.loads(prun("ps", "-a", "--format", "json").stdout)[0]["Names"] == "kept"
    assert prun("rm", "/kept").returncode == 0
    assert prun("ps", "-aq").stdout == ""


def test_a_name_in_use_is_refused_with_its_owner(prun: Prun) -> None:
    """030.103."""
    assert prun("run", "--name", "owner", "busybox", "true").returncode == 0
    identity = json.loads(prun("inspect", "owner").stdout)[0]["Id"]
    line = refused(prun, "--name", "owner", "busybox", "true")
    assert "owner" in line
    assert identity[:12] in line


@pytest.mark.parametrize("policy", ["missing", "never"])
def test_an_image_that_is_here_is_run_without_a_word(prun: Prun, policy: str) -> None:
    """030.13, 030.17."""
    assert shown(prun, f"--pull={policy}", "busybox", "true") == ""
    assert shown(prun, f"--pull={policy}", "busybox:latest", "true") == ""


@pytest.mark.parametrize("name", ["mybusybox", "box", "example.org/busybox", "busybox:other"])
def test_a_short_name_is_a_whole_name(prun: Prun, name: str) -> None:
    """030.14, 030.16."""
    assert name in refused(prun, "--pull=never", name, "true")


def test_the_record_has_the_name_that_was_used(prun: Prun, archive: Path) -> None:
    """030.39."""
    for name in ("example.org/other:tagged", "example.org/other"):
        assert prun("load", "--tag", name, str(archive)).returncode == 0
        assert prun("run", "--name", "named", name, "true").returncode == 0
        assert json.loads(prun("inspect", "named").stdout)[0]["Config"]["Image"] == name
        assert prun("rm", "named").returncode == 0
        assert prun("rmi", name).returncode == 0


def test_an_image_runs_by_its_id(prun: Prun) -> None:
    """030.40."""
    identity = json.loads(prun("inspect", "busybox").stdout)[0]["Id"]
    for word in (identity, identity.removeprefix("sha256:"), identity.removeprefix("sha256:")[:12]):
        assert shown(prun, word, "echo", "hi") == "hi\n"


def test_an_archive_is_run_with_its_own_entrypoint(prun: Prun, tmp_path: Path) -> None:
    """030.24."""
    source = made_image(tmp_path, Entrypoint=["/bin/echo", "from the", "archive"], Cmd=[])
    archive = f"docker-archive:{tmp_path}/archive.tar"
    subprocess.run(["skopeo", "copy", "-q", source, f"{archive}:example.org/a:1"], check=True)
    assert shown(prun, archive) == "from the archive\n"


def test_an_entrypoint_may_be_an_array(prun: Prun) -> None:
    """030.25."""
    assert shown(prun, "--entrypoint", '["/bin/echo", "a b", "c"]', "busybox") == "a b c\n"
    assert shown(prun, "--entrypoint", '["/bin/echo", "a"]', "busybox", "d") == "a d\n"


def test_the_oci_runtime_may_be_named_by_its_path(prun: Prun, tmp_path: Path) -> None:
    """030.37."""
    copy = tmp_path / "my-runtime"
    shutil.copy(shutil.which("runc") or "/usr/sbin/runc", copy)
    assert prun("run", "--name", "copied", "--opt", f"binary={copy}", "busybox", "true").returncode == 0
    assert json.loads(prun("inspect", "copied").stdout)[0]["RuntimeOptions"] == {"binary": str(copy)}
    assert prun("rm", "copied").returncode == 0


def test_a_root_without_a_command_has_nothing_to_run(prun: Prun, tmp_path: Path) -> None:
    """030.108: as docker, podman has 127."""
    assert "no command specified" in refused(prun, "--rootfs", str(tmp_path))


def test_a_container_of_a_directory_has_no_image(prun: Prun, tmp_path: Path) -> None:
    """030.48."""
    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/busybox", tmp_path / "bin/busybox")
    assert prun("run", "--name", "bare", "--rootfs", str(tmp_path), "/bin/busybox", "true").returncode == 0
    assert json.loads(prun("inspect", "bare").stdout)[0]["Image"] == ""


def test_a_missing_working_directory_is_made(prun: Prun) -> None:
    """030.44: as docker, podman has 126."""
    assert shown(prun, "--workdir", "/i/do/not/exist", "busybox", "pwd") == "/i/do/not/exist\n"


def test_a_mount_may_bring_the_working_directory(prun: Prun, tmp_path: Path) -> None:
    """030.45, 030.46."""
    (tmp_path / "content").write_text("random\n")
    assert shown(prun, "-w", "/work", "-v", f"{tmp_path}:/work", "busybox", "cat", "content") == "random\n"
    assert shown(prun, "-w", "/work", "-v", f"{tmp_path}/content:/work/foo", "busybox", "cat", "foo") == "random\n"


def test_an_image_without_mtab_gets_the_link(prun: Prun, tmp_path: Path) -> None:
    """030.53."""
    assert shown(prun, made_image(tmp_path), "readlink", "/etc/mtab") == "/proc/mounts\n"


def test_the_root_has_the_mode_that_the_image_gives_it(prun: Prun, tmp_path: Path) -> None:
    """030.66."""
    from images import directory

    source = made_image(tmp_path, [directory("./", mode=0o555)])
    assert shown(prun, source, "stat", "-c", "%a", "/") == "555\n"


def test_run_is_not_writable_for_everybody(prun: Prun) -> None:
    """030.105."""
    assert shown(prun, "busybox", "stat", "-c", "%a", "/run") == "755\n"


def test_only_the_streams_asked_for_are_carried(prun: Prun) -> None:
    """030.49, 030.50, 030.78."""
    command = ["busybox", "dd", "if=/dev/zero", "count=700", "bs=1000"]
    done = prun("run", "--rm", "--attach", "stderr", *command)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("700+0 records in\n700+0 records out\n")
    done = prun("run", "--rm", "-a", "stdout", *command)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\0" * 700_000, "")


def test_with_no_output_attached_the_id_is_printed(prun: Prun) -> None:
    """030.78."""
    done = prun("run", "--name", "silent", "--attach", "stdin", "busybox", "echo", "hello")
    identity = json.loads(prun("inspect", "silent").stdout)[0]["Id"]
    assert (done.returncode, done.stdout) == (0, f"{identity}\n"), done.stderr


def test_stdin_arrives_and_ends(prun: Prun) -> None:
    """030.59."""
    assert shown(prun, "-i", "busybox", "cat", stdin=b"a line\n") == "a line\n"


def test_descriptors_are_passed_on_when_asked(prun: Prun, tmp_path: Path) -> None:
    """030.7."""
    (tmp_path / "content").write_text("from descriptor four\n")
    script = f'exec 3</dev/null 4<{tmp_path}/content 5</dev/null; exec "$@" sh -c "cat <&4; ls /proc/self/fd"'
    words = [*prun.words, "run", "--rm", "-i", "--preserve-fds=2", "busybox"]
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    content, *descriptors = done.stdout.splitlines()
    assert (done.returncode, content) == (0, "from descriptor four"), done.stderr
    # 5 is not passed on; ls has the directory itself open.
    assert descriptors == ["0", "1", "2", "3", "4", "5"]
    done = subprocess.run(
        ["bash", "-c", script.replace("ls /proc/self/fd", "test -e /proc/self/fd/5"), "bash", *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr


def test_the_id_is_written_and_nothing_overwritten(prun: Prun, tmp_path: Path) -> None:
    """030.20, 030.21, 030.23: a file that is there is refused as docker does, podman truncates it."""
    cidfile = tmp_path / "cidfile"
    assert prun("run", "--name", "written", "--cidfile", str(cidfile), "busybox", "true").returncode == 0
    identity = json.loads(prun("inspect", "written").stdout)[0]["Id"]
    assert cidfile.read_text() == identity
    assert str(cidfile) in refused(prun, "--cidfile", str(cidfile), "busybox", "true")
    assert cidfile.read_text() == identity
    assert prun("rm", "written").returncode == 0
    assert cidfile.exists()


def test_the_pid_is_that_of_the_running_process(prun: Prun, tmp_path: Path) -> None:
    """030.22."""
    with running(prun, "counted", "--pidfile", str(tmp_path / "pid")):
        pid = (tmp_path / "pid").read_text()
        assert "sleep" in Path(f"/proc/{pid}/cmdline").read_text()
        assert "NSpid:\t" + pid + "\t1\n" in Path(f"/proc/{pid}/status").read_text()


def test_a_run_may_take_only_so_long(prun: Prun) -> None:
    """030.52: the code is that of SIGKILL; podman has 255."""
    began = time.monotonic()
    done = prun("run", "--name", "late", "--timeout", "2", "busybox", "sleep", "60")
    assert 1 < time.monotonic() - began < 6
    assert done.returncode == 137
    state = json.loads(prun("inspect", "late").stdout)[0]["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 137)


def test_an_interrupt_is_passed_on_and_its_handler_ends_the_run(prun: Prun) -> None:
    """032.1."""
    script = "trap 'echo BYE; exit 0' INT; echo READY; while :; do sleep 0.1; done"
    process = prun.popen("run", "--rm", "-i", "busybox", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"READY\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, b"BYE\n", b"")


def test_detaching_may_be_switched_off(prun: Prun) -> None:
    """030.79."""
    assert shown(prun, "--detach-keys=", "busybox", "echo", "success") == "success\n"


def in_terminal(prun: Prun, *words: str, size: tuple[int, int] = (24, 80)) -> tuple[int, bytes]:
    """Run a command of prun's with a terminal as stdin; return its exit code and its output."""
    import termios

    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, size)
    try:
        done = subprocess.run([*prun.words, *words], stdin=slave, capture_output=True, timeout=60, check=False)
    finally:
        os.close(master)
        os.close(slave)
    return done.returncode, done.stdout + done.stderr


def test_the_terminal_has_the_callers_size(prun: Prun) -> None:
    """450.1."""
    assert in_terminal(prun, "run", "--rm", "-it", "busybox", "stty", "size", size=(31, 46)) == (0, b"31 46\r\n")


def test_an_archive_is_not_read_from_a_terminal(prun: Prun) -> None:
    """450.2."""
    code, output = in_terminal(prun, "load", "-")
    assert code == 125
    assert b"terminal" in output


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(["-t", "-i"], b"hello\r\n"), (["-t", "-i=false"], b"hello\r\n"), (["-t=false", "-i"], b"hello\n")],
)
def test_a_terminal_changes_line_ends(prun: Prun, flags: list[str], expected: bytes) -> None:
    """450.4."""
    assert in_terminal(prun, "run", "--rm", *flags, "busybox", "echo", "hello") == (0, expected)


def test_an_interactive_terminal_needs_one_of_ours(prun: Prun) -> None:
    """450.3, 450.4: refused as docker does, podman warns."""
    assert "TTY" in refused(prun, "-t", "-i", "busybox", "echo", "hello")
    assert shown(prun, "-t", "-i=false", "busybox", "echo", "hello") == "hello\r\n"
    assert shown(prun, "-t=false", "-i", "busybox", "echo", "hello") == "hello\n"


def dated(directory: Path) -> Path:
    path = directory / "dated"
    path.write_text("")
    os.utime(path, (MTIME, MTIME))
    return path


def test_the_time_zone_is_utc_or_the_last_one_asked_for(prun: Prun, tmp_path: Path) -> None:
    """030.34."""
    command = ["-v", f"{dated(tmp_path)}:/dated", "busybox", "date", "-r", "/dated", "+%F %T %Z"]
    zones = [f"--tz={zone}" for zone in ("US/Eastern", "Iceland", "America/New_York")]
    assert shown(prun, *command) == "2020-09-13 12:26:40 UTC\n"
    assert shown(prun, *zones, *command) == "2020-09-13 08:26:40 EDT\n"


def test_the_local_zone_is_the_hosts_file(prun: Prun, tmp_path: Path) -> None:
    """030.35."""
    command = ["-v", f"{dated(tmp_path)}:/dated", "busybox", "date", "-r", "/dated", "+%F %T"]
    host = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    expected = subprocess.run(
        ["date", "-d", f"@{MTIME}", "+%F %T"], env=host, capture_output=True, text=True, check=True
    ).stdout
    misleading = {"TZ": "Pacific/Chatham", "TZDIR": "/usr/share/zoneinfo"}
    assert shown(prun, "--tz=local", *command, **misleading) == expected


def test_an_image_with_zones_of_its_own_has_the_one_asked_for(prun: Prun, tmp_path: Path) -> None:
    """030.36."""
    zone = Path("/usr/share/zoneinfo/Europe/Berlin").read_bytes()
    source = made_image(
        tmp_path,
        [file("usr/share/zoneinfo/Europe/Berlin", zone), symlink("etc/localtime", "../usr/share/zoneinfo/UTC")],
    )
    command = ["-v", f"{dated(tmp_path)}:/dated", source, "busybox", "date", "-r", "/dated", "+%T %Z"]
    assert shown(prun, "--tz", "Europe/Berlin", *command) == "14:26:40 CEST\n"
