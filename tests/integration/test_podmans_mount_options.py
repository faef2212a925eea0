"""``U``, ``O`` and ``idmap`` of ``-v`` and ``--mount``: podman's options about owners and about throwing away."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attack import refused
from command import NOTHING
from running import public_store, shown
from second_user import second_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attack import Attack
    from command import Prun

MAPPED = "--uidmap=0:100000:65536"


@pytest.fixture(scope="module")
def store(archive: Path) -> Iterator[Prun]:
    with public_store(archive) as prun:
        yield prun


@pytest.fixture
def source() -> Iterator[Path]:
    """A directory that everybody may go through, with a file and a link to the host's own in it."""
    with tempfile.TemporaryDirectory(prefix="prun-source-") as name:
        path = Path(name)
        path.chmod(0o755)
        (path / "below").mkdir()
        (path / "below" / "file").write_text("the host's\n")
        (path / "link").symlink_to("/etc/passwd")
        yield path


def owners(path: Path) -> set[tuple[int, int]]:
    every = [path, *path.rglob("*")]
    return {(found.st_uid, found.st_gid) for found in map(os.lstat, every)}


# U


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["-u", "1000:2000"], (1000, 2000)),
        (["-u", "root:4000"], (0, 4000)),
        ([MAPPED, "-u", "5:6"], (100005, 100006)),
        ([MAPPED], (100000, 100000)),
    ],
)
def test_all_of_a_source_is_given_to_the_containers_user_and_no_link_is_followed(
    attack: Attack, binary: str, source: Path, words: list[str], ids: tuple[int, int]
) -> None:
    before = os.stat("/etc/passwd")
    mount = ["--mount", f"type=bind,src={source},dst=/x,U=true"]
    done = attack.run(binary, *words, *mount, attack.image(), "sh", "-c", "echo new >/x/below/file && id -u")
    assert done.returncode == 0, done.stderr
    assert owners(source) == {ids}
    assert os.stat("/etc/passwd") == before


def test_a_volume_is_given_to_the_containers_user(prun: Prun) -> None:
    words = ["-u", "7:8", "-v", "given:/etc:U", "busybox", "stat", "-c", "%u:%g", "/etc", "/etc/passwd"]
    assert shown(prun, *words) == "7:8\n7:8\n"
    assert prun("volume", "rm", "given").returncode == 0


@pytest.mark.parametrize("path", ["/etc", "/", "/usr", "/tmp/../var/lib", "/root"])
def test_a_directory_of_the_system_is_not_given_away(prun: Prun, path: str) -> None:
    before = os.stat(path)
    done = prun("run", "--rm", "-u", "7", "-v", f"{path}:/x:U", "busybox", "true")
    assert refused(done, "option U would change the owner"), done.stderr
    assert os.stat(path).st_uid == before.st_uid


def test_a_user_without_a_mapping_is_given_nothing(prun: Prun, source: Path) -> None:
    words = ["--uidmap=0:100000:10", "-u", "11", "-v", f"{source}:/x:U", "busybox", "true"]
    assert refused(prun("run", "--rm", *words), "not mapped")
    assert owners(source) == {(0, 0)}


# O


def test_what_is_written_over_a_source_goes_with_the_container(attack: Attack, binary: str, source: Path) -> None:
    script = "echo new >>/x/below/file; rm /x/link; touch /x/made; cat /x/below/file; ls /x"
    for words in (["-v", f"{source}:/x:O"], ["-v", f"{source}:/x:O", "--read-only"]):
        done = attack.run(binary, *words, attack.image(), "sh", "-c", script)
        assert done.stdout == "the host's\nnew\nbelow\nmade\n", done.stderr
    assert sorted(os.listdir(source)) == ["below", "link"]
    assert (source / "below" / "file").read_text() == "the host's\n"


def test_a_read_only_overlay_and_one_of_a_volume_keep_what_is_below(prun: Prun, source: Path) -> None:
    assert prun("run", "--rm", "-v", f"{source}:/x:O,ro", "busybox", "touch", "/x/new").returncode == 1
    assert shown(prun, "-v", "below:/etc:O", "busybox", "sh", "-c", "rm /etc/passwd; ls -d /etc") == "/etc\n"
    assert "passwd" in shown(prun, "-v", "below:/x", "busybox", "ls", "/x")
    assert prun("volume", "rm", "below").returncode == 0


def test_the_overlays_own_user_may_be_given_all_of_it(prun: Prun, source: Path) -> None:
    script = "stat -c %u:%g /x /x/below/file && touch /x/below/mine"
    assert shown(prun, "-u", "7:8", "-v", f"{source}:/x:O,U", "busybox", "sh", "-c", script) == "7:8\n7:8\n"
    assert owners(source) == {(0, 0)}


def test_who_takes_an_overlay_from_a_container_has_one_of_his_own(prun: Prun, source: Path) -> None:
    """The source stays as it is: what --volumes-from takes is not the directory itself."""
    assert prun("run", "--name", "first", "-v", f"{source}:/x:O", "busybox", "touch", "/x/new").returncode == 0
    assert "new" not in shown(prun, "--volumes-from", "first", "busybox", "sh", "-c", "ls /x; touch /x/other")
    assert sorted(os.listdir(source)) == ["below", "link"]


def test_an_overlay_over_a_file_is_refused(prun: Prun, source: Path) -> None:
    assert refused(prun("run", "--rm", "-v", f"{source}/below/file:/x:O", "busybox", "true"), "is no directory")


def test_a_killed_run_leaves_nothing_of_its_overlay(prun: Prun, source: Path) -> None:
    process = prun.popen("run", "--rm", "-v", f"{source}:/x:O", "busybox", "sh", "-c", "echo up >/x/up; sleep 100")
    deadline = time.monotonic() + 20
    while not list(prun.root.glob("snapshots/active/*/fs/up")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert prun("ps").returncode == 0
    process.communicate(timeout=20)
    assert prun.traces() == NOTHING


# idmap


def test_a_mapped_source_has_the_owners_of_the_disk(attack: Attack, binary: str, source: Path) -> None:
    os.chown(source / "below", 5, 6)
    script = "stat -c %u:%g /x /x/below; touch /x/new; chown 9:9 /x/new"
    done = attack.run(binary, MAPPED, "-v", f"{source}:/x:idmap", attack.image(), "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, "0:0\n5:6\n"), done.stderr
    assert (source / "new").stat().st_uid == 9


def test_a_map_needs_a_user_namespace(prun: Prun, source: Path) -> None:
    for words in ([], ["--userns=host"]):
        done = prun("run", "--rm", *words, "-v", f"{source}:/x:idmap", "busybox", "true")
        assert refused(done, "add --userns auto"), done.stderr


def test_a_file_system_that_cannot_is_named(prun: Prun) -> None:
    done = prun("run", "--rm", MAPPED, "-v", "/proc:/x:idmap", "busybox", "true")
    assert refused(done, "/proc cannot be mounted with other owners"), done.stderr


# Without root


def test_an_ordinary_user_gives_and_overlays_and_cannot_map(archive: Path) -> None:
    with second_user(f"options{os.getpid()}") as user:
        assert user.prun("load", "--tag", "busybox", "-", stdin=archive.read_bytes()).returncode == 0
        path = user.home / "data"
        (path / "below").mkdir(parents=True)
        subprocess.run(["chown", "-R", f"{user.name}:{user.name}", path], check=True)
        give = ["-u", "1000:2000", "-v", f"{path}:/x:U", "busybox", "sh", "-c", "stat -c %u:%g /x/below"]
        done = user.prun("run", "--rm", *give)
        assert (done.returncode, done.stdout) == (0, "1000:2000\n"), done.stderr
        assert {path.stat().st_uid, (path / "below").stat().st_uid} < user.ids() - {user.uid}
        over = ["-v", f"{path}:/x:O", "busybox", "sh", "-c", "mkdir /x/new && rmdir /x/below && ls /x"]
        done = user.prun("run", "--rm", *over)
        assert (done.returncode, done.stdout) == (0, "new\n"), done.stderr
        assert os.listdir(path) == ["below"]
        assert refused(user.prun("run", "--rm", "-v", f"{path}:/x:idmap", "busybox", "true"), "idmap needs root")
        os.chown(path / "below", 0, 0)
        assert refused(user.prun("run", "--rm", "-u", "7", *give[2:]), "cannot be given to 7:0")
        assert not any(user.settled().values())


# Started again


def test_who_is_started_again_has_the_same_options(prun: Prun, source: Path) -> None:
    """160.20: given again if the directory is somebody else's by then; a new layer over the source."""
    (source / "other").mkdir()
    mounts = ["-v", f"{source}/below:/x:U", "-v", f"{source}/other:/y:O"]
    script = "stat -c %u:%g /x /x/file; ls /y; touch /y/new || true"
    done = prun("run", "--name", "again", "-u", "7:8", *mounts, "busybox", "sh", "-c", script)
    assert done.stdout == "7:8\n7:8\n", done.stderr
    for path in (source / "below", source / "below" / "file"):
        os.chown(path, 100, 200)
    assert prun("start", "--attach", "again").stdout == "7:8\n7:8\n"
    assert os.listdir(source / "other") == []
