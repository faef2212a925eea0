"""``rename``, ``port``, and the group ``container``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from command import NOTHING, Prun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def names(prun: Prun) -> list[str]:
    return prun("ps", "-a", "--format", "{{.Names}}").stdout.split()


def test_a_container_is_renamed(prun: Prun) -> None:
    assert prun("run", "--name", "old", "busybox", "true").returncode == 0
    assert prun("create", "--name", "other", "busybox", "true").returncode == 0
    identity = prun("inspect", "--format", "{{.Id}}", "old").stdout.strip()
    assert prun("rename", "old", "/new").returncode == 0
    assert prun("inspect", "--format", "{{.Id}} {{.Name}}", "new").stdout == f"{identity} new\n"
    assert prun("container", "rename", identity[:12], "newer").returncode == 0
    assert prun("start", "-a", "newer").returncode == 0
    assert names(prun) == ["other", "newer"]
    for words, message in (
        (["newer", "other"], "the name 'other' is in use by container"),
        (["newer", "newer"], "has that name already"),
        (["newer", "-x"], "No such option"),
        (["newer", "a b"], "is not usable"),
        (["newer", ""], "the new name is empty"),
        (["nobody", "x"], "no such container: nobody"),
        (["other", identity], "is in use by container"),
    ):
        done = prun("rename", *words)
        assert done.returncode == 125, words
        assert message in done.stderr


def test_ports_are_none(prun: Prun) -> None:
    assert prun("create", "--name", "closed", "busybox", "true").returncode == 0
    assert (prun("port", "closed").returncode, prun("port", "closed").stdout) == (0, "")
    assert "no public port 80/tcp published for closed" in prun("port", "closed", "80").stderr
    assert prun("port", "closed", "x").returncode == 125
    assert "no such container" in prun("port", "nobody").stderr


def test_the_group_has_dockers_commands(prun: Prun) -> None:
    assert prun("container", "create", "--name", "one", "busybox", "true").returncode == 0
    assert prun("container", "run", "--rm", "busybox", "echo", "hi").stdout == "hi\n"
    for word in ("ls", "list", "ps"):
        assert prun("container", word, "-a", "--format", "{{.Names}}").stdout == "one\n"
    assert json.loads(prun("container", "inspect", "one").stdout)[0]["Name"] == "one"
    assert "no such container: busybox" in prun("container", "inspect", "busybox").stderr
    assert [prun("container", "exists", name).returncode for name in ("one", "two")] == [0, 1]
    assert prun("container", "start", "-a", "one").returncode == 0
    assert prun("container", "nope").returncode == 125
    assert "IMAGE" in prun("container", "run", "--help").stdout
    assert prun("container", "rm", "one").stdout == "one\n"


def test_prune_removes_what_does_not_run(new_prun: Callable[[], Prun], archive: Path) -> None:
    prun = new_prun()
    assert prun("load", "--tag", "busybox", str(archive)).returncode == 0
    assert prun("run", "--name", "done", "-l", "a=b", "busybox", "true").returncode == 0
    assert prun("create", "--name", "made", "busybox", "true").returncode == 0
    assert prun("run", "-d", "--name", "web", "busybox", "sleep", "600").returncode == 0
    assert prun("container", "prune", stdin=b"n\n").returncode == 130
    assert prun("container", "prune", "-f", "--filter", "until=1h").stdout == "Total reclaimed space: 0B\n"
    assert prun("container", "prune", "-f", "--filter", "label!=a").stdout.startswith("Deleted Containers:\n")
    assert names(prun) == ["web", "done"]
    asked = prun("container", "prune", stdin=b"y\n")
    assert re.search(r"Deleted Containers:\n[0-9a-f]{64}\n\nTotal reclaimed space: \d+B\n$", asked.stdout)
    assert names(prun) == ["web"]
    assert prun("rm", "-f", "web").returncode == 0
    assert prun.traces() == NOTHING
