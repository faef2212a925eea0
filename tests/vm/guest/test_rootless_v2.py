"""prun as an ordinary user on cgroup v2: limits hold where a cgroup was delegated, and are refused where none was."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from command import busybox_archive
from second_user import NOTHING, SecondUser, second_user

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUPS = Path("/sys/fs/cgroup")
SLICE = CGROUPS / "user.slice"
HANDED_DOWN = ("cpu", "memory", "pids")  # what systemd delegates to user@.service
DELEGATED_FILES = (".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}  # here it takes seconds, so once is enough
LIMITS = ("-m", "64m", "--memory-swap", "64m", "--pids-limit", "20", "--cpus", "0.5")
FILES = {"memory.max": str(64 << 20), "memory.swap.max": "0", "pids.max": "20", "cpu.max": "50000 100000"}


class Session(NamedTuple):
    """A user's processes in a cgroup: in ``leaf``, as the kernel wants it; ``top`` is whose children they may make."""

    user: SecondUser
    top: Path

    @property
    def leaf(self) -> Path:
        return self.top / "shell"

    def words(self, *words: str) -> list[str]:
        enter = 'echo 0 >"$0/cgroup.procs" && exec "$@"'
        return ["sh", "-c", enter, str(self.leaf), *self.user.command(*self.user.words, *words, **COMPILED)]

    def prun(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.words(*words), input=stdin, capture_output=True, timeout=110, cwd="/", check=False)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def containers(self) -> list[str]:
        """The names of the cgroups beside our own."""
        return [path.parent.name for path in self.top.glob("*/cgroup.procs") if path.parent != self.leaf]

    def is_clean(self) -> bool:
        assert self.user.settled() == NOTHING
        assert not list(self.user.state.glob("crun/*"))
        return self.containers() == []


@contextmanager
def session(user: SecondUser, name: str) -> Iterator[Session]:
    made = Session(user, SLICE / name)
    made.leaf.mkdir(parents=True)
    for directory in (SLICE, made.top):
        (directory / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in HANDED_DOWN))
    yield made
    assert made.is_clean()
    made.leaf.rmdir()
    made.top.rmdir()


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondUser]:
    with second_user("guest") as made:
        archive = busybox_archive(tmp_path_factory.mktemp("user") / "busybox.tar").read_bytes()
        subprocess.run(["chown", "-R", made.name, made.library], check=True)
        loaded = made.prun("load", "--tag", "busybox", "-", stdin=archive, **COMPILED)
        assert loaded.returncode == 0, loaded.stderr
        yield made
    SLICE.rmdir()


@pytest.fixture(scope="module")
def delegated(user: SecondUser) -> Iterator[Session]:
    """As systemd's user@.service and what it runs (cgroup-v2.rst, "Model of Delegation")."""
    with session(user, f"user@{user.uid}.service") as made:
        for directory in (made.top, made.leaf):
            for name in DELEGATED_FILES:
                os.chown(directory / name, user.uid, user.uid)
        yield made


@pytest.fixture(scope="module")
def undelegated(user: SecondUser) -> Iterator[Session]:
    """As systemd's session-1.scope: root's."""
    with session(user, "session-1.scope") as made:
        yield made


def test_limits_hold_in_a_delegated_cgroup(delegated: Session, binary: str):
    script = f"cd /sys/fs/cgroup; grep . {' '.join(FILES)}; cat /proc/self/cgroup; exec tail /dev/zero"
    done = delegated.prun("run", "--rm", "--opt", f"binary={binary}", *LIMITS, "busybox", "sh", "-c", script)
    assert done.stdout.splitlines() == [*(f"{name}:{value}" for name, value in FILES.items()), "0::/"], done.stderr
    assert done.returncode == 137
    assert delegated.is_clean()


def test_what_a_killed_prun_leaves_is_cleared(delegated: Session, binary: str):
    words = ["run", "--rm", "--opt", f"binary={binary}", "--pids-limit", "20", "--id", "it"]
    command = delegated.words(*words, "busybox", "sh", "-c", "echo begun; exec sleep 100")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        assert delegated.containers() == ["prun-it"]
        process.send_signal(signal.SIGKILL)
    checked = delegated.prun("system", "check")
    assert checked.returncode == 0, checked.stderr
    assert delegated.is_clean()


def test_a_controller_that_was_not_delegated_is_refused_by_the_name_of_the_option(delegated: Session):
    done = delegated.prun("run", "--rm", "--cpuset-cpus", "0", "--pids-limit", "20", "busybox", "true")
    assert done.returncode == 125
    assert f"{SLICE} does not hand down cpuset" in done.stderr
    assert "--cpuset-cpus" in done.stderr
    assert "--pids-limit" not in done.stderr


def test_without_a_delegated_cgroup_limits_are_refused_by_name(undelegated: Session):
    done = undelegated.prun("run", "--rm", *LIMITS, "busybox", "true")
    assert done.returncode == 125
    for option in ("--memory", "--memory-swap", "--pids-limit", "--cpus"):
        assert option in done.stderr


def test_without_a_delegated_cgroup_a_container_is_in_pruns_own(undelegated: Session, binary: str):
    options = ("--opt", f"binary={binary}", "--cgroupns", "host")
    done = undelegated.prun("run", "--rm", *options, "busybox", "cat", "/proc/self/cgroup")
    assert done.stdout == f"0::/{undelegated.leaf.relative_to(CGROUPS)}\n", done.stderr
    assert undelegated.is_clean()
