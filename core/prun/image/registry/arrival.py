"""A blob that is on its way: one thread adds to it, another reads it meanwhile, and waits where there is no more.

The reader gets the end of the blob only once its digest has been found right, so that nothing is made of a wrong one.
"""

from __future__ import annotations

import io
import os
import threading
from typing import TYPE_CHECKING, BinaryIO

from prun.errors import Unavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from prun.image.document import Descriptor
    from prun.image.layout import ContentStore

_BUFFER_BYTES = 256 << 10


class Arrival:
    """One blob of ``store`` that is being fetched."""

    def __init__(self, store: ContentStore, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self._store = store
        self._condition = threading.Condition()
        self._file = -1
        self._size = 0
        self._complete = False
        self._error: BaseException | None = None

    def grown(self, file: int, size: int) -> None:
        """The first ``size`` bytes are in the open file ``file``, which stays open until ``complete`` or ``failed``."""
        with self._condition:
            self._file, self._size = file, size
            self._condition.notify_all()

    def complete(self) -> None:
        """The blob is in the store."""
        with self._condition:
            self._complete, self._file = True, -1
            self._condition.notify_all()

    def failed(self, error: BaseException) -> None:
        """It will not come; one that is complete already stays so."""
        with self._condition:
            if not self._complete:
                self._error, self._file = self._error or error, -1
            self._condition.notify_all()

    def wait(self) -> None:
        """Wait until the blob is in the store; raises what kept it from getting there."""
        with self._condition:
            self._condition.wait_for(lambda: self._complete or self._error)
            if self._error:
                raise self._error

    def open(self) -> BinaryIO:
        """Return a file that has the bytes of the blob, as they come."""
        return io.BufferedReader(_Arriving(self), _BUFFER_BYTES)

    def descriptor_at(self, position: int) -> int:
        """Wait for bytes beyond ``position``, or for the end, and return a descriptor to read them from."""
        with self._condition:
            self._condition.wait_for(lambda: self._complete or self._error or self._size > position)
            if self._error:
                raise self._error
            if self._complete:
                with self._store.open(self.descriptor["digest"]) as blob:
                    return os.dup(blob.fileno())
            return os.dup(self._file)

    def size_at(self, position: int) -> int:
        """Return how much there is once there is more than ``position``, or all."""
        with self._condition:
            self._condition.wait_for(lambda: self._complete or self._error or self._size > position)
            if self._error:
                raise self._error
            return self.descriptor["size"] if self._complete else self._size


class _Arriving(io.RawIOBase):
    """The reader's end; the descriptor stays the same file, under whichever name."""

    def __init__(self, arrival: Arrival) -> None:
        self._arrival = arrival
        self._descriptor = -1
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_END:
            raise Unavailable("the end of a blob that is on its way is not known")
        self._position = offset + (self._position if whence == os.SEEK_CUR else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if self._descriptor < 0:
            self._descriptor = self._arrival.descriptor_at(self._position)
        while True:
            size = self._arrival.size_at(self._position)
            view = memoryview(buffer)[: max(0, size - self._position)]
            count = os.preadv(self._descriptor, [view], self._position) if view else 0
            if count or not view:  # else it has just been begun anew, from nothing
                self._position += count
                return count

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()
