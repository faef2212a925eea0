"""``prun replay``, and ``prun diff`` of what two runs were made from."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from prun.cli.images import opened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prun.spec.difference import Difference


@click.command()
@click.argument("path", metavar="LOCK")
@click.option("--strict", is_flag=True, help="Refuse a run that would not be the same.")
@click.option("--name", default="", metavar="NAME", help="The container's name, if not that of the lock.")
@click.pass_obj
def replay(settings: Mapping[str, str], path: str, strict: bool, name: str) -> int:
    """Run again what a lock (run --lock) says, and say what is not as it was then.

    Look at the lock of somebody else first: it can ask for all that prun run can.
    """
    from prun.cli.output import warn
    from prun.cli.run import runner_of
    from prun.locking import read_lock, said
    from prun.signals import ForwardedSignals

    def differing(found: Sequence[Difference]) -> None:
        for each in found:
            warn(f"not as it was: {said(each)}")

    runner = runner_of(settings)
    with ForwardedSignals() as signals:
        result = runner.replay_lock(path, strict=strict, name=name, capture=False, differing=differing, signals=signals)
    if result.left and read_lock(path).request.detach:
        print(result.id)
        return 0
    return result.exit_code


def are_documents(settings: Mapping[str, str], first: str, second: str) -> bool:
    """Tell whether one of two words is a file with a lock or a spec, and no container of that name."""
    from prun.errors import PrunError

    with opened(settings) as store:
        for word in (first, second):
            if os.path.isfile(word):
                try:
                    store.find(word)
                except PrunError:
                    return True
    return False


def compare(settings: Mapping[str, str], first: str, second: str, form: str | None) -> int:
    """Print what differs in what two runs were made from, field by field; return 1 if anything does."""
    from prun.cli.run import runner_of
    from prun.locking import compared, said
    from prun.replaying import made_from
    from prun.spec.provenance import ABSENT

    runner = runner_of(settings)
    with opened(settings) as store:
        found = compared(*(made_from(word, store, runner.hooks_of) for word in (first, second)))
    if form == "json":
        rows: list[dict[str, Any]] = [
            {key: value for key, value in each._asdict().items() if value is not ABSENT} for each in found
        ]
        print(json.dumps(rows, indent=2))
    else:
        for each in found:
            print(said(each))
    return 1 if found else 0
