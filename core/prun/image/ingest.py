"""Writing into the content store: nothing is seen before it is complete, verified and on the disk.

An ingest is a directory of its own below ``ingest/``, locked as long as its writer lives; so what a dead one left
behind can be told from what is being written, and nobody needs to know how old it is.
"""

from __future__ import annotations

import itertools
import json
import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, BinaryIO

from prun.errors import DataLoss, NotFound, Unavailable
from prun.image.digest import digest_of, new_hasher, parse_digest
from prun.image.media_type import OCI_INDEX
from prun.image.storage import check_room, locked, make_directory, scratch_directory, storage_errors, sync_directory
from prun.image.sync import BackgroundSync

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Self

    from _typeshed import ReadableBuffer

    from prun.image.document import Descriptor
    from prun.image.layout import ContentStore

NAME_ANNOTATION = "org.opencontainers.image.ref.name"

# The disk starts on a large blob while the rest of it is still being hashed.
_SYNC_BEHIND_BYTES = 32 << 20
_SMALL_BYTES = 1 << 20


class Ingest:
    """Blobs on their way into a content store, as a context; what is not committed vanishes at its end."""

    def __init__(self, store: ContentStore) -> None:
        self.store = store
        self.cancelled = False
        self._paths: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._held: set[str] = set()
        self._numbers = itertools.count()
        self.sync = BackgroundSync()
        self._stack = ExitStack()
        self._directory = ""

    def __enter__(self) -> Self:
        with storage_errors(self.store.path), ExitStack() as stack:
            make_directory(f"{self.store.path}/blobs/sha256")
            make_directory(f"{self.store.path}/ingest")
            self._directory = stack.enter_context(scratch_directory(f"{self.store.path}/ingest"))
            stack.callback(self.sync.close)
            self._place("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            self._place("index.json", _index(()))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with storage_errors(self.store.path):
            self._stack.close()

    def has(self, digest: str) -> bool:
        """Tell whether this ingest holds the blob."""
        return digest in self._paths

    def size(self, digest: str) -> int:
        """Return the size of a blob that this ingest holds; NotFound where it does not."""
        if digest not in self._paths:
            raise NotFound(f"blob {digest} has not been written")
        return self._sizes[digest]

    def open(self, digest: str) -> BinaryIO:
        """Open a blob that this ingest or the store holds, for reading; NotFound where neither does."""
        if not self.has(digest):
            return self.store.open(digest)
        with storage_errors(self.store.path):
            return open(self._paths[digest], "rb")

    def hold(self, digests: Iterable[str]) -> None:
        """Keep these blobs, and snapshots of these chain IDs, from garbage collection until the context ends.

        They need not be there yet.  What is found to be there after this call stays.
        """
        new = [digest for digest in digests if digest not in self._held]
        if not new:
            return
        with storage_errors(self.store.path), locked(f"{self.store.path}/ingest", shared=True):
            for digest in new:
                os.close(_create(f"{self._directory}/{digest}"))
        self._held.update(new)

    def writer(self, expected: Descriptor) -> Writer:
        """Return a writer for one blob; ``expected`` may lack the digest, or the size, where it is not known yet.

        Raises:
            ResourceExhausted: the disk has less room than that.
        """
        with storage_errors(self.store.path):
            size = expected.get("size", 0)
            check_room(self.store.path, size, f"a blob of {size} bytes")
            path = f"{self._directory}/{next(self._numbers)}"
            descriptor = _create(path)
        return Writer(self, descriptor, path, expected)

    def add(self, digest: str, size: int, path: str) -> None:
        """Take over a finished file; its writer calls this."""
        self._sizes[digest] = size
        if self._paths.setdefault(digest, path) != path:
            os.unlink(path)  # the same content twice

    def put(self, data: bytes, media_type: str) -> Descriptor:
        """Write a small blob and return its descriptor."""
        descriptor: Descriptor = {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}
        if not self.has(descriptor["digest"]):
            with self.writer(descriptor) as writer:
                writer.write(data)
        return descriptor

    def commit(self, digests: Iterable[str]) -> None:
        """Make these blobs appear in the store, in this order, safe from a loss of power.

        Those that this ingest does not hold are left out: they have been in the store before.
        """
        digests = list(dict.fromkeys(digests))
        self.hold(digests)
        wanted = [digest for digest in digests if digest in self._paths]
        directories = {os.path.dirname(self.store.blob_path(digest)) for digest in wanted}
        with storage_errors(self.store.path):
            for directory in directories:
                make_directory(directory)
            self.sync.finish(self._paths[digest] for digest in wanted if self._sizes[digest] <= _SMALL_BYTES)
            for digest in wanted:
                os.chmod(self._paths[digest], 0o444)
                os.rename(self._paths.pop(digest), self.store.blob_path(digest))
            for directory in directories:
                sync_directory(directory)

    def replace_index(self, entries: Iterable[tuple[str, Descriptor]]) -> None:
        """See ``ContentStore.write_index``."""
        with storage_errors(self.store.path), locked(self.store.path):
            self._place("index.json", _index(entries), replace=True)

    def cancel(self) -> None:
        """Make every write from now on fail, in whichever thread: the ingest is given up."""
        self.cancelled = True

    def _place(self, name: str, data: bytes, *, replace: bool = False) -> None:
        target = f"{self.store.path}/{name}"
        if not replace and os.path.exists(target):
            return
        path = f"{self._directory}/{next(self._numbers)}"
        with open(_create(path), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.rename(path, target)
        else:
            with suppress(FileExistsError):  # another process was quicker
                os.link(path, target)
        sync_directory(self.store.path)


class Writer:
    """One blob being written: hashed on the way, checked and handed to its ingest when the context ends.

    After that, ``digest`` and ``size`` say what it is.
    """

    def __init__(self, ingest: Ingest, descriptor: int, path: str, expected: Descriptor) -> None:
        self.digest = ""
        self.size = 0
        self._ingest = ingest
        self._descriptor = descriptor
        self._path = path
        self._expected = expected
        self._name = f"blob {expected['digest']}" if "digest" in expected else "a blob"
        self._algorithm = parse_digest(expected["digest"]).partition(":")[0] if "digest" in expected else "sha256"
        self._hasher = new_hasher(self._algorithm)
        self._synced = 0
        self._behind: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        complete = False
        try:
            if kind is None:
                self._check()
                complete = True
        finally:
            with storage_errors(self._ingest.store.path):
                self._ingest.sync.close_file(self._descriptor, sync=complete and self.size > _SMALL_BYTES)
        if complete:
            self._ingest.add(self.digest, self.size, self._path)

    def write(self, data: ReadableBuffer) -> None:
        """Append ``data``.

        Raises:
            DataLoss: that is more than was expected.
            ResourceExhausted: the disk is full.
            Unavailable: the ingest was cancelled.
        """
        if self._ingest.cancelled:
            raise Unavailable(f"{self._name} is not written: the ingest was cancelled")
        view = memoryview(data)
        self.size += len(view)
        if self.size > self._expected.get("size", self.size):
            raise DataLoss(f"{self._name} is longer than the {self._expected['size']} bytes that were announced")
        self._hasher.update(view)
        with storage_errors(self._ingest.store.path):
            while view:
                view = view[os.write(self._descriptor, view) :]
            if self.size - self._synced >= _SYNC_BEHIND_BYTES and (not self._behind or self._behind.done()):
                self._synced = self.size
                self._behind = self._ingest.sync.start(self._descriptor)

    def _check(self) -> None:
        if self.size != self._expected.get("size", self.size):
            raise DataLoss(f"{self._name} has {self.size} bytes, not the {self._expected['size']} that were announced")
        self.digest = f"{self._algorithm}:{self._hasher.hexdigest()}"
        if self.digest != self._expected.get("digest", self.digest):
            raise DataLoss(f"{self._name} has the digest {self.digest}")


def _create(path: str) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)  # whatever the umask says
    return descriptor


def _index(entries: Iterable[tuple[str, Descriptor]]) -> bytes:
    """Return an ``index.json``: each target with its name, in the annotation that other tools look for."""
    manifests = [
        {
            "mediaType": target["mediaType"],
            "digest": target["digest"],
            "size": target["size"],
            "annotations": {NAME_ANNOTATION: name},
        }
        for name, target in entries
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()
