"""Images on their way into containerd: loaded or fetched as into our own store, checked, and only then handed over.

The store they arrive in is a directory of their own that goes with the work.  What containerd has already is seen
through it, and not fetched again.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from prun.image.layout import ContentStore
from prun.image.manifest import MAX_DOCUMENT_BYTES, blobs, parse_index, parse_manifest
from prun.image.media_type import INDEXES, MANIFESTS
from prun.rootfs.claims import is_unclaimed, remove_directory, temporary_directory
from prun.state import make_private

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.engines.containerd.content import Blobs
    from prun.image.document import Descriptor


class Arriving(ContentStore):
    """A content store in a directory, below which is containerd's."""

    def __init__(self, path: str, below: Blobs) -> None:
        super().__init__(path)
        self._below = below

    def has_itself(self, digest: str) -> bool:
        """Tell whether the blob is in the directory."""
        return super().has(digest)

    def has(self, digest: str) -> bool:
        return super().has(digest) or self._below.has(digest)

    def size(self, digest: str) -> int:
        return super().size(digest) if super().has(digest) else self._below.size(digest)

    def open(self, digest: str) -> BinaryIO:
        return super().open(digest) if super().has(digest) else self._below.open(digest)

    def hand_over(self, target: Descriptor, lease: str) -> None:
        """Give containerd all that ``target`` needs, parents last, with the labels by which they keep their children.

        Raises:
            PrunError: a document is not what it should be, or containerd does not take a blob.
        """
        done = set()
        for descriptor in blobs(self, target):
            digest = descriptor["digest"]
            if digest in done:
                continue
            done.add(digest)
            labels = self._labels(descriptor)
            if self.has_itself(digest):
                with super().open(digest) as source:
                    self._below.write(descriptor, source, labels, lease)
            else:
                self._below.hold(digest, lease)
                if labels:
                    self._below.label(digest, labels)

    def _labels(self, descriptor: Descriptor) -> dict[str, str]:
        """Return what the collector has to know: which blobs this one needs."""
        kind = descriptor["mediaType"]
        if kind not in MANIFESTS | INDEXES:
            return {}
        data = self.read(descriptor["digest"], MAX_DOCUMENT_BYTES)
        if kind in MANIFESTS:
            manifest = parse_manifest(data, kind)
            layers = {f"l.{number}": layer["digest"] for number, layer in enumerate(manifest["layers"])}
            children = {"config": manifest["config"]["digest"], **layers}
        else:
            entries = enumerate(parse_index(data, kind)["manifests"])
            children = {f"m.{number}": each["digest"] for number, each in entries if self.has(each["digest"])}
        return {f"containerd.io/gc.ref.content.{name}": digest for name, digest in children.items()}


@contextmanager
def arriving(root: str, below: Blobs) -> Iterator[Arriving]:
    """Give a new store to arrive in; those of the dead are removed."""
    parent = os.path.join(root, "arriving")
    make_private(root)
    make_private(parent)
    for name in os.listdir(parent):
        if is_unclaimed(path := os.path.join(parent, name)):
            remove_directory(path)
    with temporary_directory(parent) as path:
        yield Arriving(path, below)
