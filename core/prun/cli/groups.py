"""Commands under one word, as docker has them besides those at the top: ``container run``, ``image rm``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping


class AlsoHere(click.Group):
    """A group that has commands of prun's own besides those made for it; ``also``: its word to that at the top."""

    def __init__(self, *args: Any, also: Mapping[str, str], **more: Any) -> None:
        super().__init__(*args, **more)
        self._also = also

    def list_commands(self, ctx: click.Context) -> list[str]:
        from prun.cli.commands import COMMANDS

        return sorted({*self.commands, *(name for name, top in self._also.items() if top in COMMANDS)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from prun.cli.commands import main

        if cmd_name in self.commands or cmd_name not in self._also:
            return self.commands.get(cmd_name)
        return main.get_command(ctx, self._also[cmd_name])
