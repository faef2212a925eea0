"""``run --lock``, ``replay`` and ``diff`` of what made two runs, with a real OCI runtime."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from images import busybox_layer, file, layer_tar, oci_layout

from prun.locking import read_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Prun

DOCS = Path(__file__).parents[2] / "docs"
MANY = (
    *("-e", "A=b", "-v", "anonymous:/a", "-v", "/anonymous", "--tmpfs", "/t", "--memory", "64m", "--cap-drop", "ALL"),
    *("-u", "1000", "--read-only", "--hostname", "h", "--ulimit", "core=0", "--pull", "never", "--init"),
)


def sessions(page: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a page's examples, each with the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for line in (DOCS / page).read_text().splitlines():
        if line.startswith("    $ "):
            found.append((line[6:], []))
        elif line.startswith("    ") and found:
            found[-1][1].append(line[4:])
    return found


def test_every_example_of_the_page_does_what_it_says(prun: Prun, tmp_path: Path) -> None:
    for line, output in sessions("replay.md"):
        words = shlex.split(line)
        assert words[0] == "prun"
        done = subprocess.run(
            [*prun.words, *words[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.stdout.splitlines() == output, (line, done.stderr)
        assert done.returncode == (1 if words[1] == "diff" else 0), line
        assert done.stderr == "", line


def test_the_example_of_failures_does_what_it_says(prun: Prun, tmp_path: Path) -> None:
    layers = [busybox_layer(), layer_tar([file("start.sh", b"#!/bin/sh\r\necho hi\r\n", mode=0o755)])]
    oci_layout(tmp_path / "web", layers, {"Cmd": ["/start.sh"]}, tag="web")
    assert prun("load", f"oci:{tmp_path / 'web'}", "--tag", "web").returncode == 0
    (line, output), (without, told) = sessions("failures.md")
    done = prun(*shlex.split(line)[1:])
    assert done.stderr.split() == " ".join(output).split()
    assert done.returncode == 126
    done = prun(*shlex.split(without)[1:])
    first, second = done.stderr.splitlines()
    assert (first, second[: len(told[1]) - 3]) == (told[0], told[1].removesuffix("..."))


def test_a_lock_gives_the_same_spec_in_a_store_that_has_only_what_it_names(
    store: Prun, new_prun: Callable[[], Prun], archive: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run.lock"
    done = store("run", "--rm", "--lock", str(path), *MANY, "busybox", "sh", "-c", "id -u; exit 7")
    assert (done.returncode, done.stdout) == (7, "1000\n"), done.stderr
    other = new_prun()
    assert other("load", "--tag", "another-name", str(archive)).returncode == 0
    again = other("replay", "--strict", str(path))
    assert (again.returncode, again.stdout, again.stderr) == (7, "1000\n", "")
    assert other("ps", "-aq").stdout == ""
    assert str(store.root) not in path.read_text()
    machine = read_document(str(path))["machine"]
    assert machine["oci runtime version"].startswith("runc version")
    assert machine["cgroups"] in ("v1", "v2", "hybrid")
    store("volume", "rm", "anonymous")


def test_an_image_that_is_not_there_any_more_is_told_or_refused(
    store: Prun, new_prun: Callable[[], Prun], tmp_path: Path
) -> None:
    path = tmp_path / "run.lock"
    assert store("run", "--rm", "--pull", "never", "--lock", str(path), "busybox", "true").returncode == 0
    other = new_prun()
    oci_layout(tmp_path / "other", [busybox_layer()], {"Cmd": ["false"], "Env": ["NEW=1"]}, tag="busybox")
    assert other("load", f"oci:{tmp_path / 'other'}", "--tag", "busybox").returncode == 0
    done = other("replay", str(path))
    assert done.returncode == 0, done.stderr
    assert "not as it was: ! /image/digest: " in done.stderr
    assert '"NEW=1"' in done.stderr
    refused = other("--error-format", "json", "replay", "--strict", str(path))
    assert refused.returncode == 125
    assert "is neither in the store nor can it be fetched" in json.loads(refused.stderr)["cause"]


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("machine", {"oci runtime version": "runc version 0.9"}, "/machine/oci runtime version"),
        ("plugins", {"audit": "prun-audit 1.0"}, "- /plugins/audit"),
        ("plugins", {"runtime prun_linux": "prun 0.0.1"}, "! /plugins/runtime prun_linux"),
    ],
)
def test_another_runtime_or_plugin_is_told_and_refused_before_anything_is_created(
    prun: Prun, part: str, value: dict[str, str], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.lock"
    assert prun("run", "--rm", "--lock", str(path), "busybox", "touch", "/x").returncode == 0
    document: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps({**document, part: {**document[part], **value}}))
    done = prun("replay", str(path))
    assert (done.returncode, said in done.stderr) == (0, True), done.stderr
    refused = prun("replay", "--strict", str(path))
    assert (refused.returncode, said.lstrip("!- ") in refused.stderr) == (125, True), refused.stderr
    assert prun("ps", "-aq").stdout == ""


def test_a_detached_run_is_replayed_detached_under_another_name(prun: Prun, tmp_path: Path) -> None:
    path = str(tmp_path / "run.lock")
    assert prun("run", "-d", "--name", "first", "--lock", path, "busybox", "sleep", "99").returncode == 0
    assert "first" in prun("replay", path).stderr  # the name is taken
    done = prun("replay", "--name", "second", "--strict", path)
    assert len(done.stdout.strip()) == 64, done.stderr
    assert set(prun("ps", "--format", "{{.Names}}").stdout.split()) == {"first", "second"}
    same = prun("diff", "--runs", "first", "second")
    assert (same.returncode, same.stdout) == (0, "")
    against = prun("diff", "second", path, "--format", "json")
    assert (against.returncode, json.loads(against.stdout)) == (0, [])


def test_specs_are_compared_as_files_too_and_files_of_containers_as_before(prun: Prun, tmp_path: Path) -> None:
    for name, words in (("one", ()), ("two", ("-e", "B=1"))):
        (tmp_path / name).write_text(prun("spec", *words, "busybox", "true").stdout)
    done = prun("diff", str(tmp_path / "one"), str(tmp_path / "two"), "--format", "json")
    assert (done.returncode, json.loads(done.stdout)) == (1, [{"pointer": "/spec/process/env/3", "second": "B=1"}])
    (tmp_path / "three").write_text('{"process": []}')
    refused = prun("diff", str(tmp_path / "one"), str(tmp_path / "three"))
    assert (refused.returncode, "/process is not an object" in refused.stderr) == (125, True)
    assert prun("run", "--name", "files", "busybox", "touch", "/new").returncode == 0
    assert prun("diff", "files").stdout == "A /new\n"
    assert prun("diff", "files", "busybox").stdout == "A /new\n"
    assert prun("diff", "--runs", "files").returncode == 125
