"""``system df`` and ``system prune``: what the store takes of the disk, and to have it back."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from prun.cli.filters import filter_option
from prun.cli.images import opened
from prun.cli.listing import FORMAT, listing, print_listing
from prun.cli.output import ago, size
from prun.cli.template.values import Bytes
from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prun.metadata import ImageRow
    from prun.state import Store

_COLUMNS = {"TYPE": "Type", "TOTAL": "TotalCount", "ACTIVE": "Active", "SIZE": "Size", "RECLAIMABLE": "Reclaimable"}
_IMAGES = {"REPOSITORY": "Repository", "TAG": "Tag", "IMAGE ID": "ID", "CREATED": "CreatedSince", "SIZE": "Size",
           "SHARED SIZE": "SharedSize", "UNIQUE SIZE": "UniqueSize", "CONTAINERS": "Containers"}  # fmt: skip
_CONTAINERS = {"CONTAINER ID": "ID", "IMAGE": "Image", "COMMAND": "Command", "LOCAL VOLUMES": "LocalVolumes",
               "SIZE": "Size", "CREATED": "CreatedSince", "STATUS": "Status", "NAMES": "Names"}  # fmt: skip
_VOLUMES = {"VOLUME NAME": "Name", "LINKS": "Links", "SIZE": "Size"}


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="Show each image, container and volume.")
@FORMAT
@click.pass_obj
def df(settings: Mapping[str, str], verbose: bool, form: str) -> None:
    """Show what images, containers and volumes take of the disk."""
    if verbose and form not in ("", "table", "json"):
        raise InvalidArgument("--verbose has the formats table and json only", hint="leave out one of the two")
    with opened(settings) as store:
        if not verbose:
            print_listing([_images(store), _containers(store), _volumes(store)], _COLUMNS, form)
            return
        found = {"Images": _each_image(store), "Containers": _each_container(store), "Volumes": _each_volume(store)}
    if form == "json":
        print(json.dumps(found, indent=2))
        return
    for (kind, rows), columns in zip(found.items(), (_IMAGES, _CONTAINERS, _VOLUMES), strict=True):
        print(f"{'Local Volumes' if kind == 'Volumes' else kind} space usage:\n\n{listing(rows, columns, '')}")


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="All images that no container uses, not only <none>.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--volumes", is_flag=True, help="Anonymous volumes that no container uses, too.")
@filter_option("label", "label!", "until", short="")
@click.pass_obj
def prune(settings: Mapping[str, str], everything: bool, force: bool, volumes: bool, filters: tuple[str, ...]) -> None:
    """Remove all that nothing uses: containers that do not run, images, with --volumes volumes."""
    from prun.cli.container import pruned as pruned_containers
    from prun.cli.image import pruned as pruned_images
    from prun.cli.volumes import pruned as pruned_volumes

    if volumes and any(word.startswith("until=") for word in filters):
        raise InvalidArgument('the "until" filter is not supported with --volumes', hint="prun volume prune")
    if not force:
        _confirm(everything, volumes)
    freed = 0
    with opened(settings) as store:
        containers, freed = pruned_containers(store, filters)
        _print("Deleted Containers:", containers)
        if volumes:
            names, more = pruned_volumes(store, filters, everything=False)
            freed += more
            _print("Deleted Volumes:", names)
        gone = pruned_images(store, filters, everything=everything)
        _print("Deleted Images:", gone.lines())
        freed += gone.size_bytes
    print(f"Total reclaimed space: {size(freed)}")


def _confirm(everything: bool, volumes: bool) -> None:
    images = "all images without at least one container associated to them" if everything else "all dangling images"
    things = [
        "all stopped containers",
        *(["all anonymous volumes not used by at least one container"] if volumes else []),
    ]
    listed = "".join(f"  - {thing}\n" for thing in (*things, images))
    click.confirm(f"WARNING! This will remove:\n{listed}\nAre you sure you want to continue?", abort=True)


def _print(heading: str, lines: Sequence[str]) -> None:
    if lines:
        print("\n".join([heading, *lines, ""]))


def _summary(kind: str, total: int, active: int, size_bytes: int, reclaimable_bytes: int) -> dict[str, Any]:
    """Return docker's fields, and podman's."""
    share = f" ({100 * reclaimable_bytes // size_bytes}%)" if size_bytes else " (0%)"
    return {
        "Type": kind,
        "Total": total,
        "TotalCount": total,
        "Active": active,
        "RawSize": size_bytes,
        "RawReclaimable": reclaimable_bytes,
        "Size": size(size_bytes),
        "Reclaimable": f"{size(reclaimable_bytes)}{share}",
    }


def _images(store: Store) -> dict[str, Any]:
    """Count blobs and unpacked layers: what images take of the disk, each once."""
    from prun.engines.embedded.garbage import users

    rows = {row.digest: row for row in store.metadata.images()}
    active = [row for row in rows.values() if users(store, row)]
    content = {digest: store.content.size(digest) for digest in store.content.digests()}
    layers = {chain: layer_bytes for chain, _, layer_bytes in store.metadata.snapshot_sizes()}
    whole = sum(content.values()) + sum(layers.values())
    needed = {digest for row in active for digest in _blobs(store, row)}
    in_use = sum(content.get(digest, 0) for digest in needed)
    in_use += sum(layers.get(chain, 0) for chain in store.snapshots.used())
    return _summary("Images", len(rows), len(active), whole, max(whole - in_use, 0))


def _containers(store: Store) -> dict[str, Any]:
    rows = store.metadata.containers()
    written = {row.id: store.snapshots.sizes(row.id)[0] for row in rows}
    active = [row for row in rows if row.status in ("running", "paused", "restarting")]
    whole = sum(written.values())
    return _summary("Containers", len(rows), len(active), whole, whole - sum(written[row.id] for row in active))


def _volumes(store: Store) -> dict[str, Any]:
    from prun.rootfs.usage import tree_bytes

    sizes = {row.name: tree_bytes(store.volumes.mountpoint(row.name)) for row in store.metadata.volumes()}
    used = {row.name for row in store.metadata.all_mounts() if row.type == "volume"} & sizes.keys()
    whole = sum(sizes.values())
    return _summary("Local Volumes", len(sizes), len(used), whole, whole - sum(sizes[name] for name in used))


def _blobs(store: Store, row: ImageRow) -> Mapping[str, int]:
    """Return the blobs of an image that are here; of a damaged one, those that can be found."""
    from prun.errors import PrunError
    from prun.image.manifest import blobs

    try:
        return {blob["digest"]: blob["size"] for blob in blobs(store.content, row.target)}
    except PrunError:
        return {row.digest: row.size_bytes}


def _each_image(store: Store) -> list[dict[str, Any]]:
    from prun.cli.imagerows import chosen, listed
    from prun.engines.embedded.garbage import users

    found = chosen(store, ())
    holders = _count(
        digest for row in {each.row.digest: each.row for each in found}.values() for digest in _blobs(store, row)
    )
    rows = []
    for each in found:
        blobs = _blobs(store, each.row)
        shared = sum(blob_bytes for digest, blob_bytes in blobs.items() if holders[digest] > 1)
        more = {
            "SharedSize": Bytes(shared),
            "UniqueSize": Bytes(sum(blobs.values()) - shared),
            "Containers": len(users(store, each.row)),
        }
        rows.append({**listed(store, each, no_trunc=False), **more})
    return rows


def _each_container(store: Store) -> list[dict[str, Any]]:
    from prun.cli.ps import command_line
    from prun.cli.states import status_of

    volumes = _count(mount.container_id for mount in store.metadata.all_mounts() if mount.type == "volume")
    return [
        {
            "ID": row.id[:12],
            "Image": row.image,
            "Command": command_line(row.command)[:20],
            "LocalVolumes": volumes.get(row.id, 0),
            "Size": Bytes(store.snapshots.sizes(row.id)[0]),
            "CreatedSince": ago(row.created_at),
            "Status": status_of(row, time.time()),
            "Names": row.name,
        }
        for row in store.metadata.containers()
    ]


def _each_volume(store: Store) -> list[dict[str, Any]]:
    from prun.rootfs.usage import tree_bytes

    return [
        {
            "Name": row.name,
            "Links": len(store.volumes.users(row.name)),
            "Size": Bytes(tree_bytes(store.volumes.mountpoint(row.name))),
        }
        for row in store.metadata.volumes()
    ]


def _count(words: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts
