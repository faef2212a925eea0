"""``plugins``: what is installed, and the beginning of one of your own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from prun import discovery
from prun.cli.listing import FORMAT, RECORD_FORMAT, print_listing, print_records
from prun.cli.pluginorder import graph, order, why
from prun.cli.run import runner_of
from prun.config import PluginSettings
from prun.errors import InvalidArgument, NotFound, PrunError
from prun.guard import DEFAULT_S
from prun.loading import chosen, imported
from prun.plugins import ENGINES, PLUGINS, RUNTIMES, Hooks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.discovery import EntryPoint

KINDS = {"runtime": RUNTIMES, "engine": ENGINES, "plugin": PLUGINS}


@click.group(invoke_without_command=True)
@FORMAT
@click.pass_context
def plugins(ctx: click.Context, form: str) -> None:
    """Look after runtimes, engines and plugins; without a further word, list them."""
    if ctx.invoked_subcommand is None:
        _list(ctx.obj, form)
    elif form:
        raise InvalidArgument("--format is an option of prun plugins list", hint="write it after the further word")


@plugins.command("list")
@FORMAT
@click.pass_obj
def list_(settings: Mapping[str, str], form: str) -> None:
    """List runtimes, engines and plugins: where each comes from and which hooks it implements."""
    _list(settings, form)


@plugins.command()
@click.argument("name")
@click.option("--runtime", is_flag=True, help="A runtime: prun run --runtime NAME.")
@click.option("--plugin", is_flag=True, help="A plugin, which has a part in every run.")
@click.option("--directory", metavar="DIR", default="", help="Where to write it, instead of prun-NAME.")
def new(name: str, runtime: bool, plugin: bool, directory: str) -> None:
    """Write a distribution that is a runtime or a plugin of your own, with its tests."""
    from prun.scaffold import write

    if runtime == plugin:
        raise InvalidArgument(f"is {name} to be a runtime or a plugin?", hint="one of --runtime and --plugin")
    written = write(name, "runtime" if runtime else "plugin", directory or f"prun-{name}")
    where = written if os.path.isabs(written) else os.path.join(".", written)
    use = f"run --rm --runtime {name} scratch echo hi" if runtime else "spec --runtime fake scratch true"
    print(f"{written}\n  pip install {where}\n  prun {use}")


@plugins.command()
@click.argument("name")
@RECORD_FORMAT
@click.pass_obj
def show(settings: Mapping[str, str], name: str, form: str) -> None:
    """Show all that is known of the runtime, engine or plugin of a name, and what prun.toml says of it, as JSON."""
    configured = runner_of(settings).settings.plugins
    found = [_shown(kind, entry, name, configured.get(name)) for kind, entry in _entries(name, configured)]
    if not found:
        raise NotFound(f"no runtime, engine or plugin is called {name!r}", hint="prun plugins list")
    print_records(found, form)


for _command in (order, graph, why):
    plugins.add_command(_command)


def _entries(name: str, configured: Mapping[str, PluginSettings]) -> list[tuple[str, EntryPoint]]:
    used = configured[name].use if name in configured else ""
    entries = [(kind, discovery.entry_points(group)) for kind, group in KINDS.items()]
    return [
        (kind, found[wanted])
        for kind, found in entries
        if (wanted := (used or name) if kind == "plugin" else name) in found
    ]


def _shown(kind: str, entry: EntryPoint, name: str, table: PluginSettings | None) -> dict[str, Any]:
    """Return what is known of one; options are those that it has, with their help, and their values where set."""
    enabled = kind != "plugin" or bool(table.enabled if table else entry.distribution != "prun")
    row = {**_described(kind, entry, enabled=enabled), "Name": name}
    if kind != "plugin":
        return row
    try:
        plugin = imported(entry)
    except PrunError:
        return row
    said = table or PluginSettings()
    limit = getattr(plugin, "prun_timeout_s", DEFAULT_S) if said.timeout_s is None else said.timeout_s
    return {
        **row,
        "Options": dict(getattr(plugin, "prun_options", {})),
        "Values": dict(said.options),
        "OnError": said.on_error,
        "TimeoutS": limit,
        "Before": [*getattr(plugin, "prun_before", ()), *said.before],
        "After": [*getattr(plugin, "prun_after", ()), *said.after],
    }


def _list(settings: Mapping[str, str], form: str) -> None:
    wanted = chosen(discovery.entry_points(PLUGINS), None, runner_of(settings).settings.plugins)
    rows = []
    for kind, group in KINDS.items():
        for name, entry in sorted(discovery.entry_points(group).items()):
            rows.append(_described(kind, entry, enabled=kind != "plugin" or name in wanted))
    columns = {"KIND": "Kind", "NAME": "Name", "DISTRIBUTION": "Distribution", "VERSION": "Version", "HOOKS": "Hooks",
               "STATE": "State"}  # fmt: skip
    if form in ("", "table"):
        rows = [{**row, "Hooks": ", ".join(hook.removeprefix("prun_") for hook in row["Hooks"]) or "-"} for row in rows]
    print_listing(rows, columns, form)


def _described(kind: str, entry: EntryPoint, *, enabled: bool) -> dict[str, Any]:
    row = {
        "Kind": kind,
        "Name": entry.name,
        "Distribution": entry.distribution,
        "Version": entry.version,
        "Module": entry.value,
        "File": "",
        "Hooks": [],
        "Options": {},
        "State": "enabled" if enabled else "disabled",
    }
    try:
        plugin = imported(entry)
        row["File"] = getattr(plugin, "__file__", None) or ""
        row["Hooks"] = [name for name in dir(plugin) if hasattr(getattr(plugin, name), "prun_impl")]
        if kind == "runtime":
            row["Options"] = dict(Hooks.of(runtime=plugin).describe_runtime().options)
    except PrunError as error:
        row["State"] = f"broken: {error}"
    return row
