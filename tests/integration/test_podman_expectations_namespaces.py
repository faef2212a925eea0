"""Users, namespaces and the files of names: what podman's bats suite expects of them.

Rows of expectations.md; 170 is ``test/system/170-run-userns.bats``, 190 ``190-run-ipcns.bats``, 195
``195-run-namespaces.bats``, 500 ``500-networking.bats``.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from running import public_store, refusal, refused, running, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from command import Prun

MAPPED = ["--uidmap", "0:10001:10002"]


@pytest.fixture(scope="module")
def store(archive: Path) -> Iterator[Prun]:
    with public_store(archive) as prun:
        yield prun


KINDS = {"ipc": "ipc", "pid": "pid", "uts": "uts"}  # the option and the name in /proc/PID/ns


def link(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


def asks(kind: str) -> list[str]:
    return ["busybox", "readlink", f"/proc/self/ns/{kind}"]


# Namespaces.


@pytest.mark.parametrize("kind", [*KINDS, "network", "cgroupns"])
def test_a_namespace_is_the_hosts_only_when_asked_for(prun: Prun, kind: str) -> None:
    """190.1, 195.1, 195.2, 195.4."""
    name = {"network": "net", "cgroupns": "cgroup"}.get(kind, kind)
    private = "none" if kind == "network" else "private"
    assert shown(prun, f"--{kind}=host", *asks(name)) == f"{link(name)}\n"
    own = shown(prun, f"--{kind}", private, *asks(name)).strip()
    assert own.startswith(f"{name}:[")
    assert own != link(name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("theirs", ["its own", "host"])
def test_the_namespace_of_another_container_can_be_joined(prun: Prun, kind: str, theirs: str) -> None:
    """190.4, 195.1."""
    own = "shareable" if kind == "ipc" else "private"
    mode = own if theirs == "its own" else theirs
    with running(prun, "first", f"--{kind}={mode}", command=f"readlink /proc/self/ns/{kind}; sleep 100") as first:
        assert (first.strip() == link(kind)) == (theirs == "host")
        assert shown(prun, f"--{kind}=container:first", *asks(kind)) == first


@pytest.mark.parametrize("options", [["--ipc=private"], []])
def test_a_private_ipc_namespace_is_not_shared(prun: Prun, options: list[str]) -> None:
    """190.3, 190.5: as docker, where private is the default; podman's is shareable."""
    with running(prun, "alone", *options):
        assert "shareable" in refused(prun, "--ipc=container:alone", *asks("ipc"))


def test_without_ipc_there_is_no_shared_memory(prun: Prun) -> None:
    """190.2."""
    script = "readlink /proc/self/ns/ipc; ls -d /dev/shm"
    done = prun("run", "--rm", "--ipc=none", "busybox", "sh", "-c", script)
    assert (done.returncode, done.stdout.strip() != link("ipc")) == (1, True)
    assert "/dev/shm: No such file" in done.stderr


def test_the_cgroup_file_system_cannot_be_written(prun: Prun) -> None:
    """030.95."""
    for mode in ("host", "private"):
        script = "for at in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $at/mine 2>&1 | grep -o 'Read-only'; done"
        seen = shown(prun, "--network=host", f"--cgroupns={mode}", "busybox", "sh", "-c", script).split()
        assert set(seen) == {"Read-only"}


# Users.


@pytest.mark.parametrize("options", [[], ["--uidmap", "0:200000:5000"]])
def test_groups_are_those_added_and_never_the_callers(prun: Prun, options: list[str]) -> None:
    """170.2, 170.3."""
    words = [*prun.words, "run", "--rm", *options, "--group-add", "457", "busybox", "id", "-G"]
    done = subprocess.run(
        ["setpriv", "--groups", "1234,5678", "--", *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "0 457\n"), done.stderr


def test_the_callers_groups_cannot_be_kept(prun: Prun) -> None:
    """170.4."""
    assert "keep-groups" in refused(prun, "--group-add", "keep-groups", "--group-add", "457", "busybox", "id")


@pytest.mark.parametrize(
    "options",
    [
        ["--uidmap", "0:1:1000", "--gidmap", "0:0:1000"],
        ["--uidmap", "0:0:1000", "--gidmap", "0:1:1000"],
        ["--uidmap", "0:1:1000"],
    ],
)
def test_the_callers_ids_need_not_be_mapped(prun: Prun, options: list[str]) -> None:
    """170.13."""
    maps = shown(prun, *options, "busybox", "sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map; touch /x /tmp/x")
    lines = [line.split() for line in maps.splitlines()]
    given = [option.split(":") for option in options[1::2]]
    assert lines == (given if len(given) == 2 else given * 2)


@pytest.mark.parametrize("network", ["none", "host"])
def test_with_mapped_ids_the_kernels_own_mounts_stay_out(prun: Prun, network: str) -> None:
    """030.9."""
    mounts = shown(prun, "--uidmap", "0:100:10000", "--network", network, "busybox", "mount")
    assert " on /sys" in mounts
    assert "/sys/kernel" not in mounts


@pytest.mark.parametrize("privileged", [[], ["--privileged"]])
@pytest.mark.parametrize("user", ["0", "100"])
@pytest.mark.parametrize("mapped", [[], MAPPED])
def test_the_images_files_belong_to_root(prun: Prun, privileged: list[str], user: str, mapped: list[str]) -> None:
    """030.27."""
    words = [*privileged, *mapped, "--user", user, "busybox", "stat", "-c", "%u:%g:%n", "/etc", "/usr"]
    assert shown(prun, *words) == "0:0:/etc\n0:0:/usr\n"


def test_a_shared_mount_leaves_none_behind(prun: Prun, tmp_path: Path) -> None:
    """030.98; the fixture looks for stray mounts."""
    for words in (["--bind", str(tmp_path)], ["--make-shared"]):
        subprocess.run(["mount", *words, str(tmp_path)], check=True)
    try:
        for options in ([], ["--uidmap=0:1000:10000"]):
            assert shown(prun, *options, "-v", f"{tmp_path}:/shared:shared", "busybox", "true") == ""
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_nomap_is_for_ordinary_users(prun: Prun) -> None:
    """170.9."""
    assert "nomap" in refused(prun, "--userns=nomap", "busybox", "true")


def test_root_has_no_id_to_keep(prun: Prun) -> None:
    """030.30, 170.11: keep-id of root is refused; podman then runs as root, as without it."""
    assert shown(prun, "busybox", "id", "-un") == "root\n"
    assert "keep-id" in refused(prun, "--userns=keep-id", "busybox", "id", "-u")


@pytest.fixture
def subordinate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A mount namespace where the user ``containers`` has ids (subuid(5)); words to put before a command."""
    script = "set -e\n"
    for name in ("subuid", "subgid"):
        (tmp_path / name).write_text("containers:300000:131072\n")
        script += f"test -e /etc/{name} && mount --bind {tmp_path}/{name} /etc/{name}\n"
    return ["unshare", "--mount", "sh", "-c", script + 'exec "$@"', "sh"]


def test_a_namespace_of_its_own_has_no_host_root(prun: Prun, subordinate: list[str]) -> None:
    """170.7."""
    words = ["run", "--rm", "--userns=auto", "busybox", "cat", "/proc/self/uid_map", "/proc/self/gid_map"]
    done = subprocess.run([*subordinate, *prun.words, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [inside for inside, _, _ in lines] == ["0", "0"]
    assert all(300000 <= int(outside) < 300000 + 131072 for _, outside, _ in lines)


@pytest.mark.parametrize("options", [[], ["--uidmap", "0:200000:5000"], ["--uidmap", "0:200000:5000", "--user", "7"]])
def test_a_secret_can_be_read_in_a_user_namespace(prun: Prun, tmp_path: Path, options: list[str]) -> None:
    """170.8."""
    (tmp_path / "secret").write_text("of mine\n")
    assert prun("secret", "create", "mine", str(tmp_path / "secret")).returncode == 0
    try:
        assert shown(prun, *options, "--secret=mine", "busybox", "cat", "/run/secrets/mine") == "of mine\n"
    finally:
        assert prun("secret", "rm", "mine").returncode == 0


def test_a_secret_can_be_read_where_ids_are_chosen(prun: Prun, tmp_path: Path, subordinate: list[str]) -> None:
    """170.8."""
    (tmp_path / "secret").write_text("of mine\n")
    assert prun("secret", "create", "mine", str(tmp_path / "secret")).returncode == 0
    words = ["run", "--rm", "--secret=mine", "--userns=auto:size=1000", "busybox", "cat", "/run/secrets/mine"]
    done = subprocess.run([*subordinate, *prun.words, *words], capture_output=True, text=True, check=False)
    assert prun("secret", "rm", "mine").returncode == 0
    assert (done.returncode, done.stdout) == (0, "of mine\n"), done.stderr


def test_a_user_namespace_can_be_joined(prun: Prun, tmp_path: Path) -> None:
    """170.14."""
    asked = "readlink /proc/self/ns/user; cat /proc/self/uid_map"
    words = ["--uidmap", "0:1000:5000", "--pidfile", str(tmp_path / "pid")]
    with running(prun, "first", *words, command="readlink /proc/self/ns/user; sleep 100") as first:
        path = f"/proc/{(tmp_path / 'pid').read_text()}/ns/user"
        done = prun("run", "--rm", f"--userns=ns:{path}", "busybox", "sh", "-c", asked)
        if done.returncode == 125:
            assert "ns:" in refusal(done)
        else:
            assert done.stdout.splitlines()[0] == first.strip()
            assert done.stdout.splitlines()[1].split() == ["0", "1000", "5000"]


# Names.


def read(prun: Prun, name: str, *options: str) -> list[str]:
    """The lines of a file of the container's /etc, blanks made equal, without comments."""
    lines = shown(prun, *options, "busybox", "cat", f"/etc/{name}").splitlines()
    return [" ".join(line.split()) for line in lines if line and not line.startswith("#")]


def test_hosts_can_be_added_and_localhost_stays(prun: Prun) -> None:
    """500.8."""
    lines = read(prun, "hosts", "--add-host", "mine:10.1.2.3", "--add-host", "six=fd00::1")
    assert {"10.1.2.3 mine", "fd00::1 six"} <= set(lines)
    assert [line for line in lines if line.startswith("127.0.0.1 localhost")]
    assert [line for line in lines if line.startswith("::1 ") and " localhost" in line]


def test_a_host_without_a_hosts_file_can_run_containers(prun: Prun, tmp_path: Path) -> None:
    """030.65: /etc is a copy, in a mount namespace."""
    ours = ("passwd", "group", "resolv.conf", "ld.so.cache", "localtime", "containers", "subuid", "subgid")
    (tmp_path / "etc").mkdir()
    for name in ours:
        if Path("/etc", name).exists():
            subprocess.run(["cp", "-a", f"/etc/{name}", str(tmp_path / "etc")], check=True)
    words = ["run", "--rm", "--add-host", "foo.com:1.2.3.4", "busybox", "cat", "/etc/hosts"]
    script = f'mount --bind {tmp_path}/etc /etc && test ! -e /etc/hosts && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *prun.words, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1.2.3.4 foo.com" in [" ".join(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("mapped", [[], MAPPED])
def test_the_host_name_is_in_the_hosts_file(prun: Prun, mapped: list[str]) -> None:
    """030.69."""
    lines = read(prun, "hosts", *mapped, "--hostname", "my-random-host")
    assert [line for line in lines if "my-random-host" in line.split()[1:]]


@pytest.mark.parametrize("network", ["none", "host"])
def test_the_file_of_the_host_name_is_there(prun: Prun, network: str) -> None:
    """030.110, 500.11."""
    assert read(prun, "hostname", "--network", network, "--hostname", "mine") == ["mine"]
    assert read(prun, "hostname", "--network", network, "--uts=host") == [os.uname().nodename]


@pytest.mark.parametrize("network", ["none", "host"])
def test_name_servers_are_those_given_in_their_order(prun: Prun, network: str) -> None:
    """500.4, 500.6."""
    servers = ["1.1.1.1", "100.100.100.100", "1.0.0.1", "8.8.8.8"]
    options = [word for server in servers for word in ("--dns", server)]
    lines = read(prun, "resolv.conf", "--network", network, *options, "--dns-search", "example.com")
    assert [line for line in lines if line.startswith("nameserver")] == [f"nameserver {server}" for server in servers]
    assert [line for line in lines if line.startswith("search")] == ["search example.com"]


def test_the_hosts_network_keeps_the_hosts_name_servers(prun: Prun, tmp_path: Path) -> None:
    """500.5: the host's file is a copy, in a mount namespace."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\noptions edns0\n")
    words = ["run", "--rm", "--network", "host", "busybox", "cat", "/etc/resolv.conf"]
    script = f'mount --bind {tmp_path}/resolv.conf "$(readlink -f /etc/resolv.conf)" && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *prun.words, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "nameserver 127.0.0.53\n" in done.stdout) == (0, True), done


@pytest.mark.parametrize("option", ["--dns-opt", "--dns-option"])
def test_options_of_name_resolution_replace_the_hosts(prun: Prun, option: str) -> None:
    """500.10."""
    lines = read(prun, "resolv.conf", f"{option}=dns-random")
    assert [line for line in lines if line.startswith("options")] == ["options dns-random"]


@pytest.mark.parametrize("mapped", [[], ["--uidmap=0:1111111:65536", "--gidmap=0:1111111:65536"]])
def test_files_filled_in_belong_to_root(prun: Prun, mapped: list[str]) -> None:
    """500.9."""
    words = ["busybox", "stat", "-c", "%u:%g", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"]
    assert shown(prun, *mapped, *words) == "0:0\n" * 3
