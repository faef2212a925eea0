"""The engine containerd alone: what it says and refuses, its neighbours in the namespace, and who is killed when."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import private_containerd
import pytest
from debian_registry import skopeo
from private_containerd import NOTHING
from running import refusal, refused, running, shown
from signing import write_policy
from stub_registry import LAYER, stub_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from command import Prun
    from debian_registry import DebianRegistry
    from private_containerd import Containerd


BUSYBOX = "docker.io/library/busybox:latest"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    with private_containerd.private_containerd(tmp_path_factory.getbasetemp() / "cd") as made:
        yield made


@pytest.fixture(scope="module")
def prun(daemon: Containerd, new_prun: Callable[[], Prun], archive: Path) -> Iterator[Prun]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in daemon.environment.items():
            patch.setenv(name, value)
        made = new_prun()
        assert made("load", "--tag", "busybox", str(archive)).returncode == 0
        yield made
        assert daemon.traces() == NOTHING


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "-dt", "busybox"], "engine containerd does not support --tty with --detach"),
        (["create", "-i", "busybox"], "engine containerd does not support --interactive with --detach"),
        (["run", "--restart", "always", "busybox"], "engine containerd does not support --restart without --detach"),
        (["run", "-d", "--log-opt", "max-size=1m", "busybox"], "engine containerd does not support --log-opt max-size"),
        (
            ["run", "-d", "--health-cmd", "true", "busybox"],
            "runtime linux with engine containerd does not support health",
        ),
        (["run", "--rm", "--userns", "auto", "busybox"], "engine containerd does not support --userns"),
        (["run", "--rm", "--uidmap", "0:1:9", "busybox"], "engine containerd does not support uid map"),
        (["run", "--rm", "--id", "a--b", "busybox"], "container id 'prun-a--b' is not usable"),
        (["cp", "a:/b", "c"], "engine containerd does not support prun cp"),
        (["image", "prune"], "engine containerd does not support prun image prune"),
        (["--snapshotter", "none", "run", "--rm", "busybox"], "snapshotter 'none'"),
        (["--address", "relative", "images"], "containerd address 'relative' is no path of a socket"),
        (["--address", "/nonexistent", "images"], "containerd at /nonexistent does not answer: No such file"),
        (["--engine", "embedded", "--address", "/x", "images"], "engine embedded has no option 'address'"),
        (["--engine", "none", "images"], "no engine is called 'none'"),
    ],
)
def test_what_it_cannot_do_it_says_before_anything_has_changed(prun: Prun, words: list[str], said: str) -> None:
    assert said in refusal(prun(*words))


def test_a_signature_policy_counts_for_its_images_too(
    prun: Prun, daemon: Containerd, archive: Path, tmp_path: Path
) -> None:
    policy = write_policy(tmp_path / "policy.json")
    before = daemon.names("images", "list")
    for words in (["load", "--tag", "x:1"], ["run", "--rm"]):
        assert "default[0] rejects it" in refusal(prun(*words, "--signature-policy", policy, str(archive)))
    with stub_registry() as stub:
        stub.put_image("1", [LAYER])
        for words in (["pull"], ["run", "--rm"], ["run", "--dry-run"]):
            done = prun(*words, "-q", "--signature-policy", policy, f"{stub.netloc}/app:1")
            assert "default[0] rejects it" in refusal(done)
    assert daemon.names("images", "list") == before


def test_images_of_ctr_and_of_prun_are_seen_by_both_and_keep_their_labels(
    prun: Prun, daemon: Containerd, archive: Path
) -> None:
    daemon.ctr("images", "import", "--index-name", "docker.io/library/theirs:1", str(archive))
    theirs = next(name for name in daemon.names("images", "list") if "busybox:latest" not in name)
    daemon.ctr("images", "label", theirs, "their=own")
    assert shown(prun, theirs, "echo", "hi") == "hi\n"
    assert prun("tag", theirs, "ours:1").returncode == 0
    assert prun("tag", "busybox", theirs).returncode == 0  # the name points elsewhere now, and has its label still
    listed = daemon.ctr("images", "list").stdout
    assert "docker.io/library/ours:1" in listed
    assert "their=own" in listed
    assert prun("rmi", theirs, "ours:1").returncode == 0
    assert (
        daemon.ctr(
            "run", "--rm", "--snapshotter", daemon.snapshotter, "docker.io/library/busybox:latest", "x", "true"
        ).returncode
        == 0
    )


def test_garbage_collection_takes_nothing_that_is_in_use(prun: Prun, daemon: Containerd, archive: Path) -> None:
    assert prun("load", "--tag", "short:1", str(archive)).returncode == 0
    with running(prun, "gc", image="short:1"):
        assert "is used by container" in refusal(prun("rmi", "short:1"))
        assert prun("rmi", "-f", "short:1").returncode == 0  # which collects
        done = prun("exec", "gc", "sh", "-c", "echo more >/new; cat /new")
        assert (done.returncode, done.stdout) == (0, "more\n")


def test_a_container_of_another_client_is_not_ours_to_take(prun: Prun, daemon: Containerd) -> None:
    daemon.ctr(
        "run", "-d", "--snapshotter", daemon.snapshotter, "docker.io/library/busybox:latest", "theirs", "sleep", "100"
    )
    try:
        assert "already" in refused(prun, "--id", "theirs", "busybox", "true")
        assert daemon.names("tasks", "list") == ["theirs"]
        assert "is used by container" in refusal(prun("rmi", "busybox"))
    finally:
        daemon.ctr("tasks", "kill", "-s", "9", "theirs")
        daemon.ctr("tasks", "delete", "theirs", check=False)
        daemon.ctr("containers", "delete", "theirs")


def test_ctr_sees_our_container_and_its_default_profile(prun: Prun, daemon: Containerd) -> None:
    with running(prun, "seen", "--id", "seen-1", "--label", "a=b"):
        record = json.loads(daemon.ctr("containers", "info", "seen-1").stdout)
        assert record["Image"] == "docker.io/library/busybox:latest"
        assert record["Runtime"]["Name"] == "io.containerd.runc.v2"
        assert record["Labels"]["a"] == "b"
        linux = record["Spec"]["linux"]
        assert linux["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
        assert "/proc/kcore" in linux["maskedPaths"]
        assert linux["readonlyPaths"]


def test_a_client_that_is_killed_leaves_nothing_after_the_next_command(prun: Prun, daemon: Containerd) -> None:
    """Before anything is asked of the daemon, and when the container runs; in between see docs/containerd.md."""
    for delay_s, options in ((0.1, ["--rm"]), (0.0, []), (0.0, ["--rm"])):
        process = prun.popen("run", *options, "--name", "orphan", "busybox", "sh", "-c", "echo up; sleep 100")
        assert process.stdout is not None
        if not delay_s:
            assert process.stdout.readline() == b"up\n"
        time.sleep(delay_s)
        process.kill()
        process.communicate()
        assert prun("ps", "-a").returncode == 0
        prun("rm", "-f", "-i", "orphan")
        deadline = time.monotonic() + 20
        while daemon.traces() != NOTHING and time.monotonic() < deadline:
            time.sleep(0.2)
        assert daemon.traces() == NOTHING


def test_a_monitor_that_is_killed_takes_nothing_with_it(prun: Prun, daemon: Containerd) -> None:
    started = prun("run", "-d", "--name", "m", "busybox", "sleep", "100")
    assert started.returncode == 0
    pid, _ = (prun.state / "bundles" / started.stdout.strip() / "monitor.pid").read_text().split()
    os.kill(int(pid), signal.SIGKILL)
    assert "Up" in prun("ps", "--format", "{{.Status}}").stdout
    assert prun("stop", "-t", "0", "m").returncode == 0
    assert "Exited (137)" in prun("ps", "-a", "--format", "{{.Status}}").stdout
    assert prun("rm", "m").returncode == 0
    assert daemon.traces() == NOTHING


def test_a_daemon_that_is_killed_and_comes_back_loses_no_container(prun: Prun, daemon: Containerd) -> None:
    process = prun.popen("run", "--rm", "busybox", "sh", "-c", "echo up; sleep 4; echo down; exit 6")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    daemon.kill()
    assert "does not answer" in refusal(prun("images"))
    daemon.start()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (6, b"down\n", b"")


def test_a_shim_that_is_killed_ends_the_run(prun: Prun, daemon: Containerd) -> None:
    process = prun.popen("run", "--rm", "busybox", "sh", "-c", "echo up; sleep 100")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    for pid in private_containerd.shim_pids(daemon.address):
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode in (137, 255)


def test_an_image_comes_through_our_registry_client(
    prun: Prun, daemon: Containerd, registry: DebianRegistry, archive: Path, own_logins: object
) -> None:
    name = f"{registry.netloc}/team/busybox:1"
    skopeo(f"oci-archive:{archive}", f"docker://{name}")
    assert shown(prun, "-q", name, "echo", "hi") == "hi\n"
    assert name in daemon.names("images", "list")
    assert prun("pull", "-q", name).stdout == f"{name}\n"
    assert prun("rmi", name).returncode == 0
    assert name not in daemon.names("images", "list")
    assert prun.traces()["ingest"] == []
    assert not list((prun.root / "arriving").iterdir())


KILLING = """
import os, sys
from prun import api, hookimpl, loading
runner = api.Runner(root=sys.argv[1], state=sys.argv[2], plugins=[])
class Killing:
    @hookimpl
    def prun_event(self, event):
        if event.kind == sys.argv[3]:
            os.kill(int(sys.argv[4]), 9)
hooks = runner.hooks
hooks._pm.register(Killing())
runner.run("busybox", ["true"], remove=False)
"""


@pytest.mark.parametrize("stage", ["prepared", "built", "created"])
def test_a_daemon_that_dies_at_a_stage_and_comes_back_is_left_with_nothing(
    prun: Prun, daemon: Containerd, stage: str
) -> None:
    words = [sys.executable, "-c", KILLING, str(prun.root), str(prun.state), stage, str(daemon.pid)]
    failed = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    daemon.start()
    assert "does not answer" in failed.stderr
    assert prun("ps", "-aq").stdout == ""
    assert daemon.traces() == NOTHING
