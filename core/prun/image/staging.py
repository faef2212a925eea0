"""Bringing the chosen files of a source into an ingest, several at a time where they can be read side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.errors import InvalidArgument, NotFound
from prun.image.media_type import compression
from prun.image.stream import compression_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.image.document import Descriptor
    from prun.image.files import Files
    from prun.image.ingest import Ingest

# Below this, starting threads costs more than they bring.
_PARALLEL_BYTES = 8 << 20


def is_stored(ingest: Ingest, digest: str, size: int) -> bool:
    """Tell whether the store has the blob already, whole as far as its size tells."""
    try:
        return ingest.store.size(digest) == size
    except NotFound:
        return False


def stage_all(files: Files, wanted: Mapping[str, Descriptor], ingest: Ingest, jobs: int) -> dict[str, Descriptor]:
    """Write the named files into the ingest, unless the store has them, and return what each of them is.

    Raises:
        DataLoss: a file is not what its descriptor says.
    """

    def stage(name: str) -> Descriptor:
        expected = wanted[name]
        if "digest" in expected and is_stored(ingest, expected["digest"], expected["size"]):
            return expected
        return files.stage(name, expected, ingest)

    names = sorted(wanted, key=lambda name: -wanted[name]["size"])
    parallel = files.seekable and len(names) > 1 and sum(wanted[name]["size"] for name in names) >= _PARALLEL_BYTES
    if jobs < 2 or not parallel:
        return {name: stage(name) for name in names}

    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(jobs, "stage")
    try:
        return dict(zip(names, pool.map(stage, names), strict=True))
    except BaseException:
        ingest.cancel()  # the others need not finish their gigabytes
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def check_compression(files: Files, name: str, media_type: str) -> None:
    """Raise InvalidArgument unless a layer is compressed as its media type says."""
    stated, found = compression(media_type), compression_of(files.head(name))
    if stated != found:
        raise InvalidArgument(
            f"{files.label}: the compression of the layer {name!r} is {found}, its media type says {stated}"
        )
