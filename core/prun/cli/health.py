"""``prun healthcheck``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prun.cli.images import opened

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.group()
def healthcheck() -> None:
    """Check whether what runs in containers is well."""


@healthcheck.command()
@click.argument("name", metavar="CONTAINER")
@click.option("--periodic", is_flag=True, hidden=True)
@click.pass_obj
def run(settings: Mapping[str, str], name: str, periodic: bool) -> int:
    """Run a container's health check; 0: it is well, 1: it is not."""
    from prun.cli.lifecycle import start_again
    from prun.ending import live_task
    from prun.health import act_on_failure, check, next_check_s

    with opened(settings) as store:
        row = store.metadata.container(name) if periodic else store.find(name)
        if periodic and (row is None or row.status == "paused"):
            print(f"{next_check_s(store, name):g}")
            return 0 if row else 1
        assert row is not None
        health = check(store, row, live_task(store, row).probe)
        act_on_failure(store, row, health, lambda: start_again(settings, store, row.id))
        failed = bool(health["Log"][-1]["ExitCode"])
        if not periodic:
            if failed:
                print(health["Status"])
            return int(failed)
        seconds = next_check_s(store, name)
        print(f"{seconds:g}")
        return 0 if seconds else 1
