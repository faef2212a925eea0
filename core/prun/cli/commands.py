"""The commands besides ``run``, and everybody's help: click's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prun import __version__
from prun.cli import containers, images, system
from prun.cli.options import GLOBAL, RUN
from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prun.cli.grammar import Option


def invoke(words: Sequence[str], settings: Mapping[str, str]) -> int:
    """Run a command other than ``run`` and ``spec``, or print help.

    Raises:
        InvalidArgument: click could not parse the words.
    """
    try:
        result = main.main(list(words), prog_name="prun", standalone_mode=False, obj=settings)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "prun"
        raise InvalidArgument(error.format_message().rstrip("."), hint=f"see {path} --help") from error
    except click.Abort:
        return 130
    return result if isinstance(result, int) else 0


class _Parsed(click.Command):
    """A command that ``prun.cli.grammar`` parses: here it only has help, and runs when that was not asked for."""

    def __init__(self, name: str, options: Sequence[Option], usage: str, help_text: str) -> None:
        super().__init__(
            name,
            params=[_shown(option) for option in options],
            help=help_text,
            context_settings={"help_option_names": ["--help"], "max_content_width": 110},
            options_metavar=usage,
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from prun.cli import run
        from prun.cli.grammar import parse

        # A --help after IMAGE belongs to the container: cut there, as the grammar does.
        before = args[: args.index("--help")]
        if parse(before, RUN, self.name or "").rest:
            ctx.exit({"run": run.run, "spec": run.spec}[self.name or ""](args, ctx.obj))
        click.echo(ctx.get_help())
        ctx.exit(0)


def _shown(option: Option) -> click.Option:
    short = [f"-{option.short}"] if option.short else []
    names = [*short, f"--{option.name}", *(f"--{alias}" for alias in option.aliases)]
    return click.Option(
        names, help=option.help, is_flag=option.kind == "flag", metavar=option.metavar or None,
        multiple=option.kind == "list",
    )  # fmt: skip


@click.group(
    params=[_shown(option) for option in GLOBAL],
    context_settings={"help_option_names": ["--help"], "max_content_width": 110},
)
@click.version_option(__version__, message="prun version %(version)s")
def main(**_: object) -> None:
    """Run containers through runtime plugins, without a daemon."""


main.add_command(_Parsed("run", RUN, "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Run a container and return its exit code."))
main.add_command(
    _Parsed("spec", RUN, "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Print the finished config.json; execute nothing.")
)
for each in (*images.COMMANDS, *containers.COMMANDS, *system.COMMANDS):
    main.add_command(each)
