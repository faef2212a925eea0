"""An image that attacks who runs it, and the host as it would like to see it changed.

Each command runs in a mount namespace where ``/etc/hosts`` and ``/etc/resolv.conf`` are copies: an attack that succeeds
spoils the copy, and the test sees it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from command import NOTHING, Prun, settled
from images import busybox_layer, layer_tar, oci_layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from images import Entry

BINARIES = ("runc", "crun")
BASE = busybox_layer()
HOST_FILES = ("hosts", "resolv.conf")
# crun does not work where the v2 tree of a hybrid machine has controllers, so it gets a machine without that tree.
PREPARE = """
set -e
for name in hosts resolv.conf; do
    if test -f /etc/$name; then mount --bind "$1/$name" /etc/$name; fi
done
if test "$2" = crun && mountpoint -q /sys/fs/cgroup/unified; then
    umount /sys/fs/cgroup/unified
    mount -t tmpfs -o size=1m none /sys/fs/cgroup/unified
fi
shift 2
exec "$@"
"""


class Attack:
    """A victim on the host, images to attack it with, and the command that runs them."""

    def __init__(self, prun: Prun, directory: Path) -> None:
        self.prun = prun
        self.victim = directory / "victim"
        self.images = directory / "images"
        (self.victim / "directory").mkdir(parents=True)
        for name in ("file", *HOST_FILES):
            (self.victim / name).write_text(f"the host's {name}\n")
        self._before = self._host()

    def image(self, entries: Sequence[Entry] = (), config: dict[str, Any] | None = None, base: bytes = b"") -> str:
        """A source of an image of busybox and ``entries``."""
        path = self.images / str(len(os.listdir(self.images)) if self.images.exists() else 0)
        layers = [base or BASE, *([layer_tar(entries)] if entries else [])]
        oci_layout(path, layers, {"Cmd": ["true"], "Env": ["PATH=/bin"], **(config or {})}, compression="none")
        return f"oci:{path}:latest"

    def command(self, binary: str, *words: str) -> list[str]:
        prepare = ["unshare", "--mount", "sh", "-c", PREPARE, "sh", str(self.victim), binary]
        return [*prepare, *self.prun.words, *words]

    def run(
        self, binary: str, *words: str, pass_fds: Sequence[int] = (), cwd: str = "/", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """``prun run --rm``; the time limit is part of every test."""
        return subprocess.run(
            self.command(binary, "run", "--rm", "--opt", f"binary={binary}", *words),
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=60,
            env={**os.environ, **env}, pass_fds=pass_fds, cwd=cwd, check=False,
        )  # fmt: skip

    def changes(self) -> set[object]:
        """What is not as it was."""
        return self._before ^ self._host()

    def _host(self) -> set[object]:
        trees = [path for root in (self.victim, Path("/dev")) for path in [root, *root.iterdir()]]
        binaries = [Path("/usr/sbin/runc"), Path("/usr/bin/crun"), Path("/proc/sys/kernel/core_pattern")]
        return {_state(path) for path in [*trees, *binaries, *(Path("/etc", name) for name in HOST_FILES)]}


def _state(path: Path) -> tuple[str, int, str]:
    """A file's mode and content; a link's target: /dev/stderr may lead to the test's own output."""
    if not os.path.lexists(path):
        return (str(path), 0, "")
    info, content = path.lstat(), ""
    if stat.S_ISLNK(info.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(info.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return (str(path), info.st_mode, content)


@contextmanager
def attacking(prun: Prun, directory: Path) -> Iterator[Attack]:
    """An attack that may succeed at nothing: the host is as it was, and nothing of a container is left."""
    attack = Attack(prun, directory)
    yield attack
    changes = attack.changes()
    assert not changes, changes
    assert settled(prun) == NOTHING


def refused(done: subprocess.CompletedProcess[str], words: str = "") -> bool:
    """Tell whether prun itself refused, in one line, before any OCI runtime was called."""
    assert done.returncode == 125, (done.stdout, done.stderr)
    assert done.stderr.startswith("prun: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return words in done.stderr
