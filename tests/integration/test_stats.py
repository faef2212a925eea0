"""``prun stats`` of real containers."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pexpect

if TYPE_CHECKING:
    from command import Prun

FIELDS = {"BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"}


def test_a_busy_container_is_told_from_an_idle_one(prun: Prun) -> None:
    prun("run", "-d", "--name", "busy", "-m", "64m", "busybox", "sh", "-c", "while :; do :; done")
    prun("run", "-d", "--name", "idle", "busybox", "sh", "-c", "sleep 100 & exec sleep 100")
    prun("create", "--name", "made", "busybox", "true")
    time.sleep(0.3)
    done = prun("stats", "--no-stream", "--format", "json")
    found = {row["Name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert set(found) == {"busy", "idle"}
    assert set(found["busy"]) == FIELDS
    assert float(found["busy"]["CPUPerc"].rstrip("%")) > 10 > float(found["idle"]["CPUPerc"].rstrip("%"))
    assert found["busy"]["MemUsage"].endswith(" / 64MiB")
    assert found["idle"]["PIDs"] == "2"
    table = prun("container", "stats", "--no-stream", "-a", "--no-trunc").stdout.splitlines()
    assert table[0].split("  ")[0] == "CONTAINER ID"
    assert len(table) == 4
    assert any(line.split()[:3] == [line.split()[0], "made", "0.00%"] for line in table)
    assert prun("stats", "--no-stream", "--format", "{{.Name}}", "idle").stdout == "idle\n"


def test_a_foreground_run_has_numbers_too_and_they_end_with_it(prun: Prun) -> None:
    process = prun.popen("run", "--rm", "--name", "front", "busybox", "sleep", "2")
    while "front" not in prun("ps", "--format", "{{.Names}}").stdout:
        time.sleep(0.05)
    done = prun("stats", "-i", "0.2", "--format", "{{.Name}} {{.PIDs}}", "front", timeout=30)
    process.communicate(timeout=20)
    assert done.returncode == 0
    assert set(done.stdout.splitlines()) <= {"front 1", "front 0"}
    assert done.stdout.startswith("front 1\n")


def test_on_a_terminal_the_table_is_drawn_in_place(prun: Prun) -> None:
    prun("run", "-d", "--name", "drawn", "busybox", "sleep", "100")
    child = pexpect.spawn(prun.words[0], [*prun.words[1:], "stats", "-i", "0.2"], timeout=20, dimensions=(24, 120))
    for _ in range(3):
        child.expect_exact("\x1b[H")
        child.expect("CONTAINER ID .*drawn")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130


def test_what_is_not_there_is_said(prun: Prun) -> None:
    assert "no such container" in prun("stats", "nobody").stderr
    assert prun("stats", "-i", "0", "--no-stream").returncode == 125
    assert prun("stats", "--no-stream").stdout.startswith("CONTAINER ID")
