"""``unshare``: a command where prun works without root."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import click

from prun.cli.namespace import enter
from prun.cli.run import runner_of
from prun.errors import CommandNotFound, CommandNotInvocable, FailedPrecondition
from prun.rootless import is_rootless

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND [ARG...]]")
@click.pass_obj
def unshare(settings: Mapping[str, str], command: tuple[str, ...]) -> None:
    """Run a command in the user namespace of prun without root.

    It sees the files of containers with the owners that containers see, and may use prun as a library.  Without
    COMMAND: $SHELL.  The exit code is the command's.
    """
    if os.geteuid() == 0 and not is_rootless():
        raise FailedPrecondition("unshare is for ordinary users", hint="root needs no user namespace to use prun")
    if "own_process" not in settings:
        raise FailedPrecondition("unshare replaces its process, and this one is not the command's own")
    enter(runner_of(settings).state)
    words = command or (os.environ.get("SHELL") or "/bin/sh",)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and a program inherits that
    try:
        os.execvp(words[0], words)  # noqa: S606  the user's command by the user's $PATH
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CommandNotFound(f"command {words[0]!r} is not in $PATH") from error
    except OSError as error:
        raise CommandNotInvocable(f"command {words[0]!r} cannot be executed: {error.strerror}") from error
