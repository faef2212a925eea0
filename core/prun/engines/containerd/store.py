"""The images and containers of a namespace in the form of our own store's (``prun.services.ImageStore``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.engines.containerd.client import connected
from prun.engines.containerd.content import Blobs
from prun.errors import AlreadyExists, NotFound
from prun.metadata import ContainerRow, ImageRow
from prun.types import NOTHING
from prun_protos.containerd.v1.api_pb2 import (
    Containers,
    DeleteImage,
    Descriptor,
    Filters,
    Image,
    ImageBox,
    Images,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.engines.containerd.client import Client
    from prun.engines.containerd.place import Place
    from prun.metadata import MountRow


class Names:
    """What containerd has a name for (``prun.services.ImageNames``); whoever gave it, its labels stay his."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def images(self) -> list[ImageRow]:
        found = self._client.call("images.v1.Images/List", Filters(), Images).images
        return sorted(map(_row, found), key=lambda row: (-row.created_at, row.name))

    def image(self, name: str) -> ImageRow | None:
        try:
            return _row(self._client.call("images.v1.Images/Get", Image(name=name), ImageBox).image)
        except NotFound:
            return None

    def put_image(self, row: ImageRow) -> None:
        """Let the name point to the target; what else is known under the name stays."""
        target = Descriptor(media_type=row.media_type, digest=row.digest, size=row.size_bytes)
        box = ImageBox(image=Image(name=row.name, target=target))
        try:
            self._client.call("images.v1.Images/Create", box, ImageBox)
        except AlreadyExists:
            box.update_mask.paths.append("target")
            self._client.call("images.v1.Images/Update", box, ImageBox)

    def drop_image(self, name: str) -> None:
        """Forget the name; what nothing refers to any more is gone when this returns."""
        self._client.tell("images.v1.Images/Delete", DeleteImage(name=name, sync=True))

    def containers(self) -> list[ContainerRow]:
        """Return all containers of the namespace, each with the digest that the name of its image has now."""
        digests = {row.name: row.digest for row in self.images()}
        found = self._client.call("containers.v1.Containers/List", Filters(), Containers).containers
        return [
            ContainerRow(each.id, each.labels.get("prun.io/name", each.id), each.image, digests.get(each.image, ""),
                         each.runtime.name, labels=dict(each.labels), created_at=each.created_at.ToNanoseconds() / 1e9)
            for each in found
        ]  # fmt: skip

    def all_mounts(self) -> list[MountRow]:
        """Return nothing: images are not mounted there."""
        return []


class NamespaceStore:
    """A namespace of a containerd."""

    def __init__(self, place: Place, aliases: Mapping[str, str] = NOTHING) -> None:
        self.client = connected(place)
        self.aliases = aliases
        self.metadata = Names(self.client)
        self.content = Blobs(self.client)


def _row(image: Image) -> ImageRow:
    target = image.target
    return ImageRow(image.name, target.digest, target.media_type, target.size, image.created_at.ToNanoseconds() / 1e9)
