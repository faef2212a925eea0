"""``plugins order``, ``graph`` and ``why``: who is asked when, who wants what, and who decides about a field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from prun.cli.listing import FORMAT, print_listing
from prun.cli.output import printable
from prun.cli.run import runner_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.plugins import Hooks

RUNTIME = click.option("--runtime", default="", metavar="NAME", help="Beside which runtime.")


@click.command()
@RUNTIME
@FORMAT
@click.pass_obj
def order(settings: Mapping[str, str], runtime: str, form: str) -> None:
    """List what a run loads, from general to specific: the last word is that of the last."""
    hooks = runner_of(settings, runtime=runtime).hooks
    rows: list[dict[str, Any]] = []
    for number, (guard, _) in enumerate(hooks.registered(), 1):
        rows.append(
            {
                "Order": number,
                "Name": guard.name,
                "Origin": guard.origin or "-",
                "OnError": guard.on_error,
                "TimeoutS": guard.timeout_s or 0,
                "Timeout": f"{guard.timeout_s:g} s" if guard.timeout_s else "-",
                "Hooks": hooks.implemented_by(guard.name),
            }
        )
    columns = {"ORDER": "Order", "NAME": "Name", "DISTRIBUTION": "Origin", "ON ERROR": "OnError", "TIMEOUT": "Timeout",
               "HOOKS": "Hooks"}  # fmt: skip
    if form in ("", "table"):
        rows = [{**row, "Hooks": ", ".join(hook.removeprefix("prun_") for hook in row["Hooks"]) or "-"} for row in rows]
    print_listing(rows, columns, form)


@click.command()
@RUNTIME
@click.option("--format", "form", type=click.Choice(["text", "dot", "json"]), default="text", help="How to show it.")
@click.pass_obj
def graph(settings: Mapping[str, str], runtime: str, form: str) -> None:
    """Show which plugins want to come before which, and who says so."""
    runner = runner_of(settings, runtime=runtime)
    found = graph_of(runner.hooks, runner.settings.plugins)
    if form == "json":
        print(json.dumps(found, indent=2))
    elif form == "dot":
        print("digraph plugins {")
        for node in found["plugins"]:
            print(f"  {json.dumps(node)};")
        for edge in found["wishes"]:
            print(f"  {json.dumps(edge['first'])} -> {json.dumps(edge['then'])} [label={json.dumps(edge['said_by'])}];")
        print("}")
    else:
        for node in found["plugins"]:
            print(printable(node))
            for edge in found["wishes"]:
                if edge["then"] == node:
                    print(printable(f"  after {edge['first']}, says {edge['said_by']}"))


def graph_of(hooks: Hooks, configured: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the plugins of tier 4 in their order, and their wishes."""
    from prun.ordering import wishes_of

    tier = {guard.name: plugin for guard, plugin in hooks.registered() if guard.name in hooks.plugins}
    wishes = dict.fromkeys(wishes_of(tier, configured))
    return {"plugins": list(tier), "wishes": [wish._asdict() for wish in wishes]}


@click.command(context_settings={"ignore_unknown_options": True})
@RUNTIME
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to show it.")
@click.argument("field", metavar="/JSON/POINTER")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[IMAGE [COMMAND...]]")
@click.pass_obj
def why(settings: Mapping[str, str], runtime: str, form: str, field: str, words: tuple[str, ...]) -> None:
    """Say which plugins decide about a field of the spec, in order; of a container of IMAGE, or without an image."""
    from prun.cli.explanation import as_json, as_text

    runner = runner_of(settings, runtime=runtime)
    image, *command = words or ("", "sh")
    request = runner.request(image, command) if image else runner.request("", command, rootfs="/")
    explanation = runner.explain(request)
    if form == "json":
        print(json.dumps({"fields": as_json(explanation, field)}, indent=2))
        return
    for line in as_text(explanation, field):
        print(line)
