"""Many runs, and many containers that live, and what they leave on the machine: nothing.

    python bench/stress.py [SHORT [LIVING]]

SHORT runs of ``true`` one after the other in this process (default 10000), then LIVING containers (default 200) started
eight at a time, looked at, stopped and removed eight at a time.  What is there before and after is compared: mounts,
processes, cgroups, our descriptors, temporary files, rows and directories of the store.  Needs root.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import prun

HERE = Path(__file__).resolve().parent
AT_ONCE = 8


def traces(root: str, state: str) -> dict[str, int]:
    """Count what of the store is there, on the machine and in this process."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.name != str(os.getpid())]
    groups = [name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names]
    with_prun = [name for name in groups if len(name) == 64]
    return {
        "mounts": sum(root in line or state in line for line in mounts),
        "processes": sum(state.encode() in line for line in lines),
        "cgroups": len(with_prun),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "bundles": len(list(Path(state).glob("*/*"))),
        "writable layers": len(list(Path(root).glob("snapshots/active/*"))),
        "logs": len(list(Path(root).glob("containers/*"))),
        "temporary files": len([name for name in os.listdir(tempfile.gettempdir()) if name.startswith("conmon")]),
    }


def memory_kib(pids: list[int]) -> float:
    """Return the proportional memory of processes, on average."""
    sizes = [Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0] for pid in pids]
    return sum(map(int, sizes)) / max(1, len(sizes))


def short(runner: prun.Runner, count: int) -> None:
    """Run ``count`` containers, each to its end."""
    began = time.monotonic()
    for number in range(count):
        result = runner.run("busybox", ["true"])
        assert result.exit_code == 0, (number, result)
    print(f"{count} short runs: {(time.monotonic() - began) / max(1, count) * 1000:.1f} ms each")


def living(runner: prun.Runner, count: int) -> None:
    """Start, look at, stop and remove ``count`` containers."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        began = time.monotonic()
        options = {"detach": True, "remove": False, "stop_timeout": 0}
        made = list(pool.map(lambda _: runner.run("busybox", ["sleep", "1000"], **options).id, range(count)))  # type: ignore[arg-type]
        print(f"{count} started, {AT_ONCE} at a time: {time.monotonic() - began:.1f} s")
        rows = runner.containers.list()
        assert sum(row.status == "running" for row in rows) == count
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "prun", "--root", runner.root, "--state", runner.state, "ps", "-q"],
                       stdout=subprocess.DEVNULL, check=True)  # fmt: skip
        print(f"prun ps -q of {count}: {(time.monotonic() - began) * 1000:.0f} ms")
        conmons = [int(path.read_text()) for path in Path(runner.state).glob("bundles/*/conmon.pid")]
        print(f"memory that stays with each (conmon, PSS): {memory_kib(conmons):.0f} KiB")
        began = time.monotonic()
        list(pool.map(runner.containers.stop, made))
        print(f"{count} stopped: {time.monotonic() - began:.1f} s")
        assert all(row.status == "stopped" and row.exit_code == 137 for row in runner.containers.list())
        began = time.monotonic()
        list(pool.map(runner.containers.remove, made))
        print(f"{count} removed: {time.monotonic() - began:.1f} s")
        assert runner.containers.list() == []


def main() -> int:
    counts = [int(word) for word in sys.argv[1:3]]
    shorts, lives = (*counts, *(10_000, 200)[len(counts) :])
    with tempfile.TemporaryDirectory(prefix="prun-stress-") as base:
        runner = prun.Runner(root=f"{base}/root", state=f"{base}/state", plugins=[])
        archive = f"{base}/busybox.tar"
        subprocess.run([sys.executable, str(HERE.parent / "scripts/busybox_image.py"), archive], check=True)
        subprocess.run([sys.executable, "-m", "prun", "--root", runner.root, "--state", runner.state, "load", "-q",
                        "--tag", "busybox", archive], check=True)  # fmt: skip
        short(runner, 3)  # what is made once is made
        before = traces(runner.root, runner.state)
        short(runner, shorts)
        living(runner, lives)
        after = traces(runner.root, runner.state)
    left = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    print(f"left: {left or 'nothing'}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
