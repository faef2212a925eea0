"""Podman and prun, each with directories of its own, called with the same words.

Podman's settings are those that prun has from the seed and from docker where podman's are only another number (14
capabilities, 1024 open files, no limit of processes): so that a case differs for its own reason, not for that one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PRUN = str(Path(sys.executable).parent / "prun")
CAPABILITIES = (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID"
    " SYS_CHROOT"
)
CONTAINERS_CONF = """
[containers]
default_capabilities = [{capabilities}]
pids_limit = 0
"""
CGROUP_PARENT = "/differential"
# Without CAP_SYS_RESOURCE podman cannot raise these limits to what it takes for its default.
PODMAN_RUN = (
    "run", "--rm", "--cgroup-parent", CGROUP_PARENT, "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
)  # fmt: skip
# The host's environment that `-e NAME`, `--env-file` and `--env-host` take from.
HOST_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "FROM_HOST": "host",
    "FROM_HOST_TOO": "with blanks in it",
    "LANG": "C.UTF-8",
}
LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Peer:
    """One of the two programs: how it is called, and in which directory of the host."""

    name: str
    words: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    run: tuple[str, ...] = ("run", "--rm")

    def command(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Call it with a whole command, ``run`` among them."""
        return self(*self.run, *words[1:]) if words[0] == "run" else self(*words)

    def at(self, directory: Path) -> Peer:
        return replace(self, directory=directory)

    def __call__(
        self, *words: str, stdin: str = "", descriptor: str = "", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; ``descriptor`` is a file of the directory that the program gets as descriptor 3."""
        command = [*self.words, *words]
        if descriptor:
            command = ["sh", "-c", 'exec 3<"$0" && exec "$@"', descriptor, *command]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=LIMIT_S,
            cwd=self.directory,
            env={**HOST_ENVIRONMENT, **self.environment, **(environment or {})},
            check=False,
        )


class Companion:
    """A container that runs until it is closed, and says when its process runs: what it writes first is a line."""

    def __init__(self, peer: Peer, words: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [*peer.words, *peer.run, "--network", "none", "--interactive", "--name", "companion", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=peer.directory,
            env={**HOST_ENVIRONMENT, **peer.environment},
        )
        assert self._process.stdout is not None
        watchdog = threading.Timer(LIMIT_S, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            _, said = self._process.communicate(timeout=LIMIT_S)
            raise AssertionError(f"{peer.name} started no companion: {said}")

    def close(self) -> None:
        """End its standard input, and with it the container."""
        self._process.communicate(timeout=LIMIT_S)


def podman(base: Path) -> Peer:
    """Debian's podman with its storage below ``base``."""
    base.mkdir(parents=True)
    configuration = base / "containers.conf"
    names = ", ".join(f'"CAP_{name}"' for name in CAPABILITIES.split())
    configuration.write_text(CONTAINERS_CONF.format(capabilities=names), encoding="utf-8")
    words = (
        "podman", "--root", f"{base}/root", "--runroot", f"{base}/run", "--tmpdir", f"{base}/tmp",
        "--cgroup-manager", "cgroupfs", "--runtime", "runc", "--events-backend", "none",
    )  # fmt: skip
    return Peer("podman", words, base, {"CONTAINERS_CONF": str(configuration)}, PODMAN_RUN)


def prun(base: Path) -> Peer:
    """Our own command with its store below ``base``."""
    base.mkdir(parents=True)
    words = (PRUN, "--root", f"{base}/root", "--state", f"{base}/state")
    return Peer("prun", words, base, {"PRUN_PLUGINS": "none"})


def unmount(base: Path) -> None:
    """Unmount what podman leaves mounted below ``base``."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        points = [line.split()[4] for line in mounts]
    for point in sorted((point for point in points if point.startswith(f"{base}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)


def remove_cgroups() -> None:
    """Remove the parents that ``--cgroup-parent`` makes; podman leaves one for its monitor, too."""
    for parent in Path("/sys/fs/cgroup").glob(f"*{CGROUP_PARENT}"):
        for path, _, _ in os.walk(parent, topdown=False):
            os.rmdir(path)
