"""``stats``: what containers use, as a table that is drawn anew, or a line of JSON for each."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from prun.cli.images import opened
from prun.cli.listing import listing
from prun.cli.output import size
from prun.errors import PrunError
from prun.identity import is_process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prun.live import TaskStats
    from prun.metadata import ContainerRow
    from prun.state import Store

_COLUMNS = {"CONTAINER ID": "ID", "NAME": "Name", "CPU %": "CPUPerc", "MEM USAGE / LIMIT": "MemUsage",
            "MEM %": "MemPerc", "NET I/O": "NetIO", "BLOCK I/O": "BlockIO", "PIDS": "PIDs"}  # fmt: skip
_TOP, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


class _Sample(NamedTuple):
    at_ns: int
    stats: TaskStats


@click.command()
@click.argument("names", nargs=-1, metavar="CONTAINER...")
@click.option("-a", "--all", "everything", is_flag=True, help="Show those that do not run, too.")
@click.option("--no-stream", is_flag=True, help="Show the numbers of now, once.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@click.option("-i", "--interval", type=click.FloatRange(min=0.1), default=1.0, metavar="SECONDS", help="How often.")
@click.option("--format", "form", default="", metavar="table|json|TEMPLATE", help="How to show them.")
@click.pass_obj
def stats(
    settings: Mapping[str, str],
    names: tuple[str, ...],
    everything: bool,
    no_stream: bool,
    no_trunc: bool,
    interval: float,
    form: str,
) -> None:
    """Show what containers use: processors, memory, network, disks, processes."""
    redrawn = sys.stdout.isatty() and form.partition(" ")[0] in ("", "table") and not no_stream
    with opened(settings) as store:
        wanted = [store.find(name).id for name in names]
        before: dict[str, _Sample] = {}
        for number in range(1 << 62):
            rows = _chosen(store, wanted, everything)
            if names and not rows:
                return
            now = _samples(store, rows)
            if number or not (no_stream or redrawn):
                shown = [_fields(row, before.get(row.id), now.get(row.id), no_trunc) for row in rows]
                _show(_formed(shown, form), redrawn=redrawn, first=number <= 1)
            if no_stream and number:
                return
            before = now
            time.sleep(min(interval, 1.0) if not number else interval)


def _chosen(store: Store, wanted: Sequence[str], everything: bool) -> list[ContainerRow]:
    if wanted:
        return [row for each in wanted if (row := store.metadata.container(each))]
    return [row for row in store.metadata.containers() if everything or row.status in ("running", "paused")]


def _samples(store: Store, rows: Sequence[ContainerRow]) -> dict[str, _Sample]:
    """Return the numbers of those that run; one that ends meanwhile has none."""
    from prun.ending import live_task

    samples = {}
    for row in rows:
        if row.status not in ("running", "paused"):
            continue
        try:
            samples[row.id] = _Sample(time.monotonic_ns(), live_task(store, row).stats())
        except PrunError:
            # What has just ended may be gone before its record says so.
            if len(rows) == 1 and row.pid and is_process(row.pid, row.start_time):
                raise
    return samples


def _fields(row: ContainerRow, before: _Sample | None, now: _Sample | None, no_trunc: bool) -> dict[str, Any]:
    """Return docker's fields; all of one that does not run are zero."""
    from prun.live import TaskStats

    stats = now.stats if now else TaskStats()
    percent = 0.0
    if before and now and now.at_ns > before.at_ns:
        percent = 100 * max(stats.cpu_ns - before.stats.cpu_ns, 0) / (now.at_ns - before.at_ns)
    share = 100 * stats.memory_bytes / stats.memory_limit_bytes if stats.memory_limit_bytes else 0.0
    return {
        "BlockIO": f"{size(stats.block_read_bytes)} / {size(stats.block_written_bytes)}",
        "CPUPerc": f"{percent:.2f}%",
        "Container": row.id if no_trunc else row.id[:12],
        "ID": row.id if no_trunc else row.id[:12],
        "MemPerc": f"{share:.2f}%",
        "MemUsage": f"{binary_size(stats.memory_bytes)} / {binary_size(stats.memory_limit_bytes)}",
        "Name": row.name,
        "NetIO": f"{size(stats.network_received_bytes)} / {size(stats.network_sent_bytes)}",
        "PIDs": str(stats.pids),
    }


def _formed(shown: Sequence[Mapping[str, object]], form: str) -> str:
    if form == "json":
        return "".join(f"{json.dumps(row)}\n" for row in shown)
    return listing(shown, _COLUMNS, form)


def _show(text: str, *, redrawn: bool, first: bool) -> None:
    """Print; on a terminal over what was there before, so that nothing flickers."""
    if redrawn:
        lines = text.replace("\n", f"{_CLEAR_LINE}\n")
        text = f"{_TOP}{_CLEAR_BELOW if first else ''}{lines}{_CLEAR_BELOW}"
    sys.stdout.write(text)
    sys.stdout.flush()


def binary_size(size_bytes: float) -> str:
    """Say a size as docker says memory: powers of 1024, four digits.

    >>> binary_size(1536), binary_size(5 << 30)
    ('1.5KiB', '5GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.4g}{unit}"
        size_bytes /= 1024
    return f"{size_bytes:.4g}TiB"
