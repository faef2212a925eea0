"""The prun command with directories of its own, as a user would call it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
PRUN = str(Path(sys.executable).parent / "prun")

# What Prun.traces() returns when all is well.
NOTHING: dict[str, list[str]] = {
    "mounts": [], "processes": [], "bundles": [], "runtime": [], "writable": [], "half": [], "ingest": [],
}  # fmt: skip


class Prun(NamedTuple):
    """Calls ``prun`` with a root and a state directory that nobody else uses."""

    root: Path
    state: Path

    @property
    def words(self) -> list[str]:
        return [PRUN, "--root", str(self.root), "--state", str(self.state)]

    def __call__(
        self, *words: str, stdin: bytes | None = None, timeout: float = 120, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.words, *words],
            input=b"" if stdin is None else stdin,
            capture_output=True,
            timeout=timeout,
            env={**os.environ, **environment},
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def popen(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.words, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def traces(self) -> dict[str, list[str]]:
        """Return what of this store is still mounted, running, or lying about: empty lists when all is well."""
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return {
            "mounts": [line for line in mounts if str(self.root) in line or str(self.state) in line],
            "processes": processes_of(str(self.state)),
            "bundles": listed(self.state / "bundles"),
            "runtime": listed(self.state / "runc") + listed(self.state / "crun"),
            "writable": listed(self.root / "snapshots" / "active"),
            "half": [name for name in listed(self.root / "snapshots") if name.startswith("new-")],
            "ingest": listed(self.root / "content" / "ingest"),
        }


def good(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command printed that has succeeded."""
    assert done.returncode == 0, done.stderr
    return done.stdout


def bad(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command said on stderr that has failed as prun fails."""
    assert done.returncode == 125, done.stdout
    assert "Traceback" not in done.stderr or "--debug" in done.args
    return done.stderr


def settled(prun: Prun, timeout_s: float = 10) -> dict[str, list[str]]:
    """Return the traces that stay: what ends with a container (its monitor, its clock) may need a moment."""
    deadline = time.monotonic() + timeout_s
    while (traces := prun.traces()) != NOTHING and time.monotonic() < deadline:
        time.sleep(0.05)
    return traces


def processes_of(state: str) -> list[str]:
    """Return the command lines of processes that name the state directory, prun itself apart."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state in line and int(pid) != os.getpid():
            found.append(f"{pid}: {line}")
    return found


def cgroups_of(container_id: str) -> list[str]:
    """Return the cgroup directories of a container, in every hierarchy."""
    # Others' cgroups come and go meanwhile, which os.walk does not mind.
    return [
        os.path.join(directory, name)
        for directory, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith(container_id)
    ]


def listed(path: Path) -> list[str]:
    return sorted(os.listdir(path)) if path.is_dir() else []


def busybox_archive(path: Path) -> Path:
    """Make the image that ``make run`` makes."""
    subprocess.run([sys.executable, str(SCRIPTS / "busybox_image.py"), str(path)], check=True)
    return path


def children() -> set[int]:
    """The pids of our children, zombies among them (proc_tid_children(5))."""
    return {int(pid) for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}
