"""``volume create``, ``ls``, ``inspect``, ``rm``, ``prune``: docker's words and output."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import click

from prun.cli.images import FORMAT, opened
from prun.cli.output import print_listing, timestamp
from prun.errors import AlreadyExists, InvalidArgument, NotFound
from prun.metadata import VolumeRow
from prun.request.mounts import key_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.state import Store

_FILTERS = ("dangling", "driver", "label", "name")


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
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help=f"By {', '.join(_FILTERS)}.")
@FORMAT
@click.pass_obj
def list_(settings: Mapping[str, str], quiet: bool, filters: tuple[str, ...], form: str) -> None:
    """List volumes."""
    with opened(settings) as store:
        rows = [_inspected(store, row) for row in _filtered(store, filters)]
    if quiet:
        print("".join(f"{row['Name']}\n" for row in rows), end="")
        return
    print_listing(rows, {"DRIVER": "Driver", "VOLUME NAME": "Name"}, form)


@volume.command()
@click.argument("names", nargs=-1, required=True, metavar="VOLUME...")
@click.pass_obj
def inspect(settings: Mapping[str, str], names: tuple[str, ...]) -> None:
    """Show all that is known of volumes, as JSON."""
    with opened(settings) as store:
        print(json.dumps([_inspected(store, store.volumes.find(name)) for name in names], indent=4))


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
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="By label.")
@click.pass_obj
def prune(settings: Mapping[str, str], everything: bool, force: bool, filters: tuple[str, ...]) -> None:
    """Remove all volumes that no container uses."""
    which = "all" if everything else "anonymous"
    if not force:
        click.confirm(f"WARNING! This will remove {which} volumes not used by at least one container.", abort=True)
    with opened(settings) as store:
        gone = [
            row.name
            for row in _filtered(store, ("dangling=true", *filters))
            if (everything or row.anonymous) and store.volumes.remove_unused(row.name)
        ]
    if gone:
        print("\n".join(["Deleted Volumes:", *gone]))


def _filtered(store: Store, filters: tuple[str, ...]) -> list[VolumeRow]:
    """Return the volumes that fit all filters; of several ``name``, regular expressions, one has to fit (docker's)."""
    wanted: dict[str, list[str]] = {}
    for word in filters:
        key, equals, value = word.partition("=")
        if key not in _FILTERS or not equals:
            raise InvalidArgument(f"invalid filter {word!r}", hint=f"KEY=VALUE with one of {', '.join(_FILTERS)}")
        if key == "dangling" and value not in ("true", "false", "1", "0"):
            raise InvalidArgument(f"invalid filter {word!r}", hint="dangling=true or dangling=false")
        wanted.setdefault(key, []).append(value)
    names = [_pattern(value) for value in wanted.get("name", ())]
    used = {row.name for row in store.metadata.all_mounts() if row.type == "volume"}
    return [
        row
        for row in store.metadata.volumes()
        if (not names or any(name.search(row.name) for name in names))
        and row.driver in wanted.get("driver", [row.driver])
        and all((value in ("true", "1")) == (row.name not in used) for value in wanted.get("dangling", ()))
        and all(_has_label(row, value) for value in wanted.get("label", ()))
    ]


def _pattern(word: str) -> re.Pattern[str]:
    try:
        return re.compile(word)
    except re.error as error:
        raise InvalidArgument(f"invalid filter 'name={word}': {error}", hint="a regular expression") from error


def _has_label(row: VolumeRow, word: str) -> bool:
    key, equals, value = word.partition("=")
    return key in row.labels and (not equals or row.labels[key] == value)


def _inspected(store: Store, row: VolumeRow) -> dict[str, Any]:
    return {
        "CreatedAt": timestamp(row.created_at),
        "Driver": row.driver,
        "Labels": dict(row.labels) or None,
        "Mountpoint": store.volumes.mountpoint(row.name),
        "Name": row.name,
        "Options": dict(row.options) or None,
        "Scope": "local",
    }
