"""``doctor``, ``version``, ``system check``."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING, Any

import click

from prun import __version__, discovery
from prun.cli.disk import df, prune
from prun.cli.groups import AlsoHere
from prun.cli.listing import FORMAT, print_listing, print_record
from prun.cli.output import printable
from prun.cli.run import runner_of
from prun.errors import InvalidArgument, PrunError
from prun.loading import imported
from prun.plugins import RUNTIMES, Hooks
from prun.state import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prun.api import Runner
    from prun.discovery import EntryPoint
    from prun.metadata import ImageRow


@click.command()
@FORMAT
@click.pass_obj
def doctor(settings: Mapping[str, str], form: str) -> None:
    """Say what this machine can do, and what to do about what it cannot."""
    rows = [*_store_findings(settings), *_runtime_findings()]
    columns = {"CHECK": "Check", "OK": "Mark", "FOUND": "Found", "REMEDY": "Remedy"}
    print_listing([{**row, "Mark": "yes" if row["Ok"] else "no"} for row in rows], columns, form)


@click.command()
@FORMAT
def version(form: str) -> None:
    """Show versions."""
    record = {
        "Version": __version__,
        "Python": platform.python_version(),
        "Os": sys.platform,
        "Kernel": platform.release(),
        "Client": {"Version": __version__, "Os": sys.platform, "Arch": platform.machine()},  # where docker has it
    }
    print_record(record, {"PRUN": "Version", "PYTHON": "Python", "OS": "Os", "KERNEL": "Kernel"}, form)


@click.group(cls=AlsoHere, also={"events": "events"})
def system() -> None:
    """Look after the store."""


system.add_command(df)
system.add_command(prune)


@system.command()
@click.option("--repair", is_flag=True, help="Remove what is damaged, or fetch or unpack it again.")
@click.option("--quick", is_flag=True, help="Only clear what is left over; read no blob and no snapshot.")
@FORMAT
@click.pass_obj
def check(settings: Mapping[str, str], repair: bool, quick: bool, form: str) -> int:
    """Clear what killed processes left behind, and check every blob, image and snapshot.

    Exits with 1 where something is wrong and was not repaired.
    """
    from prun.engines.embedded.verify import Finding, check_store
    from prun.recovery import clear_leftovers

    if quick and repair:
        raise InvalidArgument("--quick and --repair exclude each other", hint="what is not read cannot be repaired")
    runner = runner_of(settings)
    findings: list[Finding] = []
    with Store(runner.root, runner.state, runner.settings.aliases) as store:
        cleared = clear_leftovers(store)
        if not quick:
            findings = check_store(store, repair=repair, refetch=lambda row: _refetched(store, row, runner))
    if form:
        rows = [{"Found": sentence, "Repaired": True} for sentence in cleared]
        rows += [{"Found": str(finding), "Repaired": bool(finding.repair)} for finding in findings]
        print_listing(rows, {"FOUND": "Found"}, form)
    else:
        print("\n".join(map(printable, [*cleared, *map(str, findings)])) or "nothing is left over")
    return int(not all(finding.repair for finding in findings))


def _refetched(store: Store, row: ImageRow, runner: Runner) -> str:
    from prun.engines.embedded.pulling import refetch_image

    return refetch_image(store, row, runner.settings)


def _store_findings(settings: Mapping[str, str]) -> list[dict[str, Any]]:
    runner = runner_of(settings)
    rows = []
    for name, path in (("images and containers", runner.root), ("state", runner.state)):
        parent = path
        while not os.path.exists(parent):
            parent = os.path.dirname(parent)
        ok = os.access(parent, os.W_OK)
        remedy = "" if ok else "run prun as root (sudo), or choose a directory of yours with --root and --state"
        rows.append({"Check": f"store: {name}", "Ok": ok, "Found": path, "Remedy": remedy})
    return rows


def _runtime_findings() -> list[dict[str, Any]]:
    rows = []
    for name, entry in sorted(discovery.entry_points(RUNTIMES).items()):
        try:
            plugin = imported(entry)
            info = Hooks.of(runtime=plugin).describe_runtime()
        except PrunError as error:
            rows.append({"Check": f"runtime {name}", "Ok": False, "Found": str(error), "Remedy": error.hint})
            continue
        found = info.unavailable or f"runs {', '.join(map(str, info.platforms))}"
        rows.append({"Check": f"runtime {name}", "Ok": not info.unavailable, "Found": found, "Remedy": info.remedy})
        rows += [
            {"Check": f"{name}: {check_name}", "Ok": ok, "Found": what, "Remedy": remedy}
            for check_name, ok, what, remedy in _report_of(entry)
        ]
    return rows


def _report_of(entry: EntryPoint) -> Iterable[tuple[str, bool, str, str]]:
    """Ask the ``doctor`` module beside a runtime, where there is one: check, whether it is well, what, remedy."""
    from importlib import import_module, util

    module = entry.value.partition(":")[0] + ".doctor"
    if util.find_spec(entry.value.partition(":")[0]) is None or util.find_spec(module) is None:
        return ()
    report: Iterable[tuple[str, bool, str, str]] = import_module(module).report()
    return report
