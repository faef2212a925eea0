"""``ps`` and ``inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from prun.cli.images import opened
from prun.cli.listing import FORMAT, RECORD_FORMAT, print_listing, print_records
from prun.cli.output import ago, local_time, timestamp
from prun.cli.template.values import Pairs
from prun.errors import NotFound, PluginError, Unimplemented

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.metadata import ContainerRow
    from prun.state import Store


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Show stopped containers too.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the ids.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids and commands.")
@FORMAT
@click.pass_obj
def ps(settings: Mapping[str, str], everything: bool, quiet: bool, no_trunc: bool, form: str) -> None:
    """List containers."""
    with opened(settings) as store:
        found = [row for row in store.metadata.containers() if everything or row.status in ("running", "paused")]
        rows = [_listed(with_pid(store, row), no_trunc) for row in found]
    columns = {"CONTAINER ID": "ID", "IMAGE": "Image", "COMMAND": "Command", "CREATED": "RunningFor",
               "STATUS": "Status", "RUNTIME": "Runtime", "NAMES": "Names"}  # fmt: skip
    print_listing(rows, columns, form, quiet="ID" if quiet else "")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--type", "kind", type=click.Choice(["container", "image"]), help="Look only for one of these.")
@RECORD_FORMAT
@click.pass_obj
def inspect(settings: Mapping[str, str], names: tuple[str, ...], kind: str | None, form: str) -> None:
    """Show all that is known of containers and images, as JSON."""
    with opened(settings) as store:
        records = [_inspected(store, name, kind) for name in names]
    print_records(records, form, indent=2)


def with_pid(store: Store, row: ContainerRow) -> ContainerRow:
    """Ask the runtime of a running container for its pid, which it may have learnt only after the start."""
    if row.status != "running":
        return row
    from prun.ending import find_task

    try:
        return row._replace(pid=find_task(store, row).pid)
    except (Unimplemented, NotFound, PluginError):
        return row


def _inspected(store: Store, name: str, kind: str | None) -> dict[str, Any]:
    from prun.cli.inspection import inspect_container, inspect_image
    from prun.engines.embedded import images

    if kind != "image":
        try:
            row = store.find(name)
            return inspect_container(with_pid(store, row), store.metadata.mounts(row.id))
        except NotFound:
            if kind == "container":
                raise
    try:
        return inspect_image(store, images.find(store, name))
    except NotFound as error:
        if kind == "image":
            raise
        raise NotFound(f"no such container or image: {name}", hint="prun ps -a and prun images list them") from error


def _listed(row: ContainerRow, no_trunc: bool) -> dict[str, Any]:
    command = " ".join(row.command)
    return {
        "ID": row.id if no_trunc else row.id[:12],
        "Names": row.name,
        "Image": row.image,
        "Command": command if no_trunc or len(command) <= 20 else command[:19] + "…",
        "Created": timestamp(row.created_at),
        "CreatedAt": local_time(row.created_at),
        "RunningFor": ago(row.created_at),
        "State": row.status,
        "Status": _status(row),
        "ExitCode": row.exit_code,
        "Pid": row.pid,
        "Runtime": row.runtime,
        "Labels": Pairs(row.labels),
    }


def _status(row: ContainerRow) -> str:
    if row.status == "running":
        return f"Up {ago(row.started_at).removesuffix(' ago')}"
    if row.status == "stopped":
        code = "unknown" if row.exit_code is None else row.exit_code
        return f"Exited ({code}) {ago(row.finished_at)}"
    return "Created"
