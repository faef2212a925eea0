"""What a container was made from: its image's config, and what was asked for in place of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from prun.image.document import ConfigDocument, Descriptor, ImageConfig
    from prun.metadata import ContainerRow
    from prun.state import Store
    from prun.types import RunRequest


class Origin(NamedTuple):
    """``manifest`` is the image's, None where there is none (``scratch``); ``request`` None where it was not kept."""

    manifest: Descriptor | None
    document: ConfigDocument
    request: RunRequest | None

    @property
    def config(self) -> ImageConfig:
        """The ``config`` object of the image."""
        return self.document.get("config", {})

    @property
    def user(self) -> str:
        """The ``USER[:GROUP]`` that the container's process is."""
        return (self.request.user if self.request else "") or self.config.get("User", "")


def origin_of(store: Store, row: ContainerRow) -> Origin:
    """Return what a container was made from.

    Raises:
        NotFound, DataLoss: its image is not whole any more.
    """
    from prun.engines.embedded.images import manifest_of
    from prun.image.manifest import open_manifest

    if not row.digest:
        return Origin(None, {}, _request(row))
    manifest = manifest_of(store, row.digest)
    return Origin(manifest, open_manifest(store.content, manifest).config, _request(row))


def _request(row: ContainerRow) -> RunRequest | None:
    from prun.request.stored import loaded

    return loaded(row.request) if row.request else None
