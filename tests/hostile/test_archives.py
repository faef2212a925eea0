"""Archives that no one would make by accident: whatever they hold, nothing outside of the root is touched."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import digest, layer_tar
from unpacking import Blobs

from prun.errors import PrunError
from prun.rootfs.layer import apply_layer
from prun.rootfs.mount import detached_overlay
from prun.rootfs.tarstream import Limits
from prun.rootfs.view import LayersView

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

LIMITS = Limits(size_bytes=10 << 20, entries=1000)
MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar"
QUICK = settings(
    max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

# Few names, so that entries meet: a link, then something through it, then something in its place.
component = st.sampled_from(["a", "b", "c", "..", ".", "", "outside", "marker", ".wh.a", ".wh.marker", ".wh..wh..opq"])
relative = st.lists(component, min_size=1, max_size=5).map("/".join)
name = st.one_of(relative, relative.map(lambda text: "/" + text), st.sampled_from(["OUT", "OUT/marker", "../../OUT"]))
kind = st.sampled_from([b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"2", b"2", b"1"])
mode = st.sampled_from([0, 0o644, 0o755, 0o4777, 0o1777])
content = st.binary(max_size=20)


@st.composite
def entries(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(draw(name))
    info.type = draw(kind)
    info.linkname = draw(name)
    info.mode = draw(mode)
    info.uid, info.gid = draw(st.sampled_from([(0, 0), (1000, 1000)]))
    info.devmajor, info.devminor = draw(st.sampled_from([(1, 3), (0, 0)]))
    data = draw(content) if info.type == b"0" else b""
    info.size = len(data)
    return info, data


layers = st.lists(entries(), max_size=12)


class World:
    """A root to unpack into, ``root``, and what must not change, ``outside``, in one temporary directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outside = path / "outside"
        self.outside.mkdir()
        (self.outside / "marker").write_text("host")
        (self.outside / "marker").chmod(0o600)
        for number in range(3):
            (path / f"fs{number}").mkdir()
            (path / f"work{number}").mkdir()
        (path / "scratch").mkdir()

    def state(self) -> list[tuple[object, ...]]:
        seen: list[tuple[object, ...]] = [(sorted(os.listdir(self.path)),)]
        for path in (self.outside, self.outside / "marker"):
            found = os.lstat(path)
            seen.append((found.st_mode, found.st_uid, found.st_gid, found.st_nlink, found.st_mtime_ns, found.st_ino))
        return [*seen, ((self.outside / "marker").read_text(), os.listdir(self.outside))]


@contextmanager
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("PYTEST_TMPDIR")) as path:
        made = World(Path(path))
        before = made.state()
        yield made
        assert made.state() == before


def tar_of(layer: list[tuple[tarfile.TarInfo, bytes]], outside: Path) -> bytes:
    changed = []
    for info, data in layer:
        copy = tarfile.TarInfo(info.name.replace("OUT", str(outside)))
        for field in ("type", "mode", "uid", "gid", "size", "devmajor", "devminor"):
            setattr(copy, field, getattr(info, field))
        copy.linkname = info.linkname.replace("OUT", str(outside))
        changed.append((copy, data))
    return layer_tar(changed)


def apply(tar: bytes, fd: int, *, merged: bool) -> None:
    apply_layer(io.BytesIO(tar), MEDIA_TYPE, digest(tar), fd, merged=merged, limits=LIMITS)


def opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def unpack_plainly(tars: list[bytes], made: World) -> bool:
    """Unpack all layers over one directory; whether none was refused."""
    fd = opened(made.path / "fs0")
    try:
        for number, tar in enumerate(tars):
            apply(tar, fd, merged=number > 0)
    except PrunError:
        return False
    finally:
        os.close(fd)
    return True


def unpack_merged(tars: list[bytes], made: World) -> bool:
    """Unpack the second layer through an overlay of the first."""
    fd = opened(made.path / "fs0")
    try:
        apply(tars[0], fd, merged=False)
        os.close(fd)
        fd = detached_overlay([str(made.path / "fs0")], *(str(made.path / n) for n in ("fs1", "work1", "scratch")))
        apply(tars[1], fd, merged=True)
        assert no_mark_is_visible(fd)
    except PrunError:
        return False
    finally:
        os.close(fd)
    return True


def no_mark_is_visible(fd: int) -> bool:
    for _, names, files, directory in os.fwalk(".", dir_fd=fd):
        for child in (*names, *files):
            found = os.lstat(child, dir_fd=directory)
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
                return False
            if child == ".wh..wh..opq":
                return False
    return True


@QUICK
@given(layers, layers)
def test_random_layers_change_nothing_outside_of_the_root(
    first: list[tuple[tarfile.TarInfo, bytes]], second: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    with world() as made:
        tars = [tar_of(first, made.outside), tar_of(second, made.outside)]
        unpack_plainly(tars, made)
    with world() as made:
        tars = [tar_of(first, made.outside), tar_of(second, made.outside)]
        unpack_merged(tars, made)


@QUICK
@given(layers, layers)
def test_random_layers_look_the_same_unpacked_through_an_overlay_in_a_directory_and_in_memory(
    first: list[tuple[tarfile.TarInfo, bytes]], second: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    tars = [tar_of(first, Path("/outside")), tar_of(second, Path("/outside"))]
    with world() as made:
        plain = unpack_plainly(tars, made)
        expected = shape(opened(made.path / "fs0")) if plain else None
    with world() as made:
        assert unpack_merged(tars, made) == plain
        if plain:
            paths = [str(made.path / n) for n in ("fs2", "work2", "scratch")]
            assert shape(detached_overlay([str(made.path / "fs1"), str(made.path / "fs0")], *paths)) == expected
    if expected is not None:
        blobs = Blobs()
        view = LayersView([blobs.add(tar) for tar in tars], blobs.open)
        for path, (mode, _) in expected.items():
            found = view.stat(path)
            if not stat.S_ISLNK(mode):
                assert found is not None, path
                assert found.mode == mode, path


def shape(fd: int) -> dict[str, tuple[int, str]]:
    """Every path with its mode and the target of a link."""
    try:
        seen = {}
        for top, names, files, directory in os.fwalk(".", dir_fd=fd):
            for child in (*names, *files):
                mode_found = os.lstat(child, dir_fd=directory).st_mode
                link = os.readlink(child, dir_fd=directory) if stat.S_ISLNK(mode_found) else ""
                seen[os.path.normpath(os.path.join(top, child))] = (mode_found, link)
        return seen
    finally:
        os.close(fd)


@QUICK
@given(st.binary(max_size=3000))
def test_random_bytes_are_refused_with_an_error_of_ours(data: bytes) -> None:
    with world() as made:
        unpack_plainly([data], made)


VALID = layer_tar(
    [
        (tarfile.TarInfo("d/" + "n" * 200), b""),
        *((info, b"") for info in [tarfile.TarInfo("s")]),
    ]
)


@QUICK
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.booleans())
def test_a_damaged_header_is_refused_or_contained(changes: list[tuple[int, int]], repaired: bool) -> None:
    """With the checksums put right again, so that the damage is read."""
    tar = bytearray(VALID)
    for at, value in changes:
        tar[at] = value
    if repaired:
        for at in range(0, len(tar), 512):
            block = tar[at : at + 512]
            if block[257:262] == b"ustar":
                block[148:156] = b" " * 8
                tar[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    with world() as made:
        unpack_plainly([bytes(tar)], made)


@QUICK
@given(st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=30)), max_size=8))
def test_random_records_are_refused_or_contained(records: list[tuple[str, bytes]]) -> None:
    info = tarfile.TarInfo("x")
    keys = ["path", "linkpath", "size", "uid", "gid", "mtime", "atime", "GNU.sparse.map", "GNU.sparse.size"]
    known = {key: value for key, (_, value) in zip(keys, records, strict=False)}
    info.pax_headers = {key: value.decode("latin-1") for key, value in known.items()}
    info.pax_headers |= {f"SCHILY.xattr.{text}": value.decode("latin-1") for text, value in records}
    try:
        tar = layer_tar([(info, b"")])
    except UnicodeEncodeError:
        return
    with world() as made:
        unpack_plainly([tar], made)
