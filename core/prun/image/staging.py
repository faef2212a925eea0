"""Bringing the chosen files of a source into an ingest, side by side where they can be read so.

Where an archive can be read at any place, its layers are unpacked while they are copied and hashed: the one waits for
the kernel, the other for the processor.  What was unpacked in vain, because a digest turns out wrong, is garbage.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol

from prun.errors import InvalidArgument, NotFound, PrunError
from prun.image.identity import chain_ids
from prun.image.media_type import compression
from prun.image.stream import compression_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from prun.image.document import Descriptor
    from prun.image.files import Files
    from prun.image.ingest import Ingest
    from prun.types import Layer, Platform

# Below this, starting threads costs more than they bring.
_PARALLEL_BYTES = 8 << 20


class Unpack(Protocol):
    """Unpacks the layers of an image (``rootfs.snapshots.Snapshots.unpack``)."""

    def __call__(self, layers: Sequence[Layer], open_blob: Callable[[str], BinaryIO], /) -> object: ...


class Admit(Protocol):
    """Asked before an image of a source comes in; raises where it may not (``engines.embedded.admission``)."""

    def __call__(self, form: str, names: Sequence[str], target: Descriptor | None, content: Layout | None, /) -> None:
        """``form`` is ``oci`` or ``docker-archive``, which has neither a target nor a content to speak of by then."""
        ...


class Layout(Protocol):
    """What ``admit`` may look at, beside the documents of ``prun.image.manifest.Content``: targets with their tags."""

    @property
    def entries(self) -> Sequence[tuple[Descriptor, Sequence[str]]]: ...
    def has(self, digest: str) -> bool: ...
    def read(self, digest: str, limit_bytes: int) -> bytes: ...


def is_stored(ingest: Ingest, digest: str, size: int) -> bool:
    """Tell whether the store has the blob already, whole as far as its size tells; it is then kept for the ingest."""
    ingest.hold([digest])
    try:
        return ingest.store.size(digest) == size
    except NotFound:
        return False


class Staging:
    """The files of one source on their way into an ingest, of images for ``platform`` alone where there is one.

    ``unpack`` None leaves the layers packed.
    """

    def __init__(
        self,
        files: Files,
        ingest: Ingest,
        jobs: int,
        unpack: Unpack | None,
        platform: Platform | None = None,
        admit: Admit | None = None,
    ) -> None:
        self.files, self.ingest, self.unpack, self.platform, self.admit = files, ingest, unpack, platform, admit
        self._jobs = jobs

    def run(
        self, wanted: Mapping[str, Descriptor], images: Sequence[Sequence[Layer]], name_of: Callable[[str], str]
    ) -> dict[str, Descriptor]:
        """Write the named files into the ingest, unless the store has them, and return what each of them is.

        The layers of ``images`` are unpacked meanwhile, or afterwards; ``name_of`` a layer's digest is its file.

        Raises:
            DataLoss: a file is not what its descriptor says.
        """
        for layers in images:
            self.ingest.hold(chain_ids([layer.diff_id for layer in layers]))
        total = sum(descriptor["size"] for descriptor in wanted.values())
        parallel = self.files.seekable and (len(wanted) > 1 or images) and total >= _PARALLEL_BYTES
        if self._jobs < 2 or not parallel:
            staged = {name: self._stage(name, expected) for name, expected in wanted.items()}
            self._unpack(images, name_of)
            return staged
        with self._staged(wanted) as futures:
            try:
                self._unpack(images, name_of)
            except PrunError:
                for future in futures.values():
                    future.result()  # a wrong digest explains more than what it leads to
                raise
            return {name: future.result() for name, future in futures.items()}

    @contextmanager
    def _staged(self, wanted: Mapping[str, Descriptor]) -> Iterator[dict[str, Future[Descriptor]]]:
        """Start threads that stage the files, the largest first; they end with the context."""
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(self._jobs, "stage")
        names = sorted(wanted, key=lambda name: -wanted[name]["size"])
        try:
            yield {name: pool.submit(self._stage, name, wanted[name]) for name in names}
        except BaseException:
            self.ingest.cancel()  # the others need not finish their gigabytes
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _stage(self, name: str, expected: Descriptor) -> Descriptor:
        if "digest" in expected and is_stored(self.ingest, expected["digest"], expected["size"]):
            return expected
        return self.files.stage(name, expected, self.ingest)

    def _unpack(self, images: Sequence[Sequence[Layer]], name_of: Callable[[str], str]) -> None:
        if self.unpack:
            for layers in images:
                self.unpack(layers, lambda digest: self.files.open(name_of(digest)))


def check_compression(files: Files, name: str, media_type: str) -> None:
    """Raise InvalidArgument unless a layer is compressed as its media type says."""
    stated, found = compression(media_type), compression_of(files.head(name))
    if stated != found:
        raise InvalidArgument(
            f"{files.label}: the compression of the layer {name!r} is {found}, its media type says {stated}"
        )
