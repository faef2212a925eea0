"""References to images of the store: find, load, name and remove them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, InvalidArgument, NotFound, PrunError
from prun.image.reference import parse_reference
from prun.image.source import parse_source
from prun.metadata import ImageRow
from prun.state import Store, may_mount
from prun.types import Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from prun.image.document import Descriptor
    from prun.types import Platform, RunRequest

SCRATCH = "scratch"


def resolve_image(request: RunRequest, platform: Platform) -> Image:
    """Return the image that ``request.image`` names, for ``platform``.

    ``scratch`` is the empty image, as in a Dockerfile.  An archive or a layout is loaded into the store first.

    Raises:
        NotFound: there is none; the message names the nearest ones.
    """
    from prun.image.manifest import resolve

    if request.image == SCRATCH:
        return Image(SCRATCH, "", platform, {})
    with Store(request.root, request.state) as store:
        row = _loaded_or_found(store, request.image, unpack=not request.view_only)
        return resolve(store.content, row.target, platform, row.name)


def load_images(
    store: Store, source: str, *, tag: str = "", unpack: bool = True, stdin: BinaryIO | None = None
) -> list[ImageRow]:
    """Copy the images of an archive or a layout into the store, and name them.

    ``tag`` names the only image of the source.  An image without a name of its own is known by its digest.  With
    ``unpack`` the layers for this machine are unpacked at once, which checks their diff IDs; only root can.

    Raises:
        InvalidArgument: ``source`` is no archive and no layout; ``tag`` for several images.
        DataLoss: something in it is not what it says; nothing is stored.
    """
    try:
        with store.using_images():
            return _load(store, source, tag=tag, unpack=unpack, stdin=stdin)
    except PrunError:
        with store.removing_images():
            collect_garbage(store)
        raise


def _load(store: Store, source: str, *, tag: str, unpack: bool, stdin: BinaryIO | None) -> list[ImageRow]:
    """Load while the caller holds ``using_images``; layers that turn out wrong stay until garbage is collected."""
    from prun.image.archive import load

    parsed = parse_source(source)
    if parsed is None:
        raise InvalidArgument(
            f"{source!r} is no archive and no layout",
            hint="oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], a path, or - for stdin",
        )
    name = str(parse_reference(tag)) if tag else ""
    loaded = load(parsed, store.content, stdin)
    if name and len(loaded) != 1:
        raise InvalidArgument(f"{source!r} holds {len(loaded)} images, one name does not fit them all")
    now = time.time()
    rows = [
        ImageRow(each, image.target["digest"], image.target["mediaType"], image.target["size"], now)
        for image in loaded
        for each in ((name,) if name else image.names or (image.target["digest"],))
    ]
    for row in rows if unpack and may_mount() else ():
        _unpack(store, row)
    for row in rows:
        store.metadata.put_image(row)
    write_index(store)
    return rows


def _unpack(store: Store, row: ImageRow) -> None:
    from prun.image.manifest import resolve
    from prun.image.platform import host_platform

    try:
        image = resolve(store.content, row.target, host_platform(), row.name)
    except NotFound:
        return  # an image for other machines
    store.snapshots.unpack(image.layers, store.content.open)


def find(store: Store, words: str) -> ImageRow:
    """Find an image by reference, by digest or by a prefix of its digest.

    Raises:
        NotFound: there is none; the message names the nearest ones.
        InvalidArgument: the reference is malformed.
    """
    if row := _by_digest(store, words):
        return row
    reference = parse_reference(words)
    if row := store.metadata.image(str(reference)):
        return row
    rows = store.metadata.images()
    for row in rows:
        # NAME@DIGEST and NAME:TAG@DIGEST: the digest decides, the repository must fit (distribution's rule)
        if reference.digest == row.digest and _repository(row.name) == f"{reference.domain}/{reference.path}":
            return row
    raise NotFound(f'could not resolve "{words}"', hint=_nearest(words, rows))


def remove(store: Store, words: str, *, force: bool = False) -> list[str]:
    """Remove a name, and what nothing else refers to any more; say what went, in docker's words.

    Raises:
        FailedPrecondition: a container was made from the image.
    """
    with store.removing_images():
        row = find(store, words)
        named_by_digest = not any(row.name == str(reference) for reference in _as_reference(words))
        names = [each.name for each in store.metadata.images() if each.digest == row.digest]
        if named_by_digest and len(names) > 1 and not force:
            raise FailedPrecondition(
                f"image {words} has several names: {', '.join(names)}", hint="remove each, or all with --force"
            )
        going = names if named_by_digest else [row.name]
        if len(going) == len(names):
            _refuse_in_use(store, row)
        for name in going:
            store.metadata.drop_image(name)
        write_index(store)
        return [f"Untagged: {name}" for name in going] + [f"Deleted: {digest}" for digest in collect_garbage(store)]


def collect_garbage(store: Store) -> list[str]:
    """Remove blobs and snapshots that no image and no container refers to; the caller holds ``removing_images``."""
    from prun.image.identity import chain_ids
    from prun.image.manifest import blobs, manifests, open_manifest

    content = store.content
    kept: set[str] = set()
    kept_chains: set[str] = set()
    for target in {row.digest: row.target for row in store.metadata.images()}.values():
        kept |= {blob["digest"] for blob in blobs(content, target)}
        for found in manifests(content, target):
            if content.has(found.descriptor["digest"]):
                kept_chains |= set(chain_ids(open_manifest(content, found.descriptor).config["rootfs"]["diff_ids"]))
    # A layer was unpacked after those below it: the last first.
    for _, chain_id, _ in reversed(store.metadata.snapshots()):
        if chain_id not in kept_chains:
            store.snapshots.remove_chain(chain_id)
    removed = [digest for digest in content.digests() if digest not in kept]
    for digest in removed:
        content.delete(digest)
    return removed


def write_index(store: Store) -> None:
    """Let ``index.json`` name what the database names, so that other tools can read the layout."""

    def entries() -> Iterator[tuple[str, Descriptor]]:
        for row in store.metadata.images():  # read when the index is locked, so that the last writer knows all names
            yield row.name, row.target

    store.content.write_index(entries())


def _loaded_or_found(store: Store, words: str, *, unpack: bool) -> ImageRow:
    if parse_source(words) is None:
        return find(store, words)
    import sys

    with store.using_images():
        rows = _load(store, words, tag="", unpack=unpack, stdin=sys.stdin.buffer if words == "-" else None)
    if len({row.digest for row in rows}) != 1:
        raise InvalidArgument(
            f"{words!r} holds {len(rows)} images", hint="name one: " + ", ".join(f"{row.name}" for row in rows)
        )
    return rows[0]


def _refuse_in_use(store: Store, row: ImageRow) -> None:
    from prun.image.manifest import blobs

    digests = {blob["digest"] for blob in blobs(store.content, row.target)}
    mounting = {mount.container_id for mount in store.metadata.all_mounts() if mount.digest in digests}
    users = [each.name for each in store.metadata.containers() if each.digest in digests or each.id in mounting]
    if users:
        raise FailedPrecondition(
            f"image {row.name} is in use by container {', '.join(users)}", hint=f"remove it first: prun rm {users[0]}"
        )


def _by_digest(store: Store, words: str) -> ImageRow | None:
    prefix = words.removeprefix("sha256:")
    if len(prefix) < 6 or any(c not in "0123456789abcdef" for c in prefix):
        return None
    found = {row.digest: row for row in store.metadata.images() if row.digest.startswith(f"sha256:{prefix}")}
    if len(found) > 1:
        raise InvalidArgument(f"{words!r} is the beginning of {len(found)} images' digests", hint="use more digits")
    return next(iter(found.values()), None)


def _as_reference(words: str) -> Iterator[str]:
    try:
        yield str(parse_reference(words))
    except InvalidArgument:
        return


def _repository(name: str) -> str:
    return name.partition("@")[0].rpartition(":")[0]


def _nearest(words: str, rows: list[ImageRow]) -> str:
    import difflib

    names = {str(parse_reference(row.name).familiar): row.name for row in rows if not row.name.startswith("sha256:")}
    near = difflib.get_close_matches(words, names, n=3, cutoff=0.5)
    known = f"there is {', '.join(near)}; " if near else ""
    return known + "load one with `prun load FILE`; see `prun images`"
