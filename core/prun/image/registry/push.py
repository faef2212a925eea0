"""An image and all that it needs, from the content store to a registry.

Blobs first, several at a time, those that the registry has left out; then manifests, then what names them: what the
registry names it has.
"""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

from prun.errors import NotFound, PermissionDenied, Unavailable
from prun.image.manifest import needed, read_document
from prun.image.registry.attempts import Attempts
from prun.image.registry.client import Document
from prun.image.registry.faults import Transient
from prun.image.registry.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from _typeshed import WriteableBuffer

    from prun.image.document import Descriptor
    from prun.image.layout import ContentStore
    from prun.image.registry.client import Registry

    # The repositories of the same registry that are said to have a blob, by its digest.
    Sources = Mapping[str, Sequence[str]]


def push(registry: Registry, reference: str, store: ContentStore, target: Descriptor, sources: Sources) -> None:
    """Send what ``target`` leads to, all of it in ``store``, and name it ``reference`` there: a tag or its digest.

    A blob that another repository has is mounted from there, where the registry can and lets us.

    Raises:
        NotFound: something is not in the store.
        PermissionDenied: the registry wants somebody else to send it.
        Unavailable: it does not take it, for long enough.
    """
    found = list(needed(store, target))
    blobs = {each["digest"]: each for each, is_document in found if not is_document}
    documents = {each["digest"]: each for each, is_document in found if is_document}
    upload = functools.partial(_upload, registry, store)
    jobs = [
        functools.partial(upload, each, next(iter(sources.get(each["digest"], ())), ""))
        for each in blobs.values()
        if not _is_foreign(each)
    ]
    workers = Workers(jobs, lambda _: registry.transport.abort())
    try:
        workers.start()
        workers.wait()
    except BaseException:
        registry.transport.abort()
        workers.abandon()
        raise
    for each in documents.values():
        name = reference if each["digest"] == target["digest"] else each["digest"]
        registry.put_manifest(name, Document(each, read_document(store, each)))


def _is_foreign(layer: Descriptor) -> bool:
    """Tell whether a layer is one that others hand out, which may not be sent on (layer.md, non-distributable)."""
    return "urls" in layer and ("nondistributable" in layer["mediaType"] or "foreign" in layer["mediaType"])


def _upload(registry: Registry, store: ContentStore, blob: Descriptor, mount_from: str) -> None:
    """Send a blob that is not there; where it breaks off, go on with what the registry says that it has."""
    digest, size = blob["digest"], blob["size"]
    attempts = Attempts(registry.transport, registry.report)
    url, offset = "", 0
    while True:
        try:
            if url:
                before = offset
                url, offset = registry.upload_offset(url, size)
                attempts.brought(max(0, offset - before))
            if not url and registry.has_blob(digest):
                registry.report("exists", digest, size, size)
                return
            url = url or registry.start_upload(digest, mount_from)
            if not url:
                registry.report("mounted", digest, size, size, mount_from)
                return
            with store.open(digest) as file:
                body = io.BufferedReader(_Watched(file.fileno(), registry, blob))
                body.seek(offset)
                registry.finish_upload(url, blob, body, offset)
            registry.report("uploaded", digest, size, size)
            return
        except PermissionDenied:
            if not mount_from:
                raise
            mount_from = ""  # we may not read there, or the registry does not say that it cannot mount
        except Transient as error:
            attempts.wait_after(error, digest)
        except (NotFound, Unavailable):
            if not offset:
                raise
            url, offset = "", 0  # it does not have what it said


class _Watched(io.FileIO):
    """A blob that is being sent: tells how far it is, and stops when the work is given up."""

    def __init__(self, descriptor: int, registry: Registry, blob: Descriptor) -> None:
        super().__init__(descriptor, closefd=False)
        self._registry = registry
        self._blob = blob

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if self._registry.transport.cancelled.is_set():
            raise Unavailable(f"blob {self._blob['digest']} is not sent: the work was given up")
        count = super().readinto(buffer) or 0
        self._registry.report("uploading", self._blob["digest"], self.tell(), self._blob["size"])
        return count
