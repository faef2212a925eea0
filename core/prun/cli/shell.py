"""``completion``: the scripts for shells."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "fish", "zsh"]), metavar="bash|fish|zsh")
def completion(shell: str) -> None:
    """Print the script that completes prun's command lines in a shell.

    For the session at hand: source <(prun completion bash), source <(prun completion zsh), and
    prun completion fish | source.  For all: put the output where your shell looks for completions.
    """
    from prun.cli.completion import script

    print(script(shell), end="")
