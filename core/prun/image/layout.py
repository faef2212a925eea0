"""The content store: an OCI image layout on disk, shared by processes.

    <path>/oci-layout, index.json       so that skopeo, umoci and others can read the store
    <path>/blobs/<algorithm>/<hex>      blobs: written once, complete, verified, read-only
    <path>/ingest/<random>/             what is being written, each directory locked by its writer

Names are kept elsewhere (``prun.metadata``); ``write_index`` copies them into ``index.json``.

Spec: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from prun.errors import DataLoss, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted
from prun.image.digest import matches, parse_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prun.image.document import Descriptor
    from prun.image.ingest import Ingest, Writer


class ContentStore:
    """A content store at the directory ``path``, which is made with the first blob."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)

    def blob_path(self, digest: str) -> str:
        """Return where the blob is, or would be.

        Raises:
            InvalidArgument: that is no digest.
        """
        algorithm, _, name = parse_digest(digest).partition(":")
        return f"{self.path}/blobs/{algorithm}/{name}"

    def has(self, digest: str) -> bool:
        """Tell whether the blob is here."""
        return os.path.isfile(self.blob_path(digest))

    def size(self, digest: str) -> int:
        """Return the size of the blob in bytes.

        Raises:
            NotFound: it is not here.
        """
        try:
            return os.stat(self.blob_path(digest)).st_size
        except FileNotFoundError as error:
            raise self._not_found(digest) from error
        except PermissionError as error:
            raise self._denied(digest) from error

    def open(self, digest: str) -> BinaryIO:
        """Open the blob for reading; it was verified when it was written, and is not now.

        Raises:
            NotFound: it is not here.
        """
        try:
            return open(self.blob_path(digest), "rb")
        except FileNotFoundError as error:
            raise self._not_found(digest) from error
        except PermissionError as error:
            raise self._denied(digest) from error

    def read(self, digest: str, limit_bytes: int) -> bytes:
        """Return the whole of a small blob, verified.

        Raises:
            NotFound: it is not here.
            ResourceExhausted: it is longer than ``limit_bytes``.
            DataLoss: its content is not that of the digest any more.
        """
        with self.open(digest) as blob:
            data = blob.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise ResourceExhausted(f"blob {digest} is longer than {limit_bytes} bytes")
        if not matches(data, digest):
            raise DataLoss(
                f"blob {digest} is damaged in the content store {self.path!r}", hint="load or pull the image again"
            )
        return data

    def ingesting(self) -> Ingest:
        """Return a context in which several blobs are written, to appear together at its ``commit``."""
        from prun.image.ingest import Ingest

        return Ingest(self)

    @contextmanager
    def ingest(self, expected: Descriptor) -> Iterator[Writer]:
        """Write one blob: it appears, whole, when the context ends without an error.

        Raises:
            DataLoss: size or digest are not as expected.
            ResourceExhausted: the disk cannot hold it.
        """
        with self.ingesting() as ingest:
            with ingest.writer(expected) as writer:
                yield writer
            ingest.commit([expected["digest"]])

    def put(self, data: bytes, media_type: str) -> Descriptor:
        """Store a small blob and return its descriptor."""
        with self.ingesting() as ingest:
            descriptor = ingest.put(data, media_type)
            ingest.commit([descriptor["digest"]])
        return descriptor

    def delete(self, digest: str) -> None:
        """Remove the blob if it is here; who has it open keeps it."""
        from prun.image.storage import storage_errors

        with storage_errors(self.path), suppress(FileNotFoundError):
            os.unlink(self.blob_path(digest))

    def digests(self) -> Iterator[str]:
        """Yield the digest of every blob, in no order; files that others put here are none."""
        for algorithm in _names(f"{self.path}/blobs"):
            for name in _names(f"{self.path}/blobs/{algorithm}"):
                with suppress(InvalidArgument):
                    yield parse_digest(f"{algorithm}:{name}")

    def write_index(self, entries: Iterable[tuple[str, Descriptor]]) -> None:
        """Replace ``index.json`` by one that gives each target its name, in a single step.

        ``entries`` is gone through under a lock of the store: a generator function that looks the names up when it
        is first asked cannot write an older state over a newer one.
        """
        with self.ingesting() as ingest:
            ingest.replace_index(entries)

    @contextmanager
    def sweeping(self) -> Iterator[set[str]]:
        """Give the digests that ingests hold; while the block runs, none holds any more (``Ingest.hold``)."""
        from prun.image.storage import files_of_the_living, locked, make_directory, storage_errors

        with storage_errors(self.path):
            make_directory(f"{self.path}/ingest")
        with locked(f"{self.path}/ingest"):
            yield files_of_the_living(f"{self.path}/ingest")

    def leftovers(self) -> list[str]:
        """Return the paths of what dead writers left in ``ingest``."""
        from prun.image.storage import abandoned

        return abandoned(f"{self.path}/ingest", remove=False)

    def clear_leftovers(self) -> list[str]:
        """Remove what dead writers left in ``ingest`` and return its paths."""
        from prun.image.storage import abandoned

        return abandoned(f"{self.path}/ingest", remove=True)

    def _not_found(self, digest: str) -> NotFound:
        return NotFound(f"blob {digest} is not in the content store {self.path!r}", hint="load or pull the image again")

    def _denied(self, digest: str) -> PermissionDenied:
        return PermissionDenied(f"blob {digest} in the content store {self.path!r} may not be read")


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
