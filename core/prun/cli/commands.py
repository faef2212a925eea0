"""The commands besides ``run``, and everybody's help: click's."""

from __future__ import annotations

import importlib
from keyword import iskeyword
from typing import TYPE_CHECKING

import click

from prun import __version__
from prun.cli.options import EXEC, GLOBAL, RUN, SPEC
from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prun.cli.grammar import Option


def invoke(words: Sequence[str], settings: Mapping[str, str], command: click.Command | None = None) -> int:
    """Run a command other than ``run`` and ``spec``, or print help; ``command`` instead of that of the first word.

    Raises:
        InvalidArgument: click could not parse the words.
    """
    try:
        if command is None:
            result = main.main(list(words), prog_name="prun", standalone_mode=False, obj=settings)
        else:
            name = f"prun {words[0]}"
            result = command.main(list(words[1:]), prog_name=name, standalone_mode=False, obj=settings)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "prun"
        raise InvalidArgument(error.format_message().rstrip("."), hint=f"see {path} --help") from error
    except click.Abort:
        return 130
    except SystemExit as error:  # click's answer to a reader who has gone
        raise BrokenPipeError from error
    return result if isinstance(result, int) else 0


class _Parsed(click.Command):
    """A command that ``prun.cli.grammar`` parses: here it only has help, and runs when that was not asked for."""

    def __init__(self, name: str, options: Sequence[Option], usage: str, help_text: str) -> None:
        self._options = options
        super().__init__(
            name,
            params=[_shown(option) for option in options],
            help=help_text,
            context_settings={"help_option_names": ["--help"], "max_content_width": 110},
            options_metavar=usage,
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from prun.cli import execution, run
        from prun.cli.grammar import parse

        # A --help after IMAGE or CONTAINER belongs to the command: cut there, as the grammar does.
        before = args[: args.index("--help")]
        if parse(before, self._options, self.name or "").rest:
            commands = {"create": run.create, "exec": execution.execute, "run": run.run, "spec": run.spec}
            command = commands[self.name or ""]
            ctx.exit(command(args, ctx.obj))
        click.echo(ctx.get_help())
        ctx.exit(0)


def _shown(option: Option) -> click.Option:
    short = [f"-{option.short}"] if option.short else []
    names = [*short, f"--{option.name}", *(f"--{alias}" for alias in option.aliases)]
    return click.Option(
        names, help=option.help, is_flag=option.kind == "flag", metavar=option.metavar or None,
        multiple=option.kind == "list",
    )  # fmt: skip


class _Lazy(click.Group):
    """A group whose commands are imported when they are called: help needs only their names and their first lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, line = COMMANDS[cmd_name]
        if not module:
            if cmd_name == "exec":
                return _Parsed(cmd_name, EXEC, "[OPTIONS] CONTAINER COMMAND [ARG...]", line)
            return _Parsed(cmd_name, SPEC if cmd_name == "spec" else RUN, "[OPTIONS] IMAGE [COMMAND] [ARG...]", line)
        attribute = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(importlib.import_module(f"prun.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in sorted(COMMANDS.items())])


# Name: the module of prun.cli that has it, and the first line of its help.
COMMANDS = {
    "attach": ("lifecycle", "Carry between the streams of a container and ours."),
    "commit": ("files", "Make an image of a container."),
    "completion": ("shell", "Print the script that completes prun's command lines in a shell."),
    "config": ("config", "Look at what prun.toml says."),
    "container": ("container", "Look after containers."),
    "cp": ("files", "Copy files between a container and this machine."),
    "create": ("", "Make a container without starting it."),
    "diff": ("files", "Show what a container or an image has changed."),
    "doctor": ("system", "Say what this machine can do, and what to do about what it cannot."),
    "events": ("events", "Show what happens to containers, images and volumes."),
    "explain": ("explain", "Say why each field of a container's spec is as it is."),
    "export": ("files", "Write a container's files as a tar."),
    "exec": ("", "Execute a command in a container that runs."),
    "history": ("images", "Show how an image came to be, the last step first."),
    "image": ("image", "Look after images."),
    "healthcheck": ("health", "Check whether what runs in containers is well."),
    "images": ("images", "List images."),
    "import": ("archives", "Import a root file system from a tar as an image."),
    "inspect": ("inspect", "Show all that is known of containers, images and volumes, as JSON."),
    "kill": ("lifecycle", "Send a signal to containers."),
    "load": ("archives", "Load images from an archive or a layout."),
    "logs": ("logs", "Show what containers have written."),
    "pause": ("lifecycle", "Stop every process of containers where it stands."),
    "plugins": ("plugins", "Look after runtimes, engines and plugins; without a further word, list them."),
    "port": ("container", "List the ports of a container that are published on this machine."),
    "ps": ("ps", "List containers."),
    "pull": ("registries", "Fetch an image from a registry."),
    "rename": ("container", "Give a container another name."),
    "login": ("logins", "Log in to a registry."),
    "logout": ("logins", "Forget the login of a registry."),
    "push": ("registries", "Send an image to a registry."),
    "referrers": ("registries", "List what refers to an image in a registry."),
    "replay": ("replay", "Run again what a lock (run --lock) says."),
    "restart": ("lifecycle", "Stop containers if they run, and start them."),
    "rm": ("lifecycle", "Remove containers."),
    "rmi": ("images", "Remove images: by name, by id or its beginning, by digest."),
    "run": ("", "Run a container and return its exit code."),
    "save": ("archives", "Save images to an archive."),
    "secret": ("secrets", "Keep secrets for containers (run --secret)."),
    "spec": ("", "Print the finished config.json of a run; execute nothing."),
    "start": ("lifecycle", "Start containers that were created or have ended."),
    "stats": ("stats", "Show what containers use."),
    "stop": ("lifecycle", "Ask containers to end, and end them when the time is up."),
    "tag": ("images", "Give an image another name."),
    "system": ("system", "Look after the store."),
    "top": ("top", "Show the processes of a container."),
    "unpause": ("lifecycle", "Let the processes of containers go on."),
    "unshare": ("unshare", "Run a command in the user namespace of prun without root."),
    "tags": ("registries", "List the tags of a repository in a registry."),
    "update": ("update", "Change the limits of containers, now and for their next start."),
    "volume": ("volumes", "Make, list and remove volumes."),
    "wait": ("lifecycle", "Wait until containers do not run any more, and print their exit codes."),
    "version": ("system", "Show versions."),
}


@click.group(
    cls=_Lazy,
    params=[_shown(option) for option in GLOBAL],
    context_settings={"help_option_names": ["--help"], "max_content_width": 110},
)
@click.version_option(__version__, message="prun version %(version)s")
def main(**_: object) -> None:
    """Run containers through runtime plugins, without a daemon."""
