"""Completion for shells: ``prun completion SHELL`` prints a script, which asks ``prun __complete`` at every tab.

An answer is lines: which of the machine's paths fit (``files``, ``dirs`` or ``none``), then a word each, a tab and what
it means.  The store is only read, nothing is cleaned up, and no plugin is loaded; click is imported for the commands
that are click's, not for ``run``.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from prun.cli import RUN_LIKE
from prun.cli.completion.candidates import NOTHING, Answer, Candidates
from prun.cli.completion.words import seen, words_of_line
from prun.cli.options import EXEC, GLOBAL, HELP, RUN, SPEC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.cli.grammar import Option

# Anything else is no name of ours, and could mean something to a shell.
_RUN_LIKE = [(name,) for name in RUN_LIKE]
_HARMLESS = re.compile(r"[\w./:@=,+%-]+", re.ASCII)


def script(shell: str) -> str:
    """Return the script for bash, fish or zsh."""
    with open(os.path.join(os.path.dirname(__file__), f"prun.{shell}"), encoding="utf-8") as file:
        return file.read()


def answered(words: Sequence[str]) -> str:
    """Return what a script is told.

    ``words``: the shell, then the words after ``prun`` up to the one that is not finished; of bash instead its
    COMP_WORDBREAKS, and the line up to there.
    """
    from prun.cli.output import printable

    shell, *rest = words
    parting = ""
    if shell == "bash":
        parting, line = rest
        (_, *rest), quoted = words_of_line(line)
        parting = "" if quoted else parting
    *before, current = rest or [""]
    answer = complete(before, current)
    found = [each for each in answer.fitting(current) if _HARMLESS.fullmatch(each[0])]
    # readline takes for the word what follows the last of these characters.
    known = 1 + max((current.rfind(letter) for letter in parting), default=-1)
    lines = [f"{word[known:]}\t{printable(meaning)}" if meaning else word[known:] for word, meaning in found]
    return "\n".join([answer.paths or "none", *lines])


def complete(before: Sequence[str], current: str) -> Answer:
    """Return what ``current``, after the words ``before``, could become; words that begin otherwise may be among it."""
    line = seen(before, (*GLOBAL, *HELP), interspersed=False)
    candidates = Candidates(line.values)
    words = line.rest[1:] if line.rest[:1] == ("container",) and line.rest[1:2] in _RUN_LIKE else line.rest
    if words[:1] in _RUN_LIKE:
        return _run(words[1:], SPEC if words[0] == "spec" else RUN, current, candidates)
    if words:
        from prun.cli.completion.clicks import complete_command

        return complete_command(words, current, candidates)
    if line.pending or current.startswith("-"):
        return candidates.of_options(line, (*GLOBAL, *HELP), current)
    from prun.cli.commands import COMMANDS

    return Answer([(name, line) for name, (_, line) in sorted(COMMANDS.items())])


def _run(words: Sequence[str], options: Sequence[Option], current: str, candidates: Candidates) -> Answer:
    """Complete what has the grammar of ``run``: the words behind IMAGE are the container's."""
    line = seen(words, options, interspersed=False)
    if line.pending or (current.startswith("-") and not line.ended):
        return candidates.of_options(line, (*options, HELP[0]), current)
    if line.rest or "rootfs" in line.values:
        return NOTHING
    # A run of prun.toml, or an archive, may stand in the place of an image.
    return (candidates.named("run") + candidates.images())._replace(paths="files")


def _exec(words: Sequence[str], current: str, candidates: Candidates) -> Answer:
    """Complete ``exec``: the words behind CONTAINER are the command's."""
    line = seen(words, EXEC, interspersed=False)
    if line.pending or (current.startswith("-") and not line.ended):
        return candidates.of_options(line, (*EXEC, HELP[0]), current)
    return NOTHING if line.rest or "cidfile" in line.values else candidates.containers(("running",))
