"""Bind mounts, tmpfs and image mounts of real containers."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from attack import refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from attack import Attack
    from command import Prun


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A directory with another file system mounted in it."""
    path = tmp_path / "host"
    (path / "below").mkdir(parents=True)
    (path / "file").write_text("host's\n")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(path / "below")], check=True)
    yield path
    subprocess.run(["umount", str(path / "below")], check=True)


def options_of(output: str, destination: str) -> set[str]:
    """The mount's own options and those of its file system, of a line of mountinfo."""
    line = next(line for line in output.splitlines() if line.split()[4:5] == [destination])
    own, _, rest = line.partition(" - ")
    return {*own.split()[5].split(","), *rest.split()[-1].split(",")}


def test_a_bind_mount_is_the_hosts_directory_with_all_below_it(attack: Attack, binary: str, host: Path) -> None:
    done = attack.run(binary, "-v", f"{host}:/x", attack.image(), "sh", "-c", "cat /x/file; touch /x/new /x/below/new")
    assert (done.returncode, done.stdout) == (0, "host's\n"), done.stderr
    assert (host / "new").exists()
    assert (host / "below" / "new").exists()


@pytest.mark.parametrize(
    ("words", "top", "below"),
    [
        (["-v", "{}:/x:ro"], False, False),
        (["--mount", "type=bind,src={},dst=/x,readonly"], False, False),
        (["--mount", "type=bind,src={},dst=/x,readonly,bind-recursive=readonly"], False, False),
        (["--mount", "type=bind,src={},dst=/x,readonly,bind-recursive=writable"], False, True),
        (["-v", "{}:/x"], True, True),
    ],
)
def test_read_only_holds_below_unless_it_is_not_wanted(
    attack: Attack, binary: str, host: Path, words: list[str], top: bool, below: bool
) -> None:
    command = "touch /x/a 2>/dev/null; echo $?; touch /x/below/b 2>/dev/null; echo $?"
    done = attack.run(binary, *(word.format(host) for word in words), attack.image(), "sh", "-c", command)
    assert [line == "0" for line in done.stdout.split()] == [top, below], done.stderr


def test_a_non_recursive_bind_shows_nothing_that_is_mounted_below(attack: Attack, binary: str, host: Path) -> None:
    (host / "below" / "mounted").touch()
    words = ["--mount", f"type=bind,src={host},dst=/x,bind-recursive=disabled"]
    done = attack.run(binary, *words, attack.image(), "ls", "/x/below")
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_crun_shows_below_what_keeps_its_name_and_so_it_is_refused(attack: Attack, host: Path) -> None:
    words = ["--mount", f"type=bind,src={attack.prun.state.parent},dst=/x,bind-recursive=disabled"]
    assert attack.run("runc", *words, attack.image(), "ls", "/x").returncode == 0
    assert refused(attack.run("crun", *words, attack.image(), "ls", "/x"), "crun mounts at /x")


def test_v_makes_a_missing_directory_and_mount_does_not(attack: Attack, tmp_path: Path) -> None:
    image = attack.image()
    missing = tmp_path / "a" / "b"
    done = attack.run("runc", "--mount", f"type=bind,src={missing},dst=/x", image, "true")
    assert refused(done, f"bind source path does not exist: {missing}")
    assert attack.run("runc", "-v", f"{missing}:/x:nocreate", image, "true").returncode == 125
    assert not (tmp_path / "a").exists()
    assert attack.run("runc", "-v", f"{missing}:/x", image, "touch", "/x/y").returncode == 0
    assert (missing / "y").exists()
    other = tmp_path / "c"
    assert attack.run("runc", "--mount", f"type=bind,src={other},dst=/x,bind-create-src", image, "true").returncode == 0
    assert other.is_dir()


def test_a_preview_makes_no_directory_and_no_volume(prun: Prun, tmp_path: Path) -> None:
    mount = "type=image,src=busybox,dst=/i,image-subpath=bin"
    done = prun("spec", "-v", f"{tmp_path}/no:/x", "-v", "vol:/v", "--mount", mount, "busybox", "true")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert not (prun.root / "volumes").exists()


@pytest.mark.parametrize("destination", ["/etc", "/run", "/sys/fs", "/dev/shm", "/var"])
def test_a_mount_over_one_of_ours_is_seen(attack: Attack, binary: str, host: Path, destination: str) -> None:
    done = attack.run(binary, "-v", f"{host}:{destination}", attack.image(), "cat", f"{destination}/file")
    assert (done.returncode, done.stdout) == (0, "host's\n"), done.stderr


def test_who_mounts_dev_has_all_of_it(prun: Prun, tmp_path: Path) -> None:
    done = prun("spec", "-v", f"{tmp_path}:/dev", "busybox", "true")
    assert "a process needs /dev/null" in done.stderr
    done = prun("spec", "-v", "/dev:/dev", "busybox", "true")
    assert done.returncode == 0, done.stderr
    assert '"/dev/pts"' not in done.stdout


@pytest.mark.parametrize("words", [["-v", "/tmp:/proc/x"], ["--tmpfs", "/proc"], ["-v", "/tmp:/proc"]])
def test_nothing_is_mounted_over_proc(attack: Attack, words: list[str]) -> None:
    assert refused(attack.run("runc", *words, attack.image(), "true"), "mount nothing at /proc")


def test_a_file_over_a_directory_and_the_reverse_are_refused(attack: Attack, host: Path) -> None:
    image = attack.image()
    assert refused(attack.run("runc", "-v", f"{host}/file:/etc", image, "true"), "a file cannot be mounted over")
    assert refused(attack.run("runc", "-v", f"{host}:/etc/passwd", image, "true"), "a directory cannot be mounted over")
    done = attack.run("runc", "-v", f"{host}/file:/etc/passwd", image, "cat", "/etc/passwd")
    assert done.stdout == "host's\n"


@pytest.mark.parametrize(("word", "tag"), [("", ""), (":rslave", "master"), (":rshared", "shared")])
def test_propagation_is_private_unless_asked_for(prun: Prun, host: Path, word: str, tag: str) -> None:
    subprocess.run(["mount", "--make-shared", str(host / "below")], check=True)
    done = prun("run", "--rm", "-v", f"{host}/below:/x{word}", "busybox", "cat", "/proc/self/mountinfo")
    line = next(line for line in done.stdout.splitlines() if line.split()[4] == "/x")
    tags = [part.partition(":")[0] for part in line.partition(" - ")[0].split()[6:]]
    assert tags == ([tag] if tag else [])


def test_sharing_with_a_mount_that_is_private_is_refused(prun: Prun, host: Path) -> None:
    subprocess.run(["mount", "--make-private", str(host / "below")], check=True)
    done = prun("run", "--rm", "-v", f"{host}/below:/x:rshared", "busybox", "true")
    assert refused(done, "is not on a shared mount of the host"), done.stderr


def test_a_tmpfs_has_dockers_options_and_those_given(attack: Attack, binary: str) -> None:
    words = [
        "--tmpfs",
        "/a",
        "--tmpfs",
        "/b:exec,size=64k,mode=1750,uid=7",
        "--mount",
        "type=tmpfs,dst=/c,tmpfs-size=1m",
    ]
    done = attack.run(binary, *words, attack.image(), "sh", "-c", "cat /proc/self/mountinfo; stat -c '%a %u' /b")
    assert {"noexec", "nosuid", "nodev", "rw"} <= options_of(done.stdout, "/a"), done.stderr
    assert "noexec" not in options_of(done.stdout, "/b")
    assert {"size=64k", "nosuid"} <= options_of(done.stdout, "/b")
    assert "size=1024k" in options_of(done.stdout, "/c")
    assert done.stdout.splitlines()[-1] == "1750 7"


def test_a_tmpfs_begins_empty_or_with_the_images_content(attack: Attack, binary: str) -> None:
    image = attack.image()
    assert attack.run(binary, "--tmpfs", "/etc/", image, "cat", "/etc/passwd").returncode != 0
    done = attack.run(binary, "--tmpfs", "/home:tmpcopyup", "--tmpfs", "/etc:tmpcopyup", image, "cat", "/etc/passwd")
    assert done.stdout.startswith("root:"), done.stderr


def test_mounts_stay_writable_on_a_read_only_root(attack: Attack, binary: str, host: Path) -> None:
    words = ["--read-only", "-v", f"{host}:/not/there", "--tmpfs", "/t", "-v", "/anonymous"]
    done = attack.run(
        binary, *words, attack.image(), "sh", "-c",
        "touch /not/there/a /t/a /anonymous/a && ! touch /a 2>/dev/null && ! touch /etc/a 2>/dev/null",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_image_mount_is_read_only_or_forgets(attack: Attack, binary: str) -> None:
    image = attack.image()
    attack.prun("load", "--tag", "mounted", image)
    command = "cat /i/etc/group | head -n1; touch /i/new 2>/dev/null; echo $?; cat /sub/passwd >/dev/null; echo $?"
    subpath = "type=image,src=mounted,dst=/sub,image-subpath=etc"
    for mount, code in (("", "1"), (",rw", "0"), (",rw", "0")):
        words = ["--mount", f"type=image,src=mounted,dst=/i{mount}", "--mount", subpath]
        done = attack.run(binary, *words, image, "sh", "-c", command)
        assert done.stdout.split() == ["root:x:0:", code, "0"], done.stderr


def test_a_mounted_image_cannot_be_removed(prun: Prun) -> None:
    assert prun("run", "--name", "user", "--mount", "type=image,src=busybox,dst=/i", "busybox", "true").returncode == 0
    mounts = prun("inspect", "user").stdout
    assert '"Type": "image"' in mounts
    assert "in use by container user" in prun("rmi", "busybox").stderr


@pytest.mark.parametrize("subpath", ["nope", "out", "out/victim", "loop"])
def test_an_images_part_never_leads_out(attack: Attack, subpath: str) -> None:
    from images import symlink

    image = attack.image([symlink("out", str(attack.victim)), symlink("loop", "loop")])
    attack.prun("load", "--tag", "evil", image)
    done = attack.run(
        "runc", "--mount", f"type=image,src=evil,dst=/i,rw,image-subpath={subpath}", image, "touch", "/i/x"
    )
    assert refused(done, "has no"), done.stderr


def test_a_root_directory_of_the_user_has_mounts_too(prun: Prun, tmp_path: Path, host: Path) -> None:
    rootfs = tmp_path / "rootfs"
    for name in ("bin", "proc", "dev", "sys", "data"):
        (rootfs / name).mkdir(parents=True)
    subprocess.run(["cp", "/bin/busybox", str(rootfs / "bin" / "busybox")], check=True)
    (rootfs / "data" / "file").write_text("copied up\n")
    words = ["run", "--rm", "-v", f"{host}:/h", "-v", "rootvol:/data", "--rootfs", str(rootfs), "/bin/busybox"]
    done = prun(*words, "cat", "/h/file", "/data/file")
    assert done.stdout == "host's\ncopied up\n", done.stderr
    assert prun("volume", "rm", "rootvol").returncode == 0
