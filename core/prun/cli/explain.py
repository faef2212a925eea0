"""``prun explain``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command()
@click.argument("words", nargs=-1, metavar="[CONTAINER] [/JSON/POINTER]")
@click.option("--last", "-l", is_flag=True, help="The container that was made last.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How it is printed.")
@click.pass_obj
def explain(settings: Mapping[str, str], words: tuple[str, ...], last: bool, form: str) -> None:
    """Say why each field of a container's spec is as it is: who set it, to what, and what it was before.

    With a JSON pointer only the field there, or the fields below.
    """
    from prun.cli.explanation import as_json, as_text
    from prun.cli.output import warn
    from prun.cli.run import runner_of

    name, pointer = _sorted_out(words, last=last)
    found = runner_of(settings).containers.explain(name)
    if form == "json":
        document = {
            "container": found.id,
            "source": "recorded" if found.recorded else "rebuilt",
            "differences": [list(each) for each in found.differences],
            "fields": as_json(found.explanation, pointer),
        }
        print(json.dumps(document, indent=2))
        return
    lines = list(as_text(found.explanation, pointer))
    if not found.recorded:
        click.echo(_how_it_is_known(found.compared))
    for pointer_, here, there in found.differences:
        warn(f"{pointer_} is {json.dumps(there)} in the container, and would be {json.dumps(here)} now")
    for line in lines:
        click.echo(line)


def _sorted_out(words: tuple[str, ...], *, last: bool) -> tuple[str, str]:
    """Return the container's name, empty for the last, and the pointer, empty for all."""
    if len(words) > (1 if last else 2):
        raise InvalidArgument(
            f"{words[-1]!r} is one word too many", hint="prun explain CONTAINER|--last [/json/pointer]"
        )
    name = "" if last else next(iter(words), "")
    if not last and not name:
        raise InvalidArgument("CONTAINER is missing", hint="its name or id, or --last")
    pointer = words[-1] if len(words) == (1 if last else 2) else ""
    if pointer and not pointer.startswith("/"):
        raise InvalidArgument(f"{pointer!r} is no JSON pointer", hint="as in /process/args")
    return name, pointer


def _how_it_is_known(compared: bool) -> str:
    """Say that it was not written down when the container was made."""
    beside = "and compared with its config.json" if compared else "whose config.json is gone"
    return f"# rebuilt from what the container was made of, {beside}; run --explain writes it down"
