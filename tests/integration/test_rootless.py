"""prun as a real ordinary user: the command, a real OCI runtime, no root."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from images import archive_of, busybox_layer, directory, entry, file, layer_tar, oci_layout, symlink
from second_user import NOTHING, SecondUser, second_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from images import Entry

    Load = Callable[..., str]

CONFIG = {"Cmd": ["sh"], "Env": ["PATH=/bin"]}
# /dev/fuse is for everybody where udev is at work; here it is made so for one command.
WITH_FUSE = """
mount -t tmpfs -o mode=755 none "$1" && mknod "$1/fuse" c 10 229 && chmod 666 "$1/fuse" &&
mount --bind "$1/fuse" /dev/fuse && shift && exec "$@"
"""


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Make archives of images of busybox and the given layers."""

    def make(*layers: Sequence[Entry]) -> bytes:
        path = tmp_path_factory.mktemp("image") / "layout"
        oci_layout(path, [busybox_layer(), *map(layer_tar, layers)], CONFIG)
        return archive_of(path)

    return make


@pytest.fixture(scope="module")
def everyone(layouts: Callable[..., bytes]) -> Iterator[SecondUser]:
    with second_user(f"prun{os.getpid()}") as made:
        load(made, layouts(), "busybox")
        yield made


@pytest.fixture
def user(everyone: SecondUser) -> Iterator[SecondUser]:
    """Give the user to one test, which must leave no trace but stopped containers."""
    yield everyone
    for container in everyone.prun("ps", "-aq").stdout.split():
        assert everyone.prun("rm", "-f", container).returncode == 0
    assert everyone.settled() == NOTHING


@pytest.fixture(scope="module")
def lone(layouts: Callable[..., bytes]) -> Iterator[SecondUser]:
    """A user without subordinate ids."""
    with second_user(f"lone{os.getpid()}", subordinate=False) as made:
        load(made, layouts(), "busybox")
        yield made
        assert made.settled() == NOTHING


@pytest.fixture
def image(user: SecondUser, layouts: Callable[..., bytes]) -> Load:
    """Load an image of busybox and the given layers; it comes by stdin, as the user cannot read our directories."""

    def make(*layers: Sequence[Entry]) -> str:
        load(user, layouts(*layers), "made")
        return "made"

    return make


def load(user: SecondUser, archive: bytes, name: str) -> None:
    loaded = user.prun("load", "--tag", name, "-", stdin=archive)
    assert loaded.returncode == 0, loaded.stderr


def run(user: SecondUser, *words: str, image: str = "busybox") -> str:
    """Run a shell script, the last word, with options before it; return what it wrote."""
    *options, script = words
    done = user.prun("run", "--rm", *options, image, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout


def id_map(text: str) -> list[list[int]]:
    return [[int(word) for word in line.split()] for line in text.splitlines()]


def until(found: Callable[[], object], process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait for something, of a process that must not end before it."""
    deadline = time.monotonic() + 15
    while not found():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(user: SecondUser, words: str) -> list[int]:
    """The pids of the user's processes whose command line is exactly this."""
    return [int(pid) for pid, line in (each.split(": ", 1) for each in user.processes()) if line.strip() == words]


# Ids


def test_the_user_is_root_and_subordinate_ids_follow(user: SecondUser) -> None:
    maps = id_map(run(user, "cat /proc/self/uid_map"))
    assert maps[0] == [0, user.uid, 1]
    assert maps[1][0] == 1
    assert sum(line[2] for line in maps) == len(user.ids())


def test_files_of_several_owners_are_unpacked_with_their_modes(user: SecondUser, image: Load) -> None:
    layer = [
        file("owned", b"x", uid=33, gid=34, mode=0o640),
        file("suid", b"x", mode=0o4755),
        file("sgid", b"x", gid=42, mode=0o2755),
        directory("d", uid=1000, gid=1000, mode=0o1777),
    ]
    seen = run(user, "stat -c '%n %u %g %a' /owned /suid /sgid /d", image=image(layer)).splitlines()
    assert seen == ["/owned 33 34 640", "/suid 0 0 4755", "/sgid 0 42 2755", "/d 1000 1000 1777"]


def test_the_process_runs_as_another_user_whose_files_belong_to_a_subordinate_id(user: SecondUser) -> None:
    shared = user.home / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    seen = run(user, "-u", "33:44", "-v", f"{shared}:/s", "id -u; id -g; id -G; echo hi > /s/made")
    assert seen.split() == ["33", "44", "44"]
    assert (shared / "made").stat().st_uid in user.ids() - {user.uid}


def test_a_setuid_program_gives_the_container_s_root_and_never_the_machine_s(user: SecondUser, image: Load) -> None:
    accounts = b"root::0:0:root:/root:/bin/sh\nwww:x:33:33::/:/bin/sh\n"
    made = image([file("bin/su", Path("/bin/busybox").read_bytes(), mode=0o4755), file("etc/passwd", accounts)])
    refused = user.prun("run", "--rm", "-u", "33", made, "/bin/su", "-c", "id -u")
    assert "0" not in refused.stdout
    words = ("-u", "33", "--security-opt", "no-new-privileges=false", made, "/bin/su", "-c")
    assert user.prun("run", "--rm", *words, "id -u").stdout == "0\n"
    process = user.popen("run", "--name", "privileged", *words, "sleep 4711; true")
    try:
        until(lambda: running(user, "sleep 4711"), process)
        owners = [os.stat(f"/proc/{pid}").st_uid for pid in running(user, "sleep 4711")]
        assert owners == [user.uid]
    finally:
        assert user.prun("rm", "-f", "privileged").returncode == 0
        process.communicate()


def test_a_mount_may_allow_no_more_than_what_it_shows(user: SecondUser, tmp_path: Path) -> None:
    """A nosuid or nodev file system, as /tmp often is: a read-only remount has to say so (mount_namespaces(7))."""
    place = user.home.parent / "tmpfs"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,noexec", "none", str(place)], check=True)
    try:
        place.chmod(0o777)
        options = run(user, "-v", f"{place}:/s:ro", "grep ' /s ' /proc/mounts").split()[3].split(",")
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(options)
        done = user.prun("run", "--rm", "-v", f"{place}:/s:exec", "busybox", "true")
        assert done.returncode == 125
        assert "exec cannot be had in a user namespace" in done.stderr
    finally:
        subprocess.run(["umount", str(place)], check=True)


# Layers


def test_a_lower_layer_s_files_are_hidden(user: SecondUser, image: Load) -> None:
    lower = [directory("d"), file("d/a"), file("d/b"), directory("o"), file("o/x"), file("f", b"f")]
    upper = [file("d/.wh.a"), file("o/.wh..wh..opq"), file("o/y"), file(".wh.f"), directory("f")]
    seen = run(user, "ls /d /o; stat -c %F /f", image=image(lower, upper))
    assert seen.split("\n") == ["/d:", "b", "", "/o:", "y", "directory", ""]


def test_what_a_container_deletes_and_replaces_is_its_own(user: SecondUser, image: Load) -> None:
    made = image([directory("d"), file("d/a", b"a"), file("f", b"f")])
    assert run(user, "rm -r /d /f; mkdir /d; echo new > /d/n; ls /d; test ! -e /f", image=made) == "n\n"
    assert run(user, "ls /d; cat /f", image=made) == "a\nf"


@pytest.mark.parametrize("driver", ["copy", "fuse"])
def test_without_overlayfs_layers_are_the_same(
    user: SecondUser, layouts: Callable[..., bytes], driver: str, tmp_path: Path
) -> None:
    """The store remembers what works; here it is told before it has tried."""
    root = user.home / driver
    made = user.run("sh", "-c", f"mkdir -m 700 -p {root}/snapshots && ln -s {driver} {root}/snapshots/driver")
    assert made.returncode == 0
    archive = layouts([directory("d", uid=5), file("d/a"), file("f", b"f")], [file("d/.wh.a")])
    outer = ["unshare", "--mount", "sh", "-c", WITH_FUSE, "sh", str(tmp_path)]
    words = [*outer, *user.command(*user.words, "--root", str(root), "--state", f"{user.home}/run/{driver}")]
    loaded = subprocess.run([*words, "load", "--tag", "made", "-"], input=archive, capture_output=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    script = "ls -A /d; stat -c %u /d; rm /f; mkdir /f; stat -c %F /f; readlink /proc/self/exe; mount"
    done = subprocess.run([*words, "run", "--rm", "made", "sh", "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"5\ndirectory\n")
    assert (b"fuse-overlayfs on / " in done.stdout) == (driver == "fuse")


def test_a_device_in_a_layer_is_refused_by_name_and_below_dev_left_out(
    user: SecondUser, layouts: Callable[..., bytes], image: Load
) -> None:
    null = {"devmajor": 1, "devminor": 3}
    assert "null" in run(user, "ls /dev", image=image([entry("dev/null", tarfile.CHRTYPE, **null)]))
    refused = user.prun("load", "--tag", "x", "-", stdin=layouts([entry("srv/null", tarfile.CHRTYPE, **null)]))
    assert refused.returncode == 125
    assert "'srv/null' is a device, which only root can make" in refused.stderr


def test_a_file_of_no_id_of_the_user_s_is_refused_with_the_remedy(
    user: SecondUser, layouts: Callable[..., bytes]
) -> None:
    refused = user.prun("load", "--tag", "x", "-", stdin=layouts([file("f", uid=5_000_000)]))
    assert refused.returncode == 125
    assert "'f' belongs to 5000000:0" in refused.stderr
    assert "/etc/subuid" in refused.stderr


# Options


def test_the_root_is_read_only_when_asked(user: SecondUser) -> None:
    done = user.prun("run", "--rm", "--read-only", "busybox", "touch", "/x")
    assert done.returncode == 1
    assert "Read-only" in done.stderr


def test_a_volume_keeps_its_files_and_their_owners(user: SecondUser) -> None:
    run(user, "-v", "kept:/v", "echo hi > /v/f; chmod 600 /v/f; busybox chown 7:8 /v/f")
    assert run(user, "-v", "kept:/v", "cat /v/f; stat -c '%u %g' /v/f") == "hi\n7 8\n"
    assert user.prun("volume", "rm", "kept").returncode == 0


def test_a_terminal_is_the_container_s(user: SecondUser) -> None:
    ours, theirs = pty.openpty()
    words = user.command(*user.words, "run", "--rm", "-it", "busybox", "sh", "-c", "test -t 0 && stty size && tty")
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    output = b""
    try:
        while piece := os.read(ours, 1024):
            output += piece
    except OSError:  # EIO: the other end is closed
        pass
    os.close(ours)
    assert process.wait(30) == 0, output
    assert b"/dev/pts/0" in output


def test_a_device_of_the_user_s_may_have_another_name_inside(user: SecondUser) -> None:
    assert run(user, "--device", "/dev/zero:/dev/naught", "stat -c '%t %T' /dev/naught") == "1 5\n"


def test_the_host_s_network_comes_with_its_sysfs(user: SecondUser) -> None:
    seen = run(user, "--network", "host", "ls /sys/class/net; ! mkdir /sys/x 2>/dev/null")
    assert set(seen.split()) == set(os.listdir("/sys/class/net"))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--memory", "64m"), "--memory"),
        (("--cpus", "1"), "--cpus"),
        (("--pids-limit", "5"), "--pids-limit"),
        (("--cgroup-parent", "/x"), "--cgroup-parent"),
        (("--oom-score-adj", "-1000"), "--oom-score-adj"),
    ],
)
def test_what_needs_root_is_refused_by_name(user: SecondUser, options: Sequence[str], name: str) -> None:
    """The user's processes here are in a cgroup that root made, as after a login without a delegated one."""
    done = user.prun("run", "--rm", *options, "busybox", "true")
    assert done.returncode == 125
    assert f"{name}" in done.stderr
    assert f"user {user.uid} may " in done.stderr


def test_kernel_parameters_are_the_container_s_where_the_kernel_lets_it(user: SecondUser) -> None:
    words = ["--sysctl", "net.core.somaxconn=77", "busybox", "cat", "/proc/sys/net/core/somaxconn"]
    done = user.prun("run", "--rm", *words)
    assert (done.returncode, done.stdout) == (0, "77\n"), done.stderr
    done = user.prun("run", "--rm", "--sysctl", "kernel.domainname=x", "busybox", "true")
    assert (done.returncode, done.stderr.count("\n")) == (125, 1)
    assert "kernel.domainname: it cannot be set in a user namespace" in done.stderr


# User namespaces within


def test_keep_id_keeps_the_number_and_the_image_s_owners(user: SecondUser, image: Load) -> None:
    made = image([file("f", uid=33, gid=34), file("mine", uid=user.uid, gid=user.uid)])
    (user.home / "kept").mkdir()
    os.chown(user.home / "kept", user.uid, user.uid)
    script = "id -u; id -g; stat -c '%u %g' / /f /mine /h; touch /h/f"
    seen = run(user, "--userns", "keep-id", "-v", f"{user.home}/kept:/h", script, image=made).split()
    assert seen == [*[str(user.uid)] * 2, "0", "0", "33", "34", *[str(user.uid)] * 4]
    assert (user.home / "kept" / "f").stat().st_uid == user.uid


def test_with_keep_id_the_groups_that_were_asked_for_are_the_user_s(user: SecondUser, image: Load) -> None:
    made = image([file("etc/group", b"root:x:0:root\nwheel:x:10:root\nmade:x:77:\n")])
    groups = ("--group-add", "made", "--group-add", "99")
    assert run(user, "--userns", "keep-id", *groups, "id -G", image=made) == f"{user.uid} 77 99\n"


@pytest.mark.parametrize("umask", ["0022", "0724"])
def test_with_keep_id_one_more_process_is_the_user_s_too(user: SecondUser, umask: str) -> None:
    """075.4: podman asks for the name, which prun writes nowhere. Sessions work with any umask."""
    words = ["--userns", "private", "--userns", "keep-id", "--umask", umask, "busybox", "sleep", "1000"]
    done = user.prun("run", "-d", "--name", "kept", *words)
    assert done.returncode == 0, done.stderr
    for options, end in ((), "\n"), (("-t",), "\r\n"):
        done = user.prun("exec", *options, "kept", "sh", "-c", "id -u; umask; exit 3")
        assert (done.returncode, done.stdout) == (3, f"{user.uid}{end}{umask}{end}"), done.stderr
    assert user.prun("rm", "-f", "kept").returncode == 0


def test_a_namespace_that_cannot_reach_its_files_is_refused_by_name(user: SecondUser) -> None:
    done = user.prun("run", "--rm", "--userns", "nomap", "busybox", "true")
    assert done.returncode == 125
    assert "cannot reach its files" in done.stderr
    assert "--state" in done.stderr


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (("--userns", "nomap"), [0, 1]),
        (("--userns", "auto:size=2000"), [0, 1, 2000]),
        (("--uidmap", "0:5:100"), [0, 5]),
    ],
)
def test_a_namespace_of_subordinate_ids_has_the_image_s_owners(
    user: SecondUser, image: Load, words: Sequence[str], first: list[int]
) -> None:
    made = image([file("f", uid=33, gid=34)])
    state = user.home.parent / f"state-{first[-1]}"
    state.mkdir()
    os.chown(state, user.uid, user.uid)
    script = "cat /proc/self/uid_map; stat -c '%u %g' / /f; touch /new"
    done = user.prun("--state", str(state), "run", "--rm", *words, made, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert id_map(done.stdout)[0][: len(first)] == [0, *first[1:]]
    assert done.stdout.splitlines()[-2:] == ["0 0", "33 34"]


# One id


def test_without_subordinate_ids_there_is_one(lone: SecondUser) -> None:
    assert id_map(run(lone, "cat /proc/self/uid_map")) == [[0, lone.uid, 1]]
    assert run(lone, "echo hi > /f; cat /f; rm /bin/echo; mkdir /bin/echo; stat -c %u /bin") == "hi\n0\n"


def test_with_one_id_files_of_others_are_refused_with_the_remedy(
    lone: SecondUser, layouts: Callable[..., bytes]
) -> None:
    refused = lone.prun("load", "--tag", "x", "-", stdin=layouts([file("f", uid=33, gid=33)]))
    assert refused.returncode == 125
    assert "'f' belongs to 33:33" in refused.stderr
    assert f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {lone.name}" in refused.stderr
    assert "made" not in lone.prun("images").stdout


def test_with_one_id_other_users_are_refused(lone: SecondUser) -> None:
    done = lone.prun("run", "--rm", "-u", "33", "busybox", "true")
    assert done.returncode == 125
    assert "user 33 of the container is not mapped" in done.stderr


def test_doctor_names_the_missing_ids(user: SecondUser, lone: SecondUser) -> None:
    def ids(who: SecondUser) -> dict[str, str]:
        rows = json.loads(who.prun("doctor", "--format", "json").stdout)
        return next(row for row in rows if row["Check"] == "linux: rootless ids")

    assert ids(user)["Ok"]
    assert not ids(lone)["Ok"]
    assert f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {lone.name}" in ids(lone)["Remedy"]


# The store


def test_the_store_is_the_user_s_own_and_private(user: SecondUser, lone: SecondUser) -> None:
    for path in (user.root, user.state):
        assert (path.stat().st_uid, path.stat().st_mode & 0o077) == (user.uid, 0)
    for path in (user.root / "metadata.db", user.root / "snapshots", user.state / "userns"):
        assert lone.run("cat", str(path)).returncode != 0
        assert lone.run("ls", str(path)).returncode != 0
    assert lone.prun("--root", str(user.root), "images").returncode == 125


def test_the_commands_see_the_same_store_inside_and_outside(user: SecondUser) -> None:
    assert user.prun("run", "--name", "stays", "busybox", "sh", "-c", "exit 3").returncode == 3
    for words in (user.words, [*user.words, "unshare", *user.words]):
        images = user.run(*words, "images", "--format", "json")
        assert "busybox" in {row["Repository"] for row in json.loads(images.stdout)}
        stopped = json.loads(user.run(*words, "ps", "-a", "--format", "json").stdout)
        assert [(row["Names"], row["ExitCode"]) for row in stopped] == [("stays", 3)]
    assert user.prun("inspect", "stays").returncode == 0
    assert user.prun("rm", "stays").stdout == "stays\n"


def test_an_image_is_removed_with_the_files_of_all_its_ids(user: SecondUser, image: Load) -> None:
    before = set(os.listdir(user.root / "snapshots"))
    made = image([directory("d", uid=33, mode=0o700), file("d/f", uid=44, mode=0o600)])
    assert set(os.listdir(user.root / "snapshots")) > before
    assert user.prun("rmi", made).returncode == 0
    assert set(os.listdir(user.root / "snapshots")) <= before


# Life and death


def test_another_prun_ends_containers_of_other_ids(user: SecondUser) -> None:
    """Only from within their user namespace may their processes be killed: all pruns of the user share it."""
    first = user.popen("run", "--name", "one", "-u", "33", "busybox", "sleep", "4712")
    until(lambda: running(user, "sleep 4712"), first)
    second = user.popen("run", "--name", "two", "-u", "34", "busybox", "sleep", "4713")
    until(lambda: running(user, "sleep 4713"), second)
    spaces = {
        os.readlink(f"/proc/{pid}/ns/user") for name in ("4712", "4713") for pid in running(user, f"sleep {name}")
    }
    assert len(spaces) == 1
    assert {row["Names"] for row in json.loads(user.prun("ps", "--format", "json").stdout)} == {"one", "two"}
    assert user.prun("rm", "-f", "one", "two").returncode == 0
    for process in (first, second):
        process.communicate(timeout=30)
        assert process.returncode in (137, 255)


def test_kill_9_leaves_nothing_that_the_next_command_does_not_end(user: SecondUser) -> None:
    process = user.popen("run", "--rm", "--name", "orphan", "-u", "33", "busybox", "sleep", "4714")
    until(lambda: running(user, "sleep 4714"), process)
    process.kill()
    process.wait(30)
    assert "orphan" not in user.prun("ps", "-a").stdout
    until(lambda: not running(user, "sleep 4714"))
    process.communicate()  # the container has let go of what it had of ours
    assert str(user.home) not in Path("/proc/self/mountinfo").read_text()


def test_a_signal_reaches_the_container(user: SecondUser) -> None:
    script = "trap 'exit 9' TERM; busybox sleep 4715 & wait"
    process = user.popen("run", "--rm", "busybox", "sh", "-c", script)
    until(lambda: running(user, "busybox sleep 4715"), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 9


# unshare, the library


def test_unshare_runs_a_command_with_its_exit_code(user: SecondUser) -> None:
    done = user.prun("unshare", "sh", "-c", "id -u; cat /proc/self/uid_map; exit 7")
    assert done.returncode == 7
    assert done.stdout.split()[:4] == ["0", "0", str(user.uid), "1"]
    assert user.prun("unshare", "/no/such").returncode == 127
    assert user.prun("unshare", "/etc").returncode == 126


def test_unshare_without_a_command_is_a_shell(user: SecondUser) -> None:
    assert user.prun("unshare", stdin=b"id -u; exit 4\n", SHELL="/bin/sh").stdout == "0\n"
    assert user.prun("unshare", stdin=b"exit 4\n", SHELL="/bin/sh").returncode == 4


def test_unshare_is_not_for_root() -> None:
    from command import PRUN

    done = subprocess.run([PRUN, "unshare", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert "for ordinary users" in done.stderr


def test_the_library_works_within_unshare_and_says_so_without(user: SecondUser) -> None:
    code = "import prun; print(prun.run('busybox', ['id', '-u']).stdout)"
    outside = user.run(user.python, "-c", code.replace("print(", "print(None, "))
    assert "FailedPrecondition" in outside.stderr
    hint = "import prun\ntry: prun.run('busybox', ['true'])\nexcept prun.errors.PrunError as e: print(e.hint)"
    assert "prun unshare python" in user.run(user.python, "-c", f"import prun.errors\n{hint}").stdout
    inside = user.prun("unshare", user.python, "-c", code)
    assert inside.stdout == "b'0\\n'\n", inside.stderr


# Hostile images


@pytest.mark.parametrize("target", ["/", "/etc", "/tmp"])
def test_a_rootfs_whose_dev_proc_or_sys_is_a_link_is_refused(user: SecondUser, image: Load, target: str) -> None:
    made = image([file(".wh.dev"), file(".wh.proc")], [symlink("dev", target), symlink("proc", target)])
    done = user.prun("run", "--rm", made, "true")
    assert done.returncode == 125
    assert "/dev is a symbolic link" in done.stderr


@pytest.mark.parametrize("cwd", ["/proc/self/fd/7", "/wd"])
def test_no_leaked_descriptor_is_a_working_directory(user: SecondUser, image: Load, cwd: str) -> None:
    made = image([symlink("wd", "/proc/self/fd/7")])
    command = user.command("sh", "-c", 'exec 7</; exec "$@"', "sh", *user.words, "run", "--rm", "-w", cwd, made, "ls")
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 125
    assert done.stdout == ""


def test_a_layer_cannot_write_through_a_link(user: SecondUser, layouts: Callable[..., bytes]) -> None:
    victim = user.home / "victim"
    victim.mkdir()
    os.chown(victim, user.uid, user.uid)
    layers = ([symlink("out", str(victim))], [file("out/f", b"escaped"), file("../../../../up", b"escaped")])
    load(user, layouts(*layers), "linked")
    assert os.listdir(victim) == []
    assert run(user, f"cat {victim}/f /up", image="linked") == "escapedescaped"
    assert not Path("/up").exists()
