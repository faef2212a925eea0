"""A root file system in a tar becomes an image of one layer."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol, cast

from prun.engines.embedded.garbage import collected_on_failure
from prun.engines.embedded.images import new_name, put, row_of, tell
from prun.errors import DataLoss, InvalidArgument, NotFound, PermissionDenied, Unavailable
from prun.image.instructions import applied
from prun.image.media_type import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from prun.image.platform import host_platform
from prun.image.stream import CHUNK_BYTES, MAGIC_BYTES, Rejoined, compression_of
from prun.rootfs.decompress import open_tar
from prun.rootfs.tarstream import LIMITS, read_entries
from prun.state import may_mount
from prun.types import Layer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prun.image.document import Descriptor, ImageConfig
    from prun.image.ingest import Ingest
    from prun.metadata import ImageRow
    from prun.state import Store
    from prun.types import Platform

STDIN = "-"
_SUFFIX = {"none": "", "gzip": "+gzip", "zstd": "+zstd"}
# What docker reads too; nobody's layers are kept so, hence they are stored unpacked.
_UNPACKED = ("xz", "bzip2")
_XZ_MEMORY_BYTES = 128 << 20


class Import(NamedTuple):
    """What an imported image is to be: its name, none for an image without one; a comment; changes of its config."""

    name: str = ""
    message: str = ""
    changes: Sequence[str] = ()
    platform: Platform | None = None


def import_image(store: Store, source: str, wanted: Import, stdin: BinaryIO | None = None) -> ImageRow:
    """Make an image of the tar ``source``, a path or ``-``; plain, or compressed with gzip, zstd, xz or bzip2.

    The layer keeps the compression it has, unless that is one that image layers do not have.

    Raises:
        NotFound: there is no such file.
        InvalidArgument: it is no tar, or one that no layer may be; a change is none.
        DataLoss: it is damaged.
    """
    name = new_name(store, wanted.name) if wanted.name else ""
    config = applied({}, wanted.changes)
    with collected_on_failure(store), ExitStack() as stack:
        file, label = _open(source, stdin, stack)
        with store.content.ingesting() as ingest:
            layer = _stage(ingest, file, label)
            target = _documents(ingest, layer, config, wanted, source)
            if may_mount() and _is_for_us(wanted.platform):
                ingest.hold([layer.diff_id])
                store.snapshots.unpack([layer], ingest.open)
            ingest.commit([layer.digest, target.config["digest"], target.manifest["digest"]])
            row = row_of(name or target.manifest["digest"], target.manifest)
            put(store, [row])
    tell(store, "import", row)
    return row


class _Documents(NamedTuple):
    config: Descriptor
    manifest: Descriptor


def _is_for_us(platform: Platform | None) -> bool:
    from prun.image.platform import rank

    return platform is None or rank(host_platform(), platform) is not None


def _open(source: str, stdin: BinaryIO | None, stack: ExitStack) -> tuple[BinaryIO, str]:
    if source == STDIN:
        stream = stdin or sys.stdin.buffer
        if stream.isatty():
            raise InvalidArgument("standard input is a terminal, not an archive", hint="pipe or redirect a tar in")
        return stream, "standard input"
    if source.startswith(("http://", "https://", "ftp://")):
        raise InvalidArgument(f"{source!r} is a URL, which prun does not fetch", hint="curl URL | prun import - NAME")
    try:
        file: BinaryIO = stack.enter_context(open(source, "rb", buffering=0))  # noqa: SIM115  the stack is one
        is_directory = stat.S_ISDIR(os.fstat(file.fileno()).st_mode)
    except FileNotFoundError as error:
        raise NotFound(f"file {source!r} does not exist") from error
    except PermissionError as error:
        raise PermissionDenied(f"file {source!r} may not be read") from error
    except IsADirectoryError:
        is_directory = True
    except (OSError, ValueError) as error:
        raise Unavailable(f"file {source!r} cannot be read: {error}") from error
    if is_directory:
        raise InvalidArgument(f"{source!r} is a directory", hint=f"tar -C {source} -c . | prun import - NAME")
    return file, f"file {source!r}"


def _stage(ingest: Ingest, file: BinaryIO, label: str) -> Layer:
    """Copy the tar into the ingest and read it once, entry by entry: what is no tar becomes no image."""
    head = file.read(MAGIC_BYTES)
    compression = compression_of(head)
    whole = cast("BinaryIO", Rejoined(head, file))
    chunks = _plain(whole, label)
    if compression in _UNPACKED:
        chunks, compression = _decompressed(whole, compression, label), "none"
    if compression not in _SUFFIX:
        raise InvalidArgument(f"{label} is compressed with {compression}", hint="plain, gzip, zstd, xz or bzip2")
    media_type = OCI_LAYER + _SUFFIX[compression]
    with ingest.writer({"mediaType": media_type}) as writer:
        for chunk in chunks:
            writer.write(chunk)
    if not writer.size:
        raise InvalidArgument(f"{label} is empty")
    with ingest.open(writer.digest) as blob, open_tar(blob, media_type, LIMITS.size_bytes) as tar:
        for _ in read_entries(tar, LIMITS):
            pass
        diff_id = tar.diff_id()
    return Layer(writer.digest, diff_id, media_type, writer.size)


class _Decompressor(Protocol):
    """What ``lzma`` and ``bz2`` have; xz and bzip2 of one stream are read."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _decompressed(file: BinaryIO, compression: str, label: str) -> Iterator[bytes]:
    import bz2
    import lzma

    decompressor: _Decompressor = (
        lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES) if compression == "xz" else bz2.BZ2Decompressor()
    )
    try:
        while not decompressor.eof:
            fed = file.read(CHUNK_BYTES) if decompressor.needs_input else b""
            if not fed and decompressor.needs_input:
                raise DataLoss(f"{label} ends too early")
            yield decompressor.decompress(fed, CHUNK_BYTES)
    except (lzma.LZMAError, OSError) as error:
        raise DataLoss(f"{label} cannot be decompressed: {error}") from error


def _plain(file: BinaryIO, label: str) -> Iterator[bytes]:
    try:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
    except OSError as error:
        raise Unavailable(f"{label} cannot be read: {error.strerror}") from error


def _documents(ingest: Ingest, layer: Layer, config: ImageConfig, wanted: Import, source: str) -> _Documents:
    platform = wanted.platform or host_platform()
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    comment = wanted.message or f"Imported from {source}"
    document = {
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        **({"variant": platform.variant} if platform.variant else {}),
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        "history": [{"created": created, "comment": comment}],
    }
    stored = ingest.put(json.dumps(document, separators=(",", ":")).encode(), OCI_CONFIG)
    blob: Descriptor = {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size_bytes}
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": stored, "layers": [blob]}
    return _Documents(stored, ingest.put(json.dumps(manifest, separators=(",", ":")).encode(), OCI_MANIFEST))
