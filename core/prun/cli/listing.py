"""``--format`` and ``--quiet``: tables for a person, JSON for a program, Go templates for a script.

``table`` lines the columns up, ``table TEMPLATE`` those of one's own, ``json`` is one array of all, and any other
template is printed for each row: ``{{json .}}`` gives a line of JSON each.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from prun.cli.output import printable, printable_lines
from prun.cli.template import parse
from prun.cli.template.values import Headings
from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from prun.cli.template import Template

FORMAT = click.option("--format", "form", default="", metavar="table|json|TEMPLATE", help="How to list.")
# For what is shown as JSON when nothing else is asked for.
RECORD_FORMAT = click.option(
    "-f", "--format", "form", default="", metavar="json|TEMPLATE", help="What to show of each."
)


def print_listing(
    rows: Sequence[Mapping[str, object]],
    columns: Mapping[str, str],
    form: str,
    *,
    quiet: str = "",
    heading: bool = True,
) -> None:
    """Print rows of one kind.

    ``columns`` are those of the table that is shown unasked: heading to field; ``quiet`` names the field that is all
    there is to print; ``heading`` False leaves out the headings.

    Raises:
        InvalidArgument: the template is none, or names what rows do not have; ``form`` and ``quiet`` are both given.
    """
    if quiet and form:
        raise InvalidArgument("--quiet and --format exclude each other")
    print(listing(rows, columns, f"{{{{.{quiet}}}}}" if quiet else form, heading=heading), end="")


def listing(
    rows: Sequence[Mapping[str, object]], columns: Mapping[str, str], form: str, *, heading: bool = True
) -> str:
    """Return what ``print_listing`` prints."""
    if form == "json":
        return json.dumps(list(rows), indent=2) + "\n"
    word, _, rest = form.partition(" ") if form.startswith("table ") else (form, "", "")
    if word in ("", "table"):
        template = parse(rest.strip(" ") or "\\t".join(f"{{{{.{field}}}}}" for field in columns.values()))
        above = [template.heading(Headings({field: words for words, field in columns.items()}))] if heading else []
        return aligned([*above, *(template.render(row, printable) for row in rows)])
    return _each(parse(form), rows)


def print_records(records: Sequence[Mapping[str, object]], form: str, *, indent: int = 4) -> None:
    """Print all that is known of each: one JSON array, or a template for each."""
    if form in ("", "json"):
        print(json.dumps(list(records), indent=indent))
    else:
        print(_each(parse(form), records), end="")


def print_record(record: Mapping[str, object], columns: Mapping[str, str], form: str) -> None:
    """Print the one thing there is: a JSON object, or what ``print_listing`` makes of it."""
    print(json.dumps(record, indent=2) if form == "json" else listing([record], columns, form).rstrip("\n"))


def aligned(lines: Sequence[str]) -> str:
    r"""Line up what stands between tabs, as docker does: ten characters at least, three between.

    >>> aligned(["A\tB", "long value\tx"])
    'A            B\nlong value   x\n'
    """
    table = [line.split("\t") for line in lines]
    widths: dict[int, int] = {}
    for cells in table:
        for i, cell in enumerate(cells[:-1]):
            widths[i] = max(widths.get(i, 10), len(cell) + 3)
    return "".join(
        "".join([*(cell.ljust(widths[i]) for i, cell in enumerate(cells[:-1])), cells[-1]]).rstrip() + "\n"
        for cells in table
    )


def _each(template: Template, records: Sequence[Mapping[str, object]]) -> str:
    """Print the template for each; programs get what is there, terminals nothing that could steer them."""
    escape = printable_lines if sys.stdout.isatty() else str
    return "".join(f"{template.render(record, escape)}\n" for record in records)


def switch(name: str, text: str) -> Callable[[Any], Any]:
    """Return an option that is on, and that ``=false`` switches off."""
    return click.option(name, is_flag=False, flag_value="true", default="true", type=bool, metavar="[BOOL]", help=text)
