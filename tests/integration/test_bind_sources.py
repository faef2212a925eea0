"""The source of a bind mount is opened once: what was looked at is mounted, whatever has its name by then.

Somebody who can write where the source is, such as another container, swaps it for a link to the host's own files.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command import NOTHING
from running import running, shown

import prun_linux
from prun import Runner, hookimpl
from prun.pipeline import run
from prun.testing import hooks_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command import Prun

    from prun.types import Event

RENAME_EXCHANGE = 2
SWAPPED_RUNS = 60


class Watching:
    """A plugin that does something when the spec is finished: nothing has been mounted in the container yet."""

    def __init__(self, work: Callable[[str], None]) -> None:
        self._work = work

    @hookimpl
    def prun_event(self, event: Event) -> None:
        if event.kind == "built":
            spec: Any = event.detail
            self._work(next(mount["source"] for mount in spec["mounts"] if mount["destination"] == "/x"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where ``source`` can be swapped for ``link``, which leads to ``host``."""
    for name in ("source", "host"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "which").write_text(f"{name}\n")
    (tmp_path / "link").symlink_to(tmp_path / "host")
    return tmp_path


@pytest.fixture
def swap(place: Path) -> Callable[..., None]:
    libc = ctypes.CDLL(None)

    def exchange(name: str = "source", link: str = "link") -> None:
        names = [os.fsencode(place / each) for each in (name, link)]
        assert libc.renameat2(-100, names[0], -100, names[1], RENAME_EXCHANGE) == 0

    return exchange


def output(prun: Prun, plugin: object, *command: str, **options: Any) -> str:
    """Run in this process, where a plugin can be an object."""
    runner = Runner(root=str(prun.root), state=str(prun.state))
    request = runner.request("busybox", command, **options)._replace(capture=True)
    done = run(request, hooks_with(prun_linux, plugin))
    assert done.status.code == 0, done.stderr
    return done.stdout.decode()


@pytest.mark.parametrize("words", ["{}:/x", "{}:/x:ro", "{}:/x:nosuid,bind"])
def test_a_directory_that_is_swapped_for_a_link_is_mounted_still(
    prun: Prun, place: Path, swap: Callable[..., None], words: str
) -> None:
    plugin = Watching(lambda _: swap())
    options = {"volume": [words.format(place / "source")]}
    assert output(prun, plugin, "cat", "/x/which", **options) == "source\n"
    assert (place / "source").is_symlink()
    assert output(prun, Watching(lambda _: None), "cat", "/x/which", **options) == "host\n"  # a link is followed


def test_a_file_that_is_swapped_for_a_link_is_mounted_still(prun: Prun, place: Path, swap: Callable[..., None]) -> None:
    (place / "file").write_text("source\n")
    (place / "to").symlink_to(place / "host" / "which")
    plugin = Watching(lambda _: swap("file", "to"))
    mount = [f"type=bind,src={place}/file,dst=/x"]
    assert output(prun, plugin, "cat", "/x", mount=mount) == "source\n"


def test_what_another_container_has_mounted_is_opened_once_too(
    prun: Prun, place: Path, swap: Callable[..., None]
) -> None:
    assert prun("run", "--name", "first", "-v", f"{place}/source:/x", "busybox", "true").returncode == 0
    plugin = Watching(lambda _: swap())
    assert output(prun, plugin, "cat", "/x/which", volumes_from=["first"]) == "source\n"


def test_a_volume_that_is_a_directory_of_the_host_is_opened_once_too(
    prun: Prun, place: Path, swap: Callable[..., None]
) -> None:
    options = ("-o", "type=none", "-o", "o=bind", "-o", f"device={place}/source")
    assert prun("volume", "create", *options, "bound").returncode == 0
    plugin = Watching(lambda _: swap())
    assert output(prun, plugin, "cat", "/x/which", volume=["bound:/x"]) == "source\n"
    assert prun("volume", "rm", "bound").returncode == 0


def test_only_the_inode_that_was_opened_is_ever_mounted(prun: Prun, place: Path, swap: Callable[..., None]) -> None:
    """Swapped all the time: whichever it was when it was opened is what the container gets."""
    stop, swaps, opened = threading.Event(), 0, list[int]()

    def keep_swapping() -> None:
        nonlocal swaps
        while not stop.wait(0.0005):
            swap()
            swaps += 1

    thread = threading.Thread(target=keep_swapping)
    thread.start()
    try:
        plugin = Watching(lambda source: opened.append(os.stat(source).st_ino))
        words = [f"{place}/source:/x"]
        found = [int(output(prun, plugin, "stat", "-c", "%i", "/x", volume=words)) for _ in range(SWAPPED_RUNS)]
    finally:
        stop.set()
        thread.join()
    assert found == opened
    assert swaps > SWAPPED_RUNS


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A shared mount, with another below it, as most of a host with systemd is."""
    path = tmp_path / "shared"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    subprocess.run(["mount", "--make-rshared", path], check=True)
    (path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", path / "below"], check=True)
    (path / "below" / "file").touch()
    yield path
    subprocess.run(["umount", "--recursive", path], check=True)


def test_the_hosts_own_mounts_stay_when_the_copies_go(prun: Prun, shared: Path) -> None:
    """What is unmounted below a copy of a shared mount would be unmounted below the original."""
    assert shown(prun, "-v", f"{shared}:/x", "busybox", "ls", "/x/below") == "file\n"
    assert os.path.ismount(shared / "below")
    process = prun.popen("run", "--rm", "-v", f"{shared}:/x", "busybox", "sh", "-c", "echo up; sleep 100")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.kill()
    process.wait()
    assert prun("ps").returncode == 0
    process.communicate(timeout=20)
    assert os.path.ismount(shared / "below")
    assert prun.traces() == NOTHING


def test_a_directory_with_our_own_state_in_it_keeps_its_name(prun: Prun, place: Path) -> None:
    """Each container would have the copies of all others once more."""
    with running(prun, "host", "-v", "/:/x", "-v", f"{place}/source:/y"):
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        assert len([line for line in lines if f"{prun.state}/bundles/" in line and "/mounts/bind-" in line]) == 1
