"""Containers in a user namespace of their own, run by root, on runc and on crun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import Prun
from images import busybox_layer, directory, file, layer_tar, oci_layout
from second_user import second_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from attack import Attack

MAP = ("--uidmap", "0:200000:65536")


def id_map(text: str) -> list[list[int]]:
    return [[int(word) for word in line.split()] for line in text.splitlines()]


def wait_for(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def store(archive: Path) -> Iterator[Prun]:
    """A store whose state everybody may go through to, which pytest's own directories are not for."""
    base = Path(tempfile.mkdtemp(prefix="prun-userns-"))
    base.chmod(0o755)
    prun = Prun(base / "root", base / "state")
    loaded = prun("load", "--tag", "busybox", str(archive))
    assert loaded.returncode == 0, loaded.stderr
    yield prun
    shutil.rmtree(base)


@pytest.fixture
def owned(prun: Prun, tmp_path: Path) -> str:
    """An image of two layers with files of several owners."""
    lower = [directory("d", uid=5, gid=6), file("d/a", uid=7, gid=8), file("suid", mode=0o4755), file("gone")]
    upper = [file("d/b", uid=33), file(".wh.gone"), directory("private", uid=9, mode=0o700), file("private/f", uid=9)]
    oci_layout(tmp_path / "owned", [busybox_layer(), layer_tar(lower), layer_tar(upper)], {"Env": ["PATH=/bin"]})
    loaded = prun("load", "--tag", "owned", f"oci:{tmp_path}/owned")
    assert loaded.returncode == 0, loaded.stderr
    return "owned"


def test_files_have_the_image_s_owners_inside_and_shifted_ones_outside(attack: Attack, owned: str, binary: str) -> None:
    script = "stat -c '%n %u %g %a' / /d /d/a /d/b /suid; cat /private/f; ls /gone; cat /proc/self/[ug]id_map"
    done = attack.run(binary, *MAP, owned, "sh", "-c", script)
    lines = done.stdout.splitlines()
    assert lines[:5] == ["/ 0 0 755", "/d 5 6 755", "/d/a 7 8 644", "/d/b 33 0 644", "/suid 0 0 4755"], done.stderr
    assert id_map("\n".join(lines[5:])) == [[0, 200000, 65536]] * 2
    assert "gone" in done.stderr


def test_the_process_has_no_id_of_the_machine_s_root(prun: Prun) -> None:
    process = prun.popen("run", "--name", "mapped", *MAP, "busybox", "sleep", "60")
    try:
        wait_for(lambda: (prun.state / "bundles").is_dir() and list((prun.state / "bundles").glob("*/pid")))
        [bundle] = (prun.state / "bundles").iterdir()
        pid = int((bundle / "pid").read_text())
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"200000"}
        # Its root goes through to the bundle by its group; what prun wrote into it is nobody's to read.
        assert (bundle.stat().st_mode & 0o777, bundle.stat().st_gid) == (0o710, 200000)
        assert prun.state.stat().st_mode & 0o777 == 0o711
        assert all((bundle / name).stat().st_mode & 0o077 == 0 for name in ("config.json", "userns.json"))
        with second_user(f"peek{os.getpid()}") as stranger:
            for path in (bundle, bundle / "rootfs" / "bin" / "busybox"):
                assert stranger.run("ls", str(path)).returncode != 0
    finally:
        assert prun("rm", "-f", "mapped").returncode == 0
        process.communicate()


def test_the_writable_layer_keeps_the_container_s_ids_on_disk(prun: Prun, owned: str) -> None:
    script = "echo x > /new; busybox chown 44:45 /d/a; rm /d/b; mkdir /etc/made; chmod 700 /private"
    assert prun("run", "--name", "writer", *MAP, owned, "sh", "-c", script).returncode == 0
    [active] = (prun.root / "snapshots" / "active").iterdir()
    owners = {
        str(path.relative_to(active / "fs")): (path.lstat().st_uid, path.lstat().st_gid)
        for path in (active / "fs").rglob("*")
    }
    assert owners["new"] == owners["etc/made"] == (0, 0)
    assert owners["d/a"] == (44, 45)
    assert owners["private"] == (9, 0)
    layers = list((prun.root / "snapshots").glob("*/fs/d/a"))
    assert [(path.stat().st_uid, path.stat().st_gid) for path in layers] == [(7, 8)]


def test_the_image_of_a_container_without_layers_is_mapped_too(prun: Prun) -> None:
    done = prun("run", "--rm", *MAP, "scratch", "/nothing")
    assert done.returncode == 127, done.stderr


def test_a_volume_is_the_container_s_to_write(prun: Prun) -> None:
    script = "stat -c %u /v/deep; touch /v/deep/f && stat -c %u /v/deep/f"
    done = prun("run", "--rm", *MAP, "-v", "mapped:/v/deep", "busybox", "sh", "-c", script)
    assert done.stdout.split() == ["0", "0"], done.stderr
    assert prun("volume", "rm", "mapped").returncode == 0


def test_a_device_may_have_another_name_inside(prun: Prun) -> None:
    """The OCI runtimes bind a device of the same path; prun mounts it."""
    done = prun(
        "run", "--rm", *MAP, "--device", "/dev/zero:/dev/naught", "busybox", "stat", "-c", "%t %T", "/dev/naught"
    )
    assert done.stdout == "1 5\n", done.stderr


def test_gids_are_mapped_as_asked(prun: Prun) -> None:
    words = ("--uidmap", "0:300000:10", "--uidmap", "10:400000:100", "--gidmap", "0:500000:50")
    done = prun("run", "--rm", *words, "busybox", "cat", "/proc/self/uid_map", "/proc/self/gid_map")
    assert id_map(done.stdout) == [[0, 300000, 10], [10, 400000, 100], [0, 500000, 50]], done.stderr


def test_another_user_has_that_user_s_rights(prun: Prun, owned: str) -> None:
    seen = prun("run", "--rm", *MAP, "-u", "33:44", owned, "sh", "-c", "id -u; id -g; cat /private/f")
    assert seen.stdout.split() == ["33", "44"]
    assert "Permission denied" in seen.stderr


def test_auto_gives_each_container_ids_of_its_own_and_takes_them_back(prun: Prun) -> None:
    first = prun.popen("run", "--name", "first", "--userns", "auto", "busybox", "sleep", "60")
    try:
        wait_for(lambda: (prun.state / "bundles").is_dir() and list((prun.state / "bundles").glob("*/pid")))
        [bundle] = (prun.state / "bundles").iterdir()
        [[used]] = [json.loads((bundle / "userns.json").read_text())[0][0]]
        again = prun("run", "--rm", "--userns", "auto:size=1000", "busybox", "cat", "/proc/self/uid_map")
        [[inside, outside, size]] = id_map(again.stdout)
        assert (inside, size) == (0, 1000)
        assert outside >= used[1] + used[2] or outside + size <= used[1]
        joined = prun("run", "--rm", "--userns", "container:first", "busybox", "cat", "/proc/self/uid_map")
        assert id_map(joined.stdout) == [used], joined.stderr
    finally:
        assert prun("rm", "-f", "first").returncode == 0
        first.communicate()
    freed = prun("run", "--rm", "--userns", "auto", "busybox", "cat", "/proc/self/uid_map")
    assert id_map(freed.stdout) == [used]


def test_auto_maps_a_range_of_the_user_s_choice(prun: Prun) -> None:
    words = ("--userns", "auto:size=500,uidmapping=100:7000:2")
    done = prun("run", "--rm", *words, "busybox", "cat", "/proc/self/uid_map")
    lines = id_map(done.stdout)
    assert [100, 7000, 2] in lines
    assert sum(line[2] for line in lines) == 500
    assert [line[0] for line in lines] == [0, 100, 102]


def test_a_namespace_at_a_path_is_joined(prun: Prun) -> None:
    holder = subprocess.Popen(
        ["unshare", "--user", "sh", "-c", "echo up; read line; exec sleep 60"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{name}").write_text("0 600000 65536")
        done = prun("run", "--rm", "--userns", f"ns:/proc/{holder.pid}/ns/user", "busybox", "sh", "-c",
                    "cat /proc/self/uid_map; stat -c %u /; readlink /proc/self/ns/user")  # fmt: skip
        lines = done.stdout.splitlines()
        assert id_map(lines[0]) == [[0, 600000, 65536]], done.stderr
        assert lines[1:] == ["0", os.readlink(f"/proc/{holder.pid}/ns/user")]
    finally:
        holder.kill()
        holder.communicate()


def test_the_host_s_network_comes_with_its_sysfs(prun: Prun) -> None:
    done = prun("run", "--rm", *MAP, "--network", "host", "busybox", "ls", "/sys/class/net")
    assert set(done.stdout.split()) == set(os.listdir("/sys/class/net")), done.stderr


def test_a_state_directory_that_the_container_s_root_cannot_reach_is_refused(prun: Prun, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    done = Prun(prun.root, tmp_path / "state")("run", "--rm", *MAP, "busybox", "true")
    assert done.returncode == 125
    assert "(uid 200000) cannot reach its files" in done.stderr
    assert "is private to another" in done.stderr


def test_host_is_no_namespace(prun: Prun) -> None:
    own = Path("/proc/self/uid_map").read_text()
    assert prun("run", "--rm", "--userns", "host", "busybox", "cat", "/proc/self/uid_map").stdout == own


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--userns", "keep-id"), "for ordinary users"),
        (("--userns", "nomap"), "for ordinary users"),
        (("--userns", "private"), "says nothing of its ids"),
        (("--userns", "auto", "--uidmap", "0:1:2"), "cannot be used with --uidmap"),
        (("--userns", "auto:size=4294967294"), "there are no 4294967294 uids"),
        (("--userns", "auto:color=red"), "'color=red' is not known"),
        (("--userns", "ns:/proc/1/no"), "cannot be entered"),
        (("--uidmap", "5:100000:10"), "has no root"),
        (("--uidmap", "0:100000:10", "--uidmap", "5:200000:10"), "overlap"),
        (("--uidmap", "0:100000:10", "--uidmap", "20:100005:10"), "overlap"),
        (("--uidmap", "0:100000:10", "-u", "10"), "user 10 of the container is not mapped"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(prun: Prun, words: tuple[str, ...], reason: str) -> None:
    done = prun("run", "--rm", *words, "busybox", "true")
    assert done.returncode == 125
    assert reason in done.stderr


@pytest.mark.parametrize("options", [(), ("-u", "1234"), ("-t",)])
def test_the_machines_null_device_stays_roots(
    attack: Attack, owned: str, binary: str, options: tuple[str, ...]
) -> None:
    """crun 1.8.1 gives its standard streams to the container's user."""
    done = attack.run(binary, *MAP, *options, owned, "true")
    assert done.returncode == 0, done.stderr
    found = os.stat("/dev/null")
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 0, 0o666)
