"""Copying and unpacking side by side, and what is held meanwhile."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from images import archive_of, file, layer_tar, oci_layout, put_blob, put_image, put_index

from prun.errors import DataLoss, InvalidArgument
from prun.image.archive import loading
from prun.image.identity import chain_ids
from prun.image.layout import ContentStore
from prun.image.source import parse_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from prun.types import Layer

LARGE = [layer_tar([file(name, os.urandom(5 << 20))]) for name in "ab"]


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path / "store"))


@pytest.fixture(params=["oci", "archive", "pipe"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Any]:
    """The words for a layout of two large layers, and standard input."""
    path = tmp_path / "layout"
    oci_layout(path, LARGE, {})
    if request.param == "oci":
        return f"oci:{path}", None
    (tmp_path / "x.tar").write_bytes(archive_of(path))
    if request.param == "archive":
        return str(tmp_path / "x.tar"), None
    return "-", open(tmp_path / "x.tar", "rb", buffering=0)


class Unpacked:
    """Reads every layer as unpacking does; knows whether others were copying then."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.beside = False

    def __call__(self, layers: Sequence[Layer], open_blob: Any) -> None:
        for layer in layers:
            self.beside |= any(thread.name.startswith("stage") for thread in threading.enumerate())
            with open_blob(layer.digest) as blob:
                assert blob.seek(0, 2) == layer.size_bytes
                blob.seek(0)
                self.read.append(sum(len(chunk) for chunk in iter(lambda blob=blob: blob.read(1 << 20), b"")))


def test_layers_are_unpacked_from_every_kind_of_source(source: tuple[str, Any], store: ContentStore) -> None:
    unpacked = Unpacked()
    before = threading.active_count()
    with loading(parse_source(source[0]), store, source[1], jobs=2, unpack=unpacked) as (loaded,):
        assert len(unpacked.read) == 2
        assert unpacked.read == [size for size in unpacked.read if size > 5 << 20]
        assert store.has(loaded.target["digest"])
    assert unpacked.beside is (source[0] != "-")
    assert threading.active_count() == before


def test_nothing_is_stored_where_unpacking_fails(source: tuple[str, Any], store: ContentStore) -> None:
    def fail(layers: object, open_blob: object) -> None:
        raise InvalidArgument("no such thing")

    failing = loading(parse_source(source[0]), store, source[1], unpack=fail)
    with pytest.raises(InvalidArgument, match="no such thing"), failing:
        pass
    assert list(store.digests()) == os.listdir(f"{store.path}/ingest") == []


def test_a_wrong_digest_is_told_before_what_it_leads_to(tmp_path: Path, store: ContentStore) -> None:
    target = put_image(tmp_path / "l", LARGE, {})
    put_index(tmp_path / "l", [target])
    [blob] = [path for path in (tmp_path / "l/blobs/sha256").iterdir() if path.stat().st_size > 5 << 20][:1]
    data = bytearray(blob.read_bytes())
    data[1 << 20] ^= 1
    blob.write_bytes(data)

    def fail(layers: object, open_blob: object) -> None:
        raise DataLoss("layer cannot be decompressed")

    failing = loading(parse_source(f"oci:{tmp_path}/l"), store, unpack=fail)
    with pytest.raises(DataLoss, match=r"^blob .* has the digest"), failing:
        pass


def test_what_a_load_needs_is_held_until_its_end_and_no_longer(source: tuple[str, Any], store: ContentStore) -> None:
    chains: list[str] = []

    def note(layers: Sequence[Layer], open_blob: object) -> None:
        chains.extend(chain_ids([layer.diff_id for layer in layers]))
        with store.sweeping() as held:
            assert set(chains) <= held

    with loading(parse_source(source[0]), store, source[1], unpack=note), store.sweeping() as held:
        assert {*chains, *store.digests()} <= held
    assert len(chains) == 2
    with store.sweeping() as held:
        assert held == set()


def test_what_a_dead_one_held_is_not(store: ContentStore, tmp_path: Path) -> None:
    name = put_blob(tmp_path / "x", b"data")
    pid = os.fork()
    if not pid:
        with store.ingesting() as ingest:
            ingest.hold([name])
            os._exit(0)
    os.waitpid(pid, 0)
    assert any(name in os.listdir(path) for path in store.leftovers())
    with store.sweeping() as held:
        assert held == set()


def test_a_hold_waits_for_the_sweep(store: ContentStore, tmp_path: Path) -> None:
    name = put_blob(tmp_path / "x", b"data")
    done = threading.Event()
    with store.ingesting() as ingest:

        def hold() -> None:
            ingest.hold([name])
            done.set()

        thread = threading.Thread(target=hold)
        with store.sweeping() as held:
            thread.start()
            assert not done.wait(0.2)
            assert name not in held
        thread.join()
        with store.sweeping() as held:
            assert name in held
