"""``prun events``: past and live, docker's fields, every kind of thing."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from command import Prun


def past(prun: Prun, since: str, *words: str) -> list[dict[str, Any]]:
    done = prun("events", "--since", since, "--no-stream", "--format", "json", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def actions(prun: Prun, since: str, *words: str) -> list[str]:
    return [each["Action"] for each in past(prun, since, *words)]


@pytest.fixture
def since() -> str:
    return f"{time.time():.6f}"


def test_the_life_of_a_container_in_dockers_fields(prun: Prun, since: str) -> None:
    """090.6"""
    words = ("--label", "a=b c", "--name", "lived", "busybox", "sh", "-c", "exit 17")
    assert prun("run", *words).returncode == 17
    prun("rm", "lived")
    found = past(prun, since, "--filter", "container=lived")
    assert [each["Action"] for each in found] == ["create", "start", "die", "destroy"]
    died = found[2]
    assert (died["status"], died["from"], died["Type"], died["scope"]) == (
        "die", "docker.io/library/busybox:latest", "container", "local",
    ) or died["from"] == "busybox"  # fmt: skip
    assert died["id"] == died["Actor"]["ID"]
    assert died["Actor"]["Attributes"]["exitCode"] == "17"
    assert died["Actor"]["Attributes"]["a"] == "b c"
    assert died["time"] == died["timeNano"] // 10**9
    assert abs(died["time"] - time.time()) < 60


def test_the_text_is_a_line_each(prun: Prun, since: str) -> None:
    """090.1, 090.2"""
    identity = prun("run", "-d", "--label", "k=v w", "--name", "texts", "busybox", "true").stdout.strip()
    prun("wait", "texts")
    common = ("events", "--since", since, "--stream=false", "-f", "event=start")
    when = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d"
    line = rf"{when} container start {identity} \(image=\S*busybox\S*, k=v w, name=texts\)\n"
    for more in (["label=k=v w"], ["label=k"], ["container=texts"], [f"container={identity[:9]}"], ["type=container"]):
        assert re.fullmatch(line, prun(*common, "-f", *more).stdout), more
    assert prun(*common, "-f", "label=k=other").stdout == ""
    assert f" {identity[:12]} (" in prun(*common, "--no-trunc=false").stdout
    formed = prun(
        "events", "--since", since, "--no-stream", "-f", "event=die", "--format", "{{.ID}}--{{.Name}}--{{.Status}}"
    )
    assert formed.stdout == f"{identity}--texts--die\n"
    assert json.loads(prun(*common, "--format", "{{json .}}").stdout)["Action"] == "start"


def test_filters_of_one_key_are_alternatives(prun: Prun, since: str) -> None:
    """090.5"""
    for name in ("c1", "c2", "c3"):
        prun("run", "--rm", "--name", name, "busybox", "true")
    found = past(prun, since, "-f", "container=c1", "-f", "container=c2", "-f", "event=start", "-f", "image=busybox")
    assert [each["Actor"]["Attributes"]["name"] for each in found] == ["c1", "c2"]


def test_images_and_volumes_have_events(prun: Prun, archive: Path, tmp_path: Path, since: str) -> None:
    """090.3"""
    prun("tag", "busybox", "other:1")
    prun("save", "-o", str(tmp_path / "saved"), "other:1")
    prun("rmi", "other:1")
    prun("load", "--tag", "third", str(archive))
    (tmp_path / "tree").mkdir()
    subprocess.run(["tar", "-cf", str(tmp_path / "t.tar"), "-C", str(tmp_path / "tree"), "."], check=True)
    assert prun("import", str(tmp_path / "t.tar"), "imported").returncode == 0
    prun("rmi", "imported")
    prun("rmi", "third")
    found = past(prun, since, "-f", "type=image")
    named = [(each["Action"], each["Actor"]["Attributes"]["name"].split("/")[-1]) for each in found]
    assert named == [
        ("tag", "other:1"), ("save", "other:1"), ("untag", "other:1"), ("load", "third:latest"),
        ("import", "imported:latest"), ("untag", "imported:latest"), ("delete", "imported:latest"),
        ("untag", "third:latest"),
    ]  # fmt: skip
    assert all(each["id"].startswith("sha256:") for each in found)
    prun("volume", "create", "vol")
    container = prun("create", "-v", "vol:/v:ro", "busybox", "true").stdout.strip()
    assert actions(prun, since, "-f", "volume=vol") == ["create"]
    prun("start", "-a", container)
    prun("rm", container)
    prun("volume", "rm", "vol")
    assert actions(prun, since, "-f", "volume=vol") == ["create", "mount", "unmount", "destroy"]
    mounted = past(prun, since, "-f", "event=mount")[0]["Actor"]["Attributes"]
    assert mounted == {"container": container, "destination": "/v", "driver": "local", "read/write": "false"}
    assert "status" not in past(prun, since, "-f", "type=volume")[0]


def test_events_come_while_they_happen_and_nothing_is_used_meanwhile(prun: Prun) -> None:
    process = prun.popen("events", "--format", "{{.Action}}", "-f", "type=container")
    assert process.stdout is not None
    time.sleep(0.7)
    before = cpu_of(process.pid)
    time.sleep(1)
    assert cpu_of(process.pid) - before <= 1
    prun("run", "--rm", "busybox", "true")
    seen = b""
    while b"destroy" not in seen:
        assert select.select([process.stdout], [], [], 10)[0], seen
        seen += os.read(process.stdout.fileno(), 4096)
    assert seen.split() == [b"create", b"start", b"die", b"destroy"]
    process.terminate()
    process.communicate(timeout=10)


def cpu_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_until_a_time_that_has_passed_ends_at_once_and_one_to_come_ends_then(prun: Prun, since: str) -> None:
    prun("run", "--rm", "busybox", "true")
    between = f"{time.time():.6f}"
    prun("run", "--rm", "busybox", "true")
    begin = time.monotonic()
    done = prun("events", "--since", since, "--until", between, "--format", "{{.Action}}")
    assert done.stdout.split() == ["create", "start", "die", "destroy"]
    assert time.monotonic() - begin < 5
    assert prun("events", "--until", "1s", "--since", "0s").returncode == 0
    begin = time.monotonic()
    assert prun("events", "--until", f"{time.time() + 1:.3f}", timeout=20).returncode == 0
    assert time.monotonic() - begin > 0.6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-f", "nothing=x"], "invalid filter"),
        (["-f", "type=pod"], "pod"),
        (["--since", "soon"], "no time"),
        (["--until", "soon"], "no time"),
        (["--format", "{{.Nope}}", "--since", "1h"], "Nope"),
    ],
)
def test_what_cannot_be_asked_is_refused(prun: Prun, words: list[str], said: str) -> None:
    prun("run", "--rm", "busybox", "true")
    done = prun("events", "--no-stream", *words)
    assert done.returncode == 125
    assert said in done.stderr
