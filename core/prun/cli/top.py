"""``prun top``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from prun.cli.images import opened
from prun.cli.output import printable
from prun.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PS = ("/usr/bin/ps", "/bin/ps")


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", metavar="CONTAINER")
@click.argument("words", nargs=-1, metavar="[ps OPTIONS | COLUMN...]")
@click.pass_obj
def top(settings: Mapping[str, str], name: str, words: tuple[str, ...]) -> None:
    """Show the processes of a container.

    Without more words: the columns of ps -ef, with the machine's pids, as docker has it.  Options of ps (aux, -eo
    pid,comm) are given to the machine's ps.  Names of columns (pid,args or pid args), podman's, have the pids that the
    container sees; hpid is the machine's.
    """
    from prun.ending import live_task
    from prun.processes import COLUMNS, DEFAULT, processes, table

    with opened(settings) as store:
        row = store.find(name)
        pids = live_task(store, row).pids()
    columns = [each for word in words for each in word.replace(",", " ").split()]
    if words and not all(each in COLUMNS for each in columns):
        first = columns[0] if columns else ""
        if not first.startswith("-") and first.strip("axuefljvw"):
            table([], columns)  # it says which ones there are
        print(_by_ps(words, pids))
        return
    headings, rows = table(processes(pids), columns or DEFAULT)
    print(_aligned([headings, *rows]))


def _by_ps(words: Sequence[str], pids: Sequence[int]) -> str:
    """Return what the machine's ps says with these options, of these processes only.

    Raises:
        NotFound: there is no ps.
        InvalidArgument: ps does not take the options, or does not show pids with them.
    """
    import subprocess

    ps = next((path for path in _PS if os.access(path, os.X_OK)), "")
    if not ps:
        raise NotFound("there is no ps on this machine", hint="apt install procps, or name columns: pid,user,args")
    options = [each for word in words for each in word.split()] if len(words) == 1 and " " in words[0] else words
    if len(words) > 1 and words[0].endswith("o"):
        options = [words[0], ",".join(word.replace(" ", ",") for word in words[1:])]
    done = subprocess.run([ps, *options], capture_output=True, text=True, errors="replace", check=False, cwd="/")
    lines = done.stdout.splitlines()
    if done.returncode and not lines:
        raise InvalidArgument(f"ps {' '.join(words)}: {' '.join(done.stderr.split())[:200]}")
    headings = lines[0].split() if lines else []
    if "PID" not in headings:
        raise InvalidArgument(f"ps {' '.join(words)} shows no column PID", hint="add it: -eo pid,...")
    at, wanted = headings.index("PID"), set(map(str, pids))
    kept = [line for line in lines[1:] if len(found := line.split()) > at and found[at] in wanted]
    return "\n".join([lines[0], *map(printable, kept)])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = ("  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) for row in rows)
    return "\n".join(printable(line).rstrip() for line in lines)
