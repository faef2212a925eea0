"""Completion of the commands that are click's: their options and arguments are read off them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prun.cli.commands import main
from prun.cli.completion.candidates import NOTHING, Answer
from prun.cli.completion.words import seen
from prun.cli.filters import Filter
from prun.cli.grammar import Option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.cli.completion.candidates import Candidates

_LIVE = ("running", "paused", "restarting")
# Of a command that takes containers: the states of those with which it makes sense.
_STATES = {
    "attach": _LIVE, "exec": ("running",), "kill": _LIVE, "pause": ("running",), "port": _LIVE,
    "start": ("created", "stopped"), "stats": _LIVE, "stop": _LIVE, "top": _LIVE, "unpause": ("paused",),
    "update": _LIVE,
}  # fmt: skip


def complete_command(words: Sequence[str], current: str, candidates: Candidates) -> Answer:
    """Complete a command line that begins with the words of a command."""
    command: click.Command = main
    context = click.Context(main)
    rest = list(words)
    while rest and isinstance(command, click.Group):
        found = command.get_command(context, rest.pop(0))
        if not found:
            return NOTHING
        command = found
    options = _options(command)
    if isinstance(command, click.Group):
        if current.startswith("-"):
            return candidates.of_options(seen((), options, interspersed=False), options, current)
        return Answer(_subcommands(command, context))
    line = seen(rest, options, interspersed=command.allow_interspersed_args)
    if line.pending or (current.startswith("-") and not line.ended):
        return candidates.of_options(line, options, current, _filter_keys(command))
    argument = _argument(command, len(line.rest))
    if not argument:
        return NOTHING
    if isinstance(argument.type, click.Choice):
        return Answer([(str(word), "") for word in argument.type.choices])
    return candidates.of_argument(argument.metavar or "", _STATES.get(command.name or "", ()), without=line.rest)


def _options(command: click.Command) -> list[Option]:
    """Return the options of a command as those of our own grammar."""
    found = [Option("help", "flag", "Show help.")]
    for param in command.params:
        if not isinstance(param, click.Option) or param.hidden:
            continue
        long, *aliases = [name.lstrip("-") for name in (*param.opts, *param.secondary_opts) if name.startswith("--")]
        short = next((name[1] for name in param.opts if len(name) == 2), "")
        choices = tuple(map(str, param.type.choices)) if isinstance(param.type, click.Choice) else ()
        found.append(
            Option(
                long,
                "flag" if param.is_flag or param.count else "value",
                param.help or "",
                short,
                param.metavar or "",
                tuple(aliases),
                choices,
            )
        )
    return found


def _subcommands(group: click.Group, context: click.Context) -> list[tuple[str, str]]:
    commands = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    return [(name, each.get_short_help_str(80)) for name, each in commands if each and not each.hidden]


def _filter_keys(command: click.Command) -> Sequence[str]:
    return next((param.type.keys for param in command.params if isinstance(param.type, Filter)), ())


def _argument(command: click.Command, number: int) -> click.Argument | None:
    """Return the argument that a word belongs to: the first, the second, and so on."""
    for param in command.params:
        if isinstance(param, click.Argument):
            if param.nargs == -1 or number < param.nargs:
                return param
            number -= param.nargs
    return None
