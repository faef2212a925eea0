"""``events``: what has happened and what happens, in docker's words, fields and filters."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from prun.cli.filters import Key, filter_option, labelled, parse_filters, word_of
from prun.cli.images import opened
from prun.cli.listing import switch
from prun.cli.output import printable
from prun.cli.run import runner_of
from prun.cli.template import parse
from prun.cli.template.values import Pairs
from prun.events import coming, past
from prun.types import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.cli.template import Template
    from prun.metadata import EventRow

_TYPES = ("container", "image", "volume")
_ID_DIGITS = 12


@click.command()
@click.option("--since", default="", metavar="TIME", help="What has happened since then: a date, or 10m ago.")
@click.option("--until", default="", metavar="TIME", help="What happens until then; once that is past, end.")
@filter_option("container", "event", "image", "label", "type", "volume")
@switch("--stream", "Wait for what is to come (the default).")
@click.option("--no-stream", is_flag=True, help="Show only what has been.")
@click.option("--format", "form", default="", metavar="json|TEMPLATE", help="How to show each.")
@switch("--no-trunc", "Show whole ids (the default).")
@click.pass_obj
def events(
    settings: Mapping[str, str],
    since: str,
    until: str,
    filters: tuple[str, ...],
    stream: bool,
    no_stream: bool,
    form: str,
    no_trunc: bool,
) -> None:
    """Show what happens to containers, images and volumes."""
    from prun.when import point_ns

    stream = stream and not no_stream
    since_ns, until_ns = point_ns(since) if since else None, point_ns(until) if until else None
    aliases = runner_of(settings).settings.aliases
    fits = parse_filters(filters, {**_KEYS, "image": lambda word: _of_image(word, aliases)})
    template = parse(form) if form and form != "json" else None
    with opened(settings) as store:
        after = store.metadata.last_event_number()
        if since or until or not stream:
            for row in past(store, since_ns, until_ns):
                after = max(after, row.id)
                if fits(row):
                    print(_line(row, form, template, no_trunc))
        sys.stdout.flush()
        if not stream:
            return
        for coming_row in coming(store, after, until_ns):
            if coming_row is None:
                sys.stdout.flush()
            elif fits(coming_row):
                print(_line(coming_row, form, template, no_trunc))


def _line(row: EventRow, form: str, template: Template | None, no_trunc: bool) -> str:
    if form == "json" or (template and "".join(form.split()) == "{{json.}}"):
        return json.dumps(record(row), separators=(",", ":"))
    if template:
        return template.render(_fields(row), printable if sys.stdout.isatty() else str)
    return _text(row, no_trunc)


def record(row: EventRow) -> dict[str, Any]:
    """Return docker's JSON; the first three are of containers and images only."""
    old = {"status": row.action, "id": row.actor} if row.type in ("container", "image") else {}
    if row.type == "container":
        old["from"] = row.attributes.get("image", "")
    return {
        **old,
        "Type": row.type,
        "Action": row.action,
        "Actor": {"ID": row.actor, "Attributes": dict(row.attributes)},
        "scope": "local",
        "time": row.time_ns // 10**9,
        "timeNano": row.time_ns,
    }


def _fields(row: EventRow) -> dict[str, Any]:
    """Return what a template can name: docker's fields, and podman's."""
    attributes = Pairs(row.attributes)
    return {
        "Type": row.type,
        "Action": row.action,
        "Status": row.action,
        "ID": row.actor,
        "From": row.attributes.get("image", ""),
        "Image": row.attributes.get("image", ""),
        "Name": row.attributes.get("name", row.actor),
        "Actor": {"ID": row.actor, "Attributes": attributes},
        "Attributes": attributes,
        "ContainerExitCode": int(row.attributes.get("exitCode", 0)),
        "Scope": "local",
        "Time": row.time_ns // 10**9,
        "TimeNano": row.time_ns,
    }


def _text(row: EventRow, no_trunc: bool) -> str:
    seconds, nanoseconds = divmod(row.time_ns, 10**9)
    at = time.localtime(seconds)
    zone = time.strftime("%z", at)
    when = f"{time.strftime('%Y-%m-%dT%H:%M:%S', at)}.{nanoseconds:09}{zone[:3]}:{zone[3:]}"
    shown = ", ".join(f"{key}={value}" for key, value in sorted(row.attributes.items()))
    actor = row.actor if no_trunc or row.type != "container" else row.actor[:_ID_DIGITS]
    return printable(f"{when} {row.type} {row.action} {actor}" + (f" ({shown})" if shown else ""))


def _of_container(word: str) -> Any:
    """Match a container's id, the beginning of one, or its name."""
    return lambda row: (
        row.type == "container" and (row.actor.startswith(word) or row.attributes.get("name") == word.removeprefix("/"))
    )


def _of_image(word: str, aliases: Mapping[str, str]) -> Any:
    """Match an image by a name or its id, and containers made from it."""
    from prun.engines.embedded.images import canonical, repository_of

    wanted = canonical(word, aliases)

    def fits(row: EventRow) -> bool:
        if row.type not in ("container", "image"):
            return False
        name = row.attributes.get("image" if row.type == "container" else "name", "")
        known = canonical(name, NOTHING)
        is_it = word in (name, row.actor) or (bool(wanted) and wanted == known)
        return is_it or (bool(known) and repository_of(known) == word)

    return fits


_KEYS: dict[str, Key[EventRow]] = {
    "container": _of_container,
    "event": lambda word: lambda row: row.action == word or row.action.startswith(f"{word}:"),
    "label": labelled(lambda row: row.attributes),
    "type": word_of(lambda row: row.type, _TYPES),
    "volume": lambda word: lambda row: row.type == "volume" and row.actor == word,
}
