"""What a user sees of ``prun run``, on a real runtime; rows of seed-parity.md are named where they are shown."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from command import Prun


def test_the_output_and_the_exit_code_are_the_containers(prun: Prun) -> None:
    """S19."""
    done = prun("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_without_rm_the_container_stays_until_it_is_removed(prun: Prun) -> None:
    """S20."""
    assert prun("run", "--name", "stays", "busybox", "false").returncode == 1
    row = json.loads(prun("ps", "-a", "--format", "json").stdout)[0]
    assert (row["Names"], row["State"], row["ExitCode"]) == ("stays", "exited", 1)
    assert prun("ps", "-q").stdout == ""
    assert prun("rm", "stays").returncode == 0
    assert prun("ps", "-aq").stdout == ""


def test_with_rm_nothing_is_left(prun: Prun) -> None:
    """S20."""
    assert prun("run", "--rm", "busybox", "true").returncode == 0
    assert prun("ps", "-aq").stdout == ""


def test_a_name_in_use_is_refused_with_its_owner(prun: Prun) -> None:
    """S1."""
    prun("run", "--name", "taken", "busybox", "true")
    done = prun("run", "--name", "taken", "busybox", "true")
    assert done.returncode == 125
    assert "the name 'taken' is in use by container" in done.stderr


def test_the_id_may_be_chosen_and_is_the_host_name(prun: Prun) -> None:
    """S1, S15."""
    assert prun("run", "--rm", "--id", "my-own", "busybox", "hostname").stdout == "my-own\n"
    generated = prun("run", "--rm", "busybox", "hostname").stdout.strip()
    assert len(generated) == 12
    assert set(generated) <= set("0123456789abcdef")
    assert prun("run", "--rm", "-h", "box", "busybox", "hostname").stdout == "box\n"


def test_a_directory_is_a_root_and_all_words_are_the_command(prun: Prun, tmp_path: Path) -> None:
    """S3."""
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin/busybox")
    (tree / "bin/busybox").chmod(0o755)
    done = prun("run", "--rm", "--rootfs", str(tree), "/bin/busybox", "echo", "hi")
    assert (done.returncode, done.stdout) == (0, "hi\n"), done.stderr
    assert prun("run", "--rm", "-r", str(tmp_path / "nope"), "x").returncode == 125


@pytest.mark.parametrize("flag", ["--read-only", "--readonly"])
def test_the_root_can_be_read_only(prun: Prun, flag: str) -> None:
    """S5."""
    done = prun("run", "--rm", flag, "busybox", "touch", "/x")
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr


def test_an_unknown_image_is_not_resolved(prun: Prun) -> None:
    """S6."""
    done = prun("run", "--rm", "--pull", "never", "busybux")
    assert done.returncode == 125
    assert 'could not resolve "busybux"' in done.stderr
    assert "busybox" in done.stderr.partition("could not resolve")[2]
    assert done.stderr.count("\n") == 1


def test_the_database_is_free_while_a_container_runs(prun: Prun) -> None:
    """S6."""
    process = prun.popen("run", "--rm", "busybox", "sh", "-c", "trap exit TERM; echo up; while :; do sleep 0.1; done")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    began = time.monotonic()
    assert prun("run", "--rm", "busybox", "true").returncode == 0
    assert time.monotonic() - began < 10
    process.terminate()
    process.communicate(timeout=20)


def test_an_entrypoint_is_replaced_and_drops_the_images_command(prun: Prun) -> None:
    """S11."""
    done = prun("run", "--rm", "--entrypoint", "echo", "busybox", "a", "b")
    assert done.stdout == "a b\n"
    assert "no command specified" in prun("run", "--rm", "--entrypoint", "", "busybox").stderr


def test_the_environment_is_defaults_image_files_and_flags(prun: Prun, tmp_path: Path) -> None:
    """S12."""
    (tmp_path / "env").write_text("# no\n  A=file\nB=file \nHOST_ONLY\n")
    done = prun("run", "--rm", "--env-file", str(tmp_path / "env"), "-e", "A=flag", "-e", "HOST_ONLY", "-e", "ABSENT",
                "busybox", "env", HOST_ONLY="host")  # fmt: skip
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert (found["A"], found["B"], found["HOST_ONLY"]) == ("flag", "file ", "host")
    assert "ABSENT" not in found
    assert found["PATH"].startswith("/usr/local/sbin:")


def test_the_working_directory_is_root_or_as_asked(prun: Prun) -> None:
    """S12."""
    assert prun("run", "--rm", "busybox", "pwd").stdout == "/\n"
    assert prun("run", "--rm", "-w", "/tmp", "busybox", "pwd").stdout == "/tmp\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [("", "0:0"), ("1000", "1000:0"), ("1000:50", "1000:50"), ("nobody", "65534:65534"), ("nobody:root", "65534:0")],
)
def test_the_user_is_a_number_or_a_name_of_the_image(prun: Prun, user: str, expected: str) -> None:
    """S10."""
    words = ["-u", user] if user else []
    done = prun("run", "--rm", *words, "busybox", "sh", "-c", "echo $(id -u):$(id -g)")
    assert done.stdout == expected + "\n", done.stderr


@pytest.mark.parametrize("user", ["a:b:c", "4294967296", "-1", "nosuchuser", "root:"])
def test_an_unusable_user_is_refused(prun: Prun, user: str) -> None:
    """S10."""
    done = prun("run", "--rm", "-u", user, "busybox", "true")
    assert done.returncode == 125
    assert done.stderr.count("\n") == 1


def test_the_process_is_confined(prun: Prun) -> None:
    """S13, S15: no new privileges, seccomp, the fourteen capabilities in three sets, file limit, own namespaces."""
    done = prun("run", "--rm", "busybox", "cat", "/proc/self/status", "/proc/self/limits")
    fields = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Seccomp"].strip() == "2"
    assert {fields[name].strip() for name in ("CapBnd", "CapEff", "CapPrm")} == {"00000000a80425fb"}
    assert {fields[name].strip() for name in ("CapInh", "CapAmb")} == {"0" * 16}
    limit = next(line for line in done.stdout.splitlines() if line.startswith("Max open files"))
    assert limit.split()[3:5] == ["1024", "1024"]
    kinds = ("pid", "ipc", "uts", "mnt", "net", "cgroup")
    inside = prun("run", "--rm", "busybox", "readlink", *(f"/proc/self/ns/{kind}" for kind in kinds)).stdout.split()
    assert not set(inside) & {os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}


def test_security_options_loosen_what_they_name(prun: Prun) -> None:
    done = prun("run", "--rm", "--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges=false",
                "busybox", "grep", "-E", "NoNewPrivs|Seccomp:", "/proc/self/status")  # fmt: skip
    assert done.stdout.split() == ["NoNewPrivs:", "0", "Seccomp:", "0"]
    done = prun("run", "--rm", "--security-opt", "label=x", "busybox", "true")
    assert done.returncode == 125
    assert "label=x" in done.stderr


def test_the_mounts_are_the_seeds(prun: Prun) -> None:
    """S14."""
    done = prun("run", "--rm", "busybox", "cat", "/proc/mounts")
    found = {line.split()[1]: line.split()[2:4] for line in done.stdout.splitlines()}
    for destination, kind in (("/proc", "proc"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs"),
                              ("/dev/mqueue", "mqueue"), ("/sys", "sysfs"), ("/run", "tmpfs")):  # fmt: skip
        assert found[destination][0] == kind
    assert "ro" in found["/sys"][1].split(",")
    assert {f"/etc/{name}" for name in ("resolv.conf", "hosts", "hostname")} <= found.keys()


def test_there_is_no_network_unless_the_hosts_is_asked_for(prun: Prun) -> None:
    """S16."""
    assert prun("run", "--rm", "busybox", "ls", "/sys/class/net").stdout.split() == ["lo"]
    assert prun("run", "--rm", "--net", "none", "busybox", "ls", "/sys/class/net").stdout.split() == ["lo"]
    ours = sorted(os.listdir("/sys/class/net"))
    assert prun("run", "--rm", "--net", "host", "busybox", "ls", "/sys/class/net").stdout.split() == ours
    done = prun("run", "--rm", "--net", "bridge", "busybox", "true")
    assert done.returncode == 125
    assert "bridge" in done.stderr


def test_devices_are_the_default_list_only(prun: Prun) -> None:
    """S15."""
    script = "cat /dev/null && head -c1 /dev/zero >/dev/null && mknod /tmp/d b 254 0 && head -c1 /tmp/d"
    done = prun("run", "--rm", "busybox", "sh", "-c", script)
    assert done.returncode == 1
    assert "not permitted" in done.stderr


@pytest.mark.parametrize(("command", "code"), [("nope", 127), ("/no/such", 127), ("/etc", 126), ("/etc/passwd", 126)])
def test_a_command_that_cannot_run_has_dockers_code_and_one_line(prun: Prun, command: str, code: int) -> None:
    """S19."""
    done = prun("run", "--rm", "busybox", command)
    assert done.returncode == code
    assert done.stderr.count("\n") == 1, done.stderr
    assert command in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_reach_the_process(prun: Prun, number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 9' {number.value}; echo up; while :; do sleep 0.1; done"
    process = prun.popen("run", "--rm", "busybox", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (9, b"got\n"), err


def test_a_process_that_a_signal_kills_has_128_and_its_number(prun: Prun) -> None:
    """S19."""
    process = prun.popen("run", "--rm", "busybox", "sh", "-c", "echo up; sleep 100")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    pid = json.loads(prun("ps", "--format", "json").stdout)[0]["Pid"]
    os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode == 137


def test_stdin_is_empty_unless_asked_for(prun: Prun) -> None:
    """S18."""
    assert prun("run", "--rm", "busybox", "cat", stdin=b"hello").stdout == ""
    assert prun("run", "--rm", "-i", "busybox", "cat", stdin=b"hello").stdout == "hello"


def test_a_megabyte_passes_both_ways(prun: Prun) -> None:
    data = os.urandom(1 << 19).hex().encode()
    assert prun("run", "--rm", "-i", "busybox", "cat", stdin=data).stdout.encode() == data


def test_words_after_the_image_belong_to_the_container(prun: Prun) -> None:
    assert prun("run", "--rm", "busybox", "echo", "--rm", "-it", "--help").stdout == "--rm -it --help\n"


def test_an_unknown_flag_is_named(prun: Prun) -> None:
    done = prun("run", "--cpu-fast", "busybox", "true")
    assert (done.returncode, "unknown flag: --cpu-fast" in done.stderr) == (125, True)


def test_words_are_not_given_to_a_shell(prun: Prun) -> None:
    assert prun("run", "--rm", "busybox", "echo", "a;b $HOME").stdout == "a;b $HOME\n"


def test_labels_and_annotations_are_kept_apart(prun: Prun) -> None:
    prun("run", "--name", "labelled", "-l", "a=b", "-l", "bare", "--annotation", "x=y", "busybox", "true")
    assert json.loads(prun("inspect", "labelled").stdout)[0]["Config"]["Labels"] == {"a": "b", "bare": ""}
    spec = json.loads(prun("spec", "-l", "a=b", "--annotation", "x=y", "busybox").stdout)
    assert spec["annotations"] == {"x": "y"}


def test_the_images_data_survives_what_containers_write(prun: Prun) -> None:
    assert prun("run", "--rm", "busybox", "rm", "/bin/busybox").returncode == 0
    assert prun("run", "--rm", "busybox", "true").returncode == 0


def test_no_descriptor_of_ours_is_inherited(prun: Prun) -> None:
    """CVE-2024-21626."""
    fd = os.open("/etc", os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        done = subprocess.run(
            [*prun.words, "run", "--rm", "busybox", "ls", "-l", "/proc/self/fd"],
            capture_output=True, text=True, check=True, close_fds=False,
        )  # fmt: skip
    finally:
        os.close(fd)
    assert "/etc" not in done.stdout
    assert len(done.stdout.splitlines()) <= 5


def test_a_run_can_start_straight_from_an_archive(prun: Prun, archive: Path) -> None:
    assert prun("run", "--rm", str(archive), "echo", "hi").stdout == "hi\n"
    assert prun("run", "--rm", f"oci-archive:{archive}", "echo", "hi").stdout == "hi\n"


def test_an_error_can_be_json(prun: Prun) -> None:
    done = prun("--error-format", "json", "run", "--rm", "--pull", "never", "nope")
    assert json.loads(done.stderr) == {
        "error": "NotFound", "stage": "resolve", "plugin": "engine prun.engines.embedded", "exit_code": 125,
        "evidence": "", "cause": 'could not resolve "nope"', "remedy": json.loads(done.stderr)["remedy"],
    }  # fmt: skip


def test_debug_adds_the_traceback(prun: Prun) -> None:
    assert "Traceback" not in prun("run", "--pull", "never", "nope").stderr
    assert "Traceback" in prun("--debug", "run", "--pull", "never", "nope").stderr
