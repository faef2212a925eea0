"""What a line of the table is."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


# So that the probe finds the files of its cgroups, whatever is mounted where by default.
CGROUPS = "--cgroupns host -v /sys/fs/cgroup:/cgroup:ro"


NOT_SHOWN = "not shown"


@dataclass(frozen=True, slots=True)
class Difference:
    """Lines of one aspect that only prun or only podman shows, and why that is right."""

    aspect: str
    prun: tuple[str, ...]
    podman: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Case:
    """One command line for both, and what of the outcome is compared.

    ``line`` has the words after ``run --rm --network none``; ``{dir}`` in it is a host directory with the files of
    ``files``, made anew for each peer. The exit status and standard output are compared always; a section of the
    probe (``sees``) is an aspect of its own, and so is each file of the host directory named in ``leaves``.
    ``before`` and ``after`` are whole commands, for volumes and secrets; ``beside`` are the words of a container,
    named ``companion``, that runs meanwhile. Where podman spells an option otherwise it gets ``podman_line``.
    """

    line: str
    differences: tuple[Difference, ...] = ()
    sees: str = ""
    image: str = "peer"
    network: str = "none"
    stdin: str = ""
    before: tuple[str, ...] = ()
    beside: str = ""
    after: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    leaves: tuple[str, ...] = ()
    descriptor: str = ""
    podman_line: str = ""

    @property
    def name(self) -> str:
        network = "" if self.network == "none" else f"--network {self.network} "
        return network + self.line + (f" [{' '.join(self.sees.split())}]" if self.sees else "")

    def words(self, directory: str, *, podman: bool) -> list[str]:
        line = (self.podman_line if podman else "") or self.line
        if "cgroup:" in self.sees:
            line = f"{CGROUPS} {line}"
        if self.sees:
            line = f"{line} {self.image} probe {self.sees}"
        return ["--network", self.network, *split(line, directory)]


def split(line: str, directory: str) -> list[str]:
    """The words of a line of shell, ``{dir}`` and ``{disk}``, a block device, replaced."""
    return [word.replace("{dir}", directory).replace("{disk}", _disk()) for word in shlex.split(line)]


def _disk() -> str:
    return "/dev/" + min(os.listdir("/sys/block"), key=lambda name: (name.startswith(("loop", "ram", "zram")), name))


def differs(aspect: str, *, prun: str = "", podman: str = "", because: str) -> Difference:
    """An accepted difference: the lines that only one of them shows."""
    return Difference(aspect, tuple(prun.splitlines()), tuple(podman.splitlines()), because)


def exits(prun: int, podman: int, because: str) -> Difference:
    """An accepted difference of the exit status."""
    return differs("exit", prun=str(prun), podman=str(podman), because=because)


def refused(podman: int, because: str) -> Difference:
    """Prun refuses what podman runs, or what podman fails at later with another exit status."""
    return exits(125, podman, because)


def only_shown(aspect: str, lines: str, because: str) -> Difference:
    """A section that only prun gets to, because podman fails before."""
    return differs(aspect, prun=lines, podman=NOT_SHOWN, because=because)


def not_shown(aspect: str, lines: str, because: str) -> Difference:
    """A section that only podman gets to, because prun refuses."""
    return differs(aspect, prun=NOT_SHOWN, podman=lines, because=because)
