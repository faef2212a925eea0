"""Volumes of real containers, also of containers that attack the host through them."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
from attack import refused
from command import NOTHING
from images import directory, file, hardlink, symlink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from attack import Attack
    from command import Prun

RENAME_EXCHANGE = 2


@pytest.fixture(autouse=True)
def _no_volume_stays(prun: Prun) -> Iterator[None]:
    yield
    for container in prun("ps", "-aq").stdout.split():
        prun("rm", "-f", container)
    prun("volume", "prune", "-af")
    assert prun("volume", "ls", "-q").stdout == ""


def volumes(prun: Prun) -> list[str]:
    return prun("volume", "ls", "-q").stdout.split()


def data(prun: Prun, name: str) -> Path:
    return prun.root / "volumes" / name / "_data"


def test_a_volume_outlives_its_containers(prun: Prun) -> None:
    assert prun("run", "--rm", "-v", "vol:/d", "busybox", "sh", "-c", "echo kept >/d/f").returncode == 0
    assert prun("run", "--rm", "-v", "vol:/d:ro", "busybox", "cat", "/d/f").stdout == "kept\n"
    assert prun("run", "--rm", "-v", "vol:/d:ro", "busybox", "touch", "/d/g").returncode == 1


def test_an_empty_volume_gets_the_images_content_once(attack: Attack, binary: str) -> None:
    image = attack.image(
        [directory("data", mode=0o1750, uid=7, gid=8), file("data/a", b"a", mode=0o4711, uid=9),
         hardlink("data/b", "data/a"), symlink("data/l", "/etc/passwd"), directory("data/sub", mode=0o700)]
    )  # fmt: skip
    command = "cat /d/a 2>/dev/null; stat -c '%a %u %g' /data; stat -c '%a %u %h' /data/a; readlink /data/l; rm /data/a"
    done = attack.run(binary, "-v", "vol:/data", image, "sh", "-c", command)
    assert done.stdout.splitlines() == ["1750 7 8", "4711 9 2", "/etc/passwd"], done.stderr
    assert attack.run(binary, "-v", "vol:/data", image, "ls", "/data").stdout.split() == ["b", "l", "sub"]
    assert attack.run(binary, "-v", "bare:/data:nocopy", image, "ls", "/data").stdout == ""


def test_anonymous_volumes_go_with_rm_and_stay_otherwise(prun: Prun) -> None:
    assert prun("run", "--rm", "-v", "/d", "busybox", "touch", "/d/x").returncode == 0
    assert volumes(prun) == []
    assert prun("run", "--name", "c", "-v", "/d", "-v", "named:/n", "busybox", "touch", "/d/x").returncode == 0
    anonymous = next(name for name in volumes(prun) if name != "named")
    assert len(anonymous) == 64
    found = {mount["Destination"]: mount for mount in json.loads(prun("inspect", "c").stdout)[0]["Mounts"]}
    assert (found["/d"]["Name"], found["/n"]["Name"]) == (anonymous, "named")
    assert prun("rm", "-v", "c").returncode == 0
    assert volumes(prun) == ["named"]
    assert prun("run", "--name", "c", "-v", "/d", "busybox", "true").returncode == 0
    assert prun("rm", "c").returncode == 0
    assert len(volumes(prun)) == 2


def test_a_run_that_fails_leaves_no_anonymous_volume(prun: Prun) -> None:
    assert prun("run", "-v", "/d", "busybox", "/no/such/command").returncode == 127
    assert volumes(prun) == []


def test_volumes_from_shares_what_another_container_has(prun: Prun, tmp_path: Path) -> None:
    words = ["run", "--name", "c", "-v", "/d", "-v", f"{tmp_path}:/h", "--tmpfs", "/t"]
    assert prun(*words, "busybox", "touch", "/d/one", "/h/two").returncode == 0
    done = prun("run", "--rm", "--volumes-from", "c", "busybox", "sh", "-c", "ls /d /h; touch /d/three; ls -d /t")
    assert done.stdout.split() == ["/d:", "one", "/h:", "two"]
    done = prun("run", "--rm", "--volumes-from", "c:ro", "busybox", "sh", "-c", "ls /d; touch /d/x /h/x")
    assert (done.stdout.split(), done.returncode) == (["one", "three"], 1)
    assert len(volumes(prun)) == 1  # --rm of the second did not take the first one's
    assert refused(prun("run", "--rm", "--volumes-from", "nope", "busybox", "true"), "no such container: nope")


def test_a_volume_in_use_is_named_with_its_user(prun: Prun) -> None:
    assert prun("run", "--name", "c", "-v", "vol:/d", "busybox", "true").returncode == 0
    done = prun("volume", "rm", "vol")
    assert refused(done, "volume is in use by container c"), done.stderr
    assert prun("volume", "prune", "-af").stdout == ""
    prun("rm", "c")
    assert prun("volume", "rm", "vol").stdout == "vol\n"
    assert refused(prun("volume", "rm", "vol"), "no such volume: vol")
    assert prun("volume", "rm", "-f", "vol").returncode == 0


def test_the_commands_say_what_docker_says(prun: Prun) -> None:
    assert prun("volume", "create", "--label", "a=b", "one").stdout == "one\n"
    assert prun("volume", "create", "one").stdout == "one\n"
    anonymous = prun("volume", "create").stdout.strip()
    assert len(anonymous) == 64
    assert prun("volume", "ls").stdout.split("\n")[0].split() == ["DRIVER", "VOLUME", "NAME"]
    assert prun("volume", "ls", "-q", "--filter", "label=a").stdout == "one\n"
    assert prun("volume", "ls", "-q", "--filter", "label=a=x").stdout == ""
    assert prun("volume", "ls", "-q", "--filter", "name=on").stdout == "one\n"
    assert refused(prun("volume", "ls", "--filter", "bogus=1"), "invalid filter 'bogus=1'")
    row = json.loads(prun("volume", "inspect", "one").stdout)[0]
    assert (row["Name"], row["Driver"], row["Labels"], row["Scope"]) == ("one", "local", {"a": "b"}, "local")
    assert row["Mountpoint"] == str(data(prun, "one"))
    assert prun("volume", "prune", "-f").stdout == f"Deleted Volumes:\n{anonymous}\n"
    assert volumes(prun) == ["one"]
    assert refused(prun("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "one"), "other options")
    assert prun("volume", "create", "--ignore", "-o", "type=tmpfs", "-o", "device=tmpfs", "one").stdout == "one\n"
    assert refused(prun("volume", "create", "--driver", "nfs", "x1"), "volume driver 'nfs'")


def test_a_tmpfs_volume_is_shared_while_it_is_used_and_then_gone(prun: Prun) -> None:
    words = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=64k,mode=1770"]
    assert prun("volume", "create", *words, "vol").returncode == 0
    first = prun.popen(
        "run", "--rm", "-v", "vol:/d", "busybox", "sh", "-c", "touch /d/first; until [ -e /d/end ]; do sleep 0.05; done"
    )
    try:
        deadline = time.monotonic() + 20
        while not (data(prun, "vol") / "first").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        done = prun(
            "run",
            "--rm",
            "-v",
            "vol:/d",
            "busybox",
            "sh",
            "-c",
            "ls /d; touch /d/end; grep ' /d ' /proc/self/mountinfo",
        )
        assert done.stdout.startswith("first\n"), done.stderr
        assert "size=64k" in done.stdout
        assert first.wait(20) == 0
    finally:
        first.kill()
        first.communicate()
    assert not os.path.ismount(data(prun, "vol"))
    assert prun("run", "--rm", "-v", "vol:/d", "busybox", "ls", "/d").stdout == ""


def test_a_device_that_cannot_be_mounted_is_named(prun: Prun) -> None:
    prun("volume", "create", "-o", "type=ext4", "-o", "device=/no/such", "vol")
    assert refused(prun("run", "--rm", "-v", "vol:/d", "busybox", "true"), "volume vol cannot be mounted")


def test_a_bound_volume_has_its_options(prun: Prun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    prun("volume", "create", "-o", "type=none", "-o", f"device={tmp_path}", "-o", "o=bind,ro", "vol")
    done = prun("run", "--rm", "-v", "vol:/d", "busybox", "sh", "-c", "cat /d/file; touch /d/y")
    assert (done.stdout, done.returncode) == ("x", 1)


# Hostile ones


@pytest.mark.parametrize("path", ["/", "/proc", "/sys/fs", "/dev/shm", "/../..", "/a/../../dev"])
def test_an_image_that_wants_a_volume_over_ours_is_refused(attack: Attack, path: str) -> None:
    """CVE-2022-23648, CVE-2019-16884."""
    done = attack.run("runc", attack.image([], {"Volumes": {path: {}}}), "true")
    assert refused(done, "where none may be")
    assert volumes(attack.prun) == []


@pytest.mark.parametrize("volume", ["/../../../../../../../../../../{}", "/link", "/deep/link", "/a/../link"])
def test_nothing_of_the_host_is_copied_into_a_volume(attack: Attack, binary: str, volume: str) -> None:
    """CVE-2022-23648: a volume's path leads through a link of the image to the host."""
    up = "../../../../../../../../.."
    entries = [symlink("link", str(attack.victim)), directory("deep"), symlink("deep/link", up + str(attack.victim))]
    path = volume.format(str(attack.victim).lstrip("/"))
    image = attack.image(entries, {"Volumes": {path: {}}})
    done = attack.run(binary, image, "sh", "-c", f"ls -R {path} /link/ /deep/link/ 2>/dev/null; true")
    assert "hosts" not in done.stdout
    for found in attack.prun.root.glob("volumes/*/_data/*"):
        raise AssertionError(found)


def test_a_link_in_a_volume_never_leads_out(attack: Attack, binary: str) -> None:
    image = attack.image()
    command = (
        f"ln -s {attack.victim} /d/out; ln -s / /d/root; ln -s ../../../../../../..{attack.victim} /d/up; mkdir /d/real"
    )
    assert attack.run(binary, "-v", "vol:/d", image, "sh", "-c", command).returncode == 0
    for subpath in ("out", "out/directory", "up"):
        done = attack.run(binary, "--mount", f"src=vol,dst=/d,volume-subpath={subpath}", image, "touch", "/d/x")
        assert refused(done, "has no"), done.stderr
    done = attack.run(binary, "--mount", "src=vol,dst=/d,volume-subpath=root/real", image, "touch", "/d/x")
    assert done.returncode == 0, done.stderr
    assert (data(attack.prun, "vol") / "real" / "x").exists()


def test_a_part_that_is_swapped_for_a_link_all_the_time_is_never_the_hosts(attack: Attack) -> None:
    """The source is opened once within the volume, and exactly that is mounted (openat2, /proc/self/fd)."""
    image = attack.image()
    attack.prun("volume", "create", "vol")
    volume = data(attack.prun, "vol")
    (volume / "part").mkdir()
    (volume / "part" / "inside").touch()
    (volume / "link").symlink_to(attack.victim)
    libc, stop, swaps = ctypes.CDLL(None), threading.Event(), 0
    names = [os.fsencode(volume / name) for name in ("part", "link")]

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            assert libc.renameat2(-100, names[0], -100, names[1], RENAME_EXCHANGE) == 0
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    outcomes = set()
    try:
        for _ in range(25):
            done = attack.run("runc", "--mount", "src=vol,dst=/d,volume-subpath=part", image, "ls", "/d")
            outcomes.add(done.stdout if done.returncode == 0 else refused(done, "has no 'part'"))
    finally:
        stop.set()
        thread.join()
    assert swaps > 1000
    assert outcomes <= {"inside\n", True}


def test_two_containers_on_one_volume_do_not_reach_the_host(attack: Attack) -> None:
    """CVE-2021-30465: one container swaps a mount point of the other, within a volume that both have."""
    image = attack.image()
    swap = "mv /v/a /v/c; mv /v/b /v/a; mv /v/a /v/b; mv /v/c /v/a"
    busy = f"mkdir -p /v/a; ln -s {attack.victim} /v/b; while :; do {swap}; done"
    command = attack.command("runc", "run", "--rm", "--name=swapper", "-v=vol:/v", image, "sh", "-c", busy)
    swapping = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(10):
            attack.run("runc", "-v", "vol:/v", "--tmpfs", "/v/a/mnt", "-v", "other:/v/a/o", image, "touch", "/v/a/o/x")
    finally:
        attack.prun("rm", "-f", "swapper")
        swapping.wait(20)
    if "CVE-2024-45310" in attack.prun("doctor").stdout:  # this runc can be led to make an empty directory elsewhere
        for name in ("mnt", "o"):
            if (attack.victim / name).is_dir():
                (attack.victim / name).rmdir()
    # attacking() compares the victim


def test_a_kill_in_the_middle_leaves_nothing_mounted(prun: Prun) -> None:
    prun("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "dev")
    prun("volume", "create", "vol")
    (data(prun, "vol") / "part").mkdir()
    mounts = [
        "--mount",
        "type=image,src=busybox,dst=/i,image-subpath=bin",
        "--mount",
        "src=vol,dst=/p,volume-subpath=part",
    ]
    process = prun.popen(
        "run", "--rm", "-v", "/anonymous", "-v", "dev:/d", *mounts, "busybox", "sh", "-c", "touch /d/up; sleep 600"
    )
    deadline = time.monotonic() + 20
    while not (data(prun, "dev") / "up").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(prun.traces()["mounts"]) >= 4
    process.kill()
    process.wait()  # the container, an orphan now, has its ends of the pipes
    assert prun("ps", "-a").returncode == 0
    process.communicate(timeout=20)
    assert prun.traces() == NOTHING
    assert not os.path.ismount(data(prun, "dev"))
    assert volumes(prun) == ["dev", "vol"]
    assert prun("system", "check").stdout == "nothing is left over\n"
