"""A containerd of the tests' own: private socket, root and state, ended by its pid, and nothing of it stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from command import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """
version = 2
root = "{base}/root"
state = "{base}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{base}/sock"
[ttrpc]
  address = "{base}/sock.ttrpc"
"""
START_S = 20.0


class Containerd:
    """One daemon; its directory's name is short, since a socket's path may have 107 bytes."""

    def __init__(self, base: Path) -> None:
        self.base, self.address = base, f"{base}/sock"
        # The OCI runtime's own state is below /run/containerd whatever the daemon's root is.
        self.namespace = f"prun-test-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon, and wait until it answers."""
        if self._process is not None:
            self._process.wait(timeout=20)  # it was killed
        config = self.base / "config.toml"
        config.write_text(CONFIG.format(base=self.base))
        with (self.base / "log").open("ab") as log:
            self._process = subprocess.Popen(["containerd", "--config", str(config)], stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while self.ctr("version", check=False).returncode:
            assert self._process.poll() is None, (self.base / "log").read_text()
            assert time.monotonic() < deadline, (self.base / "log").read_text()
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill the daemon and nothing else: its shims live on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End the daemon, which has no container any more."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=20)
        shutil.rmtree(f"/run/containerd/runc/{self.namespace}", ignore_errors=True)

    def ctr(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Ask the daemon what Debian's own client sees."""
        command = ["ctr", "--address", self.address, "--namespace", self.namespace, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=check)

    def names(self, *words: str) -> list[str]:
        """The first column of a list, without its title."""
        return [line.split()[0] for line in self.ctr(*words).stdout.splitlines()[1:] if line.strip()]

    def traces(self) -> dict[str, list[str]]:
        """What of containers is there: tasks, records, writable snapshots, leases, shims."""
        snapshots = self.ctr("snapshots", "list").stdout.splitlines()[1:]
        return {
            "tasks": self.names("tasks", "list"),
            "containers": self.names("containers", "list"),
            "active": [line for line in snapshots if line.strip() and not line.rstrip().endswith("Committed")],
            "leases": self.names("leases", "list"),
            "shims": [str(pid) for pid in shim_pids(self.address)],
            "runc": listed(Path(f"/run/containerd/runc/{self.namespace}")),
        }

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PRUN_ENGINE": "containerd", "CONTAINERD_ADDRESS": self.address, "CONTAINERD_NAMESPACE": self.namespace,
            "CONTAINERD_SNAPSHOTTER": self.snapshotter,
        }  # fmt: skip

    @property
    def snapshotter(self) -> str:
        """Overlayfs, or what works where the tests run in an overlay themselves."""
        lines = [line.split() for line in self.ctr("plugins", "list").stdout.splitlines()]
        usable = [words[1] for words in lines if words[:1] == ["io.containerd.snapshotter.v1"] and words[-1] == "ok"]
        return "overlayfs" if "overlayfs" in usable else "native"


NOTHING: dict[str, list[str]] = {"tasks": [], "containers": [], "active": [], "leases": [], "shims": [], "runc": []}


@contextmanager
def private_containerd(base: Path) -> Iterator[Containerd]:
    """Run a containerd while the context lasts."""
    base.mkdir()
    daemon = Containerd(base)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


def shim_pids(address: str) -> list[int]:
    """The pids of the shims of a daemon."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "containerd-shim" in line.split(" ")[0] and address in line:
            found.append(int(pid))
    return found
