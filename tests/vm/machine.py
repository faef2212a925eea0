"""A guest with cgroup v2 and nothing of v1: this machine's own files, below another kernel.

QEMU emulates the processor (TCG): that runs everywhere, boots in three seconds, and is some ten times slower than here.
The guest reads the host's ``/``, so the same Python, prun and OCI runtimes are there, and writes into its own memory.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vm.boot import debian_kernel, initrd

if TYPE_CHECKING:
    from collections.abc import Sequence

QEMU = "qemu-system-x86_64"
MEMORY_MIB = 1024
CPUS = 2
DISK_BYTES = 16 << 20
KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 cryptomgr.notests=1 mitigations=off tsc=reliable no_timer_check"


class Ended(NamedTuple):
    """What the command in the guest said on standard output and standard error, and its exit status."""

    status: int
    output: str


class Machine(NamedTuple):
    """Boots a guest for each command; ``exchange`` is a directory that both sides read and write."""

    exchange: Path

    def run(self, words: Sequence[str], timeout_s: float, cwd: str | Path = "/") -> Ended:
        """Boot, run the command as root, power off.

        Raises:
            RuntimeError: the guest did not get as far as an exit status within the time; says what its console said.
        """
        command, output, status = (self.exchange / name for name in ("command", "output", "status"))
        command.write_text(f"cd {shlex.quote(str(cwd))}\nexec {shlex.join(words)}\n", encoding="utf-8")
        output.write_bytes(b"")
        status.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            why = _run(self._qemu(Path(scratch)), timeout_s)
            console = Path(scratch, "console")
            said = console.read_text(errors="replace") if console.exists() else ""
        if not status.exists():
            raise RuntimeError(f"no exit status from the guest: {why}\n{said[-4000:]}\n{output.read_text()[-4000:]}")
        return Ended(int(status.read_text()), output.read_text(encoding="utf-8", errors="replace"))

    def _qemu(self, scratch: Path) -> list[str]:
        kernel, first_files, console, disk = debian_kernel(), scratch / "initrd", scratch / "console", scratch / "disk"
        first_files.write_bytes(initrd(kernel))
        with open(disk, "wb") as file:
            file.truncate(DISK_BYTES)
        share = "local,security_model=none,multidevs=remap"
        return [
            # Should we be killed, so is the guest.
            "setpriv", "--pdeathsig", "KILL",
            QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-M", "q35", "-accel", "tcg", "-m", str(MEMORY_MIB), "-smp", str(CPUS),
            "-kernel", str(kernel.image), "-initrd", str(first_files), "-append", KERNEL_ARGUMENTS,
            "-serial", f"file:{console}",
            "-fsdev", f"{share},id=host,path=/,readonly=on", "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
            "-fsdev", f"{share},id=exchange,path={self.exchange}",
            "-device", "virtio-9p-pci,fsdev=exchange,mount_tag=exchange",
            "-drive", f"if=none,id=disk,format=raw,file={disk}", "-device", "virtio-blk-pci,drive=disk",
        ]  # fmt: skip


def _run(words: list[str], timeout_s: float) -> str:
    """Run QEMU to its end, or end it; return what is to be said of it."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"not done after {timeout_s:.0f} s"
    return f"QEMU ended with {done.returncode}: {done.stdout}{done.stderr}"
