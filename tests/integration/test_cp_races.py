"""A container that changes its root while files are copied: never a file of the host, in either direction.

CVE-2018-15664, CVE-2019-14271, CVE-2023-0778, CVE-2026-41568.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from images import file, layer_tar
from running import running

from prun.errors import PrunError
from prun.files.copying import CopyOptions, copy
from prun.files.layers import diff, export
from prun.state import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from command import Prun

ROUNDS = 1000
# /d is a directory with a file of the container's, or a link to a directory of the host's with a file of that name.
FLIP = """
mkdir /d /d/sub; echo container > /d/f; echo container > /d/sub/f; echo up
while :; do
mv /d /kept; ln -s {0} /d; rm /d; mv /kept /d; mv /d/sub /d/k2; ln -s {0} /d/sub; rm /d/sub; mv /d/k2 /d/sub
done
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that must stay as it is."""
    path = tmp_path / "host"
    (path / "sub").mkdir(parents=True)
    (path / "f").write_text("host")
    (path / "sub" / "f").write_text("host")
    before = [os.stat(each) for each in (path, path / "f", path / "sub", path / "sub" / "f")]
    yield path
    assert (path / "f").read_text() == (path / "sub" / "f").read_text() == "host"
    assert sorted(os.listdir(path)) == ["f", "sub"]
    after = [os.stat(each) for each in (path, path / "f", path / "sub", path / "sub" / "f")]
    for one, other in zip(before, after, strict=True):
        assert (one.st_mode, one.st_uid, one.st_mtime_ns) == (other.st_mode, other.st_uid, other.st_mtime_ns)


@pytest.mark.slow
def test_a_directory_that_flips_to_a_link_leads_nowhere(prun: Prun, host: Path, tmp_path: Path) -> None:
    mine, out = tmp_path / "mine", tmp_path / "out"
    (mine / "sub").mkdir(parents=True)
    out.mkdir()
    for path in (mine / "f", mine / "sub" / "f"):
        path.write_text("mine")
    outcomes = {"copied": 0, "refused": 0}
    words = (("n:/d/f", f"{out}/f"), (f"{mine}/f", "n:/d/f"), ("n:/d", f"{out}/d"), (f"{mine}/.", "n:/d"))
    with running(prun, "n", command=FLIP.format(host)), Store(str(prun.root), str(prun.state)) as store:
        for number in range(ROUNDS):
            try:
                copy(store, *words[number % 4], CopyOptions(follow=number % 8 > 3, overwrite=True))
                outcomes["copied"] += 1
            except PrunError:
                outcomes["refused"] += 1
            assert {read(path) for path in paths_below(out)} <= {"container\n", "mine", ""}
    assert min(outcomes.values()) > 10, outcomes  # both happened, or nothing was raced


@pytest.mark.slow
def test_a_directory_that_flips_to_a_link_to_the_root_is_the_containers(prun: Prun, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    marker = f"prun-{os.getpid()}"
    words = (("n:/d/etc/passwd", f"{tmp_path}/passwd"), (f"{tmp_path}/f", f"n:/d/{marker}"))
    with running(prun, "n", command=FLIP.format("/")), Store(str(prun.root), str(prun.state)) as store:
        for number in range(ROUNDS):
            with suppress(PrunError):
                copy(store, *words[number % 2])
        there = prun("cp", f"n:/{marker}", "-").returncode
        theirs = subprocess.run([*prun.words, "cp", "n:/etc/passwd", "-"], capture_output=True, check=True).stdout
    assert there == 0
    assert not os.path.exists(f"/{marker}")
    assert (tmp_path / "passwd").read_bytes() in theirs
    assert (tmp_path / "passwd").read_text() != read(b"/etc/passwd")


def paths_below(root: Path) -> list[bytes]:
    return [os.path.join(directory, name) for directory, _, names in os.walk(os.fsencode(root)) for name in names]


def read(path: bytes) -> str:
    if os.path.islink(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def test_special_files_and_large_holes_neither_hang_nor_hurt(prun: Prun, tmp_path: Path) -> None:
    script = (
        "mkdir /d; mkfifo /d/pipe; mknod /d/null c 1 3; mknod /d/zero c 1 5; ln -s pipe /d/link;"
        "truncate -s 1099511627776 /d/hole; i=0; mkdir /d/many; cd /d/many; echo up; sleep 100"
    )
    with running(prun, "n", command=script), Store(str(prun.root), str(prun.state)) as store:
        started = time.monotonic()
        done = copy(store, "n:/d", str(tmp_path))
        assert done.left_out == ("'d/null'", "'d/zero'")
        hole = os.stat(tmp_path / "d" / "hole")
        assert (hole.st_size, hole.st_blocks) == (1 << 40, 0)
        written = 0

        def write(data: bytes | memoryview) -> None:
            nonlocal written
            written += len(data)

        export(store, "n", write)
        assert written < 10 << 20
        assert len(diff(store, "n")) == 7
        for name in ("pipe", "link"):
            copy(store, f"n:/d/{name}", f"{tmp_path}/{name}")
        copy(store, str(tmp_path / "d"), "n:/back")
        assert time.monotonic() - started < 20


def test_a_directory_of_many_entries(prun: Prun, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir()
    for number in range(3_000):
        (big / str(number)).touch()
    assert prun("create", "--name", "n", "busybox", "true").returncode == 0
    with Store(str(prun.root), str(prun.state)) as store:
        copy(store, str(big), "n:/")
        copy(store, "n:/big", f"{tmp_path}/back")
        assert len(diff(store, "n")) == 3_001
    assert len(os.listdir(tmp_path / "back")) == 3_000


def test_start_waits_for_a_copy_and_a_copy_for_nothing_half_started(prun: Prun, tmp_path: Path) -> None:
    """Two mounts of one writable layer at once would be nobody's friend (overlayfs.rst)."""
    (tmp_path / "f").write_text("x")
    assert prun("create", "--name", "n", "busybox", "sh", "-c", "ls /in; sleep 100").returncode == 0
    reader, writer = os.pipe()
    with open(writer, "wb", buffering=0) as stdin:
        copying = subprocess.Popen([*prun.words, "cp", "-", "n:/"], stdin=reader)
        os.close(reader)
        tar = layer_tar([file("in", b"x")])
        stdin.write(tar[:512])
        time.sleep(0.5)
        starting = prun.popen("start", "n")
        time.sleep(0.5)
        assert starting.poll() is None
        stdin.write(tar[512:])
    assert copying.wait(timeout=20) == 0
    assert starting.wait(timeout=20) == 0
    starting.communicate()
    assert prun("cp", "n:/in", "-").returncode == 0
    assert prun("cp", str(tmp_path / "f"), "n:/").returncode == 0
