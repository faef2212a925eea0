"""Measure what a hundred installed plugins add to a cold run and to ``--help``: ``python bench/plugins.py``.

Each is a distribution of its own; the run is ``run --rm --runtime fake scratch true``, in which nothing else takes much
time.  Processor time is what to look at where others use the machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COUNT = 100
HEAD = """
from __future__ import annotations

from typing import TYPE_CHECKING

from prun import hookimpl

if TYPE_CHECKING:
    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import Event, Problem
"""
OPTION = """

@hookimpl
def prun_spec_opts() -> list[SpecOpt]:
    def with_label(spec: Spec) -> None:
        spec.setdefault("annotations", {{}})["org.example.{name}"] = "yes"

    return [with_label]
"""
MORE = """

@hookimpl
def prun_check_spec(spec: Spec) -> list[Problem]:
    return []


@hookimpl
def prun_event(event: Event) -> None:
    return
"""
KINDS = {"none": (0, ""), "with an option": (COUNT, HEAD + OPTION), "and two hooks": (COUNT, HEAD + OPTION + MORE)}


def install(site: Path, count: int, module: str) -> None:
    """Make that many distributions, and make it look as if they had been there for long."""
    site.mkdir()
    for number in range(count):
        name = f"plug_{number:03}"
        info = site / f"prun_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: prun-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[prun.plugins]\n{name} = prun_{name}\n")
        (site / f"prun_{name}.py").write_text(module.format(name=name))
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(site)], check=True)
    os.utime(site, (1_000_000_000, 1_000_000_000))


def milliseconds(words: tuple[str, ...], site: Path, scratch: Path) -> tuple[float, float]:
    """Run a prun that has what is in ``site`` installed, and return how long it took, and its processor time."""
    environment = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(scratch / "cache" / site.name)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment.pop("PRUN_PLUGINS", None)
    places = ("--root", f"{scratch}/root", "--state", f"{scratch}/state")
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-P", "-m", "prun", *places, *words], env=environment, capture_output=True,
                          check=False)  # fmt: skip
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return took * 1000, used * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    commands = {
        "run": ("run", "--rm", "--runtime", "fake", "scratch", "true"),
        "--help": ("--help",),
    }
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for number, (count, module) in enumerate(KINDS.values()):
            install(scratch / f"site-{number}", count, module)
        print(f"{'':30}" + "".join(f"{kind:>16}" for kind in KINDS) + f"   ms, medians of {rounds}")
        for title, words in commands.items():
            times: list[list[tuple[float, float]]] = [[] for _ in KINDS]
            for turn in range(rounds + 2):  # the first fill caches
                for number, each in enumerate(times):
                    took = milliseconds(words, scratch / f"site-{number}", scratch)
                    if turn > 1:
                        each.append(took)
            for column, what in enumerate(("", ", processor")):
                medians = [statistics.median(took[column] for took in each) for each in times]
                more = "".join(f"{median:10.1f} ({median - medians[0]:+.1f})"[-16:].rjust(16) for median in medians)
                print(f"  {title + what:28}{more}")


if __name__ == "__main__":
    main()
