"""``ps``: docker's columns, fields and filters over real containers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from command import NOTHING, Prun

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def filled(store: Prun) -> Iterator[Prun]:
    """Five containers, each in another state or with something of its own; the oldest first."""
    for words in (
        ["create", "--name", "made", "-l", "tier=front", "busybox", "sh", "-c", "echo 'a' b c d"],
        [
            "run",
            "--name",
            "failed",
            "-l",
            "tier=back",
            "-v",
            "data:/data",
            "busybox",
            "sh",
            "-c",
            "echo hello >/w; exit 3",
        ],
        ["run", "-d", "--name", "web", "-l", "tier=front", "-l", "keep", "-v", "/tmp:/host", "busybox", "sleep", "600"],
        ["run", "-d", "--name", "frozen", "--restart", "always", "busybox", "sleep", "600"],
        ["run", "-d", "--name", "host", "--network", "host", "busybox", "sleep", "600"],
    ):
        done = store(*words)
        assert done.returncode in (0, 3), done.stderr
    assert store("pause", "frozen").returncode == 0
    yield store
    assert store("rm", "-f", *store("ps", "-aq").stdout.split()).returncode == 0
    assert store("volume", "rm", "data").returncode == 0
    assert store.traces() == NOTHING


def names(prun: Prun, *words: str) -> list[str]:
    done = prun("ps", "--format", "{{.Names}}", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_columns_and_the_words_are_dockers(filled: Prun) -> None:
    lines = filled("ps", "-a").stdout.splitlines()
    assert re.split(r" {2,}", lines[0]) == ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    by_name = {line.split()[-1]: line for line in lines[1:]}
    assert list(by_name) == ["host", "frozen", "web", "failed", "made"]
    assert re.search(r'"sh -c \'echo \'a\' b c…" .* ago +Created +made$', by_name["made"])
    assert re.search(r" Exited \(3\) .* ago +failed$", by_name["failed"])
    assert re.search(r' "sleep 600" .* Up [^()]+ +web$', by_name["web"])
    assert re.search(r" Up .* \(Paused\) +frozen$", by_name["frozen"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["host", "frozen", "web"]),
        (["-a"], ["host", "frozen", "web", "failed", "made"]),
        (["-l"], ["host"]),
        (["-n", "2"], ["host", "frozen"]),
        (["-n", "2", "--filter", "status=exited", "--filter", "status=created"], ["failed", "made"]),
        (["-n", "0"], []),
        (["-a", "--sort", "created"], ["made", "failed", "web", "frozen", "host"]),
        (["-a", "--sort", "names"], ["failed", "frozen", "host", "made", "web"]),
        (["-a", "--sort", "command"], ["made", "failed", "host", "frozen", "web"]),
        (["--filter", "status=exited"], ["failed"]),
        (["--filter", "status=stopped"], ["failed"]),
        (["--filter", "status=paused", "--filter", "status=created"], ["frozen", "made"]),
        (["--filter", "status=dead"], []),
        (["--filter", "exited=3"], ["failed"]),
        (["-a", "--filter", "exited=0"], []),
        (["-a", "--filter", "name=e"], ["frozen", "web", "failed", "made"]),
        (["-a", "--filter", "name=^/?web$"], ["web"]),
        (["-a", "--filter", "label=tier"], ["web", "failed", "made"]),
        (["-a", "--filter", "label=tier=front", "--filter", "label=keep"], ["web"]),
        (["-a", "--filter", "label!=tier"], ["host", "frozen"]),
        (["-a", "--filter", "volume=data"], ["failed"]),
        (["-a", "--filter", "volume=/host"], ["web"]),
        (["-a", "--filter", "before=web"], ["failed", "made"]),
        (["-a", "--filter", "since=web"], ["host", "frozen"]),
        (["-a", "--filter", "network=host"], ["host"]),
        (["-a", "--filter", "ancestor=busybox", "--filter", "name=w"], ["web"]),
        (["-a", "--filter", "ancestor=nothing"], []),
        (["-a", "--filter", "health=none", "--filter", "id=zz"], []),
        (["-a", "--filter", "id=[^0-9a-f]"], []),
        (["-a", "--filter", "id=[0-9a-f]", "--filter", "name=web"], ["web"]),
        (["-a", "--filter", "is-task=true"], []),
        (["-a", "--filter", "restart-policy=always"], ["frozen"]),
        (["-a", "--filter", "until=1h"], []),
        (["-a", "--filter", "until=-1h", "--filter", "name=web"], ["web"]),
    ],
)  # fmt: skip
def test_who_is_listed(filled: Prun, words: list[str], expected: list[str]) -> None:
    assert names(filled, *words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--filter", "bogus=1"], "invalid filter 'bogus=1' (KEY=VALUE with one of ancestor, before, exited, health"),
        (["--filter", "status=broken"], "'broken' is not one of created, running"),
        (["--filter", "exited=x"], "'x' is no exit code"),
        (["--filter", "before=nobody"], "no such container: nobody"),
        (["--filter", "until=soon"], "'soon' is no time"),
        (["--filter", "name=["], "invalid filter 'name=['"),
        (["-q", "--format", "json"], "--quiet and --format exclude each other"),
        (["--format", "{{.Nope}}"], "there is no field .Nope"),
        (["-n", "-2"], "-n"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(filled: Prun, words: list[str], message: str) -> None:
    done = filled("ps", *words)
    assert (done.returncode, done.stdout) == (125, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_formats(filled: Prun) -> None:
    rows = {row["Names"]: row for row in json.loads(filled("ps", "-a", "--format", "json").stdout)}
    assert (rows["web"]["State"], rows["web"]["Labels"]) == ("running", {"tier": "front", "keep": ""})
    assert rows["web"]["Pid"] > 0
    assert (rows["failed"]["State"], rows["failed"]["ExitCode"], rows["failed"]["Pid"]) == ("exited", 3, 0)
    assert (rows["failed"]["Mounts"], rows["failed"]["LocalVolumes"], rows["web"]["Mounts"]) == (["data"], 1, ["/tmp"])
    lines = filled("ps", "-a", "--format", "{{json .}}").stdout.splitlines()
    assert [json.loads(line)["Names"] for line in lines] == ["host", "frozen", "web", "failed", "made"]
    table = filled("ps", "--filter", "name=web", "--format", r'table {{.Names}}\t{{.Label "tier"}}\t{{.Labels}}').stdout
    assert table == "NAMES     tier      LABELS\nweb       front     keep=,tier=front\n"
    assert (
        filled("ps", "-q", "--no-trunc", "--filter", "name=web").stdout.strip()
        == filled("inspect", "--format", "{{.Id}}", "web").stdout.strip()
    )


def test_sizes_are_what_was_written_and_what_it_stands_on(filled: Prun) -> None:
    line = filled("ps", "-as", "--filter", "name=failed").stdout.splitlines()[1]
    assert re.search(r"failed +\d+B \(virtual \d\.\d+MB\)$", line)
    sizes = json.loads(filled("inspect", "--size", "failed").stdout)[0]
    assert 6 <= sizes["SizeRw"] < 1000 < sizes["SizeRootFs"]
    assert "SizeRw" not in json.loads(filled("inspect", "failed").stdout)[0]
    assert filled("ps", "-a", "--filter", "name=failed", "--format", "{{.Size}}").stdout.startswith(
        f"{sizes['SizeRw']}B"
    )


def test_ids_are_found_by_their_beginning(filled: Prun) -> None:
    ids = filled("ps", "-aq", "--no-trunc").stdout.split()
    for identity in ids:
        for word in (identity[:13], identity[:13].upper(), f"^{identity[:13]}", identity):
            assert filled("ps", "-aq", "--no-trunc", "--filter", f"id={word}").stdout.split() == [identity], word
        assert filled("ps", "-aq", "--filter", f"id={identity[1:20]}").stdout == ""
    both = filled("ps", "-aq", "--no-trunc", "--filter", f"id={ids[0]}", "--filter", f"id={ids[2]}").stdout.split()
    assert both == [ids[0], ids[2]]


def test_headings_can_be_left_out(filled: Prun) -> None:
    with_headings = filled("ps", "-a", "--format", r"table {{.ID}}\t{{.Names}}").stdout.splitlines()
    assert (
        filled("ps", "-a", "--noheading", "--format", r"table {{.ID}}\t{{.Names}}").stdout.splitlines()
        == with_headings[1:]
    )
    assert filled("ps", "--noheading", "--filter", "name=nothing").stdout == ""
