"""Images that attack through what the user asked for: mounts, volumes, groups, an init; on runc and on crun."""

from __future__ import annotations

import os
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING

import pytest
from attack import Attack, refused
from images import directory, entry, file, symlink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun

# What an image may have put in the place where the user mounts something.
KERNELS = ["/proc/sys/kernel", "/proc/self/root/..", "/sys/kernel", "/dev", "proc/../dev/shm"]
ELSEWHERE = ["VICTIM/directory", "../../../../..VICTIM/directory", "/tmp", "VICTIM/new"]


@pytest.fixture(scope="module")
def prun(new_prun: Callable[[], Prun]) -> Prun:
    return new_prun()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    (path / "mine").write_text("the user's\n")
    return path


@pytest.mark.parametrize("target", KERNELS)
@pytest.mark.parametrize("kind", ["bind", "below", "tmpfs", "volume"])
def test_a_mount_cannot_be_led_into_the_kernels_file_systems(
    attack: Attack, binary: str, kind: str, target: str, source: Path
) -> None:
    image = attack.image([symlink("data", target)])
    options = {
        "bind": ["-v", f"{source}:/data"],
        "below": ["-v", f"{source}:/data/random"],
        "tmpfs": ["--tmpfs", "/data"],
        "volume": ["-v", "named:/data"],
    }
    done = attack.run(binary, *options[kind], image, "sh", "-c", "echo spoilt >/proc/sys/kernel/core_pattern")
    assert refused(done, "is a link to")


@pytest.mark.parametrize("target", ELSEWHERE)
@pytest.mark.parametrize("kind", ["bind", "tmpfs", "volume"])
def test_a_mount_led_elsewhere_stays_inside(attack: Attack, binary: str, kind: str, target: str, source: Path) -> None:
    image = attack.image([symlink("data", target.replace("VICTIM", str(attack.victim).lstrip("/")))])
    options = {
        "bind": ["-v", f"{source}:/data"], "tmpfs": ["--tmpfs", "/data"], "volume": ["--mount", "src=named,dst=/data"],
    }  # fmt: skip
    done = attack.run(binary, *options[kind], image, "sh", "-c", "echo new >/data/new; echo ran")
    assert (done.returncode, done.stdout) in ((0, "ran\n"), (125, "")), done.stderr


def test_what_an_image_has_instead_of_a_mount_point_is_not_opened(attack: Attack, binary: str, source: Path) -> None:
    """A FIFO would hang whoever opens it."""
    image = attack.image([entry("data", tarfile.FIFOTYPE), entry("dir", tarfile.CHRTYPE, devmajor=1, devminor=1)])
    for name in ("data", "dir"):
        started = time.monotonic()
        done = attack.run(binary, "-v", f"{source}:/{name}", image, "ls", f"/{name}")
        assert time.monotonic() - started < 10
        assert (done.returncode, done.stdout) in ((0, "mine\n"), (125, "")), done.stderr


def test_groups_are_added_by_number_whatever_the_images_files_are(attack: Attack, binary: str) -> None:
    image = attack.image([entry("etc/group", tarfile.FIFOTYPE)])
    done = attack.run(binary, "--group-add", "4242", "--user", "1000", image, "id", "-G")
    assert (done.returncode, done.stdout) in ((0, "0 4242\n"), (125, "")), done.stderr
    assert refused(attack.run(binary, "--group-add", "audio", image, "id"), "/etc/group")


def test_an_images_volume_cannot_be_put_where_it_matters(attack: Attack, binary: str) -> None:
    for path in ("/", "/../..", "/proc", "/proc/sys", "/sys/fs", "/dev", "/dev/../dev/shm"):
        image = attack.image(config={"Volumes": {path: {}}})
        assert refused(attack.run(binary, image, "true"), "olume"), path


def test_an_images_volume_is_filled_from_the_image_and_not_from_the_host(attack: Attack, binary: str) -> None:
    inside = [directory("data"), file("data/own", b"own\n"), symlink("data/link", str(attack.victim / "file"))]
    image = attack.image(
        [*inside, symlink("out", str(attack.victim))], config={"Volumes": {"/data": {}, "/out": {}, "/../../new": {}}}
    )
    done = attack.run(binary, image, "sh", "-c", "cat /data/own; ls /out/; cat /data/link; echo spoilt >/data/link")
    assert done.stdout in ("own\n", ""), done.stdout
    assert "the host's" not in done.stdout


def test_the_environment_of_the_host_comes_in_only_when_asked_for(attack: Attack, binary: str) -> None:
    image = attack.image(config={"Env": ["PATH=/bin", "HOST_SECRET", "A=b"]})
    done = attack.run(binary, "--env-host", image, "sh", "-c", 'echo "$HOST_SECRET"', HOST_SECRET="s3cret")
    assert (done.returncode, done.stdout) in ((0, "s3cret\n"), (125, ""))
    done = attack.run(binary, image, "sh", "-c", 'echo "$HOST_SECRET"', HOST_SECRET="s3cret")
    assert "s3cret" not in done.stdout


@pytest.mark.parametrize(
    "word",
    ["kernel.shm_rmid_forced=1+kernel.core_pattern=|/x", "kernel.core_pattern=|/x", "vm.drop_caches=1",
     "kernel/core_pattern=x", "net.ipv4.ip_forward=1\nkernel.core_pattern=x", "../kernel/core_pattern=x",
     "net/../kernel.core_pattern=x", "fs.mqueue/../../kernel/core_pattern=1", "kernel.sem=1=kernel.core_pattern=x"],
)  # fmt: skip
def test_a_kernel_parameter_cannot_carry_another(attack: Attack, binary: str, word: str) -> None:
    """CVE-2022-0811."""
    assert refused(attack.run(binary, "--sysctl", word, attack.image(), "true"), "sysctl")


def test_words_are_never_a_shells(attack: Attack, binary: str) -> None:
    marker = attack.victim / "new"
    for word in (f"touch {marker};touch {marker}", f"$(touch {marker})", f"`touch {marker}`"):
        done = attack.run(binary, "-e", f"A={word}", "-h", "h", attack.image(), "echo", word)
        assert (done.returncode, done.stdout) == (0, f"{word}\n")


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_the_callers_umask_opens_and_closes_nothing(
    attack: Attack, binary: str, new_prun: Callable[[], Prun], umask: int
) -> None:
    prun = new_prun()
    image = attack.image()
    done = subprocess.run(
        [*prun.words, "run", "--rm", "-v", "named:/data", image, "sh", "-c", "umask; touch /x; ls -l /x | cut -c1-10"],
        capture_output=True, text=True, umask=umask, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "0022\n-rw-r--r--\n"), done.stderr
    for path in (prun.root, prun.state):
        assert path.stat().st_mode & 0o077 in (0o000, 0o011)
    nobody = subprocess.run(
        ["find", str(prun.root), str(prun.state), "-maxdepth", "1"],
        capture_output=True, text=True, user=65534, group=65534, extra_groups=[], check=False,
    )  # fmt: skip
    assert str(prun.root / "content") not in nobody.stdout
    assert subprocess.run([*prun.words, "volume", "rm", "named"], check=False).returncode == 0


def test_two_containers_that_share_a_volume_cannot_move_each_others_mounts(
    attack: Attack, binary: str, source: Path, tmp_path: Path
) -> None:
    """CVE-2021-30465 and its kin: one swaps the place of the other's mount for a link, all the time."""
    shared = tmp_path / "shared"
    (shared / "place").mkdir(parents=True)
    image = attack.image()
    swap = "while :; do mv /s/place /s/other; ln -s /proc/sys/kernel /s/place; rm /s/place; mv /s/other /s/place; done"
    swapper = subprocess.Popen(
        attack.command(
            *(binary, "run", "--rm", "--opt", f"binary={binary}", "--name=swapper", f"-v={shared}:/s"),
            *(image, "sh", "-c", swap),
        ),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        time.sleep(0.5)
        results = set()
        for _ in range(20):
            script = "echo spoilt >/proc/sys/kernel/core_pattern; cat /s/place/mine"
            done = attack.run(binary, "-v", f"{shared}:/s", "-v", f"{source}:/s/place", image, "sh", "-c", script)
            results.add(done.stdout)
        assert results <= {"the user's\n", ""}
        assert swapper.poll() is None
    finally:
        subprocess.run(attack.command(binary, "rm", "-f", "swapper"), check=True, timeout=60)
        swapper.wait(20)
    # runc 1.1.5 and crun 1.8.1 follow a link that comes late, but within the container's own root: then the user's
    # directory is at its /proc/sys/kernel, and what is written there lands in it.
    assert set(os.listdir(source)) <= {"mine", "core_pattern"}
