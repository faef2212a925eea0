"""The commands that click has, and the table that help shows without importing them."""

from __future__ import annotations

import click
import pytest

from prun.cli.commands import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_is_the_beginning_of_the_commands_own_help(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert (command.help or "").startswith(COMMANDS[name][1].rstrip("."))
