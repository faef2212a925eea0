"""Looks into a root file system that was made to trap the one who looks."""

from __future__ import annotations

import errno
import gc
import json
import os
import stat
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from prun.errors import InvalidArgument, NotFound, ResourceExhausted
from prun.rootfs import syscalls
from prun.rootfs.safepath import Root, real_directory_problems

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["openat2", "by hand"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs with the kernel's resolution and with our own."""
    if request.param == "by hand":

        def missing(*_: object) -> int:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(syscalls, "openat2", missing)
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path, way: str) -> Path:
    (tmp_path / "secret").write_text("host")
    path = tmp_path / "root"
    (path / "etc").mkdir(parents=True)
    (path / "etc" / "passwd").write_text("root")
    (path / "a" / "b").mkdir(parents=True)
    return path


def look(root: Path, path: str, limit: int = 1000) -> bytes:
    with Root(str(root)) as looked:
        return looked.read(path, limit)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "etc/passwd", "//etc/./passwd", "../etc/passwd", "/a/b/../../etc/passwd", "/../../etc/passwd"],
)
def test_a_path_is_resolved_from_the_root(root: Path, path: str) -> None:
    assert look(root, path) == b"root"


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../etc/passwd", "../../../../etc/passwd", "/a/../etc/passwd", "b/up/etc/passwd"]
)
def test_a_symlink_is_followed_within_the_root(root: Path, target: str) -> None:
    (root / "a" / "b" / "up").symlink_to("../..")
    (root / "a" / "link").symlink_to(target)
    assert look(root, "/a/link") == b"root"


@pytest.mark.parametrize("target", ["{secret}", "../../secret", "/../secret", "../../../../../../../../../{secret}"])
def test_a_symlink_to_a_file_of_the_host_leads_nowhere(root: Path, tmp_path: Path, target: str) -> None:
    (root / "a" / "link").symlink_to(target.format(secret=tmp_path / "secret"))
    with pytest.raises(NotFound):
        look(root, "/a/link")
    with Root(str(root)) as looked:
        assert looked.stat("/a/link") is None


def test_a_directory_symlink_to_the_host_leads_nowhere(root: Path, tmp_path: Path) -> None:
    (root / "etc" / "passwd").unlink()
    (root / "etc").rmdir()
    (root / "etc").symlink_to(tmp_path)
    with pytest.raises(NotFound):
        look(root, "/etc/secret")


@pytest.mark.parametrize(
    "path", ["/missing", "/etc/missing", "/etc/passwd/x", "/loop", "/" + "x" * 300, "/etc/passwd/"]
)
def test_what_is_not_there_is_not_found(root: Path, path: str) -> None:
    (root / "loop").symlink_to("loop")
    with pytest.raises(NotFound):
        look(root, path)
    with Root(str(root)) as looked:
        assert looked.stat(path) is None


@pytest.mark.parametrize("path", ["/", "", ".", "..", "/a"])
def test_a_directory_cannot_be_read_and_has_a_stat(root: Path, path: str) -> None:
    with pytest.raises(InvalidArgument, match="regular"):
        look(root, path)
    with Root(str(root)) as looked:
        found = looked.stat(path)
    assert found is not None
    assert stat.S_ISDIR(found.mode)


@pytest.mark.timeout(10)
def test_a_fifo_does_not_make_it_hang(root: Path) -> None:
    """CVE-2024-9676, and what podman 4.3 does with an /etc/passwd that is a FIFO."""
    os.mkfifo(root / "fifo")
    with pytest.raises(InvalidArgument, match="regular"):
        look(root, "/fifo")


@pytest.mark.root
@pytest.mark.parametrize("number", [3, 5])  # null, zero
def test_a_device_is_not_opened(root: Path, number: int) -> None:
    os.mknod(root / "device", stat.S_IFCHR | 0o666, os.makedev(1, number))
    with pytest.raises(InvalidArgument, match="regular"):
        look(root, "/device")


@pytest.mark.parametrize("size", [1001, 10 << 30, 1 << 42])
def test_a_file_over_the_limit_is_refused_before_it_is_read(root: Path, size: int) -> None:
    with open(root / "huge", "wb") as file:
        file.truncate(size)
    with pytest.raises(ResourceExhausted, match=str(size)):
        look(root, "/huge")


def test_a_file_of_exactly_the_limit_is_read(root: Path) -> None:
    (root / "x").write_bytes(b"1" * 1000)
    assert look(root, "/x") == b"1" * 1000


def test_a_stat_tells_mode_owner_and_size(root: Path) -> None:
    os.chmod(root / "etc" / "passwd", 0o640)
    with Root(str(root)) as looked:
        found = looked.stat("/etc/passwd")
    assert found == (stat.S_IFREG | 0o640, os.getuid(), os.getgid(), 4)


def test_a_path_with_a_nul_byte_is_refused(root: Path) -> None:
    with pytest.raises(InvalidArgument, match="NUL"):
        look(root, "/etc\0/passwd")


def test_a_path_that_is_not_utf8_is_found(root: Path) -> None:
    with open(os.fsencode(root) + b"/caf\xe9", "wb") as file:
        file.write(b"1")
    assert look(root, "/caf\udce9") == b"1"


def test_a_root_that_is_no_directory_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in ("file", "missing"):
        with pytest.raises(NotFound, match="no directory"):
            Root(str(tmp_path / path))


def test_a_root_may_be_closed_twice(root: Path) -> None:
    looked = Root(str(root))
    looked.close()
    looked.close()


def test_no_descriptor_is_left_open(root: Path) -> None:
    (root / "link").symlink_to("/a/b/../../etc/passwd")
    gc.collect()  # what earlier tests have left must not go while we count
    before = len(os.listdir("/proc/self/fd"))
    for path in ("/link", "/missing", "/a", "/link/x"):
        try:
            look(root, path)
        except (NotFound, InvalidArgument):
            continue
    assert len(os.listdir("/proc/self/fd")) == before


@contextmanager
def renamed_in_circles(directory: Path, *pairs: tuple[str, str]) -> Iterator[None]:
    """Rename, in another process and again and again, each first name to its second, while the context lasts."""
    script = "import os, sys, json\npairs = json.loads(sys.argv[1])\nprint(flush=True)\n"
    script += "while True:\n  for pair in pairs: os.rename(*pair)\n"
    words = [sys.executable, "-c", script, json.dumps(pairs)]
    with subprocess.Popen(words, cwd=directory, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield
            assert process.poll() is None
        finally:
            process.kill()


def seen_in_many_looks(root: Path, path: str) -> set[bytes]:
    """What reads of ``path`` give, until both something and nothing was seen, and at least a thousand of them."""
    seen = set()
    with Root(str(root)) as looked:
        for count in range(50_000):
            try:
                seen.add(looked.read(path, 100))
            except NotFound:
                seen.add(b"")
            if count >= 1000 and len(seen) > 1:
                break
    return seen


def test_a_directory_swapped_for_a_symlink_never_leads_to_the_host(root: Path, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "passwd").write_text("host")
    (root / "swap").symlink_to(tmp_path / "host")
    with renamed_in_circles(root, ("etc", "kept"), ("swap", "etc"), ("etc", "swap"), ("kept", "etc")):
        assert seen_in_many_looks(root, "/etc/passwd") == {b"root", b""}


def test_a_directory_moved_while_dots_are_resolved_never_leads_to_the_host(root: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("host")
    with renamed_in_circles(root, ("a/b", "b"), ("b", "a/b")):
        assert b"host" not in seen_in_many_looks(root, "/a/b/../../etc/passwd")


def test_a_dev_proc_or_sys_that_is_no_directory_is_reported(root: Path, tmp_path: Path) -> None:
    """CVE-2026-41579, CVE-2026-47766."""
    assert real_directory_problems(str(root)) == []
    (root / "dev").symlink_to(tmp_path)
    (root / "proc").write_text("")
    (root / "sys").mkdir()
    assert real_directory_problems(str(root)) == [
        "/dev is a symbolic link and no directory",
        "/proc is a file and no directory",
    ]
