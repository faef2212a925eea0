"""Images whose files attack who runs them, through the real command, on runc and on crun.

Facts and CVE numbers are those of docs/security.md; test_hostile_configs.py is about what an image says of itself.
"""

from __future__ import annotations

import json
import os
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attack import BASE, Attack, refused
from images import INDEX, directory, document, entry, file, layer_tar, put_blob, put_image, put_index, symlink

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Prun
    from images import Entry

DESCRIPTORS = range(3, 51)


@pytest.fixture(scope="module")
def prun(new_prun: Callable[[], Prun]) -> Prun:
    return new_prun()


# Working directory


@pytest.mark.parametrize(("kind", "binary"), [("named", "runc"), ("link", "crun")])
def test_no_leaked_descriptor_is_a_working_directory(attack: Attack, binary: str, kind: str) -> None:
    """CVE-2024-21626; crun 1.8.1 with one inheritable descriptor of the caller on ``/`` is a full escape.

    The image names the descriptor, or a link to it; and it has directories of its own where procfs will be mounted.
    """
    links = [symlink(f"wd{n}", f"/proc/self/fd/{n}") for n in DESCRIPTORS]
    own = [directory(name) for name in ("proc/self", "proc/self/fd", *(f"proc/self/fd/{n}" for n in DESCRIPTORS))]
    layers = [BASE, layer_tar(links + own)]
    targets = []
    for n in DESCRIPTORS:
        cwd = f"/proc/self/fd/{n}" if kind == "named" else f"/wd{n}"
        target = put_image(attack.images, layers, {"Cmd": ["ls"], "Env": ["PATH=/bin"], "WorkingDir": cwd}, "none")
        targets.append({**target, "annotations": {"org.opencontainers.image.ref.name": f"localhost/{kind}:{n}"}})
    put_index(attack.images, targets)
    assert attack.prun("load", f"oci:{attack.images}").returncode == 0
    leaked = {n: os.open("/", os.O_RDONLY) for n in range(20)}
    with ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(lambda n: attack.run(binary, f"localhost/{kind}:{n}", pass_fds=[*leaked.values()]), DESCRIPTORS)
        )
    for fd in leaked.values():
        os.close(fd)
    for done in runs:
        assert refused(done, "/proc/self/fd/")
        assert done.stdout == ""


def test_no_leaked_descriptor_reaches_the_process(attack: Attack, binary: str) -> None:
    leaked = [os.open("/etc", os.O_RDONLY) for _ in range(20)]
    done = attack.run(binary, attack.image(), "ls", "-l", "/proc/self/fd", pass_fds=leaked)
    for fd in leaked:
        os.close(fd)
    assert done.returncode == 0, done.stderr
    assert "/etc" not in done.stdout
    assert len(done.stdout.splitlines()) <= 5


@pytest.mark.parametrize(
    ("cwd", "words"),
    [
        ("tmp", "not an absolute path"), ("../tmp", "not an absolute path"), ("/afile", "is no directory"),
        ("/afile/", "is no directory"), ("/proc", "out of the container"), ("/proc/self/root", "out of the container"),
        ("/tmp/../proc/1/cwd", "out of the container"), ("//proc/self/cwd", "out of the container"),
        ("/dev/fd/9", "out of the container"), ("/a\nb", "line break"), ("/a\0b", "NUL"),
        ("/toproc/self/fd/9", "is a link to '/proc/self/fd/9'"), ("/tofd/9", "is a link to '/dev/fd/9'"),
        ("/chain", "is a link to '/proc/self/fd/../cwd'"), ("/loop", "too many links"),
    ],
)  # fmt: skip
def test_a_working_directory_that_leads_astray_is_refused(attack: Attack, cwd: str, words: str) -> None:
    links = [
        symlink("toproc", "tmp/../proc"), symlink("tofd", "/dev/fd"), symlink("chain", "c1"), symlink("c1", "/tmp/c2"),
        symlink("tmp/c2", "../proc/self/fd/../cwd"), symlink("loop", "loop"),
    ]  # fmt: skip
    assert refused(attack.run("runc", attack.image([file("afile"), *links], {"WorkingDir": cwd})), words)


@pytest.mark.parametrize("cwd", ["/../../../..", "/tmp/../../../..", "/./", "//", "/inside"])
def test_a_working_directory_stays_inside(attack: Attack, binary: str, cwd: str) -> None:
    image = attack.image([symlink("inside", "/../../../..")], {"WorkingDir": cwd})
    done = attack.run(binary, image, "sh", "-c", "ls")
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) >= {"bin", "inside", "proc"}


def test_a_working_directory_cannot_be_a_link_to_the_hosts(attack: Attack, binary: str) -> None:
    """The target does not exist in the image: nothing of the host is seen, nothing is made there."""
    done = attack.run(binary, attack.image([symlink("out", str(attack.victim))], {"WorkingDir": "/out"}), "ls")
    assert done.returncode == 125
    assert done.stdout == ""


# The root file system


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
@pytest.mark.parametrize("kind", ["absolute", "relative", "file"])
def test_a_kernel_file_systems_place_must_be_a_directory(attack: Attack, binary: str, name: str, kind: str) -> None:
    """CVE-2026-41579 (runc), CVE-2026-47766 (crun): they make links and devices in the host's directory."""
    target = str(attack.victim) if kind == "absolute" else "../../../../../../../.." + str(attack.victim)
    image = attack.image([file(name) if kind == "file" else symlink(name, target)])
    assert refused(attack.run(binary, image), f"/{name} is a")


@pytest.mark.parametrize(
    "target",
    ["/proc/sys/kernel/core_pattern", "/proc/self/exe", "/proc/1/root/VICTIM/file", "/proc/self/attr/exec", "/dev/null",
     "/proc/self/fd/../../sys/kernel/core_pattern", "../tmp/../proc/self/root/../../proc/sys/kernel/core_pattern",
     "/sys/kernel/uevent_helper", "/", "hosts"],
)  # fmt: skip
def test_a_link_cannot_move_the_hosts_files_into_the_kernels(attack: Attack, binary: str, target: str) -> None:
    """crun 1.8.1 leaves a file writable when it is mounted below /proc/sys, even one that shall be read-only."""
    image = attack.image([symlink("etc/hosts", target.replace("VICTIM", str(attack.victim).lstrip("/")))])
    script = "for f in /etc/hosts /proc/sys/kernel/core_pattern; do echo spoilt >$f; done"
    assert refused(attack.run(binary, image, "sh", "-c", script), "/etc/hosts")


@pytest.mark.parametrize("name", ["hosts", "resolv.conf"])
@pytest.mark.parametrize(
    "target",
    ["VICTIM/file", "VICTIM/new", "VICTIM/directory", "../../../../../../VICTIM/file", "/etc/passwd", "/tmp/new",
     "/run/systemd/resolve/stub-resolv.conf"],
)  # fmt: skip
def test_a_link_elsewhere_stays_inside_and_the_hosts_files_are_out_of_reach(
    attack: Attack, binary: str, name: str, target: str
) -> None:
    image = attack.image([symlink(f"etc/{name}", target.replace("VICTIM", str(attack.victim).lstrip("/")))])
    script = "echo spoilt >/etc/hosts; echo spoilt >/etc/resolv.conf; cat /etc/hosts /etc/resolv.conf"
    done = attack.run(binary, image, "sh", "-c", script)
    if done.returncode == 0:  # it has spoilt the container's own
        assert done.stdout == "spoilt\n" * 2
    else:  # an OCI runtime may refuse what it cannot resolve
        assert (done.returncode, done.stdout) == (125, "")


@pytest.mark.parametrize(
    "kind", [directory("etc/hosts"), entry("etc/hosts", tarfile.FIFOTYPE), entry("etc/hosts", tarfile.CHRTYPE)],
    ids=["directory", "fifo", "device"],
)  # fmt: skip
def test_what_is_no_file_cannot_take_a_generated_files_place(
    attack: Attack, binary: str, kind: tarfile.TarInfo
) -> None:
    """A device with number 0, 0 is a whiteout of overlayfs: there is nothing then, and the file is mounted."""
    done = attack.run(binary, attack.image([kind]), "sh", "-c", "echo spoilt >/etc/hosts; cat /etc/hosts")
    assert (done.returncode, done.stdout) in ((0, "spoilt\n"), (125, ""))


def tree_without(*names: str) -> bytes:
    applets = ("cat", "echo", "ls", "sh", "touch", "true")
    return layer_tar(
        [
            *(directory(name) for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp") if name not in names),
            file("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755),
            *(symlink(f"bin/{name}", "busybox") for name in applets),
        ]
    )


@pytest.mark.parametrize("name", ["etc", "run"])
@pytest.mark.parametrize(
    ("target", "is_refused"),
    [
        ("/proc", True), ("/proc/sys", True), ("proc/self/root", True), ("/dev", True), ("/sys", True),
        ("tmp/../sys/fs", True), ("VICTIM", False), ("../../../../..VICTIM", False), ("/tmp", False),
    ],
)  # fmt: skip
def test_a_mounts_parent_cannot_be_a_way_out(
    attack: Attack, binary: str, name: str, target: str, is_refused: bool
) -> None:
    image = attack.image([symlink(name, target.replace("VICTIM", str(attack.victim)))], base=tree_without(name))
    done = attack.run(binary, image, "sh", "-c", f"touch /{name}/spoilt /{name}/hosts; echo ran")
    if is_refused:
        assert refused(done, "is a link to")
    else:
        assert (done.returncode, done.stdout) in ((0, "ran\n"), (125, "")), done.stderr


def test_a_mount_cannot_be_put_over_the_root(attack: Attack, binary: str) -> None:
    assert refused(
        attack.run(binary, attack.image([symlink("run", "..")], base=tree_without("run"))), "the root itself"
    )


@pytest.mark.parametrize(
    ("name", "flags"),
    [("dev/pts", []), ("dev/shm", []), ("dev/mqueue", []), ("dev/null", []), ("dev/fd", []), ("proc/self", []),
     ("proc/sys", []), ("sys/firmware", []), ("dev/pts", ["-t"]), ("dev/console", ["-t"]), ("dev/ptmx", ["-t"])],
)  # fmt: skip
def test_links_below_a_fresh_mount_are_not_seen(attack: Attack, binary: str, name: str, flags: list[str]) -> None:
    image = attack.image([symlink(name, str(attack.victim))])
    script = "echo spoilt >/dev/null; touch /dev/shm/x; grep -c ' /dev/pts ' /proc/mounts"
    done = attack.run(binary, *flags, image, "sh", "-c", script)
    assert (done.returncode, done.stdout.split()) == (0, ["1"]), done.stderr


# The runtime's own binary


@pytest.mark.parametrize(
    "entrypoint", [file("entry", b"#!/proc/self/exe\n", mode=0o755), symlink("entry", "/proc/self/exe")],
    ids=["script", "link"],
)  # fmt: skip
def test_the_oci_runtimes_binary_cannot_be_overwritten(attack: Attack, binary: str, entrypoint: Entry) -> None:
    """CVE-2019-5736; that the binary is as it was is checked at the end of each test."""
    done = attack.run(
        binary, attack.image([entrypoint], {"Entrypoint": ["/entry"]}), "-c", "echo spoilt >/proc/self/exe"
    )
    assert done.returncode != 0
    script = "for n in $(ls /proc/self/fd); do echo spoilt >/proc/1/fd/$n; done; echo spoilt >/proc/1/exe; exit 3"
    assert attack.run(binary, attack.image(), "sh", "-c", script).returncode == 3


def test_a_planted_runtime_or_module_is_not_used(attack: Attack, binary: str, tmp_path: Path) -> None:
    for name in ("runc", "crun"):
        (tmp_path / name).write_text("#!/bin/sh\necho planted\n")
        (tmp_path / name).chmod(0o755)
    for name in ("json", "click", "pluggy", "prun"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('planted')\n")
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = attack.run(binary, attack.image(), "echo", "ran", cwd=str(tmp_path), PATH=path, GCONV_PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr


# What a container can reach


def test_the_default_container_is_confined_on_both_runtimes(attack: Attack, binary: str) -> None:
    """The probe of the reference: seccomp, masks, read-only paths, devices, no mounting, no new namespaces."""
    attempts = (
        "echo 1 >/proc/sys/kernel/shm_rmid_forced", "echo b >/proc/sysrq-trigger", "touch /sys/x", "hostname changed",
        "mount -t tmpfs none /tmp", "mount -o remount,rw /sys", "umount /proc", "mkdir /sys/fs/cgroup/x",
        "mknod /tmp/sda b 8 0 && head -c1 /tmp/sda", "unshare -m true", "unshare -n true", "chroot / unshare -p true",
        "head -c1 /proc/kcore | grep -q .", "grep -q . /proc/keys", "ls /sys/firmware | grep -q .", "dmesg | grep -q .",
    )  # fmt: skip
    script = "\n".join([
        "grep -E '^(Seccomp|NoNewPrivs|Cap...):' /proc/self/status",
        *(f"if {attempt}; then echo 'broke: {attempt}'; fi" for attempt in attempts), "true",
    ])  # fmt: skip
    names = ("chroot", "dmesg", "grep", "head", "mknod", "umount", "unshare")
    done = attack.run(binary, attack.image([symlink(f"bin/{name}", "busybox") for name in names]), "sh", "-c", script)
    assert (done.returncode, "not found" in done.stderr) == (0, False), done.stderr
    assert "broke" not in done.stdout, done.stdout
    assert dict(line.split(":\t") for line in done.stdout.splitlines()) == {
        "CapInh": "0" * 16, "CapPrm": "00000000a80425fb", "CapEff": "00000000a80425fb", "CapBnd": "00000000a80425fb",
        "CapAmb": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2",
    }  # fmt: skip


def test_an_index_that_holds_itself_is_refused(attack: Attack) -> None:
    """Nested to no end: the depth is limited, whatever the digests say."""
    path = attack.images / "nested"
    inner: dict[str, Any] = put_image(path, [BASE], {}, "none")
    for _ in range(6):
        data = document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]})
        inner = {"mediaType": INDEX, "digest": put_blob(path, data), "size": len(data)}
    put_index(path, [inner])
    assert refused(attack.run("runc", f"oci:{path}"))


def test_an_image_that_cannot_be_loaded_does_not_wait_for_itself(attack: Attack) -> None:
    """A run holds the lock against removal while it resolves; clearing up after a failure must not wait for it."""
    path = Path(attack.image([file("x")]).split(":")[1])
    manifest = json.loads(path.joinpath("index.json").read_text())["manifests"][0]["digest"].partition(":")[2]
    config = json.loads(path.joinpath("blobs/sha256", manifest).read_bytes())["config"]["digest"].partition(":")[2]
    value = json.loads(path.joinpath("blobs/sha256", config).read_bytes())
    value["rootfs"]["diff_ids"].reverse()
    wrong = document(value)
    image = json.loads(path.joinpath("blobs/sha256", manifest).read_bytes())
    image["config"] |= {"digest": put_blob(path, wrong), "size": len(wrong)}
    data = document(image)
    put_index(path, [{"mediaType": image["mediaType"], "digest": put_blob(path, data), "size": len(data)}])
    began = time.monotonic()
    assert refused(attack.run("runc", f"oci:{path}"), "diff")
    assert time.monotonic() - began < 5
    assert attack.run("runc", attack.image(), "echo", "works").stdout == "works\n"
