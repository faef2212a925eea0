"""``ps``: docker's columns and fields, podman's ``--sort``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from prun.cli.container_filters import KEYS, container_filters, network_of
from prun.cli.filters import filter_option, parse_filters
from prun.cli.images import opened
from prun.cli.listing import FORMAT, print_listing
from prun.cli.output import ago, local_time, timestamp
from prun.cli.states import LIVE, pid_of, state_of, status_of
from prun.cli.template.printf import quoted
from prun.cli.template.values import Pairs, Words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prun.metadata import ContainerRow, MountRow
    from prun.state import Store

_SORTS = ("command", "created", "id", "image", "names", "runningfor", "size", "status")
_COMMAND_LENGTH = 20


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Show those that do not run, too.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the ids.")
@click.option("-l", "--latest", is_flag=True, help="Show the one made last, in whatever state.")
@click.option("-n", "--last", type=click.IntRange(min=-1), default=-1, metavar="N", help="Show the N made last.")
@click.option("-s", "--size", "sizes", is_flag=True, help="Show how much they have written.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids and commands.")
@click.option("--sort", type=click.Choice(_SORTS), help="By what to sort (default: the newest first).")
@click.option("--noheading", is_flag=True, help="Leave out the line of headings.")
@filter_option(*KEYS)
@FORMAT
@click.pass_obj
def ps(
    settings: Mapping[str, str],
    everything: bool,
    quiet: bool,
    latest: bool,
    last: int,
    sizes: bool,
    no_trunc: bool,
    sort: str | None,
    noheading: bool,
    filters: tuple[str, ...],
    form: str,
) -> None:
    """List containers."""
    columns = {"CONTAINER ID": "ID", "IMAGE": "Image", "COMMAND": "Command", "CREATED": "RunningFor",
               "STATUS": "Status", "PORTS": "Ports", "NAMES": "Names"}  # fmt: skip
    if sizes:
        columns["SIZE"] = "Size"
    count = 1 if latest else last
    # Who asks for the last, or for those that have ended, means those that do not run, too.
    everything = everything or count >= 0 or any(word.startswith(("status=", "exited=")) for word in filters)
    with opened(settings) as store:
        fits = parse_filters(filters, container_filters(store))
        found = [row for row in store.metadata.containers() if (everything or row.status in LIVE) and fits(row)]
        found = found[:count] if count >= 0 else found
        listed = _Listed(store, sizes=sizes or ".Size" in form, no_trunc=no_trunc)
        rows = [listed.of(row) for row in (sorted(found, key=listed.sort_key(sort)) if sort else found)]
    print_listing(rows, columns, form, quiet="ID" if quiet else "", heading=not noheading)


class _Listed:
    """Makes of rows what is shown of them; what costs a look at the disk only when asked."""

    def __init__(self, store: Store, *, sizes: bool, no_trunc: bool) -> None:
        self._store = store
        self._sizes = sizes
        self._no_trunc = no_trunc
        self._now = time.time()
        self._mounts: dict[str, list[MountRow]] = {}
        for mount in store.metadata.all_mounts():
            self._mounts.setdefault(mount.container_id, []).append(mount)

    def of(self, row: ContainerRow) -> dict[str, Any]:
        """Return docker's fields, and those of podman and of ours that docker does not have."""
        mounts = self._mounts.get(row.id, [])
        return {
            "ID": row.id if self._no_trunc else row.id[:12],
            "Names": row.name,
            "Image": row.image,
            "ImageID": row.digest,
            "Command": quoted(self._shortened(command_line(row.command))),
            "Created": timestamp(row.created_at),
            "CreatedAt": local_time(row.created_at),
            "RunningFor": ago(row.created_at),
            "State": state_of(row),
            "Status": status_of(row, self._now),
            "ExitCode": row.exit_code or 0,
            "Exited": row.status == "stopped",
            "StartedAt": timestamp(row.started_at),
            "ExitedAt": timestamp(row.finished_at),
            "Restarts": row.restart_count,
            "Pid": pid_of(self._store, row),
            "Ports": "",  # of networks of its own, which prun does not make yet
            "Networks": Words([name] if (name := network_of(row)) else []),
            "Mounts": Words([self._shortened(mount.name or mount.source or mount.destination) for mount in mounts]),
            "LocalVolumes": sum(mount.type == "volume" for mount in mounts),
            "Labels": Pairs(row.labels),
            "Runtime": row.runtime,
            "AutoRemove": not row.keep,
            **({"Size": self._size(row)} if self._sizes else {}),
        }

    def sort_key(self, field: str) -> Callable[[ContainerRow], Any]:
        """Return by what rows are sorted; those that are equal stay as they are, the newest first."""
        keys: dict[str, Callable[[ContainerRow], Any]] = {
            "command": lambda row: command_line(row.command),
            "created": lambda row: row.created_at,
            "id": lambda row: row.id,
            "image": lambda row: row.image,
            "names": lambda row: row.name,
            "runningfor": lambda row: -(row.started_at or 0),
            "size": lambda row: self._store.snapshots.sizes(row.id)[0],
            "status": lambda row: status_of(row, self._now),
        }
        return keys[field]

    def _shortened(self, text: str) -> str:
        return text if self._no_trunc or len(text) <= _COMMAND_LENGTH else f"{text[: _COMMAND_LENGTH - 1]}…"

    def _size(self, row: ContainerRow) -> str:
        """Return what it has written, and with it what it was made from, in docker's words."""
        from prun.cli.output import size

        written, whole = self._store.snapshots.sizes(row.id)
        return f"{size(written)} (virtual {size(whole)})"


def command_line(words: Sequence[str]) -> str:
    """Return a command in one line, as docker does: an argument that has a blank stands between quotes."""
    return " ".join([*words[:1], *(f"'{word}'" if " " in word else word for word in words[1:])])
