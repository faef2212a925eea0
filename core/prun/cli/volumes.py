"""``volume create``, ``ls``, ``inspect``, ``rm``, ``prune``: docker's words and output."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from prun.cli.filters import Key, filter_option, labelled, parse_filters, pattern_in, truth, word_of
from prun.cli.images import opened
from prun.cli.listing import FORMAT, RECORD_FORMAT, print_listing, print_records
from prun.cli.output import timestamp
from prun.cli.template.values import Pairs
from prun.errors import AlreadyExists, InvalidArgument, NotFound
from prun.metadata import VolumeRow
from prun.request.mounts import key_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prun.state import Store


@click.group()
def volume() -> None:
    """Make, list and remove volumes."""


@volume.command()
@click.argument("name", default="")
@click.option("--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="Put a label on it.")
@click.option(
    "-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="type=, device= and o= as of mount(8)."
)
@click.option("-d", "--driver", default="local", metavar="NAME", help="Only local.")
@click.option("--ignore", is_flag=True, help="Take one of that name as it is, whatever its options.")
@click.pass_obj
def create(
    settings: Mapping[str, str],
    name: str,
    labels: tuple[str, ...],
    options: tuple[str, ...],
    driver: str,
    ignore: bool,
) -> None:
    """Make a volume; without a name, one with a generated name."""
    if driver != "local":
        raise InvalidArgument(f"volume driver {driver!r} is not known", hint="local")
    wanted = VolumeRow(
        name or os.urandom(32).hex(),
        labels=key_values("--label", labels),
        options=key_values("--opt", options, need_value=True),
        anonymous=not name,
    )
    with opened(settings) as store:
        try:
            print(store.volumes.create(wanted).name)
        except AlreadyExists:
            if not ignore:
                raise
            print(name)


@volume.command(name="ls")
@click.option("-q", "--quiet", is_flag=True, help="Print only the names.")
@filter_option("dangling", "driver", "label", "name")
@FORMAT
@click.pass_obj
def list_(settings: Mapping[str, str], quiet: bool, filters: tuple[str, ...], form: str) -> None:
    """List volumes."""
    with opened(settings) as store:
        rows = [inspected(store, row) for row in _filtered(store, filters)]
    print_listing(rows, {"DRIVER": "Driver", "VOLUME NAME": "Name"}, form, quiet="Name" if quiet else "")


@volume.command()
@click.argument("names", nargs=-1, required=True, metavar="VOLUME...")
@RECORD_FORMAT
@click.pass_obj
def inspect(settings: Mapping[str, str], names: tuple[str, ...], form: str) -> None:
    """Show all that is known of volumes, as JSON."""
    with opened(settings) as store:
        records = [inspected(store, store.volumes.find(name)) for name in names]
    print_records(records, form)


@volume.command()
@click.argument("names", nargs=-1, required=True, metavar="VOLUME...")
@click.option("-f", "--force", is_flag=True, help="A missing one is no error.")
@click.pass_obj
def rm(settings: Mapping[str, str], names: tuple[str, ...], force: bool) -> None:
    """Remove volumes that no container uses, with all that is in them."""
    with opened(settings) as store:
        for name in names:
            try:
                store.volumes.remove(name)
            except NotFound:
                if not force:
                    raise
            print(name)


@volume.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Those with a name too, not only anonymous ones.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@filter_option("label", "label!", short="")
@click.pass_obj
def prune(settings: Mapping[str, str], everything: bool, force: bool, filters: tuple[str, ...]) -> None:
    """Remove all volumes that no container uses."""
    which = "all" if everything else "anonymous"
    if not force:
        click.confirm(f"WARNING! This will remove {which} volumes not used by at least one container.", abort=True)
    with opened(settings) as store:
        gone, _ = pruned(store, filters, everything=everything)
    if gone:
        print("\n".join(["Deleted Volumes:", *gone]))


def pruned(store: Store, filters: Sequence[str], *, everything: bool) -> tuple[list[str], int]:
    """Remove the volumes that no container uses and that fit; only anonymous ones without ``everything``.

    Returns their names, and how many bytes were in them.
    """
    from prun.rootfs.usage import tree_bytes

    gone, freed = [], 0
    for row in _filtered(store, ("dangling=true", *filters)):
        if everything or row.anonymous:
            held = tree_bytes(store.volumes.mountpoint(row.name))
            if store.volumes.remove_unused(row.name):
                gone.append(row.name)
                freed += held
    return gone, freed


def _filtered(store: Store, filters: Sequence[str]) -> list[VolumeRow]:
    used = {row.name for row in store.metadata.all_mounts() if row.type == "volume"}
    keys: dict[str, Key[VolumeRow]] = {
        "dangling": truth(lambda row: row.name not in used),
        "driver": word_of(lambda row: row.driver),
        "label": labelled(lambda row: row.labels),
        "label!": labelled(lambda row: row.labels, wanted=False),
        "name": pattern_in(lambda row: row.name),
    }
    return list(filter(parse_filters(filters, keys), store.metadata.volumes()))


def inspected(store: Store, row: VolumeRow) -> dict[str, Any]:
    """Return docker's record of a volume."""
    return {
        "CreatedAt": timestamp(row.created_at),
        "Driver": row.driver,
        "Labels": Pairs(row.labels) or None,
        "Mountpoint": store.volumes.mountpoint(row.name),
        "Name": row.name,
        "Options": Pairs(row.options) or None,
        "Scope": "local",
    }
