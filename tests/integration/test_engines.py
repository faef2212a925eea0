"""One test-suite, run with each engine: what a run does is the same wherever its task lives.

What an engine cannot do it says, by name and before anything has changed: ``test_containerd.py`` has those.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import command
import pexpect
import private_containerd
import pytest
from command import Prun
from images import MANIFEST, busybox_layer, layer_tar, oci_layout
from images import file as a_file
from running import made_image, refused, running, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from private_containerd import Containerd

ENGINES = ("embedded", "containerd")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    with private_containerd.private_containerd(tmp_path_factory.getbasetemp() / "c") as made:
        yield made


@pytest.fixture(scope="module", params=ENGINES)
def prun(
    request: pytest.FixtureRequest, daemon: Containerd, new_prun: Callable[[], Prun], archive: Path
) -> Iterator[Prun]:
    """A command whose engine has busybox; the environment chooses the engine.  All tests together leave nothing."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in daemon.environment.items() if request.param == "containerd" else ():
            patch.setenv(name, value)
        made = new_prun()
        done = made("load", "--tag", "busybox", str(archive))
        assert done.returncode == 0, done.stderr
        yield made
        assert made("ps", "-aq").stdout == ""
        assert made.traces() == command.NOTHING
        assert daemon.traces() == private_containerd.NOTHING


def test_the_output_and_the_exit_code_are_the_containers(prun: Prun) -> None:
    """S19."""
    done = prun("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_the_id_may_be_chosen_and_is_the_host_name(prun: Prun) -> None:
    """S1, S15."""
    assert shown(prun, "--id", "chosen-1", "busybox", "hostname") == "chosen-1\n"


def test_an_id_in_use_is_refused(prun: Prun) -> None:
    """S1."""
    with running(prun, "n1", "--id", "taken"):
        assert "taken" in refused(prun, "--id", "taken", "busybox", "true")


def test_the_process_has_a_terminal(prun: Prun) -> None:
    """S2."""
    words = [*prun.words, "run", "--rm", "-it", "busybox", "sh", "-c", "tty; stty size; echo $TERM; read x; echo $x!"]
    child = pexpect.spawn(words[0], words[1:], dimensions=(33, 77), timeout=30)
    child.expect("/dev/pts/0\r\n33 77\r\nxterm\r\n")
    child.sendline("hello")
    child.expect("hello!\r\n")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_a_directory_is_a_root_and_all_words_are_the_command(prun: Prun, tmp_path: Path) -> None:
    """S3."""
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=busybox_layer(), check=True)
    assert shown(prun, "--rootfs", str(tmp_path), "/bin/busybox", "echo", "hi") == "hi\n"


def test_the_root_can_be_read_only(prun: Prun) -> None:
    """S5."""
    done = prun("run", "--rm", "--readonly", "busybox", "touch", "/new")
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr


def test_an_unknown_image_is_not_resolved(prun: Prun) -> None:
    """S6."""
    assert 'could not resolve "busibox"' in refused(prun, "--pull", "never", "busibox", "true")


def test_several_layers_make_the_root_and_the_platform_picks_the_manifest(prun: Prun, tmp_path: Path) -> None:
    """S7, S8."""
    image = made_image(tmp_path, [a_file("top", b"of it\n")])
    assert shown(prun, image, "cat", "/top") == "of it\n"


def test_an_unknown_config_media_type_is_refused(prun: Prun, tmp_path: Path) -> None:
    """S9."""
    oci_layout(tmp_path / "image", [layer_tar([])], {"Cmd": ["true"]}, compression="none")
    blobs = tmp_path / "image" / "blobs" / "sha256"
    for path in blobs.iterdir():
        if MANIFEST.encode() in (data := path.read_bytes()):
            found = data.replace(b"vnd.oci.image.config.v1+json", b"vnd.oci.image.konfig.v1+json")
            digest = hashlib.sha256(found).hexdigest()
            (blobs / digest).write_bytes(found)
            index = tmp_path / "image" / "index.json"
            index.write_text(index.read_text().replace(path.name, digest))
            break
    assert "unknown image config media type" in refused(prun, f"oci:{tmp_path / 'image'}:latest")


def test_the_user_is_a_number_or_a_name_of_the_image(prun: Prun) -> None:
    """S10."""
    assert "uid=65534(nobody)" in shown(prun, "-u", "nobody", "busybox", "id")
    assert "uid=7 gid=8" in shown(prun, "-u", "7:8", "busybox", "id")


def test_entrypoint_environment_and_directory_are_the_images(prun: Prun, tmp_path: Path) -> None:
    """S11, S12."""
    image = made_image(tmp_path, Entrypoint=["env"], Cmd=["pwd"], Env=["A=1", "PATH=/bin"], WorkingDir="/tmp")
    assert shown(prun, image) == "/tmp\n"
    assert "A=2\n" in shown(prun, "-e", "A=2", image, "env")


def test_the_process_is_confined(prun: Prun) -> None:
    """S13, S15: the defaults are in the spec that is sent, whoever executes it."""
    script = "grep -E 'NoNewPrivs|CapEff|CapInh|Seccomp:' /proc/self/status; ulimit -n"
    words = shown(prun, "busybox", "sh", "-c", script).split()
    assert words == [
        "CapInh:", "0000000000000000", "CapEff:", "00000000a80425fb", "NoNewPrivs:", "1", "Seccomp:", "2", "1024",
    ]  # fmt: skip


def test_the_mounts_are_the_seeds(prun: Prun) -> None:
    """S14, S16."""
    lines = shown(prun, "busybox", "sh", "-c", "cut -d' ' -f2,3 /proc/mounts; ls /sys/class/net").splitlines()
    for wanted in ("/proc proc", "/dev tmpfs", "/dev/pts devpts", "/dev/shm tmpfs", "/dev/mqueue mqueue", "/run tmpfs"):
        assert wanted in lines
    assert lines[-1] == "lo"


def test_stdin_is_copied_until_its_end_and_then_closed(prun: Prun) -> None:
    """S18."""
    data = os.urandom(300_000).hex().encode()
    done = prun("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo end", stdin=data)
    assert done.stdout == data.decode() + "end\n"
    assert prun("run", "--rm", "busybox", "cat", stdin=b"not asked for").stdout == ""


def test_much_output_arrives_whole(prun: Prun) -> None:
    """S18."""
    assert shown(prun, "busybox", "seq", "1", "200000").endswith("199999\n200000\n")


def test_a_command_that_cannot_run_has_dockers_code_and_one_line(prun: Prun) -> None:
    """S19."""
    for words, code in ((["nope"], 127), (["/nope"], 127), (["/etc"], 126), (["/etc/passwd"], 126)):
        done = prun("run", "--rm", "busybox", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done


def test_signals_reach_the_process(prun: Prun) -> None:
    """S19."""
    process = prun.popen(
        "run", "--rm", "busybox", "sh", "-c", 'trap "exit 7" TERM; echo up; while :; do sleep .1; done'
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 7
    process.communicate()


def test_without_rm_the_container_stays_until_it_is_removed(prun: Prun) -> None:
    """S20."""
    assert prun("run", "--name", "stays", "busybox", "sh", "-c", "exit 3").returncode == 3
    found = json.loads(prun("inspect", "stays").stdout)[0]
    assert (found["State"]["Status"], found["State"]["ExitCode"]) == ("exited", 3)
    assert prun("rm", "stays").returncode == 0


def test_a_container_that_runs_is_worked_on_from_outside(prun: Prun) -> None:
    with running(prun, "w"):
        assert "w" in prun("ps", "--format", "{{.Names}}").stdout.split()
        done = prun("exec", "-i", "w", "sh", "-c", "cat; echo err >&2; exit 9", stdin=b"in")
        assert (done.returncode, done.stdout, done.stderr) == (9, "in", "err\n")
        assert prun("exec", "w", "nope").returncode == 127
        assert prun("pause", "w").returncode == 0
        assert "Paused" in prun("ps", "--format", "{{.Status}}").stdout
        assert prun("unpause", "w").returncode == 0
        assert "sleep 100" in prun("top", "w").stdout
        assert json.loads(prun("stats", "--no-stream", "--format", "json", "w").stdout)
        process = prun.popen("wait", "w")
        time.sleep(0.5)
        assert prun("kill", "w").returncode == 0
        assert process.communicate(timeout=20)[0] == b"137\n"


def test_stop_asks_first(prun: Prun) -> None:
    with running(prun, "s", command='trap "echo bye; exit 5" TERM; echo up; while :; do sleep .1; done'):
        assert prun("stop", "s").returncode == 0
    assert "die" in prun("events", "--since", "1m", "--until", "0s").stdout


def test_exec_has_a_terminal(prun: Prun) -> None:
    with running(prun, "t"):
        words = [*prun.words, "exec", "-it", "t", "sh", "-c", "stty size; read x; echo $x!"]
        child = pexpect.spawn(words[0], words[1:], dimensions=(21, 43), timeout=30)
        child.expect("21 43\r\n")
        child.sendline("there")
        child.expect("there!\r\n")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0


def test_volumes_and_limits_are_this_machines(prun: Prun, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("host\n")
    assert shown(prun, "-v", f"{tmp_path}:/h:ro", "busybox", "cat", "/h/f") == "host\n"
    shown(prun, "-v", "kept:/data", "busybox", "sh", "-c", "echo 1 >/data/f")
    assert shown(prun, "-v", "kept:/data", "busybox", "cat", "/data/f") == "1\n"
    script = "cat /sys/fs/cgroup/pids*/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || :"
    assert shown(prun, "--pids-limit", "77", "busybox", "sh", "-c", script) == "77\n"
    assert prun("volume", "rm", "kept").returncode == 0


def test_a_timeout_kills(prun: Prun) -> None:
    done = prun("run", "--rm", "--timeout", "1", "busybox", "sleep", "100")
    assert done.returncode == 137
    assert "--timeout" in done.stderr


def test_the_library_captures(prun: Prun) -> None:
    runner = f"prun.Runner(root={str(prun.root)!r}, state={str(prun.state)!r})"
    words = ["sh", "-c", "cat; echo e >&2; exit 4"]
    code = f"import prun; print(*{runner}.run('busybox', {words!r}, stdin=b'abc')[:3])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "4 b'abc' b'e\\n'\n"


def test_a_dry_run_says_the_spec_and_makes_nothing(prun: Prun, request: pytest.FixtureRequest) -> None:
    words = ("--id", "planned", "-m", "64m", "busybox", "cat", "/etc/hostname")
    before = prun("ps", "-aq").stdout
    done = prun("run", "--dry-run=json", "--rm", *words)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert [(step["action"], step["done"]) for step in plan["steps"] if step["action"] == "fetch"] == [("fetch", True)]
    assert plan["spec"]["linux"]["resources"]["memory"]["limit"] == 64 << 20
    last = plan["steps"][-1]
    assert last["action"] == ("task" if request.node.callspec.params["prun"] == "containerd" else "execute")
    assert prun("ps", "-aq").stdout == before


def test_a_detached_container_lives_without_prun_and_has_a_log(prun: Prun) -> None:
    script = "echo up; echo err >&2; while [ ! -e /go ]; do sleep .1; done; echo down; exit 4"
    started = prun("run", "-d", "--name", "d", "busybox", "sh", "-c", script)
    assert started.returncode == 0, started.stderr
    follower = prun.popen("logs", "-f", "d")
    assert prun("ps", "-q", "--no-trunc").stdout == started.stdout
    assert prun("exec", "d", "touch", "/go").returncode == 0
    assert prun("wait", "d").stdout == "4\n"
    out, err = follower.communicate(timeout=30)
    assert (out, err) == (b"up\ndown\n", b"err\n")
    assert prun("start", "d").returncode == 0  # /go is there still
    assert prun("wait", "d").stdout == "4\n"
    assert prun("logs", "d").stdout == "up\ndown\n" * 2
    assert prun("rm", "d").returncode == 0


def test_a_detached_container_is_removed_by_itself_or_by_force(prun: Prun) -> None:
    assert prun("run", "-d", "--rm", "--name", "short", "busybox", "true").returncode == 0
    deadline = time.monotonic() + 30
    while prun("ps", "-aq").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert prun("run", "-d", "--name", "long", "busybox", "sleep", "100").returncode == 0
    assert prun("rm", "-f", "long").returncode == 0
    assert prun("run", "-d", "busybox", "nope").returncode == 127
    assert prun("ps", "-aq").stdout == ""


def test_a_container_is_created_and_started_and_its_policy_followed(prun: Prun) -> None:
    words = ["--restart", "on-failure:1", "--name", "r", "busybox", "sh", "-c", "echo once; exit 1"]
    assert prun("create", *words).returncode == 0
    assert prun("start", "r").returncode == 0
    deadline = time.monotonic() + 30
    while prun("logs", "r").stdout != "once\nonce\n" or "Exited (1)" not in prun("ps", "-a").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert prun("rm", "-f", "r").returncode == 0
