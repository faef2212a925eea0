"""``diff`` and ``export`` of real containers."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from images import directory, file
from running import made_image, refusal, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun

CHANGES = "touch /new; rm /etc/passwd; mkdir -p /d/e; ln -s x /d/l; chmod 700 /root; echo x >> /tmp/t"
EXPECTED = ["A /d", "A /d/e", "A /d/l", "C /etc", "D /etc/passwd", "A /new", "C /root", "C /tmp", "A /tmp/t"]


def exported(prun: Prun, name: str) -> tarfile.TarFile:
    done = subprocess.run([*prun.words, "export", name], capture_output=True, check=True)
    assert done.stderr == b""
    return tarfile.open(fileobj=io.BytesIO(done.stdout))


def test_diff_of_a_stopped_container(prun: Prun) -> None:
    assert prun("run", "--name", "n", "busybox", "sh", "-c", CHANGES).returncode == 0
    assert prun("diff", "n").stdout.splitlines() == EXPECTED
    shown = json.loads(prun("diff", "--format", "json", "n").stdout)
    assert shown == {
        "changed": ["/etc", "/root", "/tmp"],
        "added": ["/d", "/d/e", "/d/l", "/new", "/tmp/t"],
        "deleted": ["/etc/passwd"],
    }


def test_diff_and_export_of_a_running_container(prun: Prun) -> None:
    with running(prun, "n", command=f"{CHANGES}; echo up; sleep 100"):
        assert prun("diff", "n").stdout.splitlines() == EXPECTED
        with exported(prun, "n") as tar:
            names = set(tar.getnames())
    assert {"new", "d/l", "bin/busybox", "proc"} <= names
    assert "etc/passwd" not in names
    assert not [name for name in names if name.startswith("proc/")]


def test_a_container_that_changed_nothing_has_no_changes(prun: Prun, tmp_path: Path) -> None:
    words = ("-v", "vol:/data/deep", "-v", f"{tmp_path}:/host", "--tmpfs", "/scratch", "--init", "--tz", "local")
    assert prun("run", "--name", "n", *words, "busybox", "true").returncode == 0
    assert prun("diff", "n").stdout == ""
    assert prun("diff", "--format", "json", "n").stdout == "{}\n"


@pytest.mark.parametrize("snapshotter", ["fuse", "copy"])
def test_diff_and_export_on_other_snapshotters(new_prun: Callable[[], Prun], archive: Path, snapshotter: str) -> None:
    prun = new_prun()
    os.makedirs(prun.root / "snapshots")
    os.symlink(snapshotter, prun.root / "snapshots" / "driver")
    assert prun("load", "--tag", "busybox", str(archive)).returncode == 0
    assert prun("run", "--name", "n", "busybox", "sh", "-c", CHANGES).returncode == 0
    assert prun("diff", "n").stdout.splitlines() == EXPECTED
    with exported(prun, "n") as tar:
        assert {"new", "d/l"} <= set(tar.getnames())
    assert prun("rm", "n").returncode == 0
    assert prun.traces()["mounts"] == prun.traces()["half"] == prun.traces()["processes"] == []


def test_diff_of_an_image_and_of_two(prun: Prun, tmp_path: Path) -> None:
    image = made_image(tmp_path, [directory("d"), file("d/f", b"1"), file("etc/.wh.group")])
    assert prun("load", "--tag", "made", image.removesuffix(":latest")).returncode == 0
    assert prun("diff", "made").stdout.splitlines() == ["A /d", "A /d/f", "C /etc", "D /etc/group"]
    assert "A /bin/busybox" in prun("diff", "busybox").stdout.splitlines()
    assert prun("run", "--name", "n", "made", "rm", "/d/f").returncode == 0
    assert prun("diff", "n", "made").stdout.splitlines() == ["C /d", "D /d/f"]
    assert prun("rmi", "made").returncode == 125
    assert prun("rm", "n").returncode == 0
    assert prun("rmi", "made").returncode == 0


def test_export_gives_the_tree_of_the_container(prun: Prun, tmp_path: Path) -> None:
    script = (
        "mkdir -m 1777 /x; echo data > /x/f; ln /x/f /x/hard; ln -s f /x/soft; mkfifo /x/pipe;"
        "chown 12:34 /x/f; chmod 4755 /x/f; rm /etc/passwd; truncate -s 3221225472 /x/sparse; i=0; mkdir /many;"
        "while [ $i -lt 2000 ]; do : > /many/$i; i=$((i+1)); done"
    )
    assert prun("run", "--name", "n", "-v", "vol:/vol", "busybox", "sh", "-c", script).returncode == 0
    assert prun("run", "--rm", "-v", "vol:/vol", "busybox", "touch", "/vol/in-volume").returncode == 0
    assert prun("export", "-o", str(tmp_path / "out.tar"), "n").stdout == ""
    assert os.stat(tmp_path / "out.tar").st_size < 20 << 20
    assert os.listdir(tmp_path) == ["out.tar"]
    with tarfile.open(tmp_path / "out.tar") as tar:
        found = {info.name: info for info in tar}
    assert (found["x"].mode, found["x/f"].mode, found["x/f"].uid, found["x/f"].gid) == (0o1777, 0o4755, 12, 34)
    assert (found["x/hard"].islnk(), found["x/hard"].linkname, found["x/soft"].linkname) == (True, "x/f", "f")
    assert (found["x/pipe"].isfifo(), found["x/sparse"].size) == (True, 3 << 30)
    assert sum(name.startswith("many/") for name in found) == 2000
    assert "vol" in found
    assert "vol/in-volume" not in found
    assert prun("volume", "rm", "vol").returncode == 125
    assert prun("rm", "n").returncode == 0
    assert prun("volume", "rm", "vol").returncode == 0


def test_plain_mistakes(prun: Prun, tmp_path: Path) -> None:
    assert "no such container or image: nobody" in refusal(prun("diff", "nobody"))
    assert "no such container: nobody" in refusal(prun("export", "nobody"))
    assert prun("run", "--name", "n", "busybox", "true").returncode == 0
    assert "no such container or image: nobody" in refusal(prun("diff", "n", "nobody"))
    assert "/no/such/file cannot be written" in refusal(prun("export", "-o", "/no/such/file", "n"))
    assert prun("export", "-o", str(tmp_path / "x"), "nobody").returncode == 125
    assert os.listdir(tmp_path) == []
    assert prun("diff").returncode == 125


def test_export_refuses_a_terminal(prun: Prun) -> None:
    import pexpect

    assert prun("run", "--name", "n", "busybox", "true").returncode == 0
    child = pexpect.spawn(prun.words[0], [*prun.words[1:], "export", "n"], encoding="utf-8")
    child.expect("refusing to export to a terminal")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 125


def test_a_reader_who_leaves_is_no_fault(prun: Prun) -> None:
    assert prun("run", "--name", "n", "busybox", "true").returncode == 0
    with subprocess.Popen([*prun.words, "export", "n"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_container_of_a_directory_has_no_layer(prun: Prun, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/busybox", tmp_path / "bin" / "true")
    assert prun("run", "--name", "n", "--rootfs", str(tmp_path), "/bin/true").returncode == 0
    assert "has no files in the store" in refusal(prun("diff", "n"))
    assert "has no files in the store" in refusal(prun("export", "n"))
