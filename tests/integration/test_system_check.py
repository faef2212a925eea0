"""``system check`` and ``image verify``: what a fault leaves is found, told and repaired."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from images import busybox_layer, directory, file, layer_tar, oci_layout, symlink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun

CLEAN = (0, "nothing is left over\n", "")


@pytest.fixture
def prun(new_prun: Callable[[], Prun], tmp_path: Path) -> Prun:
    """A store with an image of three layers, whiteouts in it, and a container."""
    layers = [
        busybox_layer(),
        layer_tar([directory("srv", mode=0o2750), file("srv/a", b"a" * 5000, uid=7), symlink("srv/link", "a"),
                   file("srv/gone", b"x"), directory("old"), file("old/x", b"1")]),
        layer_tar([file("srv/.wh.gone"), directory("old"), file("old/.wh..wh..opq"), file("old/y", b"2")]),
    ]  # fmt: skip
    oci_layout(tmp_path / "layout", layers, {"Cmd": ["ls", "/srv"], "Env": ["PATH=/bin"]})
    prun = new_prun()
    assert prun("load", "--tag", "made", f"oci:{tmp_path}/layout").returncode == 0
    return prun


def check(prun: Prun, *words: str) -> tuple[int, str, str]:
    done = prun("system", "check", *words)
    return done.returncode, done.stdout, done.stderr


def snapshot_with(prun: Prun, path: str) -> Path:
    [found] = [home for home in (prun.root / "snapshots").glob("[0-9]*/*") if (home / path).exists()]
    return found


def layer_blobs(prun: Prun) -> list[Path]:
    manifest = json.loads(
        (prun.root / "content/blobs/sha256" / digest(prun).removeprefix("sha256:")).read_text(encoding="utf-8")
    )
    return [prun.root / "content/blobs" / each["digest"].replace(":", "/") for each in manifest["layers"]]


def digest(prun: Prun) -> str:
    return str(json.loads(prun("image", "inspect", "made").stdout)[0]["Digest"])


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_store_that_is_whole_is_clean_and_stays_as_it_is(prun: Prun) -> None:
    def everything() -> list[str]:
        return sorted(str(path) for path in prun.root.rglob("*") if "lock" not in str(path) and "-" not in path.name)

    before = everything()
    assert check(prun) == CLEAN
    assert check(prun, "--repair") == CLEAN
    assert check(prun, "--quick") == CLEAN
    assert everything() == before
    assert prun("image", "verify", "made").stdout == "made: whole\n"
    assert "exclude each other" in check(prun, "--quick", "--repair")[2]


def _change_content(path: Path) -> None:
    times = path.joinpath("srv/a").stat()
    path.joinpath("srv/a").write_bytes(b"a" * 4999 + b"b")
    os.utime(path / "srv/a", ns=(times.st_atime_ns, times.st_mtime_ns))


DAMAGE = {
    "has another content": _change_content,
    "/srv/a has 5000 bytes and 2 names": lambda path: os.link(path / "srv/a", path / "srv/z"),
    "/srv/extra is too many": lambda path: path.joinpath("srv/extra").touch(),
    "/srv/a is missing": lambda path: path.joinpath("srv/a").unlink(),
    "/srv/a has the mode 777": lambda path: path.joinpath("srv/a").chmod(0o777),
    "/srv/a belongs to 0:0": lambda path: os.chown(path / "srv/a", 0, 0),
    "/srv/a has other extended attributes": lambda path: os.setxattr(path / "srv/a", "user.x", b"1"),
    "/srv/link leads elsewhere": lambda path: (
        path.joinpath("srv/link").unlink(), path.joinpath("srv/link").symlink_to("b"),
        os.utime(path / "srv/link", (1_700_000_000, 1_700_000_000), follow_symlinks=False),
    ),
    "/srv/a is of another kind": lambda path: (path.joinpath("srv/a").unlink(), path.joinpath("srv/a").mkdir()),
}  # fmt: skip


@pytest.mark.parametrize("told", DAMAGE)
def test_a_damaged_snapshot_is_told_and_made_again(prun: Prun, told: str) -> None:
    assert prun("run", "--name", "user", "made").returncode == 0
    path = snapshot_with(prun, "srv/a")
    DAMAGE[told](path)
    code, found, _ = check(prun)
    assert code == 1
    assert "snapshot sha256:" in found
    assert "not repaired (prun system check --repair)" in found
    assert told in found
    assert prun("image", "verify", "made").returncode == 1
    code, found, _ = check(prun, "--repair")
    assert (code, "unpacked again" in found) == (0, True)
    assert check(prun) == CLEAN
    assert prun("run", "--rm", "made", "cat", "/srv/link").stdout == "a" * 5000
    assert prun("rm", "user").returncode == 0


def test_a_damaged_layer_is_removed_and_the_image_with_it(prun: Prun) -> None:
    spoil(layer_blobs(prun)[1])
    code, found, _ = check(prun)
    assert code == 1
    assert "is damaged: not repaired" in found
    assert prun("run", "--rm", "made").returncode == 0  # it is unpacked: what it runs is whole
    assert "is damaged" in prun("image", "verify", "made").stdout
    code, found, _ = check(prun, "--repair")
    assert code == 0
    assert "is damaged: removed" in found
    assert "image docker.io/library/made:latest: " in found
    assert prun("images", "-q").stdout == ""
    assert list((prun.root / "content/blobs/sha256").iterdir()) == []
    assert check(prun) == CLEAN


@pytest.mark.parametrize("which", ["manifest", "config"])
def test_a_damaged_document_is_removed_and_other_images_stay(prun: Prun, which: str, archive: Path) -> None:
    assert prun("load", "--tag", "busybox", str(archive)).returncode == 0
    blobs = prun.root / "content/blobs/sha256"
    manifest = blobs / digest(prun).removeprefix("sha256:")
    config = blobs / json.loads(manifest.read_text())["config"]["digest"].removeprefix("sha256:")
    spoil({"manifest": manifest, "config": config}[which])
    assert prun("images").returncode == 0
    assert check(prun)[0] == 1
    assert check(prun, "--repair")[0] == 0
    assert prun("images", "--format", "{{.Repository}}").stdout == "busybox\n"
    assert prun("run", "--rm", "busybox", "true").returncode == 0
    assert check(prun) == CLEAN


def test_a_damaged_image_can_be_removed_by_hand(prun: Prun) -> None:
    spoil(prun.root / "content/blobs/sha256" / digest(prun).removeprefix("sha256:"))
    assert "Untagged" in prun("rmi", "made").stdout
    assert check(prun) == CLEAN
    assert list((prun.root / "content/blobs/sha256").iterdir()) == []


def test_rows_without_their_directory_or_blob_are_found(prun: Prun) -> None:
    shutil.rmtree(snapshot_with(prun, "srv/a").parent)
    code, found, _ = check(prun)
    assert (code, "has no directory" in found) == (1, True)
    assert check(prun, "--repair")[0] == 0
    assert prun("run", "--rm", "made").stdout == "a\nlink\n"  # unpacked again
    assert check(prun) == CLEAN
    layer_blobs(prun)[0].unlink()
    assert check(prun)[0] == 1
    code, found, error = check(prun, "--repair")
    assert (code, error) == (0, "")
    assert "removed, for it cannot be fetched again: " in found
    assert check(prun) == CLEAN


def test_a_container_whose_image_is_gone_is_told_until_it_is_removed(prun: Prun) -> None:
    assert prun("run", "--name", "user", "made").returncode == 0
    (prun.root / "content/blobs/sha256" / digest(prun).removeprefix("sha256:")).unlink()
    code, found, _ = check(prun, "--repair")
    assert code == 1
    assert "container user: its image" in found
    assert "(prun rm user)" in found
    assert prun("rm", "user").returncode == 0
    assert check(prun) == CLEAN


def test_a_blob_without_a_row_is_cleared_and_counts_as_repaired(prun: Prun) -> None:
    with sqlite3.connect(prun.root / "metadata.db") as db:
        db.execute("DELETE FROM images")
    db.close()
    done = prun("system", "check", "--format", "json")
    assert done.returncode == 0
    rows = json.loads(done.stdout)
    assert len(rows) == 5
    assert all(row["Repaired"] for row in rows)
    assert check(prun) == CLEAN
