"""Limits, devices and confinement: what podman's bats suite expects of them.

Rows of expectations.md; 180 is ``test/system/180-blkio.bats``, 400 ``400-unprivileged-access.bats``.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from running import refusal, refused, running, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from command import Prun

MASKED = (
    *("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
)
UNPRIVILEGED = "setpriv --bounding-set -sys_resource --inh-caps -all"


def limited(prun: Prun, limits: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Call prun with other limits or another score of its own: words of prlimit(1) or choom(1)."""
    return subprocess.run([*limits.split(), *prun.words, *words], capture_output=True, text=True, check=False)


def test_no_memory_is_no_limit(prun: Prun) -> None:
    """030.6."""
    assert shown(prun, "--memory=0", "busybox", "echo", "hello") == "hello\n"


@pytest.mark.parametrize("rule", ["b 7:* rmw", "c 7:* rmw", "a *:* rmw", "c 10:229 r"])
def test_a_kind_of_device_can_be_allowed(prun: Prun, rule: str) -> None:
    """030.55."""
    assert shown(prun, f"--device-cgroup-rule={rule}", "busybox", "true") == ""


@pytest.mark.parametrize("rule", ["b 7:* rmX", "b 7:2", "x 7:* rmw", "a a:* rmw", "a 7 rmw", "", "b 7:* "])
def test_a_rule_for_devices_that_is_none_is_refused(prun: Prun, rule: str) -> None:
    """030.56, 030.57: a rule without the minor is refused as docker does, podman takes it."""
    assert "--device-cgroup-rule" in refused(prun, f"--device-cgroup-rule={rule}", "busybox", "true")


def score(prun: Prun, *options: str) -> str:
    return shown(prun, *options, "busybox", "cat", "/proc/self/oom_score_adj").strip()


def test_the_score_of_the_oom_killer_is_the_callers_or_as_asked(prun: Prun) -> None:
    """030.70."""
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    assert score(prun) == str(ours)
    assert score(prun, f"--oom-score-adj={ours + 1}") == str(ours + 1)
    done = limited(prun, f"choom -n {ours + 5} --", "run", "--rm", "busybox", "cat", "/proc/self/oom_score_adj")
    assert (done.returncode, done.stdout) == (0, f"{ours + 5}\n"), done.stderr


def test_a_score_that_the_caller_may_not_give_is_refused(prun: Prun) -> None:
    """030.72: without CAP_SYS_RESOURCE (proc_pid_oom_score_adj(5)); podman clamps, with a warning."""
    words = ["run", "--rm", "--oom-score-adj=-1000", "busybox", "true"]
    line = refusal(limited(prun, UNPRIVILEGED, *words))
    assert "--oom-score-adj -1000" in line
    assert "CAP_SYS_RESOURCE" in line


@pytest.mark.parametrize(
    ("word", "expected"),
    [("no-new-privileges", "1"), ("no-new-privileges=true", "1"), ("no-new-privileges:true", "1"),
     ("no-new-privileges=false", "0"), ("no-new-privileges:false", "0")],
)  # fmt: skip
def test_new_privileges_are_allowed_by_name_only(prun: Prun, word: str, expected: str) -> None:
    """030.74: on by default, unlike docker and podman."""
    asked = ["busybox", "grep", "NoNewPrivs", "/proc/self/status"]
    assert shown(prun, "--security-opt", word, *asked).split() == ["NoNewPrivs:", expected]
    assert shown(prun, *asked).split() == ["NoNewPrivs:", "1"]


def test_a_label_that_cannot_be_set_is_not_dropped(prun: Prun) -> None:
    """410.3: prun has no SELinux labels."""
    assert "label=type:foo.bar" in refused(prun, "--security-opt", "label=type:foo.bar", "busybox", "true")


def limit(prun: Prun, *words: str) -> tuple[str, str]:
    """The soft and the hard limit of the line that grep finds in /proc/self/limits."""
    *options, name = words
    line = shown(prun, *options, "busybox", "grep", f"^Max {name}", "/proc/self/limits")
    soft, hard = line.removeprefix(f"Max {name}").split()[:2]
    return soft, hard


def test_limits_are_set(prun: Prun) -> None:
    """030.86, 030.88."""
    assert limit(prun, "--ulimit", "nofile=100:200", "open files") == ("100", "200")
    assert limit(prun, "--ulimit", "nofile=100", "open files") == ("100", "100")
    assert limit(prun, "--ulimit", "core=-1:-1", "core file size") == ("unlimited", "unlimited")
    assert limit(prun, "--ulimit", "core=1000:-1", "core file size") == ("1000", "unlimited")


def test_a_soft_limit_above_the_hard_one_is_refused(prun: Prun) -> None:
    """030.89."""
    assert "core=-1:1000" in refused(prun, "--ulimit", "core=-1:1000", "busybox", "true")
    assert "nofile=2:1" in refused(prun, "--ulimit", "nofile=2:1", "busybox", "true")


def test_the_hosts_own_hard_limit_can_be_given(prun: Prun) -> None:
    """030.90."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert limit(prun, "--ulimit", f"nofile={hard}:{hard}", "open files") == (str(hard), str(hard))


def test_the_default_limits_are_the_seeds(prun: Prun) -> None:
    """030.91, 030.92: 1024 open files, the other limits as they are; podman has 1048576 of both."""
    assert limit(prun, "open files") == ("1024", "1024")
    assert limit(prun, "processes") == tuple(map(str, resource.getrlimit(resource.RLIMIT_NPROC)))
    asked = ["run", "--rm", "busybox", "sh", "-c", "ulimit -Sn; ulimit -Hn"]
    assert limited(prun, "prlimit --nofile=3000:4000", *asked).stdout == "1024\n1024\n"
    # Without CAP_SYS_RESOURCE no hard limit goes up.
    done = limited(prun, f"{UNPRIVILEGED} prlimit --nofile=1000:1000", *asked)
    assert (done.returncode, done.stdout) == (0, "1000\n1000\n"), done.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A block device of our own."""
    (tmp_path / "disk.img").write_bytes(b"\0" * (1 << 20))
    made = subprocess.run(
        ["losetup", "--find", "--show", str(tmp_path / "disk.img")], capture_output=True, text=True, check=True
    )
    device = made.stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def numbers(device: str) -> str:
    rdev = os.stat(device).st_rdev
    return f"{os.major(rdev)}:{os.minor(rdev)}"


def cgroup_file(pid: str, controller: str, name: str, unified: str) -> Path:
    """A file of the process's cgroup, in the hierarchy that has the controller (cgroups(7))."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return Path(f"/sys/fs/cgroup/{controller}{path}/{name}")
    return Path(f"/sys/fs/cgroup{path}/{unified}")


def test_reading_from_a_device_can_be_throttled(prun: Prun, disk: str, tmp_path: Path) -> None:
    """030.75."""
    options = [f"--device-read-bps={disk}:1M", "--pidfile", str(tmp_path / "pid")]
    with running(prun, "throttled", *options):
        pid = (tmp_path / "pid").read_text()
        path = cgroup_file(pid, "blkio", "blkio.throttle.read_bps_device", "io.max")
        text = path.read_text()
    if path.name == "io.max":
        assert text.splitlines() == [f"{numbers(disk)} rbps=1048576 wbps=max riops=max wiops=max"]
    else:
        assert text.splitlines() == [f"{numbers(disk)} 1048576"]


def test_a_weight_is_set_or_refused_where_the_kernel_has_none(prun: Prun, disk: str, tmp_path: Path) -> None:
    """180.1."""
    scheduler = Path("/sys/block", Path(disk).name, "queue/scheduler")
    before = scheduler.read_text()
    assert "weight" in refused(prun, "--blkio-weight-device", f"{disk}:123", "busybox", "true")
    if "bfq" not in before:
        return
    scheduler.write_text("bfq")
    try:
        options = ["--blkio-weight-device", f"{disk}:123", "--pidfile", str(tmp_path / "pid")]
        with running(prun, "weighted", *options):
            pid = (tmp_path / "pid").read_text()
            path = cgroup_file(pid, "blkio", "blkio.bfq.weight_device", "io.bfq.weight")
            assert f"{numbers(disk)} 123" in path.read_text()
    finally:
        scheduler.write_text("none" if "[none]" in before else before.partition("[")[2].partition("]")[0])


def test_a_privileged_container_has_the_hosts_terminals(prun: Prun) -> None:
    """030.80."""
    ours = {name for name in os.listdir("/dev") if re.fullmatch(r"tty.+", name)}
    assert ours
    theirs = {name for name in shown(prun, "--privileged", "busybox", "ls", "/dev").split() if name.startswith("tty")}
    assert theirs == {*ours, "tty"}
    plain = {name for name in shown(prun, "busybox", "ls", "/dev").split() if name.startswith("tty")}
    assert plain == {"tty"}


def test_what_tells_of_the_machine_is_masked(prun: Prun) -> None:
    """400.2."""
    there = [path for path in MASKED if os.path.exists(path)]
    assert there
    script = 'for path; do if test -d $path; then ls -A $path; else stat -c "%t:%T" $path; fi; done'
    seen = shown(prun, "busybox", "sh", "-c", script, "sh", *there).split()
    # Directories are empty; files are /dev/null.
    assert seen == ["1:3"] * sum(not os.path.isdir(path) for path in there)
