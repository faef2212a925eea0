"""``container``: what is about containers, under one word; ``rename`` and ``port``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prun.cli.filters import Key, filter_option, labelled, parse_filters
from prun.cli.groups import AlsoHere
from prun.cli.images import opened
from prun.cli.inspect import SIZE, show
from prun.cli.listing import RECORD_FORMAT
from prun.errors import FailedPrecondition, InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prun.metadata import ContainerRow
    from prun.state import Store

# What is here too, as docker has it; ``list`` and ``ls`` are other words for ``ps``.
_ALSO = (
    *("attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "pause", "port", "ps", "rename"),
    *("restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait"),
)


@click.group(cls=AlsoHere, also={**{name: name for name in _ALSO}, "list": "ps", "ls": "ps"})
def container() -> None:
    """Look after containers."""


@container.command()
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
@SIZE
@RECORD_FORMAT
@click.pass_obj
def inspect(settings: Mapping[str, str], names: tuple[str, ...], sizes: bool, form: str) -> None:
    """Show all that is known of containers, as JSON."""
    show(settings, names, ("container",), form, sizes=sizes)


@container.command()
@click.argument("name", metavar="CONTAINER")
@click.pass_obj
def exists(settings: Mapping[str, str], name: str) -> int:
    """Tell by the exit code whether there is such a container: 0 or 1."""
    with opened(settings) as store:
        try:
            store.find(name)
        except NotFound:
            return 1
    return 0


@container.command()
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@filter_option("label", "label!", "until", short="")
@click.pass_obj
def prune(settings: Mapping[str, str], force: bool, filters: tuple[str, ...]) -> None:
    """Remove all containers that do not run."""
    from prun.cli.output import size

    fits = _prune_filter(filters)
    if not force:
        click.confirm("WARNING! This will remove all stopped containers.\nDo you want to continue?", abort=True)
    with opened(settings) as store:
        gone, freed = _removed(store, fits)
    if gone:
        print("\n".join(["Deleted Containers:", *gone, ""]))
    print(f"Total reclaimed space: {size(freed)}")


def pruned(store: Store, filters: Sequence[str]) -> tuple[list[str], int]:
    """Remove the containers that do not run and fit; return their ids, and how many bytes they had written."""
    return _removed(store, _prune_filter(filters))


def _prune_filter(filters: Sequence[str]) -> Callable[[ContainerRow], bool]:
    from prun.cli.container_filters import made_until

    keys: dict[str, Key[ContainerRow]] = {
        "label": labelled(lambda row: row.labels),
        "label!": labelled(lambda row: row.labels, wanted=False),
        "until": made_until,
    }
    return parse_filters(filters, keys)


def _removed(store: Store, fits: Callable[[ContainerRow], bool]) -> tuple[list[str], int]:
    from prun.record import is_alive
    from prun.stopping import remove_container

    gone, freed = [], 0
    for row in store.metadata.containers():
        lease = store.metadata.lease(row.id)
        if row.status not in ("created", "stopped") or not fits(row) or (lease and is_alive(lease)):
            continue
        written = store.snapshots.sizes(row.id)[0]
        try:
            remove_container(store, row)
        except FailedPrecondition:
            continue  # somebody has just started it
        gone.append(row.id)
        freed += written
    return gone, freed


@click.command()
@click.argument("name", metavar="CONTAINER")
@click.argument("new", metavar="NEW_NAME")
@click.pass_obj
def rename(settings: Mapping[str, str], name: str, new: str) -> None:
    """Give a container another name."""
    from prun.api import checked_name

    wanted = checked_name(new)
    if not wanted:
        raise InvalidArgument("the new name is empty")
    with opened(settings) as store:
        row = store.find(name)
        if row.name == wanted:
            raise InvalidArgument(f"container {wanted} has that name already")
        store.metadata.rename_container(row.id, wanted)


@click.command()
@click.argument("name", metavar="CONTAINER")
@click.argument("port", default="", metavar="[PORT[/PROTOCOL]]")
@click.pass_obj
def port(settings: Mapping[str, str], name: str, port: str) -> None:
    """List the ports of a container that are published on this machine: none, while it has no network of its own."""
    with opened(settings) as store:
        row = store.find(name)
    if port:
        number, _, protocol = port.partition("/")
        if not number.isdecimal() or not 0 < int(number) < 65536 or protocol not in ("", "tcp", "udp", "sctp"):
            raise InvalidArgument(f"port {port!r} is none", hint="a number, or NUMBER/tcp, /udp or /sctp")
        raise NotFound(f"no public port {number}/{protocol or 'tcp'} published for {row.name}")


@container.command(hidden=True)
@click.argument("container_id")
@click.option("--unless-client", is_flag=True)
@click.option("--session", "session_id", default="")
@click.pass_obj
def cleanup(settings: Mapping[str, str], container_id: str, unless_client: bool, session_id: str) -> int:
    """Do what is to be done when a container, or a session of exec in it, has ended: its monitor calls this."""
    from prun.cli.lifecycle import restart_later
    from prun.cli.run import runner_of
    from prun.ending import finish, has_ended, is_attended, own_command, take
    from prun.state import Store

    runner = runner_of(settings)
    with Store(runner.root, runner.state) as store:
        if session_id:
            from prun.sessions import end_stray

            end_stray(store, container_id, session_id)
            return 0
        lease = store.metadata.lease(container_id)
        row = store.metadata.container(container_id)
        # By now it may run again, when another prun was quicker.
        if row is None or row.status not in ("running", "paused") or not has_ended(store, row):
            return 0
        if unless_client and is_attended(store.bundle(container_id)):
            return 0
        row = take(store, container_id, lease)
        delay = None if row is None else finish(store, row)
    if delay is not None:
        restart_later(delay, [*own_command(runner.root, runner.state), "start", "--again", container_id])
    return 0
