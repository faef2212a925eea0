"""``-v``, ``--mount`` and ``--tmpfs``: what podman's bats suite expects of them.

Rows of expectations.md; 060 is ``test/system/060-mount.bats``, 160 ``160-volumes.bats``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from running import refused, shown

if TYPE_CHECKING:
    from command import Prun


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Three directories, each with a file that tells which it is."""
    paths = [tmp_path / f"v{number}" for number in (1, 2, 3)]
    for path in paths:
        path.mkdir()
        (path / "in").write_text(f"{path.name}\n")
    return paths


def test_directories_of_the_host_are_read_and_written(prun: Prun, three: list[Path]) -> None:
    """160.3, 160.4, 160.5."""
    one, two, three_ = three
    options = ["-v", f"{one}:/vol1:z", "--volume", f"{three_}:/vol3:z", "-v", f"{two}:/vol2:z"]
    script = "cat /vol?/in; mount | grep -c ' on /vol[123] '; echo written >/vol1/out; cp /vol2/in /vol3/out"
    assert shown(prun, *options, "busybox", "sh", "-c", script) == "v1\nv2\nv3\n3\n"
    assert ((one / "out").read_text(), (three_ / "out").read_text()) == ("written\n", "v2\n")


@pytest.mark.parametrize("options", ["ro", "z,ro", "ro,z"])
def test_a_directory_may_be_read_only(prun: Prun, three: list[Path], options: str) -> None:
    """160.5."""
    done = prun("run", "--rm", "-v", f"{three[0]}:/vol:{options}", "busybox", "touch", "/vol/x")
    assert (done.returncode, "Read-only file system" in done.stderr) == (1, True)
    assert not (three[0] / "x").exists()


def test_two_mounts_do_not_have_one_destination(prun: Prun, three: list[Path]) -> None:
    """060.15, 160.6, 160.7: the same mount twice is refused as docker does, podman takes it."""
    one, two, _ = three
    bind = [f"type=bind,src={path},destination=/same,ro" for path in (one, two)]
    pairs = [
        ["-v", f"{one}:/same", "-v", f"{two}:/same"],
        ["-v", f"{one}:/same", "-v", f"{one}:/same"],
        ["-v", "vol1:/same", "-v", "vol2:/same"],
        ["-v", "vol1:/same", "-v", "vol1:/same/"],
        ["--tmpfs", "/same", "--tmpfs", "/same:ro"],
        ["-v", "vol2:/same", "--tmpfs", "/same"],
        ["-v", f"{one}:/same", "--tmpfs", "/same"],
        ["--mount", bind[0], "--mount", bind[1]],
        ["--mount", bind[0], "-v", f"{two}:/other/../same"],
    ]
    for options in pairs:
        line = refused(prun, *options, "busybox", "true")
        assert "/same" in line
        assert "uplicate" in line or "twice" in line, line
    assert prun("volume", "ls", "-q").stdout == ""


@pytest.mark.parametrize("words", ["readonly", "readonly=true", "ro=true", "ro", "rw=false"])
def test_a_mount_may_be_read_only(prun: Prun, words: str) -> None:
    """060.3, 060.5."""
    done = prun("run", "--rm", "--mount", f"type=volume,destination=/in/it,{words}", "busybox", "touch", "/in/it/a")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "touch: /in/it/a: Read-only file system\n"


@pytest.mark.parametrize("words", ["ro=false", "readonly=false", "rw", "rw=true"])
def test_a_mount_may_be_said_to_be_writable(prun: Prun, words: str) -> None:
    """060.4, 060.5."""
    mount = f"type=volume,destination=/in/it,{words}"
    assert shown(prun, "--mount", mount, "busybox", "touch", "/in/it/a") == ""


@pytest.mark.parametrize(
    "mount",
    [
        "type=bogus,src={dir},dst=/x",
        "type=bind,source={dir}",
        "type=bind,source={dir}/v*,destination=/x",
        "type=glob,src={dir}/v*",
        "type=ramfs,destination=/x",
        "type=tmpfs,destination=/x,noswap",
        "type=image,src=busybox,destination=/x,readwrite=true",
        "type=bind,src={dir},destination=/x,no-dereference",
    ],
)
def test_a_mount_that_is_not_understood_is_refused(prun: Prun, three: list[Path], mount: str) -> None:
    """060.16, 060.18, 060.19; 060.17, 060.20 and 060.21 are of podman alone."""
    assert "mount" in refused(prun, "--mount", mount.format(dir=three[0].parent), "busybox", "true")


def test_a_star_in_a_source_is_a_letter(prun: Prun, tmp_path: Path) -> None:
    """060.19."""
    (tmp_path / "v*").write_text("star\n")
    (tmp_path / "v1").write_text("one\n")
    assert shown(prun, "--mount", f"type=bind,source={tmp_path}/v*,dst=/x", "busybox", "cat", "/x") == "star\n"


@pytest.mark.parametrize("target", ["inside", "{dir}/tree/inside", "../outside", "{dir}/outside"])
def test_a_link_is_followed_as_a_source_and_kept_below_one(prun: Prun, tmp_path: Path, target: str) -> None:
    """060.22."""
    (tmp_path / "tree").mkdir()
    for name in ("tree/inside", "outside"):
        (tmp_path / name).write_text(f"{Path(name).name}\n")
    target = target.format(dir=tmp_path)
    (tmp_path / "tree/link").symlink_to(target)
    mounts = [f"type=bind,src={tmp_path}/tree/link,dst=/new/place", f"type=bind,src={tmp_path}/tree,dst=/tree"]
    options = [word for mount in mounts for word in ("--mount", mount)]
    script = "stat -c %F /new/place; cat /new/place; readlink /tree/link"
    expected = f"regular file\n{Path(target).name}\n{target}\n"
    assert shown(prun, *options, "busybox", "sh", "-c", script) == expected


def test_the_files_of_an_image_can_be_mounted(prun: Prun) -> None:
    """060.6, 060.7, 060.10, 060.12; the fixture looks for stray mounts."""
    identity = json.loads(prun("inspect", "busybox").stdout)[0]["Id"]
    for source in ("busybox", identity):
        mount = f"type=image,src={source},dst=/image"
        script = "cmp /etc/passwd /image/etc/passwd && readlink /image/bin/sh; touch /image/x"
        done = prun("run", "--rm", "--mount", mount, "busybox", "sh", "-c", script)
        assert (done.returncode, done.stdout) == (1, "busybox\n"), done.stderr
        assert done.stderr == "touch: /image/x: Read-only file system\n"


def test_the_files_of_an_image_may_be_written_where_they_are_mounted(prun: Prun) -> None:
    """060.8; the image itself stays as it is."""
    mount = "type=image,src=busybox,dst=/image,rw=true"
    for _ in range(2):
        assert (
            shown(
                prun, "--mount", mount, "busybox", "sh", "-c", "ls /image/x 2>&- ; touch /image/x; rm /image/etc/passwd"
            )
            == ""
        )


def test_a_part_of_an_image_can_be_mounted(prun: Prun) -> None:
    """060.9: docker's word for it."""
    mount = "type=image,src=busybox,dst=/image,image-subpath=etc"
    assert shown(prun, "--mount", mount, "busybox", "ls", "/image").split()[:2] == ["group", "passwd"]


@pytest.mark.parametrize("path", ["/x", "/etc/x", "/usr/bin/x"])
def test_a_read_only_root_cannot_be_written(prun: Prun, path: str) -> None:
    """030.83."""
    done = prun("run", "--rm", "--read-only", "busybox", "touch", path)
    assert (done.returncode, "Read-only file system" in done.stderr) == (1, True)
    assert shown(prun, "--read-only=false", "busybox", "touch", path) == ""


def test_with_a_read_only_root_the_kernels_and_runs_tmpfs_are_writable(prun: Prun) -> None:
    """030.84: as docker; podman has a tmpfs on /tmp and /var/tmp, too."""
    assert shown(prun, "--read-only", "busybox", "touch", "/dev/a", "/dev/shm/b", "/run/c") == ""
    assert prun("run", "--rm", "--read-only", "busybox", "touch", "/tmp/d").returncode == 1
    assert shown(prun, "--read-only", "--tmpfs", "/tmp", "busybox", "touch", "/tmp/d") == ""
