"""``prun_linux.stats`` over trees of files as both versions of cgroups have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prun.errors import FailedPrecondition
from prun.live import TaskStats
from prun_linux import stats

if TYPE_CHECKING:
    from pathlib import Path

PATH = "/prun/abc"
EXPECTED = TaskStats(
    cpu_ns=1_500_000, memory_bytes=3000, memory_limit_bytes=10_000, network_received_bytes=11, network_sent_bytes=22,
    block_read_bytes=105, block_written_bytes=207, pids=4,
)  # fmt: skip


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    proc = tmp_path / "proc"
    line = "{}: {} 0 0 0 0 0 0 0 {} 0 0 0 0 0 0 0\n"
    dev = "Inter-| Receive\n face |bytes\n" + line.format("    lo", 900, 900) + line.format("  eth0", 11, 22)
    write(proc, {"meminfo": "MemTotal:  1000 kB\nMemFree: 1 kB\n", "7/net/dev": dev})
    for pid, namespace in (("self", 1), ("7", 2), ("8", 1)):
        (proc / pid / "ns").mkdir(parents=True, exist_ok=True)
        (proc / pid / "ns" / "net").symlink_to(f"net:[{namespace}]")
    return proc


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    root = tmp_path / "v2"
    write(
        root,
        {
            "cgroup.controllers": "cpu io memory pids\n",
            "prun/abc/cpu.stat": "usage_usec 1500\nuser_usec 1\n",
            "prun/abc/memory.current": "4000\n",
            "prun/abc/memory.stat": "anon 1\ninactive_file 1000\n",
            "prun/abc/memory.max": "10000\n",
            "prun/abc/pids.current": "4\n",
            "prun/abc/io.stat": "8:0 rbytes=100 wbytes=200 rios=1\n8:16 rbytes=5 wbytes=7\n9:0\n",
        },
    )
    return root


@pytest.fixture(params=["v1", "hybrid"])
def v1(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    root = tmp_path / "v1"
    served = "8:0 Read 100\n8:0 Write 200\n8:0 Total 300\n8:16 Read 5\n8:16 Write 7\nTotal 312\n"
    write(
        root,
        {
            "cpuacct/cgroup.procs": "",
            "cpuacct/prun/abc/cpuacct.usage": "1500000\n",
            "memory/prun/abc/memory.usage_in_bytes": "4000\n",
            "memory/prun/abc/memory.stat": "cache 1\ntotal_inactive_file 1000\n",
            "memory/prun/abc/memory.limit_in_bytes": "10000\n",
            "blkio/prun/abc/blkio.throttle.io_service_bytes_recursive": served,
            "pids/prun/abc/pids.current": "4\n",
        },
    )
    if request.param == "hybrid":
        write(root, {"unified/cgroup.controllers": "\n"})
    return root


def test_numbers_of_version_2(v2: Path, proc: Path) -> None:
    assert stats.read(PATH, 7, str(v2), str(proc)) == EXPECTED


def test_numbers_of_version_1_and_hybrid(v1: Path, proc: Path) -> None:
    assert stats.read(PATH, 7, str(v1), str(proc)) == EXPECTED


@pytest.mark.parametrize("word", ["max", "9223372036854771712"])
def test_no_limit_is_the_memory_of_the_machine(v2: Path, proc: Path, word: str) -> None:
    (v2 / "prun/abc/memory.max").write_text(f"{word}\n")
    assert stats.read(PATH, 7, str(v2), str(proc)).memory_limit_bytes == 1000 * 1024


def test_the_network_of_the_machine_is_not_the_containers(v2: Path, proc: Path) -> None:
    found = stats.read(PATH, 8, str(v2), str(proc))
    assert (found.network_received_bytes, found.network_sent_bytes) == (0, 0)
    assert stats.read(PATH, None, str(v2), str(proc)).network_sent_bytes == 0


def test_what_is_not_counted_is_zero(v2: Path, proc: Path) -> None:
    for name in ("memory.current", "memory.stat", "pids.current", "io.stat", "cpu.stat"):
        (v2 / "prun/abc" / name).unlink()
    assert stats.read(PATH, 7, str(v2), str(proc))[:2] == (0, 0)
    (v2 / "prun/abc" / "io.stat").write_text("nonsense = x\n8:0 rbytes=x wbytes=-1\n")
    assert stats.read(PATH, 7, str(v2), str(proc)).block_read_bytes == 0


def test_without_a_cgroup_there_are_no_numbers(v2: Path, v1: Path, proc: Path) -> None:
    for mount in (v2, v1):
        with pytest.raises(FailedPrecondition, match="no cgroup /prun/other"):
            stats.read("/prun/other", 7, str(mount), str(proc))
