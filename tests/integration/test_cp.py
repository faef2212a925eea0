"""``cp`` with real containers: what podman's 065-cp.bats expects, and what docker says where they differ.

The ids in the comments are those of podman-expectations.md.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from images import directory, file, hardlink, layer_tar, symlink
from running import made_image, public_store, refusal, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from command import Prun

    Container = Callable[[str, str], str]

STATES = ("running", "paused", "stopped", "created")


def succeeded(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


def taken(prun: Prun, path: str) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """Everything at a container's path, as the tar on stdout has it."""
    done = subprocess.run([*prun.words, "cp", path, "-"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        return {info.name: (info, _data(tar, info)) for info in tar}


def _data(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    content = tar.extractfile(info) if info.isreg() else None
    return content.read() if content else b""


def contents(prun: Prun, path: str) -> dict[str, bytes]:
    return {name: data for name, (info, data) in taken(prun, path).items() if info.isreg()}


@pytest.fixture
def container(prun: Prun) -> Iterator[Container]:
    """Make a container named ``c`` in one of the STATES, after a script has prepared its root."""

    @contextmanager
    def of(state: str, script: str) -> Iterator[str]:
        prepared = f"mkdir -p /srv/subdir; {script}"
        if state in ("running", "paused"):
            with running(prun, "c", "-w", "/srv", command=f"{prepared}; echo up; sleep 100"):
                if state == "paused":
                    assert prun("pause", "c").returncode == 0
                yield "c"
                if state == "paused":
                    assert prun("unpause", "c").returncode == 0
            return
        if state == "stopped":
            assert prun("run", "--name", "c", "busybox", "sh", "-c", prepared).returncode == 0
        else:  # what a script would have prepared is put there by cp
            assert prun("run", "--name", "before", "busybox", "sh", "-c", prepared).returncode == 0
            assert prun("create", "--name", "c", "busybox", "true").returncode == 0
            tree = subprocess.run([*prun.words, "cp", "before:/", "-"], capture_output=True, check=True).stdout
            assert prun("cp", "-", "c:/", stdin=tree).returncode == 0
        yield "c"

    stack: list[object] = []

    def make(state: str, script: str) -> str:
        manager = of(state, script)
        stack.append(manager)
        return manager.__enter__()

    yield make
    for manager in stack:
        manager.__exit__(None, None, None)  # type: ignore[attr-defined]


# From the host


@pytest.mark.parametrize("state", STATES)
def test_a_file_into_a_container(prun: Prun, container: Container, state: str, tmp_path: Path) -> None:
    """065.1"""
    container(state, "touch /tmp/there; ln -s /tmp/nonesuch /tmp/x; mkdir /tmp/real; ln -s real /tmp/linked")
    (tmp_path / "h").write_text("content")
    (tmp_path / "dotfile.").write_text("dot")
    expected = {
        "c:/": "c:/h", "c:/other": "c:/other", "c:/tmp": "c:/tmp/h", "c:/srv/": "c:/srv/h", "c:/srv/.": "c:/srv/h",
        "c:/tmp/there": "c:/tmp/there", "c:subdir": "c:/subdir", "c:srv/subdir": "c:/srv/subdir/h",
        "c:/tmp/x": "c:/tmp/nonesuch", "c:/tmp/linked": "c:/tmp/real/h", "c:/tmp/linked/y": "c:/tmp/real/y",
    }  # fmt: skip
    for target, path in expected.items():
        succeeded(prun("cp", str(tmp_path / "h"), target))
        assert list(contents(prun, path).values()) == [b"content"], target
    succeeded(prun("cp", str(tmp_path / "dotfile."), "c:/tmp"))
    assert contents(prun, "c:/tmp/dotfile.") == {"dotfile.": b"dot"}
    assert '/nothere" could not be found on the host' in refusal(prun("cp", str(tmp_path / "nothere"), "c:/tmp"))
    for target in ("/IdoNotExist/", "/tmp/x2/y", "/tmp/there/z", "/tmp/there/"):
        words = f'"{target}" could not be found on container c: '
        assert words in refusal(prun("cp", str(tmp_path / "h"), f"c:{target}"))


@pytest.mark.parametrize("state", ["running", "created"])
def test_a_directory_into_a_container(prun: Prun, container: Container, state: str, tmp_path: Path) -> None:
    """065.7"""
    container(state, "touch /file")
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "dir" / "sub" / "f").write_text("0")
    (tmp_path / "dir" / "sub" / "g").write_text("1")
    (tmp_path / "dir.").mkdir()
    (tmp_path / "dir." / "f").write_text("0")
    for source, target, path in [
        ("dir", "/", "/dir/sub"), ("dir.", "/", "/dir."), ("dir/", "/tmp", "/tmp/dir/sub"),
        ("dir/.", "/usr", "/usr/sub"),
        ("dir/sub/.", "/srv/subdir/.", "/srv/subdir"), ("dir", "/new1", "/new1/sub"), ("dir/", "/new2", "/new2/sub"),
        ("dir/.", "/new3", "/new3/sub"), ("dir.", "/tmp/foo", "/tmp/foo"),
    ]:  # fmt: skip
        succeeded(prun("cp", f"{tmp_path}/{source}", f"c:{target}"))
        found = contents(prun, f"c:{path}/.")
        assert found["f"] == b"0", (source, target)
        assert set(found) <= {"f", "g"}
    words = refusal(prun("cp", str(tmp_path / "dir"), "c:/file"))
    assert "destination must be a directory when copying a directory" in words


def test_owners_are_the_containers_user_or_the_archives(prun: Prun, tmp_path: Path) -> None:
    """065.3, 065.4"""
    (tmp_path / "f").write_text("")
    os.chown(tmp_path / "f", 7, 8)
    tar = layer_tar([file("g", b"", uid=1042, gid=1043), file("s", b"", uid=5, gid=6, mode=0o4755)])
    image = made_image(tmp_path, [file("etc/passwd", b"eve:x:66:77::/:/bin/sh\n")])
    assert prun("load", "--tag", "eve", image.removesuffix(":latest")).returncode == 0
    for user, ids in (("", (0, 0)), ("12:34", (12, 34)), ("eve", (66, 77))):
        with running(prun, "r", "-u", user or "0", image="eve"):
            succeeded(prun("cp", str(tmp_path / "f"), "r:/tmp"))
            info = taken(prun, "r:/tmp/f")["f"][0]
            assert (info.uid, info.gid) == ids
            succeeded(prun("cp", "-a=false", str(tmp_path / "f"), "r:/tmp"))
            info = taken(prun, "r:/tmp/f")["f"][0]
            assert (info.uid, info.gid) == (7, 8)
            succeeded(prun("cp", "--archive=false", "-", "r:/tmp", stdin=tar))
            found = taken(prun, "r:/tmp")
            assert (found["tmp/g"][0].uid, found["tmp/g"][0].gid) == (1042, 1043)
            assert (found["tmp/s"][0].uid, found["tmp/s"][0].mode) == (5, 0o4755)
        assert prun("create", "--name", "s", "-u", user or "0", "eve", "true").returncode == 0
        succeeded(prun("cp", "-a", str(tmp_path / "f"), "s:/tmp"))
        info = taken(prun, "s:/tmp/f")["f"][0]
        assert (info.uid, info.gid) == ids
        assert prun("rm", "s").returncode == 0
    assert prun("rmi", "eve").returncode == 0


# To the host


@pytest.mark.parametrize("state", STATES)
def test_out_of_a_container(prun: Prun, container: Container, state: str, tmp_path: Path) -> None:
    """065.5, 065.8, 065.10"""
    container(
        state, "echo 0 > /tmp/f; echo 0 > /tmp/f.; echo 1 > /srv/subdir/g; ln -s .. /srv/subdir/up; ln -s f /tmp/l"
    )
    out = tmp_path / "out"
    out.mkdir()
    (out / "in-the-way").touch()
    for source, target, path, content in [
        ("/tmp/f", "", "f", "0"), ("/tmp/f.", "", "f.", "0"), ("tmp/f", "/", "f", "0"), ("/tmp/f", "/.", "f", "0"),
        ("/tmp/f", "/new", "new", "0"), ("/srv/subdir/g", "/new", "new", "1"), ("/srv", "", "srv/subdir/g", "1"),
        ("/srv", "/newdir", "newdir/subdir/g", "1"), ("/srv/", "/a", "a/subdir/g", "1"),
        ("/srv/.", "", "subdir/g", "1"),
        ("/srv/.", "/b", "b/subdir/g", "1"), ("/srv/subdir/up/", "/c", "c/subdir/g", "1"),
    ]:  # fmt: skip
        succeeded(prun("cp", f"c:{source}", f"{out}{target}"))
        assert (out / path).read_text() == f"{content}\n", (source, target)
    succeeded(prun("cp", "c:/tmp/l", str(out)))
    assert os.readlink(out / "l") == "f"
    succeeded(prun("cp", "-L", "c:/tmp/l", f"{out}/followed"))
    assert (out / "followed").read_text() == "0\n"
    words = refusal(prun("cp", "c:/etc/", f"{out}/in-the-way"))
    assert "destination must be a directory when copying a directory" in words
    assert 'invalid destination: "/dev/null"' in refusal(prun("cp", "c:/tmp/f", "/dev/null"))
    for path in ("/tmp/*", "/nothere", "/tmp/f/", "/tmp/f/x"):
        assert f'"{path}" could not be found on container c' in refusal(prun("cp", f"c:{path}", str(out)))
    assert "could not be found on the host" in refusal(prun("cp", "c:/tmp/f", f"{out}/no/such"))
    assert "no such container: nobody" in refusal(prun("cp", "nobody:/x", str(out)))


def test_what_was_another_users_program_is_an_ordinary_file_here(prun: Prun, tmp_path: Path) -> None:
    script = "cp /bin/busybox /s; chown 5:5 /s; chmod 6755 /s; mkdir /d; mknod /d/null c 1 3; mkfifo /d/p; touch /d/f"
    assert prun("run", "--name", "n", "busybox", "sh", "-c", script).returncode == 0
    succeeded(prun("cp", "n:/s", str(tmp_path)))
    found = (tmp_path / "s").stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o755, 0, 0)
    done = prun("cp", "n:/d", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "prun: warning: 'd/null' is a device, and was left out\n")
    assert sorted(os.listdir(tmp_path / "d")) == ["f", "p"]
    assert "is a device" in refusal(prun("cp", "n:/d/null", str(tmp_path)))
    assert prun("create", "--name", "m", "busybox", "true").returncode == 0
    succeeded(prun("cp", "n:/d", "m:/"))
    assert taken(prun, "m:/d")["d/null"][0].ischr()


def test_links_that_point_to_the_host_lead_nowhere(prun: Prun, tmp_path: Path) -> None:
    """065.13 to 065.15"""
    (tmp_path / "secret").write_text("host")
    out = tmp_path / "out"
    out.mkdir()
    script = f"ln -s {tmp_path}/secret /bad; ln -s {tmp_path} /dir; ln -s /proc/1/root /proc-root; ln -s / /r"
    with running(prun, "n", command=f"{script}; echo up; sleep 100"):
        for path in ("/bad", "/dir/secret", "/dir/"):
            words = refusal(prun("cp", "-L", f"n:{path}", str(out)))
            assert "could not be found on container n" in words or "file system of the kernel" in words
        assert contents(prun, "n:/proc-root/etc/passwd") == contents(prun, "n:/etc/passwd")
        (tmp_path / "h").write_text("new")
        succeeded(prun("cp", str(tmp_path / "h"), "n:/r/etc/h"))
        assert prun("cp", str(tmp_path / "h"), f"n:{tmp_path}/secret").returncode == 125
        assert prun("cp", str(tmp_path / "h"), "n:/bad").returncode == 125
        assert contents(prun, "n:/etc/h") == {"h": b"new"}
    assert os.listdir(out) == []
    assert (tmp_path / "secret").read_text() == "host"
    assert not os.path.exists("/etc/h")


def test_a_link_in_the_way_on_the_host_is_not_followed(prun: Prun, tmp_path: Path) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (out / "d").mkdir(parents=True)
    (out / "d" / "sub").symlink_to(outside)
    assert prun("run", "--name", "n", "busybox", "sh", "-c", "mkdir -p /d/sub; echo x > /d/sub/f").returncode == 0
    assert "file exists and is no directory" in refusal(prun("cp", "n:/d", str(out)))
    succeeded(prun("cp", "--overwrite", "n:/d", str(out)))
    assert (out / "d" / "sub" / "f").read_text() == "x\n"
    assert not (out / "d" / "sub").is_symlink()
    assert os.listdir(outside) == []


def test_a_container_in_the_hosts_pid_namespace(prun: Prun, tmp_path: Path) -> None:
    """065.24"""
    (tmp_path / "f").write_text("x")
    with running(prun, "n", "--pid", "host"):
        succeeded(prun("cp", str(tmp_path / "f"), "n:/tmp/f"))
        succeeded(prun("cp", "n:/tmp/f", f"{tmp_path}/back"))
    assert (tmp_path / "back").read_text() == "x"


# Between containers, and streams


def test_between_containers(prun: Prun) -> None:
    """065.6, 065.9"""
    script = "echo 0 > /tmp/f; mkdir -p /srv/sub; echo 1 > /srv/sub/g; mkdir /srv/d.; touch /srv/d./h"
    assert prun("create", "--name", "created", "busybox", "true").returncode == 0
    with running(prun, "a", command=f"{script}; echo up; sleep 100"), running(prun, "b"):
        for source, target in (("a", "b"), ("b", "created"), ("created", "a")):
            for what, where, path, content in [
                ("/tmp/f", "/", "/f", b"0\n"), ("/tmp/f", "/tmp/.", "/tmp/f", b"0\n"),
                ("/srv", "/", "/srv/sub/g", b"1\n"),
                ("/srv/.", "/newdir", "/newdir/sub/g", b"1\n"), ("/srv/d.", "/dots", "/dots/h", b""),
            ]:  # fmt: skip
                succeeded(prun("cp", f"{source}:{what}", f"{target}:{where}"))
                assert list(contents(prun, f"{target}:{path}").values()) == [content]
            assert prun("cp", f"{source}:/tmp/f", f"{source}:/f2").returncode == 0
        words = refusal(prun("cp", "a:/srv", "a:/srv/sub"))
        assert "a directory cannot be copied into itself" in words
        succeeded(prun("cp", "a:/srv", "a:/copy"))
    words = refusal(prun("cp", "created:/", "created:/tmp"))
    assert "a directory cannot be copied into itself" in words


def test_overwriting_one_kind_with_another(prun: Prun, tmp_path: Path) -> None:
    """065.20 to 065.22"""
    for state in ("created", "host"):
        base = f"{tmp_path}/" if state == "host" else "dir:/tmp/"
        assert prun("create", "--name", "file", "busybox", "true").returncode == 0
        assert prun("create", "--name", "dir", "busybox", "true").returncode == 0
        succeeded(prun("cp", "-", "file:/tmp", stdin=layer_tar([file("foo", b"file")])))
        succeeded(prun("cp", "-", "dir:/tmp", stdin=layer_tar([directory("foo"), file("foo/x", b"in")])))
        if state == "host":
            succeeded(prun("cp", "dir:/tmp/foo", base))
        words = refusal(prun("cp", "file:/tmp/foo", base))
        assert "error creating" in words
        assert "file exists" in words
        succeeded(prun("cp", "--overwrite", "file:/tmp/foo", base))
        assert prun("cp", f"{base}foo", "-").stdout if state == "created" else (tmp_path / "foo").read_text() == "file"
        succeeded(prun("cp", "-", "file:/tmp/", stdin=layer_tar([directory("d"), directory("d/foo")])))
        assert "file exists" in refusal(prun("cp", "file:/tmp/d/.", base))
        succeeded(prun("cp", "--overwrite", "file:/tmp/d/.", base))
        assert prun("rm", "file", "dir").returncode == 0


@pytest.mark.parametrize("state", ["running", "created"])
def test_a_tar_from_stdin(prun: Prun, container: Container, state: str) -> None:
    """065.18"""
    container(state, "touch /tmp/file; mkdir /tmp/real; ln -s real /tmp/link")
    tar = layer_tar(
        [
            directory("./", mode=0o700), directory("a"), file("a/f", b"1"), hardlink("a/h", "a/f"),
            symlink("a/l", "../.."),
            file("../../up", b"2"), file("/abs", b"3"), file("link/through", b"4"), file(".wh.x", b"5"),
        ]
    )  # fmt: skip
    for data in (tar, gzip.compress(tar)):
        succeeded(prun("cp", "-", "c:/tmp", stdin=data))
        found = taken(prun, "c:/tmp")
        assert (found["tmp/a/f"][1], found["tmp/a/l"][0].linkname) == (b"1", "../..")
        assert {name for name, (info, _) in found.items() if info.islnk()} == {"tmp/a/h"}
        assert [found[f"tmp/{name}"][1] for name in ("up", "abs", "real/through", ".wh.x")] == [b"2", b"3", b"4", b"5"]
        assert found["tmp"][0].mode == 0o1777
    source = "source must be a (compressed) tar archive when copying from stdin"
    for data in (b"", b"no tar", b"x" * 2000):
        assert source in refusal(prun("cp", "-", "c:/tmp", stdin=data))
    for target in ("c:/tmp/file", "c:/tmp/nothere"):
        words = "destination must be a directory when copying from stdin"
        assert words in refusal(prun("cp", "-", target, stdin=tar))
    assert "tar ends" in refusal(prun("cp", "-", "c:/tmp", stdin=layer_tar([file("long", bytes(100_000))])[:50_000]))


def test_a_tar_to_stdout(prun: Prun, container: Container) -> None:
    """065.19"""
    container("running", "echo hi > /tmp/file; touch /tmp/empty")
    assert contents(prun, "c:/tmp/file") == {"file": b"hi\n"}
    assert contents(prun, "c:/tmp") == {"tmp/file": b"hi\n", "tmp/empty": b""}
    assert contents(prun, "c:/tmp/.") == {"file": b"hi\n", "empty": b""}
    everything = taken(prun, "c:/")
    assert {"bin/busybox", "tmp/file"} <= set(everything)
    assert not [name for name in everything if name.split("/")[0] in ("proc", "sys", "dev")]
    words = refusal(prun("cp", "c:/tmp/file", "/dev/stdout"))
    assert 'invalid destination: "/dev/stdout" must be a directory or a regular file' in words


# What is mounted


@pytest.mark.parametrize("state", ["running", "created", "stopped"])
def test_volumes_and_binds_are_where_the_container_sees_them(prun: Prun, state: str, tmp_path: Path) -> None:
    """065.2, 065.11, 065.12"""
    (tmp_path / "bind").mkdir()
    (tmp_path / "one").write_text("1")
    (tmp_path / "h").write_text("content")
    assert prun("volume", "create", "v1").returncode == prun("volume", "create", "v2").returncode == 0
    assert prun("run", "--rm", "-v", "v1:/v", "busybox", "mkdir", "/v/part").returncode == 0
    options = (
        *("-v", "v1:/tmp/v", "-v", "v2:/tmp/v/sub", "-v", f"{tmp_path}/bind:/tmp/v/sub/bind", "-v", "v2:/ro:ro"),
        *("-v", f"{tmp_path}/one:/one", "--mount", "type=volume,src=v1,dst=/part,volume-subpath=part"),
        *("--tmpfs", "/scratch"),
    )
    words = ["run", "--rm"] if state == "running" else ["create"]
    words = words if state != "stopped" else ["run"]
    script = "echo up; sleep 100" if state == "running" else "true"
    process = None
    if state == "running":
        process = prun.popen(*words, "--name", "c", *options, "busybox", "sh", "-c", script)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
    else:
        assert prun(*words, "--name", "c", *options, "busybox", "sh", "-c", script).returncode == 0
    try:
        for target in ("/tmp/v", "/tmp/v/sub", "/tmp/v/sub/bind", "/part"):
            succeeded(prun("cp", f"{tmp_path}/h", f"c:{target}"))
        volumes = {name: prun.root / "volumes" / name / "_data" for name in ("v1", "v2")}
        assert sorted(os.listdir(volumes["v1"])) == ["h", "part", "sub"]
        assert os.listdir(volumes["v1"] / "part") == ["h"]
        assert sorted(os.listdir(volumes["v2"])) == ["bind", "h"]
        assert os.listdir(tmp_path / "bind") == ["h"]
        assert contents(prun, "c:/one") == {"one": b"1"}
        assert set(contents(prun, "c:/tmp/v")) == {"v/h", "v/part/h", "v/sub/h", "v/sub/bind/h"}
        assert "Read-only file system" in refusal(prun("cp", f"{tmp_path}/h", "c:/ro/x"))
        if state == "running":
            succeeded(prun("cp", f"{tmp_path}/h", "c:/scratch"))
            assert contents(prun, "c:/scratch") == {"scratch/h": b"content"}
        assert prun("diff", "c").stdout == ""
    finally:
        prun("rm", "-f", "c")
        if process:
            process.communicate()
    assert prun("volume", "rm", "v1", "v2").returncode == 0


@pytest.mark.parametrize("options", [("--uidmap", "0:100000:5000"), ("--userns", "auto")])
def test_owners_in_a_user_namespace(archive: Path, options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with public_store(archive) as prun:
        with running(prun, "r", *options, command="touch /mine; chown 7 /mine; echo up; sleep 100"):
            succeeded(prun("cp", str(tmp_path / "f"), "r:/tmp/new"))
            assert [taken(prun, "r:/mine")["mine"][0].uid, taken(prun, "r:/tmp/new")["new"][0].uid] == [7, 0]
            tar = layer_tar([file("x", uid=70000)])
            assert "the container does not have" in refusal(prun("cp", "-a=false", "-", "r:/", stdin=tar))
            succeeded(prun("cp", "r:/mine", str(tmp_path)))
            assert (tmp_path / "mine").stat().st_uid == 0
        script = "touch /a; chown 9 /a"
        assert prun("run", "--name", "s", *options, "-v", "vol:/vol", "busybox", "sh", "-c", script).returncode == 0
        succeeded(prun("cp", str(tmp_path / "f"), "s:/b"))
        succeeded(prun("cp", str(tmp_path / "f"), "s:/vol/c"))
        assert [taken(prun, f"s:{path}")[path[-1]][0].uid for path in ("/a", "/b", "/vol/c")] == [9, 0, 0]
        assert (prun.root / "volumes" / "vol" / "_data" / "c").stat().st_uid >= 100000
        assert prun("diff", "s").stdout.splitlines() == ["A /a", "A /b"]
        assert prun("rm", "-v", "s").returncode == 0
        assert prun("volume", "rm", "vol").returncode == 0
