"""What templates make of constants is what Go makes of them: podman is a Go program that prints them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prun.cli.template import parse

if TYPE_CHECKING:
    from command import Prun

MARK = "--8<--"
TEMPLATES = (Path(__file__).parent.parent / "data" / "templates.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def gos() -> list[str]:
    """The output of all templates, in one call."""
    done = subprocess.run(["podman", "version", "--format", MARK.join(TEMPLATES)], capture_output=True, check=True)
    return done.stdout.decode().split(MARK)


@pytest.mark.parametrize("number", range(len(TEMPLATES)))
def test_constants_functions_and_blocks_are_gos(gos: list[str], number: int) -> None:
    # podman ends its output with a line's end where the template does not.
    last = number == len(TEMPLATES) - 1
    assert parse(TEMPLATES[number]).render({}) == (gos[number].removesuffix("\n") if last else gos[number])


@pytest.mark.parametrize(
    "words",
    [["ps", "-a"], ["images"], ["volume", "ls"], ["secret", "ls"], ["plugins"], ["doctor"], ["version"],
     ["system", "check"], ["inspect", "busybox"], ["container", "ls"]],
)  # fmt: skip
def test_a_line_end_in_an_action_is_one_everywhere(store: Prun, words: list[str]) -> None:
    done = store(*words, "--format", r'a{{"\n"}}b\tc')
    assert done.returncode == 0, done.stderr
    assert not done.stdout.replace("a\nb\tc\n", "")
    assert store(*words, "--format", r"{{.Nope}}").stderr.count("Traceback") == 0
    refused = store(*words, "--format", "{{")
    assert (refused.returncode, "an action is not closed" in refused.stderr) == (125, True)
