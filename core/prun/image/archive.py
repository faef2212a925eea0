"""Loading images from archives and directories into the content store."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from prun.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from prun.image.archive_docker import MANIFEST_FILE, load_docker
from prun.image.archive_oci import LAYOUT_FILE, load_oci, look_into
from prun.image.files import ArchiveFiles, DirectoryFiles, PipedFiles
from prun.image.source import STDIN
from prun.image.staging import Staging
from prun.image.stream import MAGIC_BYTES, compression_of, open_pipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.image.document import Descriptor
    from prun.image.files import Files
    from prun.image.ingest import Ingest
    from prun.image.layout import ContentStore
    from prun.image.manifest import Content
    from prun.image.source import Source
    from prun.image.staging import Admit, Unpack
    from prun.types import Platform

_MAX_JOBS = 4


class Loaded(NamedTuple):
    """One image that was loaded: a manifest or an index, and the canonical references that the archive gives it.

    ``names`` is empty where the archive gives none, or only a tag without a repository (umoci's ``busybox`` of
    ``oci:DIR:busybox``): what to call it is then up to the caller.
    """

    names: tuple[str, ...]
    target: Descriptor


@contextmanager
def loading(
    source: Source,
    content: ContentStore,
    stdin: BinaryIO | None = None,
    jobs: int = 0,
    unpack: Unpack | None = None,
    platform: Platform | None = None,
    admit: Admit | None = None,
) -> Iterator[list[Loaded]]:
    """Copy the images of ``source`` into the content store and give them; all of them or, on an error, nothing.

    Of an index, the platforms that the source holds are copied, or ``platform`` alone.  ``stdin`` is read for
    the path ``-``, standard input by default.  ``jobs`` layers are copied side by side where the source allows that; 0
    means a default.  ``admit`` is asked whether each image may come in, before anything is written.  ``unpack`` is
    called with the layers of each image for this machine, while they are copied where that is possible.
    Until the context ends nothing of it is garbage: by then the caller has given the images their names.

    Raises:
        NotFound: there is no such file, no such tag in it, or an image is not for the platform.
        InvalidArgument: it is no archive of images, or an image in it is not valid.
        DataLoss: a blob is missing, damaged, or not of the size or digest that was announced.
        ResourceExhausted: it is beyond a limit, or does not fit on the disk.
    """
    with ExitStack() as stack:
        opened = _open(source, stdin, stack)
        ingest = stack.enter_context(content.ingesting())
        files = _files(source, opened, ingest)
        load_kind = load_docker if _kind(source, files) == "docker-archive" else load_oci
        stage = Staging(files, ingest, jobs or min(_MAX_JOBS, os.cpu_count() or 1), unpack, platform, admit)
        found, wanted = load_kind(stage, source.tag)
        ingest.commit(wanted)
        yield [Loaded(names, target) for names, target in found]


@contextmanager
def looking(source: Source, admit: Admit | None = None) -> Iterator[tuple[Content, list[Loaded]]]:
    """Give the images of a layout as they are there, and where to read their documents; nothing is copied.

    ``admit`` is asked as by ``loading``.

    Raises:
        FailedPrecondition: it would have to be read as a whole for that: a compressed or a docker archive, or a pipe.
        NotFound, InvalidArgument, DataLoss: as ``loading``.
    """
    with ExitStack() as stack:
        hint = f"prun load {source.path}"
        piped = source.kind != "oci" and source.path == STDIN
        opened = None if piped else _open(source, None, stack)
        if piped or (opened and compression_of(os.pread(opened.fileno(), MAGIC_BYTES, 0)) != "none"):
            raise FailedPrecondition(f"{source} can only be looked into by loading it", hint=hint)
        label = f"{'archive' if opened else 'directory'} {source.path!r}"
        files = ArchiveFiles(opened.fileno(), label) if opened else DirectoryFiles(source.path, label)
        if _kind(source, files) == "docker-archive":
            raise FailedPrecondition(
                f"{source} is a docker archive, whose layers say what they are only when loaded", hint=hint
            )
        content, found = look_into(files, source.tag, admit)
        yield content, [Loaded(names, target) for names, target in found]


def _open(source: Source, stdin: BinaryIO | None, stack: ExitStack) -> BinaryIO | None:
    """Open what is to be read, None for a directory; before anything is written, for it is often misspelled."""
    if source.kind != "oci" and source.path == STDIN:
        stream = stdin or sys.stdin.buffer
        if stream.isatty():
            raise InvalidArgument("standard input is a terminal, not an archive", hint="pipe or redirect an archive in")
        return stream
    try:
        mode = os.stat(source.path).st_mode
        if source.kind != "oci" and not stat.S_ISDIR(mode):
            return stack.enter_context(open(source.path, "rb", buffering=0))
    except FileNotFoundError as error:
        raise NotFound(f"{source} does not exist") from error
    except PermissionError as error:
        raise PermissionDenied(f"{source} may not be read") from error
    except (OSError, ValueError) as error:
        raise Unavailable(f"{source} cannot be read: {error}") from error
    if source.kind == "oci" and stat.S_ISDIR(mode):
        return None
    if source.kind == "oci":
        raise InvalidArgument(f"{source} is no directory", hint=f"for an archive, write oci-archive:{source.path}")
    raise InvalidArgument(f"{source} is a directory", hint=f"for an OCI image layout, write oci:{source.path}")


def _files(source: Source, opened: BinaryIO | None, ingest: Ingest) -> Files:
    if opened is None:
        return DirectoryFiles(source.path, f"directory {source.path!r}")
    if source.path == STDIN:
        return PipedFiles(open_pipe(opened, "standard input"), ingest)
    label = f"archive {source.path!r}"
    descriptor = opened.fileno()
    if stat.S_ISREG(os.fstat(descriptor).st_mode) and compression_of(os.pread(descriptor, MAGIC_BYTES, 0)) == "none":
        return ArchiveFiles(descriptor, label)
    return PipedFiles(open_pipe(opened, label), ingest)


def _kind(source: Source, files: Files) -> str:
    """Tell what kind of source it is; newer docker archives hold an OCI layout too, which says more."""
    is_oci, is_docker = files.has(LAYOUT_FILE), files.has(MANIFEST_FILE)
    if source.kind == "docker-archive" and not is_docker:
        hint = f"it looks like an OCI archive: write oci-archive:{source.path}" if is_oci else ""
        raise InvalidArgument(f"{files.label} is no docker archive: it has no {MANIFEST_FILE!r}", hint=hint)
    if source.kind.startswith("oci") and not is_oci:
        hint = f"it looks like a docker archive: write docker-archive:{source.path}" if is_docker else ""
        raise InvalidArgument(f"{files.label} is no OCI image layout: it has no {LAYOUT_FILE!r}", hint=hint)
    if not is_oci and not is_docker:
        raise InvalidArgument(
            f"{files.label} holds no images: it has neither {LAYOUT_FILE!r} nor {MANIFEST_FILE!r}",
            hint="archives made by docker save, podman save, skopeo and the like can be loaded",
        )
    if source.kind == "archive":
        return "oci-archive" if is_oci else "docker-archive"
    return source.kind
