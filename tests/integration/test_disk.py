"""``prun system df``, ``system prune``, ``container prune``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun


@pytest.fixture
def prun(new_prun: Callable[[], Prun], archive: Path) -> Prun:
    prun = new_prun()
    assert prun("load", "--tag", "busybox", str(archive)).returncode == 0
    return prun


def usage(prun: Prun) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(prun("system", "df", "--format", "json").stdout)
    return found


def test_what_is_there_is_counted_and_what_could_be_had_back(prun: Prun) -> None:
    """320.1, 320.2, 320.3"""
    lines = prun("system", "df").stdout.splitlines()
    assert lines[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert lines[1].split()[:3] == ["Images", "1", "0"]
    assert lines[2].split()[:3] == ["Containers", "0", "0"]
    assert lines[3].split()[:5] == ["Local", "Volumes", "0", "0", "0B"]
    images = usage(prun)[0]
    assert images["RawSize"] == images["RawReclaimable"] > 100_000
    assert images["Reclaimable"].endswith("(100%)")
    prun("run", "--name", "ended", "-v", "/v1", "busybox", "sh", "-c", "head -c 50000 /dev/zero > /f; echo x > /v1/f")
    prun("run", "-d", "--name", "going", "-v", "/v2", "busybox", "sleep", "100")
    prun("volume", "create", "unused")
    images, containers, volumes = usage(prun)
    assert (images["Total"], images["Active"], images["Reclaimable"]) == (1, 1, "0B (0%)")
    assert (containers["Total"], containers["Active"]) == (2, 1)
    assert containers["RawReclaimable"] >= 50_000
    assert (volumes["TotalCount"], volumes["Active"], volumes["RawSize"]) == (3, 2, 2)
    shown = prun("system", "df", "--format", "{{ .Type }}:{{ .Total }}:{{ .Active }}").stdout
    assert shown == "Images:1:1\nContainers:2:1\nLocal Volumes:3:2\n"
    every = json.loads(prun("system", "df", "-v", "--format", "json").stdout)
    assert [row["Containers"] for row in every["Images"]] == [2]
    assert {row["Names"]: row["LocalVolumes"] for row in every["Containers"]} == {"ended": 1, "going": 1}
    assert sorted(row["Links"] for row in every["Volumes"]) == [0, 1, 1]
    text = prun("system", "df", "-v").stdout
    for heading in ("Images space usage:", "Containers space usage:", "Local Volumes space usage:"):
        assert heading in text
    assert prun("system", "df", "-v", "--format", "{{.ID}}").returncode == 125
    assert prun("rm", "-f", "going").returncode == 0


def test_prune_leaves_what_is_used(prun: Prun, archive: Path) -> None:
    prun("load", "--tag", "other", str(archive))
    ended = prun("create", "--label", "a=b", "-v", "/v", "busybox", "true").stdout.strip()
    going = prun("run", "-d", "busybox", "sleep", "100").stdout.strip()
    prun("volume", "create", "named")
    assert prun("system", "prune", "-f", "--filter", "label=a=c").stdout == "Total reclaimed space: 0B\n"
    assert prun("system", "prune", "-f", "--filter", "until=1h").stdout == "Total reclaimed space: 0B\n"
    done = prun("system", "prune", "-f", "--volumes")
    assert done.stdout.startswith(f"Deleted Containers:\n{ended}\n\nDeleted Volumes:\n")
    assert "Total reclaimed space: " in done.stdout
    assert prun("ps", "-aq", "--no-trunc").stdout.split() == [going]
    assert prun("volume", "ls", "-q").stdout == "named\n"
    assert sorted(prun("images", "--format", "{{.Repository}}").stdout.split()) == ["busybox", "other"]
    assert prun("rm", "-f", going).returncode == 0
    done = prun("system", "prune", "-af")
    assert "Deleted Images:\n" in done.stdout
    assert prun("images", "-q").stdout == ""
    assert usage(prun)[0]["RawSize"] == 0


def test_container_prune_asks_and_says_what_it_did(prun: Prun) -> None:
    identity = prun("create", "busybox", "true").stdout.strip()
    child = pexpect.spawn(prun.words[0], [*prun.words[1:], "container", "prune"], timeout=20, encoding="utf-8")
    child.expect_exact("WARNING! This will remove all stopped containers.")
    child.expect_exact("[y/N]")
    child.sendline("n")
    child.expect(pexpect.EOF)
    assert prun("ps", "-aq", "--no-trunc").stdout.split() == [identity]
    done = prun("system", "prune", stdin=b"")
    assert done.returncode != 0
    assert prun("ps", "-aq", "--no-trunc").stdout.split() == [identity]
    assert prun("container", "prune", "-f", "--filter", "label!=x").stdout.startswith(
        f"Deleted Containers:\n{identity}\n\nTotal reclaimed space: "
    )
    assert prun("container", "prune", "-f").stdout == "Total reclaimed space: 0B\n"
    assert prun("container", "prune", "-f", "--filter", "colour=red").returncode == 125
    done = prun("system", "prune", "-f", "--volumes", "--filter", "until=1h")
    assert done.returncode == 125
    assert "until" in done.stderr
