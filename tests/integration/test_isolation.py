"""What ``--cap-add``, ``--security-opt``, ``--device``, ``--pid`` and their kin do, on runc and on crun."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command import Prun

    Run = Callable[..., subprocess.CompletedProcess[str]]

FUSE = "/dev/fuse"  # a device that no container has by itself, and that needs no capability
STATUS = ("cat", "/proc/self/status")


# crun does not work where the v2 tree of a hybrid machine has controllers, so it gets a machine without that tree.
FOR_CRUN = """
if mountpoint -q /sys/fs/cgroup/unified; then
    umount /sys/fs/cgroup/unified
    mount -t tmpfs -o size=1m none /sys/fs/cgroup/unified
fi
echo up
exec sleep 3600
"""


@pytest.fixture(scope="module")
def entering() -> Iterator[dict[str, list[str]]]:
    """What to write before a command line, by OCI runtime: containers that meet share a mount namespace."""
    holder = subprocess.Popen(["unshare", "--mount", "sh", "-c", FOR_CRUN], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"up\n"
    yield {"runc": [], "crun": ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt"]}
    holder.kill()
    holder.communicate()


@pytest.fixture
def run(prun: Prun, binary: str, entering: dict[str, list[str]]) -> Run:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*entering[binary], *prun.words, "run", "--rm", "--opt", f"binary={binary}", *words]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )

    return call


@pytest.fixture
def started(prun: Prun, binary: str, entering: dict[str, list[str]]) -> Callable[..., Any]:
    """Run a container beside the test, until its command has said ``up``."""

    @contextmanager
    def start(name: str, *words: str, script: str = "echo up; exec sleep 60") -> Iterator[None]:
        here = [*entering[binary], *prun.words]
        command = ["run", "--rm", "--name", name, "--opt", f"binary={binary}", *words, "busybox", "sh", "-c", script]
        process = subprocess.Popen([*here, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        try:
            yield
        finally:
            subprocess.run([*here, "rm", "-f", name], check=True, stdout=subprocess.DEVNULL)
            process.communicate(timeout=30)

    return start


def fields_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    pairs = (line.partition(":") for line in done.stdout.splitlines())
    return {key: value.strip() for key, _, value in pairs}


def own() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {key: int(value, 16) for key, _, value in (line.partition(":") for line in lines) if key[:3] == "Cap"}
    return found["CapPrm"] & found["CapBnd"] & (1 << 41) - 1


DEFAULT = 0xA80425FB
NET_ADMIN, CHOWN = 1 << 12, 1 << 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], lambda: DEFAULT),
        (["--cap-add", "net_admin"], lambda: DEFAULT | NET_ADMIN),
        (["--cap-add", "CAP_NET_ADMIN,chown", "--cap-drop", "kill"], lambda: (DEFAULT | NET_ADMIN) & ~(1 << 5)),
        (["--cap-drop", "all"], lambda: 0),
        (["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], lambda: NET_ADMIN),
        (["--cap-add", "ALL", "--cap-drop", "CHOWN"], lambda: own() & ~CHOWN),
        (["--cap-add", "ALL"], own),
        (["--privileged"], own),
    ],
    ids=lambda value: "-".join(value).replace("--cap-", "") if isinstance(value, list) else "",
)
def test_the_process_has_exactly_the_capabilities_that_were_asked_for(
    run: Run, words: list[str], expected: Callable[[], int]
) -> None:
    found = fields_of(run(*words, "busybox", *STATUS))
    assert {int(found[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {expected()}
    assert {int(found[name], 16) for name in ("CapInh", "CapAmb")} == {0}


def test_a_user_has_what_was_added_and_nothing_else(run: Run) -> None:
    found = fields_of(run("-u", "1000", "--cap-add", "net_admin", "busybox", *STATUS))
    assert {int(found[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {NET_ADMIN}
    assert int(found["CapBnd"], 16) == DEFAULT | NET_ADMIN
    found = fields_of(run("-u", "1000", "--privileged", "busybox", *STATUS))
    assert int(found["CapEff"], 16) == 0


@pytest.mark.parametrize(
    ("words", "seccomp", "no_new_privileges"),
    [
        ([], "2", "1"),
        (["--security-opt", "seccomp=unconfined"], "0", "1"),
        (["--security-opt", "seccomp=builtin", "--security-opt", "no-new-privileges:false"], "2", "0"),
        (["--security-opt", "seccomp={profile}"], "2", "1"),
        (["--privileged"], "0", "0"),
        (["--privileged", "--security-opt", "no-new-privileges", "--security-opt", "seccomp=default"], "2", "1"),
    ],
    ids=["default", "unconfined", "builtin", "file", "privileged", "privileged-confined"],
)
def test_seccomp_and_no_new_privileges_are_as_said(
    run: Run, tmp_path: Path, words: list[str], seccomp: str, no_new_privileges: str
) -> None:
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    words = [word.format(profile=profile) for word in words]
    done = run(*words, "busybox", "sh", "-c", "mkdir /tmp/d 2>&1; cat /proc/self/status")
    found = fields_of(done)
    assert (found["Seccomp"], found["NoNewPrivs"]) == (seccomp, no_new_privileges)
    assert ("No space left" in done.stdout) == any(str(profile) in word for word in words)


def test_paths_are_masked_and_shown(run: Run) -> None:
    script = "wc -c < /etc/passwd; ls /etc/sub; head -c 4 /proc/timer_list | wc -c; touch /proc/sys/kernel/domainname"
    words = ("busybox", "sh", "-c", script)
    done = run(*words)
    assert done.stdout.split()[-1] == "0"
    assert "Read-only" in done.stderr
    done = run(
        "--security-opt", "mask=/etc/passwd:/no/such", "--security-opt", "unmask=/proc/timer_*:/proc/sys", *words
    )
    assert done.stdout.split() == ["0", "4"]
    assert "Read-only" not in done.stderr
    done = run("--security-opt", "unmask=ALL", *words)
    assert done.stdout.split()[-1] == "4"
    assert "Read-only" not in done.stderr


def test_proc_has_the_options_that_are_asked_for(run: Run) -> None:
    done = run(
        "--security-opt", "proc-opts=hidepid=2", "-u", "1000", "busybox", "sh", "-c", "grep ' /proc ' /proc/mounts"
    )
    assert "hidepid=" in done.stdout, done.stderr
    assert "nosuid,nodev,noexec" in done.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--security-opt", "apparmor=mine"], "AppArmor is not enabled"),
        (["--security-opt", "label=type:x"], "SELinux is not enabled"),
        (["--cap-add", "chown", "--cap-drop", "CAP_CHOWN"], "cannot be added and dropped"),
        (["--device", "/etc/passwd"], "is no device"),
        (["--device", "/dev/full:/etc/passwd", "--userns", "host"], "the image has a file there"),
        (["--security-opt", "mask=/dev"], "no OCI runtime starts anything without /dev"),
        (["--device", "/dev/no-such"], "No such file"),
        (["--gpus", "all"], "nvidia-ctk cdi generate"),
        (["--group-add", "nosuchgroup"], "nosuchgroup"),
        (["--group-add", "keep-groups"], "keep-groups"),
        (["--uts", "host", "-h", "x"], "--hostname"),
        (["--pid", "container:nobody"], "no such container"),
        (["--ipc", "ns:/etc/passwd"], "is no ipc namespace"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_with_one_line_before_a_container_is_there(
    prun: Prun, words: list[str], why: str
) -> None:
    done = prun("run", *words, "busybox", "true")
    assert done.returncode == 125
    assert done.stderr.count("\n") == 1
    assert why in done.stderr
    assert prun("ps", "-aq").stdout == ""


# Control groups


def test_control_groups_can_be_seen_and_not_changed(run: Run) -> None:
    script = "cd /sys/fs/cgroup; ls | head -1; touch x; for d in . $(ls -d */); do mkdir $d/x; done"
    done = run("busybox", "sh", "-c", script)
    assert done.stdout.strip()
    assert done.stderr.count("Read-only file system") >= 2
    assert "File exists" not in done.stderr


def test_a_privileged_container_may_change_its_control_groups_and_sys(run: Run) -> None:
    script = (
        "d=$(ls -d /sys/fs/cgroup/pids /sys/fs/cgroup | head -1); mkdir $d/x && rmdir $d/x; grep ' /sys ' /proc/mounts"
    )
    done = run("--privileged", "busybox", "sh", "-c", script)
    assert done.stderr == ""
    assert " rw," in done.stdout


# Devices


def test_a_device_is_there_with_its_access_and_no_other(run: Run) -> None:
    script = f"ls -l {FUSE} /dev/mine; (exec 3</dev/mine && echo opened); exec 3>/dev/mine"
    done = run("--device", f"{FUSE}:/dev/mine:r", "busybox", "sh", "-c", script)
    info = os.stat(FUSE)
    assert re.search(rf"{os.major(info.st_rdev)}, +{os.minor(info.st_rdev)} .*/dev/mine", done.stdout)
    assert f"{FUSE}: No such file" in done.stderr
    assert done.stdout.split()[-1] == "opened"
    assert "Operation not permitted" in done.stderr or "Permission denied" in done.stderr
    done = run("--device", FUSE, "busybox", "sh", "-c", f"exec 3<>{FUSE} && echo ok")
    assert done.stdout == "ok\n", done.stderr


def test_a_directory_of_devices_and_a_link_to_one_can_be_given(run: Run, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    os.mknod(tmp_path / "d" / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (tmp_path / "link").symlink_to("/dev/full")
    done = run("--device", f"{tmp_path}/d:/dev/them", "--device", f"{tmp_path}/link:/dev/l", "busybox", "sh", "-c",
               "head -c 3 /dev/them/zero | wc -c; echo > /dev/l")  # fmt: skip
    assert done.stdout.split() == ["3"]
    assert "No space left" in done.stderr


def test_a_kind_of_device_is_denied_unless_a_rule_allows_it(run: Run) -> None:
    info = os.stat(FUSE)
    major, minor = os.major(info.st_rdev), os.minor(info.st_rdev)
    script = f"mknod /tmp/d c {major} {minor} && exec 3</tmp/d && echo opened"
    done = run("busybox", "sh", "-c", script)
    assert (done.stdout, "not permitted" in done.stderr) == ("", True)
    done = run("--device-cgroup-rule", f"c {major}:* rm", "busybox", "sh", "-c", script)
    assert done.stdout == "opened\n", done.stderr


def test_a_privileged_container_has_the_hosts_devices(run: Run) -> None:
    done = run("--privileged", "busybox", "sh", "-c", f"exec 3<{FUSE} && echo ok; ls /dev")
    found = done.stdout.split()
    assert found[0] == "ok", done.stderr
    assert {"fuse", "pts", "shm", "null"} <= set(found)


def test_a_cdi_device_comes_with_nodes_mounts_environment_hooks_and_groups(
    run: Run, tmp_path: Path, prun: Prun
) -> None:
    hook = {
        "hookName": "createRuntime",
        "path": "/bin/sh",
        "args": ["sh", "-c", f"echo $K > {tmp_path}/ran"],
        "env": ["K=V"],
    }
    edits = {
        "deviceNodes": [{"path": "/dev/v0", "hostPath": FUSE, "permissions": "r"}],
        "mounts": [{"hostPath": str(tmp_path), "containerPath": "/v", "options": ["ro", "rbind"]}],
        "env": ["FROM=cdi", "MINE=no"],
        "hooks": [hook],
        "additionalGids": [44],
    }
    document = {"cdiVersion": "0.7.0", "kind": "v.com/c", "devices": [{"name": "0", "containerEdits": edits}]}
    (tmp_path / "v.json").write_text(json.dumps(document))
    done = run("--opt", f"cdi-dir={tmp_path}", "--device", "v.com/c=0", "-e", "MINE=yes", "busybox", "sh", "-c",
               "echo $FROM $MINE; id -G; ls /v/v.json; exec 3</dev/v0 && echo ok; touch /v/x")  # fmt: skip
    assert done.stdout.splitlines() == ["cdi yes", "0 44", "/v/v.json", "ok"], done.stderr
    assert "Read-only" in done.stderr
    assert (tmp_path / "ran").read_text() == "V\n"
    (tmp_path / "v.json").chmod(0o666)
    done = prun("run", "--opt", f"cdi-dir={tmp_path}", "--device", "v.com/c=0", "busybox", "true")
    assert done.returncode == 125
    assert "can be written by others" in done.stderr


# The process


def test_groups_and_umask_are_as_said(run: Run) -> None:
    done = run("--group-add", "nogroup", "--group-add", "77", "--umask", "0027", "-u", "5:6", "busybox", "sh", "-c",
               "id -G; umask; touch /tmp/f; stat -c %a /tmp/f")  # fmt: skip
    assert done.stdout.split() == ["6", "77", "65534", "0027", "640"], done.stderr
    assert run("busybox", "sh", "-c", "umask").stdout == "0022\n"


# Namespaces


@pytest.mark.parametrize(("option", "name"), [("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("cgroupns", "cgroup")])
def test_a_namespace_is_private_the_hosts_or_one_that_is_named_by_a_path(run: Run, option: str, name: str) -> None:
    show = ("busybox", "readlink", f"/proc/self/ns/{name}")
    host = os.readlink(f"/proc/self/ns/{name}")
    assert run(f"--{option}", "private", *show).stdout.strip() not in ("", host)
    assert run(f"--{option}", "host", *show).stdout.strip() == host
    kind = {"cgroupns": "cgroup"}.get(option, option)
    flags = ["--fork"] if option == "pid" else []
    other = subprocess.Popen(["unshare", f"--{kind}", *flags, "sleep", "60"])
    try:
        path = f"/proc/{other.pid}/ns/" + ("pid_for_children" if option == "pid" else name)
        deadline = time.monotonic() + 10
        while (theirs := _linked(path)) in ("", host):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        done = run(f"--{option}", f"ns:{path}", *show)
        assert done.stdout.strip() == theirs, done.stderr
    finally:
        for pid in Path(f"/proc/{other.pid}/task/{other.pid}/children").read_text().split():
            os.kill(int(pid), 9)
        other.kill()
        other.wait()


def _linked(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def test_another_containers_processes_can_be_seen(run: Run, started: Callable[..., Any], prun: Prun) -> None:
    with started("web", script="echo up; exec sleep 4321"):
        done = run("--pid", "container:web", "busybox", "ps")
        assert "sleep 4321" in done.stdout, done.stderr
        assert "sleep 4321" not in run("busybox", "ps").stdout
        assert "sleep 4321" in run("--pid", "host", "busybox", "ps").stdout
        spec = json.loads(prun("spec", "--pid", "container:web", "busybox", "true").stdout)
        pids = [each for each in spec["linux"]["namespaces"] if each["type"] == "pid"]
        assert os.readlink(pids[0]["path"]) not in ("", os.readlink("/proc/self/ns/pid"))


def test_another_containers_host_name_and_cgroup_namespace_can_be_joined(run: Run, started: Callable[..., Any]) -> None:
    with started("web", "-h", "its-name"):
        assert run("--uts", "container:web", "busybox", "hostname").stdout == "its-name\n"
        words = ("--cgroupns", "container:web", "busybox", "readlink", "/proc/self/ns/cgroup")
        first, second = run(*words), run(*words)
        assert first.stdout == second.stdout != os.readlink("/proc/self/ns/cgroup") + "\n"
        assert first.stdout.startswith("cgroup:"), first.stderr


def test_shared_memory_is_for_those_that_are_let_in(run: Run, started: Callable[..., Any]) -> None:
    with started(
        "web", "--ipc", "shareable", "--shm-size", "1m", script="echo hello > /dev/shm/f; echo up; exec sleep 60"
    ):
        script = "cat /dev/shm/f; grep ' /dev/shm ' /proc/mounts; readlink /proc/self/ns/ipc"
        done = run("--ipc", "container:web", "busybox", "sh", "-c", script)
        assert done.stdout.startswith("hello\n"), done.stderr
        assert "size=1024k" in done.stdout
        assert all(word in done.stdout for word in ("nosuid", "nodev", "noexec"))
        again = run("--ipc", "container:web", "busybox", "readlink", "/proc/self/ns/ipc")
        assert again.stdout == done.stdout.splitlines()[-1] + "\n" != os.readlink("/proc/self/ns/ipc") + "\n"
    with started("closed"):
        done = run("--ipc", "container:closed", "busybox", "true")
        assert done.returncode == 125
        assert "--ipc shareable" in done.stderr


def test_without_ipc_there_is_no_shared_memory_and_with_the_hosts_there_is_its_own(run: Run, tmp_path: Path) -> None:
    assert run("--ipc", "none", "busybox", "sh", "-c", "ls -d /dev/shm || grep -c shm /proc/mounts").stdout == "0\n"
    name = f"prun-{tmp_path.name}-{os.getpid()}"
    path = Path("/dev/shm") / name
    path.write_text("host's")
    try:
        assert run("--ipc", "host", "busybox", "cat", f"/dev/shm/{name}").stdout == "host's"
        assert run("busybox", "ls", "/dev/shm").stdout == ""
    finally:
        path.unlink()


def test_a_shareable_container_that_is_killed_leaves_no_mount(prun: Prun) -> None:
    process = prun.popen(
        "run", "--rm", "--name", "web", "--ipc", "shareable", "busybox", "sh", "-c", "echo up; sleep 60"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    assert any("/mounts/shm" in line for line in prun.traces()["mounts"])
    process.kill()
    process.wait()
    assert prun("ps", "-aq").returncode == 0  # recovery
    process.communicate(timeout=20)
    assert not any("/mounts/shm" in line for line in prun.traces()["mounts"])
