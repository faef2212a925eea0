"""What an engine offers beside its hooks, and what it asks of the runtime whose containers it keeps.

The hooks are the pipeline's; these are for commands that work on images and on containers that are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.config import Settings
    from prun.engines.embedded.pulling import Access
    from prun.image.registry.progress import Listener
    from prun.live import ExecRequest, TaskStats
    from prun.metadata import ContainerRow, ImageRow, MountRow
    from prun.spec.document import Process
    from prun.types import Platform


class EngineModule(Protocol):
    """A module that is registered as an engine, where it has options (``RunRequest.engine_options``)."""

    def options(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """Return what is given, and what the environment says of the rest: all that a later prun needs.

        Raises:
            InvalidArgument: there is no such option, or it cannot be used.
        """
        ...

    def image_service(self, root: str, options: Mapping[str, str], aliases: Mapping[str, str]) -> ImageService:
        """Return what works on its images; ``root`` is a directory of ours, for what is on its way."""
        ...


class ImageNames(Protocol):
    """Names of images, and who uses them."""

    def images(self) -> list[ImageRow]:
        """Return all images, the newest first."""
        ...

    def image(self, name: str) -> ImageRow | None:
        """Return the image of exactly this canonical name."""
        ...

    def containers(self) -> list[ContainerRow]:
        """Return all containers, the newest first."""
        ...

    def all_mounts(self) -> list[MountRow]:
        """Return what all containers have mounted."""
        ...


class Blobs(Protocol):
    """Blobs by their digests."""

    def has(self, digest: str) -> bool: ...
    def size(self, digest: str) -> int: ...
    def open(self, digest: str) -> BinaryIO: ...
    def read(self, digest: str, limit_bytes: int) -> bytes: ...


class ImageStore(Protocol):
    """Images, wherever an engine keeps them."""

    @property
    def metadata(self) -> ImageNames: ...
    @property
    def content(self) -> Blobs: ...
    @property
    def aliases(self) -> Mapping[str, str]: ...


class ImageService(Protocol):
    """What is done with images of an engine that keeps them elsewhere than in our own store."""

    store: ImageStore

    def load(
        self,
        source: str,
        *,
        tag: str = "",
        unpack: bool = True,
        stdin: BinaryIO | None = None,
        signature_policy: str = "",
    ) -> list[ImageRow]:
        """Copy the images of an archive or a layout, and name them."""
        ...

    def pull(
        self,
        words: str,
        settings: Settings,
        *,
        platform: Platform | None = None,
        everything: bool = False,
        access: Access | None = None,
        listener: Listener | None = None,
        signature_policy: str | None = None,
    ) -> ImageRow:
        """Fetch an image from a registry, for this machine unless something else is said."""
        ...

    def remove(self, words: str, *, force: bool = False) -> list[str]:
        """Remove a name, or with an id all of an image's, and say which; what nothing needs any more goes with it."""
        ...

    def tag(self, words: str, name: str) -> ImageRow:
        """Give an image one more name."""
        ...


class InsideView(Protocol):
    """What the runtime's task tells of a container whose process an engine has made, on this machine."""

    def process(self, request: ExecRequest) -> Process:
        """Return the process that an exec is to be: the container's own, with what was asked for instead.

        Raises:
            CommandNotFound, CommandNotInvocable, InvalidArgument, NotFound: what was asked for is not there.
        """
        ...

    def pids(self) -> list[int]: ...
    def stats(self) -> TaskStats: ...
