"""``update``: other limits for a container, and another restart policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prun.cli.choosing import chosen, each
from prun.cli.images import opened
from prun.cli.lifecycle import NAMES
from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping


def _limit(*names: str, metavar: str = "N", text: str) -> click.Option:
    return click.Option(names, metavar=metavar, help=text)


@click.command(
    params=[
        _limit("-m", "--memory", metavar="BYTES", text="Limit memory."),
        _limit("--memory-swap", metavar="BYTES", text="Limit memory and swap together; -1 for any."),
        _limit("--memory-reservation", metavar="BYTES", text="The memory that it keeps when there is little."),
        _limit("--cpus", metavar="NUMBER", text="Limit processors, as in 1.5."),
        _limit("-c", "--cpu-shares", text="Its weight beside others."),
        _limit("--cpu-quota", metavar="MICROSECONDS", text="What it may run in each period."),
        _limit("--cpu-period", metavar="MICROSECONDS", text="How long a period is."),
        _limit("--cpuset-cpus", metavar="CPUS", text="The processors it may use, as in 0-3,5."),
        _limit("--cpuset-mems", metavar="NODES", text="The memory nodes it may use."),
        _limit("--pids-limit", text="Limit processes; -1 for any number."),
        _limit("--blkio-weight", text="Its weight at the disks, 10 to 1000."),
        _limit("--restart", metavar="POLICY", text="no, on-failure[:N], always or unless-stopped."),
    ]
)
@NAMES
@click.pass_obj
def update(settings: Mapping[str, str], /, names: tuple[str, ...], **options: str | None) -> int:
    """Change the limits of containers, now and for their next start."""
    from prun.updating import update as update_container

    asked = {name: word for name, word in options.items() if word is not None}
    if not asked:
        raise InvalidArgument("you must provide one or more flags when using this command", hint="prun update --help")
    with opened(settings) as store:
        return each(store, chosen(store, names, everything=False), lambda row: update_container(store, row, asked))
