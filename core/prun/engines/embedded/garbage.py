"""Removing images, and what nothing refers to any more.

Kept are: what a name in the database leads to, what a container was made from or has mounted, and what a load or a
pull at work says it needs (``Ingest.hold``: a file in its locked directory, which ends with it).  Whoever looks an
image up for a run holds the store's lock shared; removing takes it alone, for as long as the removal itself takes.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from prun.engines.embedded.images import find, kept_by_name, tell, write_index
from prun.errors import FailedPrecondition, PrunError
from prun.metadata import ImageRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prun.metadata import ContainerRow
    from prun.services import ImageStore
    from prun.state import Store


class Removed(NamedTuple):
    """What a removal did: names that are gone, the digests of blobs that are, and their size."""

    names: tuple[str, ...]
    digests: tuple[str, ...]
    size_bytes: int

    def lines(self) -> list[str]:
        """Say it in docker's words."""
        return [f"Untagged: {name}" for name in self.names] + [f"Deleted: {digest}" for digest in self.digests]


class _Needed(NamedTuple):
    """Digests of blobs and chain IDs of snapshots that somebody needs."""

    blobs: set[str]
    chains: set[str]


def remove(store: Store, words: str, *, force: bool = False) -> Removed:
    """Remove a name, or with an id all of an image's names, and what nothing else refers to any more.

    ``force`` removes an image with several names by its id, and one that a container uses that is not running: what
    that container needs stays until it is removed.

    Raises:
        NotFound: there is no such image.
        FailedPrecondition: a container was made from the image; it has several names.
    """
    with store.removing_images():
        row = find(store, words)
        names = [each.name for each in store.metadata.images() if each.digest == row.digest]
        by_id = not kept_by_name(store, row, words)
        if by_id and len(names) > 1 and not force:
            raise FailedPrecondition(
                f"image {words} has several names: {', '.join(names)}", hint="remove each, or all with --force"
            )
        going = names if by_id else [row.name]
        if len(going) == len(names):
            _refuse_in_use(store, row, force=force)
        return drop(store, going)


def drop(store: Store, names: list[str]) -> Removed:
    """Forget these names and collect the garbage; the caller holds ``removing_images``."""
    rows = [row for name in names if (row := store.metadata.image(name))]
    for row in rows:
        store.metadata.drop_image(row.name)
    tell(store, "untag", *rows)
    known = {row.digest for row in store.metadata.images()}
    tell(store, "delete", *{row.digest: row for row in rows if row.digest not in known}.values())
    write_index(store)
    gone = collect_garbage(store)
    return Removed(tuple(names), tuple(gone), sum(gone.values()))


def unused(store: Store) -> list[ImageRow]:
    """Return the images that no container was made from or has mounted, and that are not mounted themselves."""
    from prun.engines.embedded.image_mounts import mounted_images

    mounted = mounted_images(store)
    return [row for row in store.metadata.images() if row.digest not in mounted and not users(store, row)]


def users(store: ImageStore, row: ImageRow) -> list[ContainerRow]:
    """Return the containers that were made from the image or have it mounted."""
    digests = _manifest_digests(store, row)
    mounting = {mount.container_id for mount in store.metadata.all_mounts() if mount.digest in digests}
    return [each for each in store.metadata.containers() if each.digest in digests or each.id in mounting]


def nameless(store: Store) -> list[ImageRow]:
    """Return what containers still need of images that have no name any more, as rows that are not in the database."""
    from prun.image.manifest import descriptor_of

    known = {digest for row in store.metadata.images() for digest in _manifest_digests(store, row)}
    rows = {}
    for container in store.metadata.containers():
        digest = container.digest
        if digest and digest not in known and store.content.has(digest):
            target = descriptor_of(store.content, digest)
            rows[digest] = ImageRow(digest, digest, target["mediaType"], target["size"], container.created_at)
    return list(rows.values())


def collect_garbage(store: Store) -> dict[str, int]:
    """Remove blobs and snapshots that nobody needs; return the blobs' sizes by their digests.

    The caller holds ``removing_images``.  Where an image's documents cannot be read nothing is removed: what it needs
    is not known (``prun system check --repair`` removes such an image).
    """
    content, snapshots = store.content, store.snapshots
    removed: dict[str, int] = {}
    with content.sweeping() as held:
        try:
            needed = _needed(store)
        except PrunError:
            return removed
        chains = needed.chains | held
        parents = {chain_id: parent for _, chain_id, parent in store.metadata.snapshots()}
        for chain_id in sorted(set(parents) - chains, key=lambda each: -_depth(each, parents)):
            snapshots.remove_chain(chain_id)
        for digest in content.digests():
            if digest not in needed.blobs and digest not in held:
                removed[digest] = content.size(digest)
                content.delete(digest)
    return removed


def _depth(chain_id: str, parents: Mapping[str, str]) -> int:
    """Return how many layers there are below; what stands on others goes before them."""
    depth = 0
    while chain_id := parents.get(chain_id, ""):
        depth += 1
    return depth


@contextmanager
def collected_on_failure(store: Store) -> Iterator[None]:
    """Collect the garbage when the block fails; the caller holds no lock of the store."""
    try:
        yield
    except PrunError:
        with store.removing_images():
            collect_garbage(store)
        raise


def _needed(store: Store) -> _Needed:
    """Return what images, containers and mounts need.

    Raises:
        PrunError: a document cannot be read.
    """
    from prun.image.identity import chain_ids
    from prun.image.manifest import blobs, descriptor_of, is_image, manifests, open_manifest

    content = store.content
    targets = {row.digest: row.target for row in store.metadata.images()}
    used = {row.digest for row in store.metadata.containers()} | {row.digest for row in store.metadata.all_mounts()}
    for digest in used - {""} - set(targets):
        if content.has(digest):
            targets[digest] = descriptor_of(content, digest)
    needed = _Needed(set(), store.snapshots.used())
    for target in targets.values():
        needed.blobs.update(blob["digest"] for blob in blobs(content, target))
        for found in manifests(content, target):
            if content.has(found.descriptor["digest"]) and is_image(content, found.descriptor):
                diff_ids = open_manifest(content, found.descriptor).config["rootfs"]["diff_ids"]
                needed.chains.update(chain_ids(diff_ids))
    return needed


def _manifest_digests(store: ImageStore, row: ImageRow) -> set[str]:
    """Return the digests of an image's manifests: that of the row at least, whatever its documents are like."""
    from prun.image.manifest import manifests

    digests = {row.digest}
    with suppress(PrunError):  # a damaged image can be removed, too
        digests.update(found.descriptor["digest"] for found in manifests(store.content, row.target))
    return digests


def _refuse_in_use(store: Store, row: ImageRow, *, force: bool) -> None:
    from prun.engines.embedded.image_mounts import mounted_images, unmount_image

    if row.digest in mounted_images(store) and not force:
        raise FailedPrecondition(f"image {row.name} is mounted", hint=f"prun image unmount {row.name}, or --force")
    for user in users(store, row):
        if force and user.status in ("created", "stopped"):
            continue
        how = "rm -f" if user.status in ("running", "paused") else "rm"
        raise FailedPrecondition(
            f"image {row.name} is in use by container {user.name}", hint=f"remove it first: prun {how} {user.name}"
        )
    unmount_image(store, row.digest)
