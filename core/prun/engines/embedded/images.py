"""References to images of the store: find, load and name them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument, NotFound, PrunError
from prun.image.reference import parse_reference
from prun.image.source import parse_source
from prun.metadata import ImageRow
from prun.state import Store, may_mount
from prun.types import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import BinaryIO

    from prun.image.document import ConfigDocument, Descriptor, Manifest
    from prun.image.source import Source
    from prun.image.staging import Admit
    from prun.services import ImageStore
    from prun.types import Platform, RunRequest

SCRATCH = "scratch"


def resolve_image(request: RunRequest, platform: Platform) -> Image:
    """Return the image that ``request.image`` names, for ``platform``.

    ``scratch`` is the empty image, as in a Dockerfile.  An archive or a layout is loaded into the store first; what
    has a name and is missing is pulled, unless ``request.pull`` says otherwise.

    Raises:
        NotFound: there is none; the message names the nearest ones.
    """
    from prun.image.manifest import resolve

    if request.image == SCRATCH:
        return Image(SCRATCH, "", platform, {})
    with Store(request.root, request.state, request.aliases, readonly=bool(request.dry_run)) as store:
        if request.digest:
            return resolve(store.content, manifest_of(store, request.digest), platform, request.image)
        if parse_source(request.image) is None:
            return _named(store, request, platform)
        if request.dry_run:
            return looked_into(request.image, platform, policy_of(request))
        row = _loaded(store, request.image, policy_of(request), unpack=not request.view_only)
        return resolve(store.content, row.target, platform, row.name)


def _named(store: Store, request: RunRequest, platform: Platform) -> Image:
    """Return the image of a reference or an id; of what ``--pull`` wants to be fetched, that of the registry."""
    from prun.image.manifest import resolve

    words = request.image
    try:
        row = find(store, words)
        image = resolve(store.content, row.target, platform, row.name)
        if request.pull in ("missing", "never") or _by_digest(store, words):
            return image
    except NotFound:
        if request.pull == "never":
            raise
        image = None
    try:
        if request.dry_run:
            return _looked_up(store, words, request, platform)
        row = _pulled(store, words, request, platform)
    except PrunError as error:
        if image is not None and request.pull == "newer":  # podman: what is here will do
            return image
        if type(error) is NotFound or image is None:
            error.args = (f'could not resolve "{words}": {error}',)
            error.hint = "; ".join(filter(None, (error.hint, _nearest(words, store.metadata.images()))))
        raise
    return resolve(store.content, row.target, platform, row.name)


def _pulled(store: Store, words: str, request: RunRequest, platform: Platform) -> ImageRow:
    from contextlib import nullcontext

    from prun.config import read_settings
    from prun.engines.embedded.pulling import pull_image

    settings, unpack, policy = read_settings(request.config), not request.view_only, request.signature_policy or None
    with request.progress() if request.progress else nullcontext() as listener:
        return pull_image(
            store,
            words,
            settings,
            platform=platform,
            listener=listener,
            unpack=unpack,
            to_run=True,
            signature_policy=policy,
        )


def policy_of(request: RunRequest) -> str:
    """Return the file of the signature policy for a run, empty for none."""
    from prun.config import read_settings

    return request.signature_policy or read_settings(request.config).signature_policy


def _admission(policy: str, source: Source, name: str) -> Admit | None:
    if not policy:
        return None
    from prun.engines.embedded.admission import of_source

    return of_source(policy, source, name)


def looked_into(words: str, platform: Platform, policy: str) -> Image:
    """Return the image of a layout or an archive as it is there; nothing of it is loaded."""
    from prun.image.archive import looking
    from prun.image.manifest import resolve

    source = parse_source(words)
    assert source is not None
    with looking(source, _admission(policy, source, "")) as (content, found):
        targets = {image.target["digest"]: image for image in found}
        if len(targets) != 1:
            raise InvalidArgument(f"{words!r} holds {len(targets)} images", hint=f"name one of them: {words}:TAG")
        ((digest, image),) = targets.items()
        return resolve(content, image.target, platform, next(iter(image.names), digest))


def _looked_up(store: Store, words: str, request: RunRequest, platform: Platform) -> Image:
    """Return what a registry has, of which nothing is fetched but the documents, and nothing kept."""
    from prun.config import read_settings
    from prun.engines.embedded.pulling import look_up_image

    policy = request.signature_policy or None
    return look_up_image(store, words, read_settings(request.config), platform, signature_policy=policy)


def image_of(store: ImageStore, row: ImageRow) -> Image:
    """Return the image of a name, for this machine's platform, or for the first that it has."""
    from prun.image.manifest import resolve
    from prun.image.platform import host_platform

    return resolve(store.content, row.target, host_platform(), row.name)


def pinned(store: Store, digest: str, name: str = "") -> Image:
    """Return the image whose manifest has this digest: that of a container.

    Raises:
        NotFound: it is not there any more.
    """
    from prun.image.manifest import resolve
    from prun.image.platform import host_platform

    return resolve(store.content, manifest_of(store, digest), host_platform(), name)


def manifest_of(store: Store, digest: str) -> Descriptor:
    """Return the descriptor of a manifest that a container was made from: whatever its name means by now."""
    from prun.image.fields import load_object
    from prun.image.manifest import MAX_DOCUMENT_BYTES
    from prun.image.media_type import OCI_MANIFEST

    data = store.content.read(digest, MAX_DOCUMENT_BYTES)
    media_type = load_object(data, "image manifest").get("mediaType", OCI_MANIFEST)
    return {"mediaType": str(media_type), "digest": digest, "size": len(data)}


def load_images(
    store: Store,
    source: str,
    *,
    tag: str = "",
    unpack: bool = True,
    stdin: BinaryIO | None = None,
    platform: Platform | None = None,
    signature_policy: str = "",
) -> list[ImageRow]:
    """Copy the images of an archive or a layout into the store, and name them.

    ``tag`` names the only image of the source; ``platform`` alone is taken of each, where it is given.  An image
    without a name of its own is known by its digest.  With ``unpack`` the layers for this machine are unpacked at once,
    which checks their diff IDs; only root can.  ``signature_policy`` is the file of one, empty for none.

    Raises:
        PermissionDenied: the signature policy refuses an image.
        InvalidArgument: ``source`` is no archive and no layout; ``tag`` for several images.
        NotFound: there is no such file; an image is not for the platform.
        DataLoss: something in it is not what it says; nothing is stored.
    """
    from prun.engines.embedded.garbage import collected_on_failure

    with collected_on_failure(store):
        return _load(store, source, signature_policy, tag=tag, unpack=unpack, stdin=stdin, platform=platform)


def _load(
    store: Store,
    source: str,
    signature_policy: str,
    *,
    tag: str,
    unpack: bool,
    stdin: BinaryIO | None,
    platform: Platform | None = None,
) -> list[ImageRow]:
    """Load; what was unpacked before something turned out wrong stays until garbage is collected."""
    from prun.image.archive import loading

    parsed = parse_source(source)
    if parsed is None:
        raise InvalidArgument(
            f"{source!r} is no archive and no layout",
            hint="oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], a path, or - for stdin",
        )
    name = new_name(store, tag) if tag else ""
    unpacker = store.snapshots.unpack if unpack and may_mount() else None
    admit = _admission(signature_policy, parsed, name)
    with loading(parsed, store.content, stdin, unpack=unpacker, platform=platform, admit=admit) as loaded:
        if name and len(loaded) != 1:
            raise InvalidArgument(f"{source!r} holds {len(loaded)} images, one name does not fit them all")
        rows = [
            row_of(each, image.target)
            for image in loaded
            for each in ((name,) if name else image.names or (image.target["digest"],))
        ]
        put(store, rows)
    tell(store, "load", *rows)
    return rows


def tell(store: Store, action: str, *rows: ImageRow) -> None:
    """Record what happened to images."""
    for row in rows:
        store.metadata.add_event("image", action, row.digest, {"name": row.name})


def row_of(name: str, target: Descriptor) -> ImageRow:
    """Return the row that gives ``target`` the name, as of now."""
    return ImageRow(name, target["digest"], target["mediaType"], target["size"], time.time())


def put(store: Store, rows: Iterable[ImageRow]) -> None:
    """Give images their names; who calls it holds their content (``Ingest.hold``), or it has names already."""
    for row in rows:
        store.metadata.put_image(row)
    write_index(store)


class Described(NamedTuple):
    """One image of those that a name leads to: its manifest's digest, its documents, its platform, its created time."""

    digest: str
    manifest: Manifest
    config: ConfigDocument
    platform: Platform

    @property
    def created_at(self) -> float | None:
        """Seconds since the epoch; None where the config does not say, or nonsense."""
        from prun.when import point_ns

        try:
            return point_ns(self.config["created"]) / 1e9
        except (KeyError, InvalidArgument):
            return None


def describe(store: ImageStore, row: ImageRow, platform: Platform | None = None) -> Described:
    """Open the image for ``platform``; None: for this machine, or the first that is here.

    Raises:
        NotFound: there is no such platform.
        NotAnImage: it is something else.
        DataLoss: a document is damaged.
    """
    from prun.image.manifest import NotAnImage, manifests, open_manifest, resolve
    from prun.image.platform import host_platform, normalize

    offered = [each.descriptor for each in manifests(store.content, row.target)]
    if not offered:
        raise NotAnImage(f"index {row.digest} names no image")
    here = [each for each in offered if store.content.has(each["digest"])]
    chosen = here[:1]
    if platform or len(here) != 1:
        try:
            image = resolve(store.content, row.target, platform or host_platform(), row.name)
            chosen = [each for each in here if each["digest"] == image.digest]
        except NotFound:
            if platform or not here:
                raise
    found = open_manifest(store.content, chosen[0])
    return Described(chosen[0]["digest"], found.manifest, found.config, normalize(found.platform))


def tag(store: Store, words: str, name: str) -> ImageRow:
    """Give an image one more name, taken from another image if need be.

    Raises:
        NotFound: there is no such image.
        InvalidArgument: ``name`` is none, or has a digest.
    """
    name = new_name(store, name)
    with store.using_images():
        row = find(store, words)._replace(name=name)
        put(store, [row])
    tell(store, "tag", row)
    return row


def untag(store: Store, words: str, names: Iterable[str] = ()) -> None:
    """Take names from an image, all by default; one that has none then is known by its digest.

    Raises:
        NotFound: there is no such image, or it has no such name.
    """
    with store.using_images():
        row = find(store, words)
        known = {each.name: each for each in store.metadata.images() if each.digest == row.digest}
        going = [str(parse_reference(name, store.aliases)) for name in names] or [
            name for name in known if name != row.digest
        ]
        if missing := [name for name in going if name not in known]:
            raise NotFound(f"image {words} has no name {missing[0]}", hint=f"it has: {', '.join(known)}")
        with store.metadata.transaction():
            for name in going:
                store.metadata.drop_image(name)
            store.metadata.put_image(row._replace(name=row.digest))  # unless it has another name
        write_index(store)
    tell(store, "untag", *(known[name] for name in going))


def new_name(store: ImageStore, words: str) -> str:
    """Return the canonical form of a name that an image is to get.

    Raises:
        InvalidArgument: it is none, or has a digest.
    """
    reference = parse_reference(words, store.aliases)
    if reference.digest:
        raise InvalidArgument(f"name {words!r} has a digest, which is given by the content", hint="NAME[:TAG]")
    return str(reference)


def find(store: ImageStore, words: str) -> ImageRow:
    """Find an image by reference, by digest or by a prefix of its digest.

    Raises:
        NotFound: there is none; the message names the nearest ones.
        InvalidArgument: the reference is malformed.
    """
    row = _by_name(store, words) or _by_digest(store, words)
    if row is None:
        parse_reference(words, store.aliases)  # says what is wrong with it
        raise NotFound(f'could not resolve "{words}"', hint=_nearest(words, store.metadata.images()))
    return row


def _by_name(store: ImageStore, words: str) -> ImageRow | None:
    try:
        reference = parse_reference(words, store.aliases)
    except InvalidArgument:
        return None
    if row := store.metadata.image(str(reference)):
        return row
    for row in store.metadata.images() if reference.digest else ():
        # NAME@DIGEST and NAME:TAG@DIGEST: the digest decides, the repository must fit (distribution's rule)
        if reference.digest == row.digest and repository_of(row.name) == f"{reference.domain}/{reference.path}":
            return row
    return None


def write_index(store: Store) -> None:
    """Let ``index.json`` name what the database names, so that other tools can read the layout."""

    def entries() -> Iterator[tuple[str, Descriptor]]:
        for row in store.metadata.images():  # read when the index is locked, so that the last writer knows all names
            yield row.name, row.target

    store.content.write_index(entries())


def _loaded(store: Store, words: str, policy: str, *, unpack: bool) -> ImageRow:
    import sys

    from prun.image.manifest import is_image
    from prun.image.media_type import INDEXES

    rows = _load(store, words, policy, tag="", unpack=unpack, stdin=sys.stdin.buffer if words == "-" else None)
    images = [row for row in rows if row.media_type in INDEXES or is_image(store.content, row.target)] or rows
    if len({row.digest for row in images}) != 1:
        raise InvalidArgument(
            f"{words!r} holds {len(images)} images", hint="name one: " + ", ".join(f"{row.name}" for row in images)
        )
    return images[0]


def _by_digest(store: ImageStore, words: str) -> ImageRow | None:
    prefix = words.removeprefix("sha256:")
    if not prefix or any(c not in "0123456789abcdef" for c in prefix):
        return None
    found = {row.digest: row for row in store.metadata.images() if row.digest.startswith(f"sha256:{prefix}")}
    if len(found) > 1:
        raise InvalidArgument(f"{words!r} is the beginning of {len(found)} images' digests", hint="use more digits")
    return next(iter(found.values()), None)


def kept_by_name(store: ImageStore, row: ImageRow, words: str) -> bool:
    """Tell whether ``words``, by which the row was found, are its name and not its id or digest."""
    return canonical(words, store.aliases) == row.name


def canonical(words: str, aliases: Mapping[str, str]) -> str:
    """Return the canonical form of a reference, nothing where it is none."""
    try:
        return str(parse_reference(words, aliases))
    except InvalidArgument:
        return ""


def repository_of(name: str) -> str:
    """Return the repository of a canonical name: what stands before tag and digest."""
    head, _, tag = name.partition("@")[0].rpartition(":")
    return head if head and "/" not in tag else name.partition("@")[0]


def _nearest(words: str, rows: list[ImageRow]) -> str:
    import difflib

    names = {str(parse_reference(row.name).familiar): row.name for row in rows if not row.name.startswith("sha256:")}
    near = difflib.get_close_matches(words, names, n=3, cutoff=0.5)
    known = f"there is {', '.join(near)}; " if near else ""
    return f"{known}`prun pull {words}` fetches it, `prun load FILE` takes it from an archive; see `prun images`"
