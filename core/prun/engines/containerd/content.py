"""containerd's content store: blobs by digest, read as ours are, written with the labels that its collector follows."""

from __future__ import annotations

import io
import os
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO, cast

from prun.engines.containerd.client import Gone
from prun.errors import AlreadyExists, DataLoss, NotFound, PrunError, ResourceExhausted
from prun.image.digest import matches
from prun_protos.containerd.v1.api_pb2 import (
    COMMIT,
    STAT,
    WRITE,
    AbortWrite,
    AddResource,
    Blob,
    BlobBox,
    Chunk,
    ReadBlob,
    Resource,
    WriteBlob,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from _typeshed import WriteableBuffer

    from prun.engines.containerd.client import Client
    from prun.image.document import Descriptor

CHUNK_BYTES = 1 << 20  # of the server's 16 MiB


class Blobs:
    """The blobs of one namespace (``prun.image.manifest.Content``)."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there."""
        try:
            self.size(digest)
        except NotFound:
            return False
        return True

    def size(self, digest: str) -> int:
        """Return the size of the blob in bytes.

        Raises:
            NotFound: it is not there.
        """
        return self._client.call("content.v1.Content/Info", Blob(digest=digest), BlobBox).info.size

    def open(self, digest: str) -> BinaryIO:
        """Open the blob for reading; it was verified when it was written, and is not now.

        Raises:
            NotFound: it is not there.
        """
        self.size(digest)
        return self._open(digest)

    def read(self, digest: str, limit_bytes: int) -> bytes:
        """Return the whole of a small blob, verified.

        Raises:
            NotFound: it is not there.
            ResourceExhausted: it is longer than ``limit_bytes``.
            DataLoss: its content is not that of the digest.
        """
        if self.size(digest) > limit_bytes:
            raise ResourceExhausted(f"blob {digest} is longer than {limit_bytes} bytes")
        with self._open(digest) as blob:
            data = blob.read(limit_bytes + 1)
        if not matches(data, digest):
            raise DataLoss(f"blob {digest} is damaged in containerd's content store", hint="pull the image again")
        return data

    def _open(self, digest: str) -> BinaryIO:
        chunks = self._client.stream("content.v1.Content/Read", ReadBlob(digest=digest), Chunk)
        return cast("BinaryIO", io.BufferedReader(_Reader(chunks), CHUNK_BYTES))

    def label(self, digest: str, labels: Mapping[str, str]) -> None:
        """Set these labels of a blob; the others stay."""
        request = BlobBox(info=Blob(digest=digest, labels=labels))
        request.update_mask.paths.extend(f"labels.{key}" for key in labels)
        self._client.call("content.v1.Content/Update", request, BlobBox)

    def hold(self, digest: str, lease: str) -> None:
        """Let a lease keep a blob that is there."""
        request = AddResource(id=lease, resource=Resource(id=digest, type="content"))
        self._client.tell("leases.v1.Leases/AddResource", request)

    def write(self, descriptor: Descriptor, source: BinaryIO, labels: Mapping[str, str], lease: str) -> None:
        """Write a blob, which the lease keeps; one that is there gets the labels.

        Raises:
            FailedPrecondition: size or digest are not those of the descriptor.
        """
        # A name of our own: under a common one, whoever comes second would be told that it is locked.
        name = f"prun-{os.urandom(8).hex()}-{descriptor['digest']}"
        try:
            self._write(name, descriptor, source, labels, lease)
        except AlreadyExists:
            self.hold(descriptor["digest"], lease)
            self.label(descriptor["digest"], labels)
        except Gone:
            raise
        except PrunError:
            self._client.tell("content.v1.Content/Abort", AbortWrite(ref=name))
            raise

    def _write(
        self, name: str, descriptor: Descriptor, source: BinaryIO, labels: Mapping[str, str], lease: str
    ) -> None:
        size, digest = descriptor["size"], descriptor["digest"]
        questions: SimpleQueue[WriteBlob | None] = SimpleQueue()
        answers = self._client.exchange("content.v1.Content/Write", iter(questions.get, None), Written, lease=lease)
        try:
            questions.put(WriteBlob(action=STAT, ref=name, total=size, expected=digest))
            offset = next(answers).offset  # all of it, where another namespace has the blob
            source.seek(offset)
            while data := source.read(CHUNK_BYTES):
                questions.put(WriteBlob(action=WRITE, ref=name, offset=offset, data=data))
                offset = next(answers).offset
            commit = WriteBlob(action=COMMIT, ref=name, total=size, expected=digest, offset=offset, labels=labels)
            questions.put(commit)
            questions.put(None)
            for _ in answers:  # the last one comes twice
                pass
        finally:
            questions.put(None)


class _Reader(io.RawIOBase):
    """The chunks of a stream as a file."""

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk.data
        view = memoryview(buffer)
        data, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        view[: len(data)] = data
        return len(data)
