"""Blobs that come from far: what has arrived outlives its process, and one process at a time fetches a blob.

    <store>/partial/<algorithm>-<hex>      what has arrived so far, locked while somebody adds to it

A file without a lock can be gone on with.  One that nobody has gone on with for a week is removed.

Order: bytes, digest, fsync, rename into ``blobs``, fsync of the directory; a blob that is seen is whole.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from prun.errors import DataLoss, NotFound, ResourceExhausted
from prun.image.digest import new_hasher
from prun.image.storage import check_room, is_at, is_locked, make_directory, storage_errors, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prun.image.document import Descriptor
    from prun.image.layout import ContentStore

KEPT_S = 7 * 24 * 3600
_CHUNK_BYTES = 1 << 20


class Partial:
    """A blob that is not whole yet; ``size`` bytes of it are here, and ``descriptor`` is open for reading, too.

    ``resumed``: some of them are from an earlier process, which may have been killed, or the machine with it.
    """

    def __init__(self, store: ContentStore, expected: Descriptor, descriptor: int, path: str) -> None:
        self.descriptor = descriptor
        self.size = 0
        self.resumed = False
        self._store = store
        self._expected = expected
        self._path = path
        self._hasher = new_hasher(expected["digest"])
        self._look_back()

    def append(self, data: bytes) -> None:
        """Add bytes at the end.

        Raises:
            DataLoss: that is more than the blob has.
            ResourceExhausted: the disk is full.
        """
        if self.size + len(data) > self._expected["size"]:
            raise DataLoss(f"blob {self._expected['digest']} is longer than its {self._expected['size']} bytes")
        self._hasher.update(data)
        with storage_errors(self._store.path):
            view = memoryview(data)
            while view:
                count = os.pwrite(self.descriptor, view, self.size)
                view = view[count:]
                self.size += count

    def restart(self) -> None:
        """Forget what is here and begin anew."""
        with storage_errors(self._store.path):
            os.ftruncate(self.descriptor, 0)
        self.size, self.resumed = 0, False
        self._hasher = new_hasher(self._expected["digest"])

    def is_right(self) -> bool:
        """Tell whether this is the whole blob."""
        found = self._hasher.hexdigest()
        return self.size == self._expected["size"] and found == self._expected["digest"].partition(":")[2]

    def commit(self) -> None:
        """Let the blob appear in the store.

        Raises:
            DataLoss: it is not what its digest says; nothing of it is kept.
        """
        digest = self._expected["digest"]
        with storage_errors(self._store.path):
            if not self.is_right():
                os.unlink(self._path)
                raise DataLoss(f"blob {digest}: {self.size} bytes arrived, and they have another digest")
            target = self._store.blob_path(digest)
            os.fsync(self.descriptor)
            os.fchmod(self.descriptor, 0o444)
            make_directory(os.path.dirname(target))
            os.rename(self._path, target)
            sync_directory(os.path.dirname(target))

    def discard(self) -> None:
        """Keep nothing: a full disk is a burden to others."""
        with suppress(OSError):
            os.unlink(self._path)

    def _look_back(self) -> None:
        """Take what an earlier process left, hashed again; more than the blob has is none of it."""
        with storage_errors(self._store.path):
            size = os.fstat(self.descriptor).st_size
            if size > self._expected["size"]:
                os.ftruncate(self.descriptor, 0)
            while chunk := os.pread(self.descriptor, _CHUNK_BYTES, self.size):
                self._hasher.update(chunk)
                self.size += len(chunk)
        self.resumed = self.size > 0


@contextmanager
def partial(store: ContentStore, expected: Descriptor, waits: Callable[[], None]) -> Iterator[Partial | None]:
    """Claim a blob to fetch it; None where the store has it, be it because another process has just fetched it.

    ``waits`` is called before waiting for another process.  What is not committed stays for the next one, unless the
    disk is full.

    Raises:
        ResourceExhausted: the disk has no room for it.
    """
    path = f"{store.path}/partial/{expected['digest'].replace(':', '-')}"
    with storage_errors(store.path):
        make_directory(os.path.dirname(path))
    while not is_stored(store, expected):
        with storage_errors(store.path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor, waits)
            if not is_at(descriptor, path) or is_stored(store, expected):
                continue  # whoever held it has finished, or given up
            found = Partial(store, expected, descriptor, path)
            what = f"blob {expected['digest']} of {expected['size']} bytes"
            check_room(store.path, expected["size"] - found.size, what)
            try:
                yield found
            except BaseException as error:
                if not found.size or isinstance(error, DataLoss | ResourceExhausted):
                    found.discard()
                raise
            else:
                return
        finally:
            os.close(descriptor)
    with suppress(FileNotFoundError):
        if not is_locked(path):
            os.unlink(path)  # of a blob that came in another way
    yield None


def is_stored(store: ContentStore, expected: Descriptor) -> bool:
    """Tell whether the store has the blob, whole as far as its size tells."""
    try:
        return store.size(expected["digest"]) == expected["size"]
    except NotFound:
        return False


def forget_partials(store: ContentStore, *, older_than_s: float = 0) -> list[str]:
    """Remove what nobody fetches any more, and return its names."""
    removed = []
    directory = f"{store.path}/partial"
    with storage_errors(store.path):
        for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
            path = f"{directory}/{name}"
            with suppress(FileNotFoundError):
                if os.stat(path).st_mtime <= time.time() - older_than_s and not is_locked(path):
                    os.unlink(path)
                    removed.append(name)
    return removed


def _lock(descriptor: int, waits: Callable[[], None]) -> None:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waits()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
