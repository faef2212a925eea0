"""Images that attack who runs them, through the real command, on runc and on crun.

Each command runs in a mount namespace where ``/etc/hosts`` and ``/etc/resolv.conf`` are copies: an attack that succeeds
spoils the copy, and the test sees it.  Facts and CVE numbers are those of the security reference.
"""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command import NOTHING, Prun
from images import (
    INDEX, busybox_layer, directory, document, entry, file, layer_tar, oci_layout, put_blob, put_image, put_index,
    symlink,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from images import Entry

HOST_FILES = ("hosts", "resolv.conf")
# crun does not work where the v2 tree of a hybrid machine has controllers, so it gets a machine without that tree.
PREPARE = """
set -e
for name in hosts resolv.conf; do
    if test -f /etc/$name; then mount --bind "$1/$name" /etc/$name; fi
done
if test "$2" = crun && mountpoint -q /sys/fs/cgroup/unified; then
    umount /sys/fs/cgroup/unified
    mount -t tmpfs -o size=1m none /sys/fs/cgroup/unified
fi
shift 2
exec "$@"
"""
DESCRIPTORS = range(3, 51)


class Attack:
    """The host as an image would like to see it changed, and ways to run that image."""

    def __init__(self, prun: Prun, directory: Path) -> None:
        self.prun = prun
        self.victim = directory / "victim"
        self.images = directory / "images"
        (self.victim / "directory").mkdir(parents=True)
        for name in ("file", *HOST_FILES):
            (self.victim / name).write_text(f"the host's {name}\n")
        self._before = self._host()

    def image(self, entries: Sequence[Entry] = (), config: dict[str, Any] | None = None, base: bytes = b"") -> str:
        """A source of an image of busybox and ``entries``."""
        path = self.images / str(len(os.listdir(self.images)) if self.images.exists() else 0)
        layers = [base or BASE, *([layer_tar(entries)] if entries else [])]
        oci_layout(path, layers, {"Cmd": ["true"], "Env": ["PATH=/bin"], **(config or {})}, compression="none")
        return f"oci:{path}:latest"

    def command(self, binary: str, *words: str) -> list[str]:
        prepare = ["unshare", "--mount", "sh", "-c", PREPARE, "sh", str(self.victim), binary]
        return [*prepare, *self.prun.words, *words]

    def run(
        self, binary: str, *words: str, pass_fds: Sequence[int] = (), cwd: str = "/", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """``prun run --rm``; the time limit is part of every test."""
        return subprocess.run(
            self.command(binary, "run", "--rm", "--opt", f"binary={binary}", *words),
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=60,
            env={**os.environ, **env}, pass_fds=pass_fds, cwd=cwd, check=False,
        )  # fmt: skip

    def host_is_unchanged(self) -> bool:
        return self._host() == self._before

    def _host(self) -> list[tuple[str, int, bytes]]:
        trees = [path for root in (self.victim, Path("/dev")) for path in [root, *root.iterdir()]]
        binaries = [Path("/usr/sbin/runc"), Path("/usr/bin/crun"), Path("/proc/sys/kernel/core_pattern")]
        return sorted(
            (str(path), path.lstat().st_mode, hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"")
            for path in [*trees, *binaries, *(Path("/etc", name) for name in HOST_FILES)]
            if path.exists()
        )


BASE = busybox_layer()


@pytest.fixture(scope="module")
def prun(new_prun: Callable[[], Prun]) -> Prun:
    return new_prun()


@pytest.fixture
def attack(prun: Prun, tmp_path: Path) -> Iterator[Attack]:
    """An attack that may succeed at nothing: the host is as it was, and nothing of a container is left."""
    made = Attack(prun, tmp_path)
    yield made
    assert made.host_is_unchanged()
    assert prun.traces() == NOTHING


@pytest.fixture(params=["runc", "crun"])
def binary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def refused(done: subprocess.CompletedProcess[str], words: str = "") -> bool:
    """Tell whether prun itself refused, in one line, before any OCI runtime was called."""
    assert done.returncode == 125, (done.stdout, done.stderr)
    assert done.stderr.startswith("prun: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return words in done.stderr


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


@pytest.mark.parametrize("name", ["hosts", "resolv.conf"])
@pytest.mark.parametrize(
    ("target", "is_refused"),
    [
        ("VICTIM/file", False), ("VICTIM/new", False), ("VICTIM/directory", False), ("../../../../../VICTIM/file", False),
        ("/bin/busybox", False), ("/tmp/new", False), ("/run/systemd/resolve/stub-resolv.conf", False),
        ("/proc/sys/kernel/core_pattern", True), ("/proc/self/exe", True), ("/proc/1/root/VICTIM/file", True),
        ("/proc/self/attr/exec", True), ("/proc/self/fd/../../sys/kernel/core_pattern", True), ("/dev/null", True),
        ("../tmp/../proc/self/root/../../proc/sys/kernel/core_pattern", True), ("/sys/kernel/uevent_helper", True),
        ("/", True), ("hosts", None),
    ],
)  # fmt: skip
def test_a_link_cannot_move_the_hosts_files(
    attack: Attack, binary: str, name: str, target: str, is_refused: bool | None
) -> None:
    """crun 1.8.1 leaves the host's file writable when it is mounted below /proc/sys."""
    if is_refused is None:
        target, is_refused = name, True  # a link to itself
    image = attack.image([symlink(f"etc/{name}", target.replace("VICTIM", str(attack.victim).lstrip("/")))])
    script = "for f in /etc/hosts /etc/resolv.conf /proc/sys/kernel/core_pattern; do echo spoilt >$f; done; echo ran"
    done = attack.run(binary, image, "sh", "-c", script)
    if is_refused:
        assert refused(done, f"/etc/{name}")
    elif done.returncode == 0:
        assert done.stdout == "ran\n"
        assert done.stderr.count("Read-only") >= 2, done.stderr
    else:  # an OCI runtime may refuse what it cannot resolve
        assert (done.returncode, done.stdout) == (125, "")


@pytest.mark.parametrize(
    "kind", [directory("etc/hosts"), entry("etc/hosts", tarfile.FIFOTYPE), entry("etc/hosts", tarfile.CHRTYPE)],
    ids=["directory", "fifo", "device"],
)  # fmt: skip
def test_what_is_no_file_cannot_take_a_host_files_place(attack: Attack, binary: str, kind: tarfile.TarInfo) -> None:
    """A device with number 0, 0 is a whiteout of overlayfs: there is nothing then, and the file is mounted."""
    done = attack.run(binary, attack.image([kind]), "sh", "-c", "echo spoilt >/etc/hosts; cat /etc/hosts")
    assert (done.returncode, done.stdout) in ((0, "the host's hosts\n"), (125, ""))


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
    "name", ["dev/pts", "dev/shm", "dev/mqueue", "dev/null", "dev/console", "dev/fd", "dev/ptmx", "proc/self",
             "proc/sys", "sys/firmware", "sys/fs"],
)  # fmt: skip
@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "tty"])
def test_links_below_a_fresh_mount_are_not_seen(attack: Attack, binary: str, name: str, terminal: bool) -> None:
    image = attack.image([symlink(name, str(attack.victim))])
    script = "echo spoilt >/dev/null; touch /dev/shm/x; grep -c ' /dev/pts ' /proc/mounts"
    done = attack.run(binary, *(["-t"] if terminal else []), image, "sh", "-c", script)
    assert (done.returncode, done.stdout.split()) == (0, ["1"]), done.stderr


# Environment


def test_the_environment_is_never_completed_from_the_hosts(attack: Attack, binary: str) -> None:
    """CVE-2026-57231: podman 4.3.1 takes the value of a name without "=" from the host."""
    env = ["PATH=/bin", "HOST_SECRET", "=empty", "", "=", "A=1", "A=2", "B=x=y", "HOST_*", "C=a\nHOST_SECRET=no"]
    done = attack.run(binary, attack.image([], {"Env": env}), "env", HOST_SECRET="s3cr3t")
    assert done.returncode == 0, done.stderr
    assert "s3cr3t" not in done.stdout
    assert sorted(done.stdout.splitlines()) == ["A=2", "B=x=y", "C=a", "HOME=/root", "HOST_SECRET=no", "PATH=/bin"]


def test_one_runs_environment_is_not_in_the_next(attack: Attack) -> None:
    """CVE-2021-21334."""
    image = attack.image()
    assert "ONE=1" in attack.run("runc", "-e", "ONE=1", image, "env").stdout
    assert "ONE" not in attack.run("runc", "-e", "TWO=2", image, "env").stdout


# User

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
bob:x:1000:1000:bob:/home:/bin/sh
4294967296:x:0:0::/:/bin/sh
5000000000:x:0:0::/:/bin/sh
-1:x:0:0::/:/bin/sh
0x0:x:0:0::/:/bin/sh
1e3:x:0:0::/:/bin/sh
big:x:4294967296:4294967296::/:/bin/sh
negative:x:-1:-1::/:/bin/sh
hex:x:0x0:0::/:/bin/sh
empty:x:::/:/bin/sh
"""
GROUP = b"root:x:0:\nbob:x:1000:\naudio:x:29:bob\nbig:x:4294967296:bob\nnegative:x:-5:bob\n1000:x:0:\n"


@pytest.mark.parametrize(
    "user", ["4294967296", "5000000000", "4294967295", "2147483648", "18446744073709551616", "-1", "0x0", "1e3", "root:",
             ":0", ":", "0:", "a:b:c", "+0", " 0", "0 ", "٣", "root\n", "big", "negative", "hex", "empty", "nobody",
             "0:4294967296", "0:big", "0:-5", "x" * 1_000_000, "0" * 1_000_000],
    ids=lambda user: repr(user[:20]),
)  # fmt: skip
def test_no_bad_user_becomes_root(attack: Attack, user: str) -> None:
    """CVE-2024-40635, CVE-2026-46680: digits are a number, however big, and never a name of the image."""
    image = attack.image([file("etc/passwd", PASSWD), file("etc/group", GROUP)], {"User": user})
    done = attack.run("runc", image, "id", "-u")
    assert refused(done)
    assert len(done.stderr) < 5_000_000


@pytest.mark.parametrize(
    ("user", "uid", "groups"),
    [("bob", "1000", "1000 29"), ("1000", "1000", "1000 29"), ("1000:1000", "1000", "1000"), ("bob:root", "1000", "0"),
     ("1001", "1001", "0"), ("2147483647:2147483647", "2147483647", "2147483647")],
)  # fmt: skip
def test_a_user_has_the_images_groups_and_no_capability(
    attack: Attack, binary: str, user: str, uid: str, groups: str
) -> None:
    """CVE-2023-25173 (groups), CVE-2022-24769 (inheritable capabilities)."""
    image = attack.image([file("etc/passwd", PASSWD), file("etc/group", GROUP)], {"User": user})
    done = attack.run(binary, image, "sh", "-c", "id -u; id -G; grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status")
    lines = done.stdout.splitlines()
    assert (lines[0], lines[1]) == (uid, groups), done.stderr
    assert {line.split()[1] for line in lines[2:]} == {"0" * 16}


@pytest.mark.parametrize("name", ["etc/passwd", "etc/group"])
@pytest.mark.parametrize(
    "kind", ["fifo", "socket of the host", "host link", "relative host link", "device", "2 MiB", "junk", "directory"]
)
def test_an_odd_account_file_gives_a_quick_answer_and_no_host_user(attack: Attack, name: str, kind: str) -> None:
    """CVE-2024-9676, CVE-2026-47262; podman 4.3.1 hangs on a FIFO."""
    content = PASSWD + b"evil:x:0:0::/:/bin/sh\n" if name == "etc/passwd" else b"evil:x:0:bob\n"
    (attack.victim / "accounts").write_bytes(content)
    up = "../../../../../../../../../.."
    odd = {
        "fifo": entry(name, tarfile.FIFOTYPE),
        "socket of the host": symlink(name, "/run/udev/control"),
        "host link": symlink(name, str(attack.victim / "accounts")),
        "relative host link": symlink(name, up + str(attack.victim / "accounts")),
        "device": entry(name, tarfile.CHRTYPE, devmajor=1, devminor=5),
        "2 MiB": file(name, b"#" * (2 << 20) + b"\n" + content),
        "junk": file(name, os.urandom(1 << 16) + b"\0:0:0:0\n:::::\n" + bytes(range(256))),
        "directory": directory(name),
    }[kind]
    other = file("etc/group", GROUP) if name == "etc/passwd" else file("etc/passwd", PASSWD)
    image = attack.image([other, odd], {"User": "evil" if name == "etc/passwd" else "bob:evil"})
    began = time.monotonic()
    done = attack.run("runc", image, "id", "-u")
    assert time.monotonic() - began < 2
    assert refused(done)
    (attack.victim / "accounts").unlink()


# What is no instruction


def test_labels_annotations_volumes_and_the_rest_change_nothing(attack: Attack, binary: str) -> None:
    """CVE-2025-24965 (run.oci.handler), CVE-2026-53488, CVE-2022-23648 (volumes)."""
    traps = {"run.oci.handler": "krun", "run.oci.hooks.stderr": "/x", "org.criu.config": "/x",
             "org.opencontainers.image.stopSignal": "9"}  # fmt: skip
    config = {
        "Labels": traps,
        "Volumes": {path: {} for path in ("/", "/proc", "/sys", "/dev", "/../../etc", "/out", str(attack.victim))},
        "StopSignal": "9; reboot", "ExposedPorts": {"1/../../x": {}}, "Healthcheck": {"Test": ["CMD", "touch", "/x"]},
        "Shell": ["/bin/evil"], "OnBuild": ["RUN evil"], "ArgsEscaped": True, "Hostname": "evil", "Domainname": "evil",
        "NetworkDisabled": False, "AttachStdin": True, "Tty": True, "OpenStdin": True,
    }  # fmt: skip
    image = attack.image([symlink("out", str(attack.victim)), file("etc/hostname", b"evil\n")], config)
    path = image.split(":")[1]
    index = json.loads(Path(path, "index.json").read_text())
    index["manifests"][0]["annotations"] |= traps
    index["annotations"] = traps
    Path(path, "index.json").write_bytes(document(index))
    plain = json.loads(attack.prun("spec", "--id", "same", attack.image()).stdout)
    assert json.loads(attack.prun("spec", "--id", "same", image).stdout) == plain
    assert "annotations" not in plain
    done = attack.run(binary, image, "sh", "-c", "test -t 0 || echo no-tty; ls /x /out/; hostname")
    assert done.stdout.splitlines()[0] == "no-tty"
    assert "evil" not in done.stdout


def test_a_hundred_thousand_volumes_are_no_burden(attack: Attack) -> None:
    began = time.monotonic()
    done = attack.run("runc", attack.image([], {"Volumes": {f"/v{n}": {} for n in range(100_000)}}))
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("name", ["Cmd", "Entrypoint"])
@pytest.mark.parametrize(
    "value", ["sh", {"a": 1}, 5, True, [1], [["sh"]], [None], [{}], ["a\0b"], [""], ["x" * (10 << 20)], ["y"] * 200_000],
    ids=["string", "object", "number", "boolean", "numbers", "lists", "nulls", "objects", "nul", "empty", "long", "many"],
)  # fmt: skip
def test_a_command_of_the_wrong_shape_is_refused(attack: Attack, name: str, value: object) -> None:
    assert refused(attack.run("runc", attack.image([], {name: value})))


@pytest.mark.parametrize(
    "config",
    [{"Env": {"A": "b"}}, {"Env": [1]}, {"Env": ["A=\0"]}, {"Env": ["A=\ud800"]}, {"User": 0}, {"User": ["root"]},
     {"User": "a\0b"}, {"WorkingDir": 5}, {"WorkingDir": "/a\0b"}, {"Labels": []}, {"Labels": {"a": 1}},
     {"Volumes": ["/x"]}, {"StopSignal": 9}, {"ExposedPorts": []}],
    ids=lambda config: ascii(config),
)  # fmt: skip
def test_a_config_of_the_wrong_shape_is_refused(attack: Attack, config: dict[str, Any]) -> None:
    assert refused(attack.run("runc", attack.image([], config)), "image config")


def test_a_word_that_execve_cannot_take_is_126(attack: Attack, binary: str) -> None:
    for config in ({"Cmd": ["echo", "x" * 200_000]}, {"Env": ["PATH=/bin", "A=" + "x" * 200_000]}):
        done = attack.run(binary, attack.image([], config))
        assert (done.returncode, done.stderr.count("\n")) == (126, 1)


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


# The terminal of who looks

ESCAPE = "\x1b]0;owned\x07\x9b31m\u202e\r"


def on_a_terminal(words: list[str]) -> bytes:
    """Everything that a command writes to its terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        with suppress(OSError):  # EIO: the last writer has gone
            while chunk := os.read(ours, 1 << 16):
                seen += chunk
    os.close(ours)
    assert process.returncode is not None
    return seen


def test_untrusted_words_do_not_steer_a_terminal(attack: Attack) -> None:
    """CWE-150: labels, names, commands, archives and error messages."""
    config = {
        "Labels": {f"k{ESCAPE}": f"v{ESCAPE}"},
        "Cmd": ["sh", "-c", ":", ESCAPE],
        "Env": ["PATH=/bin", f"E={ESCAPE}"],
    }
    image = attack.image([], config)
    assert attack.prun("load", "--tag", "steering", image).returncode == 0
    assert attack.prun("run", "--name", "steering", "-l", f"l={ESCAPE}", "steering").returncode == 0
    named = attack.images / "named"
    target = put_image(named, [BASE], {}, "none")
    put_index(named, [{**target, "annotations": {"org.opencontainers.image.ref.name": f"localhost/{ESCAPE}:x"}}])
    odd = attack.image([file(f"d{ESCAPE}")], {"WorkingDir": f"/d{ESCAPE.strip()}", "User": ESCAPE})
    for words in (
        ["images"], ["images", "--format", "json"], ["inspect", "steering"], ["inspect", "--type", "image", "steering"],
        ["ps", "-a"], ["ps", "-a", "--no-trunc"], ["ps", "-a", "--format", "json"], ["spec", "steering"],
        ["load", f"oci:{named}"], ["load", f"oci:{named}:{ESCAPE}"], ["run", "--rm", f"oci:{named}"],
        ["run", "--rm", odd], ["--error-format", "json", "run", "--rm", odd], ["run", "--rm", "steering", ESCAPE],
        ["run", "--rm", f"nope{ESCAPE}"], ["run", "--rm", "--name", ESCAPE, "steering"], ["rmi", ESCAPE],
    ):  # fmt: skip
        seen = on_a_terminal([*attack.prun.words, *words])
        assert seen, words
        for bad in ("\x1b", "\x07", "\x9b", "\u202e"):
            assert bad.encode() not in seen, (words, seen)
        assert not seen.replace(b"\r\n", b"").count(b"\r"), (words, seen)
    assert attack.prun("rm", "steering").returncode == 0


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
    script = """
    grep -E '^(Seccomp|NoNewPrivs|Cap...):' /proc/self/status
    cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | head -c 8 | wc -c
    ls /sys/firmware 2>/dev/null | wc -l
    echo 1 >/proc/sys/kernel/shm_rmid_forced; echo b >/proc/sysrq-trigger; touch /sys/x; mount -t tmpfs none /tmp
    mknod /tmp/sda b 8 0 && head -c1 /tmp/sda; mkdir /sys/fs/cgroup/x; chroot / unshare -m true; hostname changed
    exit 0
    """
    image = attack.image([symlink(f"bin/{name}", "busybox") for name in ("head", "mknod", "unshare", "chroot", "grep")])
    done = attack.run(binary, image, "sh", "-c", script)
    lines = done.stdout.splitlines()
    fields = dict(line.split(":\t") for line in lines if ":" in line)
    assert fields == {"CapInh": "0" * 16, "CapPrm": "00000000a80425fb", "CapEff": "00000000a80425fb",
                      "CapBnd": "00000000a80425fb", "CapAmb": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}  # fmt: skip
    assert lines[-2:] == ["0", "0"]
    failures = done.stderr.splitlines()
    assert len(failures) == 9, failures


def test_an_index_that_holds_itself_is_refused(attack: Attack) -> None:
    """Nested to no end: the depth is limited, whatever the digests say."""
    path = attack.images / "nested"
    inner: dict[str, Any] = put_image(path, [BASE], {}, "none")
    for _ in range(6):
        data = document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]})
        inner = {"mediaType": INDEX, "digest": put_blob(path, data), "size": len(data)}
    put_index(path, [inner])
    assert refused(attack.run("runc", f"oci:{path}"))
