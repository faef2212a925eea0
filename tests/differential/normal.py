"""What two programs show in their own words, made comparable: ids, directories, and the kernel's incidental detail."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

Aspects = dict[str, list[str]]

SECTION = re.compile(r"^== (.*)\n", re.MULTILINE)
FULL_ID = re.compile(r"\b[0-9a-f]{64}\b")
SHORT_ID = re.compile(r"\b[0-9a-f]{12}\b")
# Mount options of the file system below and of when the kernel wrote an access time.
INCIDENTAL = {"relatime", "discard", "resv_strict", "inode64"}
VIRTUAL = {"cgroup", "cgroup2", "devpts", "mqueue", "overlay", "proc", "sysfs", "tmpfs"}
SUPERBLOCK = ("size=", "mode=", "gid=", "uid=", "ro", "ptmxmode=", "newinstance")


def aspects(done: subprocess.CompletedProcess[str], directory: Path) -> Aspects:
    """The exit status, standard output, and each section of the probe, as lines."""
    before, *sections = SECTION.split(done.stdout)
    found = {"exit": [str(done.returncode)], "stdout": lines(before, directory)}
    for name, text in zip(sections[::2], sections[1::2], strict=True):
        change = CHANGES.get(name.partition(":")[0], _same)
        found[name] = [changed for line in lines(text, directory) for changed in change(line)]
        if name.partition(":")[0] in ("mounts", "mount"):
            found[name] = uncovered(found[name])
    return found


def lines(text: str, directory: Path) -> list[str]:
    """Without ids and directories that no two runs have in common."""
    text = text.replace(str(directory), "{dir}")
    return SHORT_ID.sub("<short id>", FULL_ID.sub("<id>", text)).splitlines()


def mount(line: str) -> list[str]:
    """``POINT TYPE OPTIONS PROPAGATION``: proc_pid_mountinfo(5) without numbers, sources and incidental options."""
    before, _, after = line.partition(" - ")
    _, _, _, root, point, options, *propagation = before.split()
    kind, _, superblock = after.split()
    if root == "/null":
        return [f"{point} is /dev/null"]
    kept = [option for option in options.split(",") if option not in INCIDENTAL]
    if kind in ("tmpfs", "devpts"):
        kept += [option for option in superblock.split(",") if option.startswith(SUPERBLOCK) and option not in kept]
    kind = kind if kind in VIRTUAL else "disk"
    return [" ".join([point, kind, ",".join(kept), *(word.partition(":")[0] for word in propagation)])]


def uncovered(mounts: list[str]) -> list[str]:
    """Of several mounts at one place only the last is seen."""
    return list({line.split()[0]: line for line in mounts}.values())


def defaults(line: str) -> list[str]:
    """A mount, but for masks that only some hardware has something for."""
    return [found for found in mount(line) if not found.startswith("/sys/devices/")]


def namespace(line: str) -> list[str]:
    """``NAME: of the host`` or ``NAME: its own``."""
    name = line.partition(":")[0]
    return [f"{name}: {'of the host' if os.readlink(f'/proc/self/ns/{name}') == line else 'its own'}"]


def content(line: str) -> list[str]:
    """A line of a file; the probe ends each file with an empty line."""
    return [line] if line else []


def membership(line: str) -> list[str]:
    """The cgroup of a hierarchy: numbers are the order of mounting, and podman puts its name before the id."""
    return [line.partition(":")[2].replace("/libpod-<id>", "/<id>")]


def limit(line: str) -> list[str]:
    """A line of /proc/PID/limits with single blanks."""
    return [" ".join(line.split())]


def _same(line: str) -> list[str]:
    return [line]


CHANGES: dict[str, Callable[[str], list[str]]] = {
    "mounts": defaults,
    "mount": mount,
    "namespace": namespace,
    "membership": membership,
    "file": content,
    "limits": limit,
    "limit": limit,
}
