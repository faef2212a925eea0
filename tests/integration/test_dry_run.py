"""``--dry-run``: what a run would do, seen by the kernel to do nothing, and done by the run that follows."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command import bad, good
from debian_registry import skopeo
from images import file, layer_tar, oci_layout
from second_user import second_user

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Prun
    from debian_registry import DebianRegistry

# What changes a file system, starts a program or leaves for another namespace; opens and connections are looked at.
CHANGES = re.compile(
    r"(mkdir|rmdir|unlink|rename|f?chmod|[fl]?chown|symlink|link|f?truncate|mknod|u?mount|f?utimes|creat|[fl]?setxattr)"
    r"(at2?|64|ns|ensat)?|execve(at)?|v?fork|unshare|setns|move_mount|fsmount|open_tree"
)


def traced(tmp_path: Path, *words: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run under strace; return what would be a change of something, a program or a connection."""
    trace = tmp_path / "trace"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=%file,%network,%process,unshare,setns", *words],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )  # fmt: skip
    found = []
    for line in trace.read_text().splitlines()[1:]:  # the first executes prun itself
        call = line.split(None, 1)[1]
        name = call.partition("(")[0]
        writes = name in ("open", "openat", "openat2") and re.search(r"O_WRONLY|O_RDWR|O_CREAT", call)
        if writes or CHANGES.fullmatch(name) or (name == "connect" and "AF_UNIX" not in call):
            found.append(call)
    return done, found


def plan(prun: Prun, *words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(good(prun(*words)))
    return document


def steps(document: dict[str, Any], action: str) -> list[dict[str, Any]]:
    return [step for step in document["steps"] if step["action"] == action]


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--dry-run", "--rm", "-m", "64m", "-v", "new:/v", "busybox", "id"),
        ("run", "--dry-run=json", "-d", "--explain", "busybox", "id"),
        ("run", "--dry-run=spec", "--hook", "HOOK", "--patch", '/hostname="x"', "busybox", "id"),
        ("create", "--dry-run", "--userns", "auto", "busybox", "id"),
        ("run", "--dry-run", "--runtime", "fake", "busybox", "id"),
    ],
)
def test_the_kernel_sees_it_write_execute_and_ask_nothing(prun: Prun, tmp_path: Path, words: tuple[str, ...]) -> None:
    hook = tmp_path / "h.py"
    hook.write_text("from prun import hookimpl\n@hookimpl\ndef prun_mounts(): return []\n")
    words = tuple(str(hook) if word == "HOOK" else word for word in words)
    done, found = traced(tmp_path, *prun.words, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert found == []


def test_of_a_store_that_is_not_there_none_is_made(new_prun: Callable[[], Prun], tmp_path: Path) -> None:
    prun = new_prun()
    done, found = traced(tmp_path, *prun.words, "run", "--dry-run", "scratch", "true")
    assert (done.returncode, done.stderr, found) == (0, "", [])
    assert not prun.root.exists()
    assert not prun.state.exists()


def test_what_was_planned_is_what_is_done(prun: Prun) -> None:
    words = ("--name", "p1", "--id", "planned", "-m", "64m", "--read-only", "busybox", "cat", "/proc/1/cmdline")
    planned = plan(prun, "run", "--dry-run=json", *words)
    assert planned["image"]["digest"] in good(prun("inspect", "busybox"))
    assert [step["done"] for step in (*steps(planned, "fetch"), *steps(planned, "unpack"))] == [True, True]
    detached = plan(prun, "run", "-d", "--dry-run=json", *words[:-2], "sleep", "100")
    good(prun("run", "-d", *words[:-2], "sleep", "100"))
    assert "p1" in bad(prun("run", "--dry-run", "--name", "p1", "busybox", "id"))
    written = json.loads((prun.state / "bundles" / "planned" / "config.json").read_text())
    written["process"]["args"] = planned["spec"]["process"]["args"]
    assert written == planned["spec"]
    (conmon, start) = steps(detached, "execute")
    pid = int((prun.state / "bundles" / "planned" / "conmon.pid").read_text())
    real = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    assert real == conmon["argv"]
    assert start["argv"][-2:] == ["start", "planned"]


def test_the_plan_is_readable(prun: Prun) -> None:
    out = good(prun("run", "--dry-run", "--rm", "busybox", "sh", "-c", "echo a b")).splitlines()
    found = {line.split()[0]: line for line in out if not line.startswith(" ")}
    assert found["command"] == f"command    {shlex.join(['sh', '-c', 'echo a b'])}"
    assert found["fetch"].endswith("(is here)")
    assert "prun_describe_runtime: runtime prun_linux" in found["hooks"]
    assert "runc" in found["execute"]


@pytest.mark.usefixtures("own_logins")
def test_of_an_image_elsewhere_documents_are_asked_for_and_no_layer(
    new_prun: Callable[[], Prun], registry: DebianRegistry, archive: Path, tmp_path: Path
) -> None:
    prun, name = new_prun(), f"{registry.netloc}/dry/busybox:1"
    skopeo(f"oci-archive:{archive}", f"docker://{name}")
    done, found = traced(tmp_path, *prun.words, "run", "--dry-run=json", name, "id")
    assert done.returncode == 0, done.stderr
    assert {re.sub(r"sin6?_addr.*|.*sin_port=htons\((\d+)\).*", r"\1", call) for call in found} == {str(registry.port)}
    planned = json.loads(done.stdout)
    assert planned["fetch_bytes"] == sum(layer["size_bytes"] for layer in planned["image"]["layers"]) > 0
    assert planned["spec"]["process"]["args"] == ["id"]
    assert steps(planned, "assume")
    assert not prun.root.exists()
    refused = prun("run", "--dry-run", "-u", "nobody", name, "id")
    assert refused.returncode == 125
    assert "is not here yet" in refused.stderr
    missing = prun("run", "--dry-run", f"{registry.netloc}/dry/nothing:1", "id")
    assert missing.returncode == 125
    assert "could not resolve" in missing.stderr


def test_a_layout_is_looked_into_where_it_is(new_prun: Callable[[], Prun], tmp_path: Path) -> None:
    prun = new_prun()
    oci_layout(tmp_path / "image", [layer_tar([file("a", b"b")])], {"Cmd": ["own"]}, compression="none")
    planned = plan(prun, "run", "--dry-run=json", "--runtime", "fake", f"oci:{tmp_path / 'image'}:latest")
    assert planned["spec"]["process"]["args"] == ["own"]
    assert [step["done"] for step in steps(planned, "load")] == [False]
    assert not prun.root.exists()


def test_an_ordinary_user_plans_without_a_user_namespace_and_runs_the_same(archive: Path, tmp_path: Path) -> None:
    with second_user(f"prund{os.getpid()}") as user:
        assert user.prun("load", "--tag", "busybox", "-", stdin=archive.read_bytes()).returncode == 0
        words = ("--id", "planned", "--cap-add", "NET_ADMIN", "busybox", "sleep", "100")
        done, found = traced(tmp_path, *user.command(*user.words, "run", "--dry-run=spec", *words))
        assert done.returncode == 0, done.stderr
        programs = [call for call in found if call.startswith("execve")]  # env, and prun itself
        assert found == programs
        assert "prun.cli" in programs[-1]
        started = user.prun("run", "-d", *words)
        assert started.returncode == 0, started.stderr
        spec = json.loads((user.state / "bundles" / "planned" / "config.json").read_text())
        assert spec == json.loads(done.stdout)
        assert user.prun("rm", "-f", "planned").returncode == 0
