"""Named and anonymous volumes: what podman's bats suite expects of them.

Rows of expectations.md; 160 is ``test/system/160-volumes.bats``.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from images import directory, file
from running import made_image, public_store, refusal, refused, running, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from command import Prun


@pytest.fixture(scope="module")
def store(archive: Path) -> Iterator[Prun]:
    with public_store(archive) as prun:
        yield prun


@pytest.fixture
def prun(prun: Prun) -> Iterator[Prun]:
    """A store without volumes, before and after."""
    assert prun("volume", "ls", "-q").stdout == ""
    yield prun
    for container in prun("ps", "-aq").stdout.split():
        assert prun("rm", "-f", container).returncode == 0
    for name in names(prun):
        assert prun("volume", "rm", name).returncode == 0


def names(prun: Prun) -> list[str]:
    return prun("volume", "ls", "-q").stdout.split()


def inspected(prun: Prun, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(prun("volume", "inspect", name).stdout)
    return found[0]


def mountpoint(prun: Prun, name: str) -> Path:
    return Path(inspected(prun, name)["Mountpoint"])


def owner(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid


def created(prun: Prun, *words: str) -> str:
    done = prun("volume", "create", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_a_volume_is_made_listed_and_removed(prun: Prun) -> None:
    """160.1, 160.9, 160.10."""
    assert created(prun, "-d", "local", "--label", "l=mine", "myvol") == "myvol"
    rows = json.loads(prun("volume", "ls", "--format", "json").stdout)
    assert [(row["Name"], row["Driver"], row["Mountpoint"]) for row in rows] == [
        ("myvol", "local", str(mountpoint(prun, "myvol")))
    ]
    assert "mine" in str(rows[0]["Labels"])
    assert shown(prun, "--volume", "myvol:/vol", "busybox", "sh", "-c", "echo random >/vol/myfile") == ""
    assert (mountpoint(prun, "myvol") / "myfile").read_text() == "random\n"
    assert prun("volume", "rm", "myvol").stdout == "myvol\n"
    assert names(prun) == []


def test_what_the_host_puts_there_the_container_sees_and_can_execute(prun: Prun) -> None:
    """160.13, 160.35."""
    script = mountpoint(prun, created(prun, "myvol")) / "script"
    script.write_text("#!/bin/sh\necho got here\n")
    script.chmod(0o755)
    assert shown(prun, "-v", "myvol:/vol:z", "busybox", "/vol/script") == "got here\n"
    assert shown(prun, "-v", "myvol:/vol:z", "busybox", "cat", "/vol/script") == script.read_text()
    done = prun("run", "--rm", "-v", "myvol:/vol:noexec,z", "busybox", "/vol/script")
    assert (done.returncode, done.stdout) == (126, "")
    assert "ermission denied" in done.stderr


def test_a_volume_in_use_is_not_removed(prun: Prun) -> None:
    """160.11."""
    with running(prun, "user", "--volume", "myvol:/myvol"):
        line = refusal(prun("volume", "rm", "myvol"))
        assert "myvol" in line
        assert "user" in line or json.loads(prun("inspect", "user").stdout)[0]["Id"][:12] in line
    assert names(prun) == ["myvol"]


def test_an_anonymous_volume_outlives_its_container_until_that_is_removed_with_it(prun: Prun) -> None:
    """160.14, 160.15."""
    done = prun("run", "--name", "kept", "-v", "/myvol", "busybox", "sh", "-c", "echo random >/myvol/myfile")
    assert done.returncode == 0, done.stderr
    (name,) = names(prun)
    assert (mountpoint(prun, name) / "myfile").read_text() == "random\n"
    assert prun("rm", "-v", "kept").returncode == 0
    assert names(prun) == []


def test_with_rm_an_anonymous_volume_goes_too(prun: Prun) -> None:
    """160.14."""
    assert shown(prun, "-v", "/myvol", "busybox", "touch", "/myvol/myfile") == ""
    assert names(prun) == []


def test_a_named_volume_is_made_on_first_use_and_stays(prun: Prun) -> None:
    """160.16."""
    command = ["busybox", "sh", "-c", "echo random >/myvol/myfile; cat /myvol2/myfile"]
    assert shown(prun, "-v", "myvol:/myvol:z", "-v", "myvol:/myvol2:z", *command) == "random\n"
    assert names(prun) == ["myvol"]
    assert shown(prun, "-v", "myvol:/myvol:z", "busybox", "cp", "/myvol/myfile", "/myvol/copy") == ""
    assert sorted(os.listdir(mountpoint(prun, "myvol"))) == ["copy", "myfile"]


def test_volumes_are_filtered_by_a_regular_expression(prun: Prun) -> None:
    """160.8."""
    for number in (1, 2):
        created(prun, f"volume_{number}_x")
    assert prun("volume", "ls", "-q", "--filter", "name=volume_1.+").stdout == "volume_1_x\n"
    assert prun("volume", "ls", "-q", "--filter", "name=volume_1*").stdout.split() == ["volume_1_x", "volume_2_x"]


def test_inspect_is_written_in_lines(prun: Prun) -> None:
    """160.23."""
    assert prun("volume", "inspect", created(prun, "myvol")).stdout.count("\n") >= 8


def test_prune_takes_anonymous_ones_only(prun: Prun) -> None:
    """160.24, 160.30."""
    for name in ("named1", "named2"):
        created(prun, name)
    anonymous = created(prun)
    assert sorted(names(prun)) == sorted(["named1", "named2", anonymous])
    assert anonymous in prun("volume", "prune", "--force").stdout
    assert names(prun) == ["named1", "named2"]


def test_prune_all_takes_what_no_container_has(prun: Prun) -> None:
    """160.25, 160.26."""
    volumes = [created(prun, f"v{number}") for number in range(1, 7)]
    prun("run", "--name", "c1", "--volume", "v1:/vol1", "busybox", "true")
    prun("run", "--name", "c2", "--volume", "v2:/vol2", "-v", "v3:/vol3", "busybox", "true")
    assert pruned(prun, volumes) == ["v4", "v5", "v6"]
    assert prun("rm", "c2").returncode == 0
    assert pruned(prun, volumes) == ["v2", "v3"]
    assert prun("rm", "c1").returncode == 0
    assert pruned(prun, volumes) == ["v1"]
    assert pruned(prun, volumes) == []


def pruned(prun: Prun, known: list[str], *options: str) -> list[str]:
    """The names that prune prints, and that are gone."""
    before = names(prun)
    done = prun("volume", "prune", "--all", "--force", *options)
    assert done.returncode == 0, done.stderr
    gone = [name for name in before if name not in names(prun)]
    assert [line for line in done.stdout.split() if line in known] == gone
    return gone


def test_prune_may_be_limited_to_a_label(prun: Prun) -> None:
    """160.28."""
    volumes = [created(prun, "plain"), created(prun, "--label", "mine", "labelled")]
    assert pruned(prun, volumes, "--filter", "label=mine") == ["labelled"]


@pytest.mark.parametrize("answer", [b"N\n", b"", b"\n"])
def test_prune_asks_first(prun: Prun, answer: bytes) -> None:
    """160.27."""
    created(prun)
    prun("volume", "prune", stdin=answer)
    assert len(names(prun)) == 1


def test_a_new_volume_gets_the_files_of_the_image(prun: Prun) -> None:
    """160.32."""
    created(prun, "myvol")
    assert shown(prun, "-v", "myvol:/vol", "busybox", "ls", "/vol") == ""
    assert shown(prun, "-v", "myvol:/etc", "busybox", "cat", "/etc/group").startswith("root:x:0:\n")
    assert (mountpoint(prun, "myvol") / "passwd").exists()
    (mountpoint(prun, "myvol") / "passwd").unlink()
    assert prun("run", "--rm", "-v", "myvol:/etc", "busybox", "test", "-e", "/etc/passwd").returncode == 1


def test_a_volume_of_the_image_is_anonymous_and_no_tmpfs(prun: Prun, tmp_path: Path) -> None:
    """160.37."""
    source = made_image(tmp_path, Volumes={"/data": {}})
    command = [source, "sh", "-c", "mount | grep ' on /data '"]
    done = prun("run", "--name", "kept", *command)
    assert (done.returncode, " type tmpfs " in done.stdout) == (0, False), done.stderr
    assert len(names(prun)) == 1
    assert prun("rm", "-v", "kept").returncode == 0
    assert names(prun) == []


def test_an_unknown_volume_is_an_error_unless_forced(prun: Prun) -> None:
    """160.38, 160.39: the names are printed as docker does, podman prints those that were there."""
    assert "bogus" in refusal(prun("volume", "rm", "bogus"))
    done = prun("volume", "rm", "--force", "bogus")
    assert (done.returncode, done.stderr) == (0, "")
    created(prun, "testvol")
    assert prun("volume", "rm", "--force", "bogus", "testvol").stdout.splitlines()[-1] == "testvol"
    assert names(prun) == []


def test_creating_a_volume_again_changes_nothing(prun: Prun) -> None:
    """160.42: as docker, without an option."""
    path = mountpoint(prun, created(prun, "myvol"))
    (path / "file").write_text("")
    os.chown(path, 2000, 2000)
    assert created(prun, "myvol") == "myvol"
    assert ((path / "file").exists(), path.stat().st_uid) == (True, 2000)


def test_a_new_volume_belongs_to_whom_the_image_says(prun: Prun, tmp_path: Path) -> None:
    """160.43: as docker; podman gives it to the container's user."""
    source = made_image(tmp_path, [directory("vol", uid=1000, gid=1001, mode=0o750), file("vol/f", uid=1000)])
    for user in ("0", "2000:2000"):
        command = ["--user", user, "-v", "myvol:/vol", source, "stat", "-c", "%u:%g:%a", "/vol"]
        assert shown(prun, *command) == "1000:1001:750\n"
    assert shown(prun, "--user", "2000:2000", "-v", "none:/new", source, "stat", "-c", "%u:%g", "/new") == "0:0\n"


def test_labels_are_listed(prun: Prun) -> None:
    """160.44: volumes are listed as a table or as JSON, not by a template."""
    created(prun, "--label", "mylabel=random", "--label", "bare", "myvol")
    (row,) = json.loads(prun("volume", "ls", "--format", "json").stdout)
    assert row["Labels"] == {"mylabel": "random", "bare": ""}


def test_a_volume_may_be_what_mount_makes_of_its_options(prun: Prun, tmp_path: Path) -> None:
    """160.31: a directory is type=none and o=bind as of mount(8) and docker, or type=bind as of podman."""
    (tmp_path / "file").write_text("of the host\n")
    tmp_path.chmod(0o755)
    created(prun, "-o", "type=none", "-o", "o=bind", "-o", f"device={tmp_path}", "bound")
    created(prun, "-o", "type=bind", "-o", f"device={tmp_path}", "bound2")
    for name in ("bound", "bound2"):
        assert shown(prun, "-v", f"{name}:/vol:z", "busybox", "cat", "/vol/file") == "of the host\n"
    created(prun, "-o", "type=tmpfs", "-o", "o=size=2M", "-o", "device=tmpfs", "memory")
    line = shown(prun, "-v", "memory:/vol", "busybox", "sh", "-c", "mount | grep ' on /vol '")
    assert line.startswith("tmpfs on /vol type tmpfs ")
    assert "size=2048k" in line
    created(prun, "-o", "type=none", "-o", "o=bind", "-o", "device=/bogus", "missing")
    assert "/bogus" in refused(prun, "-v", "missing:/vol", "busybox", "true")


def test_a_source_is_given_to_the_containers_user(prun: Prun, tmp_path: Path) -> None:
    """160.19: all of it, unless the directory itself is the user's already."""
    (tmp_path / "test1").touch()
    asked = ["--user", "1000:2000", "-v", f"{tmp_path}:/data:U", "busybox", "stat", "-c", "%u:%g", "/data"]
    assert shown(prun, *asked) == "1000:2000\n"
    assert owner(tmp_path / "test1") == (1000, 2000)
    os.chown(tmp_path, 100, 200)
    os.chown(tmp_path / "test1", 100, 200)
    assert shown(prun, *asked) == "1000:2000\n"
    assert owner(tmp_path / "test1") == (1000, 2000)
    os.chown(tmp_path / "test1", 100, 200)
    assert shown(prun, *asked) == "1000:2000\n"
    assert owner(tmp_path / "test1") == (100, 200)


def test_a_mapped_volume_keeps_the_owners_seen_inside(prun: Prun) -> None:
    """030.97: for each mapping, since the disk has the image's own."""
    for first in (1000, 2000):
        asked = [f"--uidmap=0:{first}:10000", "-v", "mapped:/etc:idmap", "busybox"]
        assert shown(prun, *asked, "stat", "-c", "%u:%g", "/etc/passwd", "/etc") == "0:0\n0:0\n"
        assert shown(prun, *asked, "sh", "-c", "touch /etc/new && stat -c %u /etc/new") == "0\n"
    assert shown(prun, "-v", "mapped:/vol", "busybox", "stat", "-c", "%u:%g", "/vol/passwd", "/vol/new") == "0:0\n0:0\n"


def test_an_ordinary_user_reaches_nothing_of_the_store(prun: Prun) -> None:
    """400.1."""
    script = "echo hi >/myfile; mkdir -p /mydir/sub; chmod 777 /myfile /mydir /mydir/sub; chmod 777 /foo"
    words = ["--name", "mapped", "--uidmap", "0:10000:10000", "-v", "foo:/foo", "busybox", "sh", "-c", script]
    done = prun("run", *words)
    assert done.returncode == 0, done.stderr
    found = subprocess.run(
        ["find", str(prun.root), str(prun.state), "!", "-type", "l", "-perm", "-o+w"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert found
    for path in found:
        for test in ("-r", "-w", "-x"):
            tried = subprocess.run(
                ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "test", test, path], check=False
            )
            assert tried.returncode == 1, (test, path)
