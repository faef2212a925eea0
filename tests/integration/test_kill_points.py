"""kill -9 at every place where loading, importing, unpacking, pulling, pushing or removing images changes the disk.

After each: what is listed is whole, the next command does what it should, and ``system check`` is clean after it.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from debian_registry import skopeo
from dying import Ended, import_everything, places, run
from images import directory, file, layer_tar, oci_layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from debian_registry import DebianRegistry

pytestmark = pytest.mark.usefixtures("own_logins")

CLEAN = "nothing is left over\n"


class Store:
    """A store of its own, worked on by children."""

    def __init__(self, path: Path, notes: Path) -> None:
        self.path = path
        self._notes = notes
        self._words = ["--root", str(path / "root"), "--state", str(path / "state")]

    def __call__(self, *words: str, die_at: str = "") -> Ended:
        return run([*self._words, *words], self._notes, die_at)

    def good(self, *words: str) -> str:
        done = self(*words)
        assert done.code == 0, (words, done.err)
        return done.out

    def places(self, *words: str) -> list[str]:
        return places([*self._words, *words], self._notes)

    def names(self) -> list[str]:
        return [str(row["Name"]) for row in json.loads(self.good("images", "--format", "json"))]

    def is_whole(self) -> None:
        """What is listed is what it says; what was left is cleared by the next command."""
        for name in self.names():
            assert self.good("image", "verify", name) == f"{name}: whole\n"
        self.good("system", "check")
        assert self.good("system", "check") == CLEAN


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of two layers, with a file to hide, and a tar to import."""
    import_everything()
    path = tmp_path_factory.mktemp("image")
    layers = [layer_tar([directory("d"), file("d/a", b"a" * 9000), file("d/b", b"b")]), layer_tar([file("d/.wh.b")])]
    oci_layout(path / "layout", layers, {"Cmd": ["true"]})
    (path / "fs.tar").write_bytes(layers[0])
    return path


@pytest.fixture(scope="module")
def name(registry: DebianRegistry, layout: Path) -> str:
    made = f"{registry.netloc}/killed/app:1"
    skopeo(f"oci:{layout / 'layout'}:latest", f"docker://{made}")
    return made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A directory whose file system waits for no disk."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=0700", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


COMMANDS = {
    "load": ("load", "--tag", "made", "oci:LAYOUT"),
    "import": ("import", "FS", "made"),
    "pull": ("pull", "-q", "NAME"),
    "push": ("push", "-q", "made", "TO"),
    "save": ("save", "-o", "OUT", "made"),
    "unpack": ("diff", "made", "made"),
    "rmi": ("rmi", "made"),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_kill_at_every_place(disk: Path, registry: DebianRegistry, layout: Path, name: str, kind: str) -> None:
    numbers = iter(range(1000))

    def new_store() -> Store:
        path = disk / f"s{next(numbers)}"
        path.mkdir()
        store = Store(path, disk)
        if kind in ("push", "save", "rmi", "unpack"):
            store.good("load", "--tag", "made", f"oci:{layout / 'layout'}", *(["--no-unpack"] * (kind == "unpack")))
        else:
            store.good("images")
        return store

    def words(number: int) -> list[str]:
        replaced = {"oci:LAYOUT": f"oci:{layout / 'layout'}", "FS": str(layout / "fs.tar"), "NAME": name,
                    "TO": f"{registry.netloc}/pushed{number}/app:1", "OUT": str(disk / f"out{number}.tar")}  # fmt: skip
        return [replaced.get(word, word) for word in COMMANDS[kind]]

    found = new_store().places(*words(0))
    assert len(found) >= {"save": 4, "push": 5}.get(kind, 15), found
    for number, place in enumerate(found, 1):
        store = new_store()
        done = store(*words(number), die_at=place)
        assert done.code == -9, (place, done)
        if kind == "unpack":  # else a row of a snapshot without its directory would be told, to be unpacked again
            store.good(*words(number))
        store.is_whole()
        if kind != "rmi" or store.names():
            store.good(*words(number))
        assert bool(store.names()) == (kind != "rmi"), place
        assert store.good("system", "check") == CLEAN
        if kind == "push":
            there = Store(store.path / "there", disk)
            there.path.mkdir()
            there.good("pull", "-q", words(number)[-1])
            there.is_whole()
