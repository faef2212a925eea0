"""Whether the store holds what it says: every blob its digest, every snapshot its layer, every name its image.

A snapshot is unpacked again beside the old one and compared with it file by file: nothing has to be recorded while
images are unpacked, and what a repair needs is already there when it is needed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from prun.engines.embedded.garbage import collect_garbage
from prun.engines.embedded.images import write_index
from prun.errors import PrunError
from prun.image.digest import new_hasher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prun.image.layout import ContentStore
    from prun.metadata import ImageRow
    from prun.state import Store
    from prun.types import Layer

_CHUNK_BYTES = 1 << 20
REMEDY = "prun system check --repair"


class Finding(NamedTuple):
    """Something that is wrong, and what was done about it; where ``repair`` is empty, ``remedy`` does something."""

    what: str
    repair: str = ""
    remedy: str = REMEDY

    def __str__(self) -> str:
        return f"{self.what}: {self.repair or f'not repaired ({self.remedy})'}"


def check_store(store: Store, *, repair: bool, refetch: Callable[[ImageRow], str] | None = None) -> list[Finding]:
    """Check every blob, image and snapshot; with ``repair``, remove what is wrong or make it again.

    ``refetch`` fetches what is missing of an image and tells from where; where it cannot, or without it, the name is
    removed.  Nothing is unpacked or removed meanwhile by others.
    """
    findings = []
    with store.removing_images():
        findings += list(_blobs(store, repair=repair))
        incomplete = list(_incomplete(store))
    for row, what in incomplete:
        findings.append(Finding(f"image {row.name}: {what}", _mended(store, row, refetch) if repair else ""))
    with store.removing_images():
        findings += list(_snapshots(store, repair=repair))
        findings += list(_containers(store))
        if repair:
            write_index(store)
            collect_garbage(store)
    return findings


def check_image(store: Store, row: ImageRow) -> list[str]:
    """Return what is wrong with one image: its documents, its blobs, its snapshots."""
    from prun.image.manifest import blobs

    try:
        wanted = {blob["digest"] for blob in blobs(store.content, row.target)}
    except PrunError as error:
        return [str(error)]
    problems = [f"blob {digest} is damaged" for digest in sorted(wanted) if _is_damaged(store.content, digest)]
    if problems:
        return problems
    checked: set[str] = set()
    return [what for layers in _images(store, row) for what, _ in _unlike(store, layers, checked, repair=False)]


def _blobs(store: Store, *, repair: bool) -> Iterator[Finding]:
    for digest in sorted(store.content.digests()):
        if _is_damaged(store.content, digest):
            if repair:
                store.content.delete(digest)
            yield Finding(f"blob {digest} is damaged", "removed" if repair else "")


def _is_damaged(content: ContentStore, digest: str) -> bool:
    """Whether the blob is there and is not what its digest says."""
    hasher = new_hasher(digest)
    try:
        with content.open(digest) as blob:
            while chunk := blob.read(_CHUNK_BYTES):
                hasher.update(chunk)
    except FileNotFoundError:
        return False
    except OSError:  # the disk itself cannot read it
        return True
    return f"{digest.partition(':')[0]}:{hasher.hexdigest()}" != digest


def _incomplete(store: Store) -> Iterator[tuple[ImageRow, str]]:
    """Yield the images of which a document or a layer is missing, and what."""
    for row in store.metadata.images():
        if what := _lacks(store, row):
            yield row, what


def _lacks(store: Store, row: ImageRow) -> str:
    """Return what is missing of an image, empty if nothing is."""
    from prun.image.manifest import blobs

    try:
        for blob in blobs(store.content, row.target):
            if store.content.size(blob["digest"]) != blob["size"]:
                return f"blob {blob['digest']} has another size than the image says"
    except PrunError as error:
        return str(error)
    return ""


def _mended(store: Store, row: ImageRow, refetch: Callable[[ImageRow], str] | None) -> str:
    """Fetch an image again, by whichever of its names can be, or remove the name; return what was done."""
    names = sorted(store.metadata.images(), key=lambda each: each.name != row.name)
    why = ""
    for each in names:
        if refetch is None or each.digest != row.digest:
            continue
        try:
            origin = refetch(each)
        except PrunError as error:
            why = why or f", for it cannot be fetched again: {error}"
            continue
        if not _lacks(store, row):
            return f"fetched again from {origin}"
        why = why or f", for {origin} does not have all of it"
    with store.removing_images():
        store.metadata.drop_image(row.name)
    return f"removed{why}"


def _images(store: Store, row: ImageRow) -> Iterator[tuple[Layer, ...]]:
    """Yield the layers of each image that a name leads to and that is here."""
    from prun.image.manifest import is_image, manifests, open_manifest
    from prun.types import Layer

    for found, *_ in manifests(store.content, row.target):
        if store.content.has(found["digest"]) and is_image(store.content, found):
            image = open_manifest(store.content, found)
            layers = zip(image.manifest["layers"], image.config["rootfs"]["diff_ids"], strict=True)
            yield tuple(Layer(each["digest"], diff, each["mediaType"], each["size"]) for each, diff in layers)


def _snapshots(store: Store, *, repair: bool) -> Iterator[Finding]:
    snapshots = store.snapshots
    for chain in snapshots.missing():
        if repair:
            store.metadata.drop_snapshot(chain)
        yield Finding(f"snapshot {chain} has no directory", "forgotten, to be unpacked again" if repair else "")
    checked: set[str] = set()
    for row in store.metadata.images():
        with suppress(PrunError):  # what cannot be read has been told
            for layers in _images(store, row):
                for what, done in _unlike(store, layers, checked, repair=repair):
                    yield Finding(what, done)


def _unlike(store: Store, layers: tuple[Layer, ...], checked: set[str], *, repair: bool) -> Iterator[tuple[str, str]]:
    """Yield the snapshots of an image that are not what its layers say, each once, and what was done."""
    from prun.image.identity import chain_ids
    from prun.rootfs.compare import first_difference
    from prun.rootfs.unpacking import remade
    from prun.rootfs.writeback import durable

    if set(chain_ids([layer.diff_id for layer in layers])) <= checked:
        return
    for chain, directory, fresh in remade(store.snapshots, layers, store.content.open):
        if chain in checked:
            continue
        checked.add(chain)
        difference = first_difference(directory, fresh)
        if not difference:
            continue
        if repair:
            with durable(store.snapshots.path):
                os.rename(directory, f"{os.path.dirname(fresh)}/old")
                os.rename(fresh, directory)
        yield f"snapshot {chain} is damaged: {difference}", "unpacked again" if repair else ""


def _containers(store: Store) -> Iterator[Finding]:
    """Yield the containers whose image is gone: they can be removed, and not be started again."""
    for row in store.metadata.containers():
        if row.digest and not store.content.has(row.digest):
            yield Finding(f"container {row.name}: its image {row.digest} is gone", remedy=f"prun rm {row.name}")
