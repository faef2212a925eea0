"""What podman's bats suite expects of an ordinary user's run: rows of expectations.md that say [R]."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from running import refusal
from second_user import NOTHING, SecondUser, second_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def everyone(archive: Path) -> Iterator[SecondUser]:
    with second_user(f"expect{os.getpid()}") as made:
        loaded = made.prun("load", "--tag", "busybox", "-", stdin=archive.read_bytes())
        assert loaded.returncode == 0, loaded.stderr
        yield made


@pytest.fixture
def user(everyone: SecondUser) -> Iterator[SecondUser]:
    """Give the user to one test, which must leave no trace."""
    yield everyone
    assert everyone.settled() == NOTHING


def shown(user: SecondUser, *words: str) -> str:
    done = user.prun("run", "--rm", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def own_file(user: SecondUser, name: str) -> str:
    """A directory of the user's with a file in it."""
    path = user.home / name
    path.mkdir()
    (path / "file").write_text("")
    for each in (path, path / "file"):
        os.chown(each, user.uid, user.uid)
    return str(path)


@pytest.mark.parametrize("privileged", [[], ["--privileged"]])
def test_who_keeps_his_id_has_it(user: SecondUser, privileged: list[str]) -> None:
    """030.30, 170.11."""
    assert shown(user, *privileged, "busybox", "id", "-un") == "root\n"
    kept = [*privileged, "--userns=keep-id"]
    assert shown(user, *kept, "busybox", "id", "-u") == f"{user.uid}\n"
    assert shown(user, *kept, "--user=0", "busybox", "id", "-un") == "root\n"


def test_a_rule_for_devices_is_refused_with_the_reason(user: SecondUser) -> None:
    """030.58."""
    line = refusal(user.prun("run", "--rm", "--device-cgroup-rule=b 7:* rmw", "busybox", "true"))
    assert "--device-cgroup-rule" in line


def test_a_privileged_container_has_no_terminal_of_the_machine(user: SecondUser) -> None:
    """030.82."""
    names = shown(user, "--privileged", "busybox", "ls", "/dev").split()
    assert "null" in names
    assert not [name for name in names if name.startswith("tty") and name[3:4].isdigit()]


def test_a_volume_is_made_for_who_keeps_his_id(user: SecondUser) -> None:
    """160.17."""
    for _ in range(2):
        words = [
            "--userns=keep-id",
            "-v",
            "kept:/myvol",
            "busybox",
            "sh",
            "-c",
            "touch /myvol/f && stat -c %u /myvol/f",
        ]
        assert shown(user, *words) == f"{user.uid}\n"
    assert user.prun("volume", "rm", "kept").returncode == 0


def test_a_file_of_the_user_s_belongs_to_its_id_to_root_or_to_nobody(user: SecondUser) -> None:
    """160.21, 170.10."""
    asked = ["-v", f"{own_file(user, 'mine')}:/vol:z", "busybox", "stat", "-c", "%u:%g:%s", "/vol/file"]
    assert shown(user, "--userns=keep-id", *asked) == f"{user.uid}:{user.uid}:0\n"
    assert shown(user, *asked) == "0:0:0\n"
    # The container's root is another id then: it has to be let through to its files.
    state = user.home.parent / "state-nomap"
    state.mkdir()
    os.chown(state, user.uid, user.uid)
    public = user.home.parent / "public"
    os.rename(user.home / "mine", public)
    public.chmod(0o755)
    asked[1] = f"{public}:/vol:z"
    done = user.prun("--state", str(state), "run", "--rm", "--userns=nomap", *asked)
    assert (done.returncode, done.stdout) == (0, "65534:65534:0\n"), done.stderr
    done = user.prun("--state", str(state), "run", "--rm", "--userns=nomap", "busybox", "cat", "/proc/self/uid_map")
    assert done.returncode == 0, done.stderr
    assert all(int(line.split()[1]) != 0 for line in done.stdout.splitlines())


def test_an_automatic_namespace_may_have_an_id_of_the_machine_s(user: SecondUser) -> None:
    """170.12: ``@`` before an id that is not the user namespace's of ``prun unshare``."""
    first = min(user.ids() - {user.uid})
    state = user.home.parent / "state-auto"
    state.mkdir()
    os.chown(state, user.uid, user.uid)
    words = [f"--userns=auto:uidmapping=1:@{first}:1", "busybox", "cat", "/proc/self/uid_map"]
    done = user.prun("--state", str(state), "run", "--rm", *words)
    assert done.returncode == 0, done.stderr
    assert {line.split()[1] for line in done.stdout.splitlines() if line.split()[0] == "1"} == {"1"}
