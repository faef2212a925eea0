"""Images of containerd's: find, fetch and load them, unpack them."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from prun.engines.containerd.arriving import arriving
from prun.engines.containerd.content import Blobs
from prun.engines.containerd.place import place_of
from prun.engines.containerd.snapshots import Snapshots, leased, snapshotter_of
from prun.engines.containerd.store import NamespaceStore
from prun.errors import FailedPrecondition, InvalidArgument, NotFound, PrunError
from prun.image.manifest import NotAnImage, descriptor_of, open_manifest, resolve
from prun.image.platform import host_platform
from prun.image.reference import parse_reference
from prun.image.source import parse_source
from prun.types import NOTHING, Image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from prun.config import Settings
    from prun.engines.containerd.client import Client
    from prun.engines.containerd.place import Place
    from prun.engines.embedded.pulling import Access
    from prun.image.document import Descriptor
    from prun.image.registry.progress import Listener
    from prun.metadata import ImageRow
    from prun.services import ImageStore
    from prun.types import Platform, RunRequest

SCRATCH = "scratch"


class NamespaceImages:
    """The images of a namespace (contract: ``prun.services.ImageService``)."""

    def __init__(self, place: Place, root: str, aliases: Mapping[str, str]) -> None:
        self._place, self._root = place, root
        self._store = NamespaceStore(place, aliases)
        self.store: ImageStore = self._store

    def load(
        self,
        source: str,
        *,
        tag: str = "",
        unpack: bool = True,
        stdin: BinaryIO | None = None,
        signature_policy: str = "",
    ) -> list[ImageRow]:
        return load_images(
            self._place, self._root, source,
            tag=tag, unpack=unpack, stdin=stdin, aliases=self.store.aliases, signature_policy=signature_policy,
        )  # fmt: skip

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
        return pull_image(
            self._place, self._root, words, settings, platform=platform, everything=everything, access=access,
            listener=listener, signature_policy=signature_policy,
        )  # fmt: skip

    def remove(self, words: str, *, force: bool = False) -> list[str]:
        return remove(self._store, words, force=force)

    def tag(self, words: str, name: str) -> ImageRow:
        return tag(self._store, words, name)


def resolve_image(request: RunRequest, platform: Platform) -> Image:
    """Return the image that ``request.image`` names, for ``platform``; what is missing is fetched, as by our own store.

    Raises:
        NotFound: there is none; the message names the nearest ones.
    """
    from prun.engines.embedded.images import find, kept_by_name, looked_into, policy_of

    if request.image == SCRATCH:
        return Image(SCRATCH, "", platform, {})
    place = place_of(request.engine_options)
    store = NamespaceStore(place, request.aliases)
    if request.digest:
        return resolve(store.content, descriptor_of(store.content, request.digest), platform, request.image)
    if parse_source(request.image) is not None:
        if request.dry_run:
            return looked_into(request.image, platform, policy_of(request))
        rows = load_images(
            place, request.root, request.image, unpack=not request.view_only, signature_policy=policy_of(request)
        )
        row = only(rows, request.image)
        return resolve(store.content, row.target, platform, row.name)
    words, image = request.image, None
    try:
        row = find(store, words)
        image = resolve(store.content, row.target, platform, row.name)
    except NotFound:
        if request.pull == "never":
            raise
    if image is not None and (request.pull in ("missing", "never") or not kept_by_name(store, row, words)):
        return image
    try:
        if request.dry_run:
            return _looked_up(store, request, platform)
        row = _fetched(place, request, words, platform)
    except PrunError as error:
        if image is not None and request.pull == "newer":  # podman: what is here will do
            return image
        if image is None:
            error.args = (f'could not resolve "{words}": {error}',)
        raise
    return resolve(store.content, row.target, platform, row.name)


def load_images(
    place: Place,
    root: str,
    source: str,
    *,
    tag: str = "",
    unpack: bool = True,
    stdin: BinaryIO | None = None,
    aliases: Mapping[str, str] = NOTHING,
    signature_policy: str = "",
) -> list[ImageRow]:
    """Copy the images of an archive or a layout into containerd and name them, those without a name by their digest.

    Raises:
        PermissionDenied: the signature policy refuses an image.
        InvalidArgument: ``source`` is no archive and no layout; ``tag`` for several images.
        DataLoss: something in it is not what it says; containerd gets nothing of it.
    """
    from prun.engines.embedded.admission import of_source
    from prun.engines.embedded.images import new_name, row_of
    from prun.image.archive import loading

    parsed = parse_source(source)
    if parsed is None:
        raise InvalidArgument(
            f"{source!r} is no archive and no layout",
            hint="oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], a path, or - for stdin",
        )
    store = NamespaceStore(place, aliases)
    name = new_name(store, tag) if tag else ""
    admit = of_source(signature_policy, parsed, name) if signature_policy else None
    with (
        leased(store.client, root) as lease,
        arriving(root, store.content) as content,
        loading(parsed, content, stdin, admit=admit) as loaded,
    ):
        if name and len(loaded) != 1:
            raise InvalidArgument(f"{source!r} holds {len(loaded)} images, one name does not fit them all")
        rows = []
        for image in loaded:
            content.hand_over(image.target, lease)
            if unpack:
                _unpack_for_host(store, place, image.target, lease)
            names = (name,) if name else image.names or (image.target["digest"],)
            rows += [row_of(each, image.target) for each in names]
        for row in rows:
            store.metadata.put_image(row)
    return rows


def pull_image(
    place: Place,
    root: str,
    words: str,
    settings: Settings,
    *,
    platform: Platform | None = None,
    everything: bool = False,
    access: Access | None = None,
    listener: Listener | None = None,
    unpack: bool = True,
    signature_policy: str | None = None,
) -> ImageRow:
    """Fetch an image through prun's own registry client, with its logins and mirrors, and give it to containerd.

    Raises:
        InvalidArgument: ``words`` is no reference.
        NotFound, PermissionDenied, Unavailable, DataLoss, ResourceExhausted: no registry gives it, or not whole.
        PermissionDenied: the signature policy refuses it.
    """
    from prun.engines.embedded.images import row_of
    from prun.engines.embedded.pulling import ACCESS, admission, from_first, stored_name
    from prun.image.registry.endpoint import endpoints
    from prun.image.registry.progress import Reporter
    from prun.image.registry.pull import pull

    access = access or ACCESS
    reference = parse_reference(words, settings.aliases)
    report, name = Reporter(listener), stored_name(reference)
    report("resolved", detail=name)
    admit = admission(signature_policy, settings, parse_reference(name))
    store = NamespaceStore(place)
    wanted = None if everything else platform or host_platform()
    with leased(store.client, root) as lease, arriving(root, store.content) as content:
        with content.ingesting() as ingest:
            target = from_first(
                endpoints(reference, settings.registries.values(), tls_verify=access.tls_verify),
                lambda registry: pull(registry, reference.digest or reference.tag, ingest, wanted, None, admit=admit),
                access,
                report,
            )
        content.hand_over(target, lease)
        if unpack:
            _unpack_for_host(store, place, target, lease)
        row = row_of(name, target)
        store.metadata.put_image(row)
    report("done", row.digest, detail=f"Downloaded image for {name}")
    return row


def remove(store: NamespaceStore, words: str, *, force: bool = False) -> list[str]:
    """Remove a name, or with an id all of an image's names, and say which; containerd removes what nothing needs.

    Raises:
        NotFound: there is no such image.
        FailedPrecondition: a container was made from the image; it has several names.
    """
    from prun.engines.embedded.images import find, kept_by_name

    row = find(store, words)
    names = [each.name for each in store.metadata.images() if each.digest == row.digest]
    by_name = kept_by_name(store, row, words) or words == row.name
    if not by_name and len(names) > 1 and not force:
        raise FailedPrecondition(
            f"image {words} has several names: {', '.join(names)}", hint="remove each, or all with --force"
        )
    going = [row.name] if by_name else names
    users = [each.id for each in store.metadata.containers() if each.image in going]
    if users and not force:
        raise FailedPrecondition(
            f"image {words} is used by container {users[0][:12]}", hint="remove the container first, or use --force"
        )
    for name in going:
        store.metadata.drop_image(name)
    return going


def tag(store: NamespaceStore, words: str, name: str) -> ImageRow:
    """Give an image one more name, taken from another image if need be.

    Raises:
        NotFound: there is no such image.
        InvalidArgument: ``name`` is none, or has a digest.
    """
    from prun.engines.embedded.images import find, new_name

    row = find(store, words)._replace(name=new_name(store, name))
    store.metadata.put_image(row)
    return row


def unpack(client: Client, snapshots: Snapshots, image: Image, lease: str) -> str:
    """Unpack an image's layers that are not yet, and return the chain ID of the topmost; empty where there are none."""
    if not image.layers:
        return ""
    blobs = Blobs(client)
    config = open_manifest(blobs, descriptor_of(blobs, image.digest)).manifest["config"]["digest"]
    return snapshots.unpack(image, config, blobs, lease)


def blobs_of(request: RunRequest) -> Blobs:
    """Return where a request's blobs are."""
    return NamespaceStore(place_of(request.engine_options)).content


def only(rows: list[ImageRow], source: str) -> ImageRow:
    """Return the only image that was loaded.

    Raises:
        InvalidArgument: there are several.
    """
    if len({row.digest for row in rows}) != 1:
        raise InvalidArgument(
            f"{source!r} holds {len(rows)} images", hint="name one: " + ", ".join(f"{row.name}" for row in rows)
        )
    return rows[0]


def _unpack_for_host(store: NamespaceStore, place: Place, target: Descriptor, lease: str) -> None:
    """Unpack the image for this machine, if the target has one."""
    try:
        image = resolve(store.content, target, host_platform(), "")
    except (NotFound, NotAnImage):
        return
    unpack(store.client, Snapshots(store.client, snapshotter_of(store.client, place.snapshotter)), image, lease)


def _looked_up(store: NamespaceStore, request: RunRequest, platform: Platform) -> Image:
    """Return what a registry has, of which only the documents are fetched, and nothing kept."""
    from prun.config import read_settings
    from prun.engines.embedded.pulling import look_up_image

    policy = request.signature_policy or None
    return look_up_image(store, request.image, read_settings(request.config), platform, signature_policy=policy)


def _fetched(place: Place, request: RunRequest, words: str, platform: Platform) -> ImageRow:
    from prun.config import read_settings

    settings = read_settings(request.config)
    with request.progress() if request.progress else nullcontext() as listener:
        return pull_image(
            place, request.root, words, settings, platform=platform, listener=listener, unpack=not request.view_only,
            signature_policy=request.signature_policy or None,
        )  # fmt: skip
