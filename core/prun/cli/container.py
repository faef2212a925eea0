"""``prun container``: what is about containers, under one word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.group()
def container() -> None:
    """Look after containers."""


@container.command(hidden=True)
@click.argument("container_id")
@click.option("--unless-client", is_flag=True)
@click.pass_obj
def cleanup(settings: Mapping[str, str], container_id: str, unless_client: bool) -> int:
    """Do what is to be done when a container has ended: its monitor calls this."""
    from prun.cli.lifecycle import restart_later
    from prun.cli.run import runner_of
    from prun.ending import finish, take
    from prun.pipeline import is_attended, own_command
    from prun.state import Store

    runner = runner_of(settings)
    with Store(runner.root, runner.state) as store:
        row = store.metadata.container(container_id)
        if row is None or row.status not in ("running", "paused"):
            return 0
        if unless_client and is_attended(store.bundle(container_id)):
            return 0
        row = take(store, container_id)
        delay = None if row is None else finish(store, row)
    if delay is not None:
        restart_later(delay, [*own_command(runner.root, runner.state), "start", "--again", container_id])
    return 0
