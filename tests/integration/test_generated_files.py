"""Files of /etc that a container finds filled in: its own, never the host's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from attack import Attack
    from command import Prun

ZONEINFO = "/usr/share/zoneinfo"


def test_names_are_resolved_from_files_of_the_containers_own(prun: Prun) -> None:
    done = prun("run", "--rm", "--name", "web", "--add-host", "db:192.0.2.7", "--add-host", "six=[2001:db8::1]",
                "--hostname", "web.example", "busybox", "cat", "/etc/hosts", "/etc/hostname")  # fmt: skip
    lines = done.stdout.splitlines()
    assert {"192.0.2.7\tdb", "2001:db8::1\tsix", "127.0.0.1\tlocalhost", "127.0.0.1\tweb.example web"} <= set(lines)
    assert lines[-1] == "web.example"


def test_the_resolver_is_as_asked_for(prun: Prun) -> None:
    for network in ("none", "host"):
        done = prun("run", "--rm", "--net", network, "--dns", "192.0.2.1,192.0.2.2", "--dns-search", "a.example",
                    "--dns-opt", "ndots:2", "busybox", "cat", "/etc/resolv.conf")  # fmt: skip
        assert done.stdout == "search a.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions ndots:2\n"
    done = prun("run", "--rm", "--dns", "none", "busybox", "ls", "/etc")
    assert "resolv.conf" not in done.stdout.split()


def test_with_the_hosts_network_the_names_are_the_hosts(prun: Prun) -> None:
    for name in ("hosts", "resolv.conf"):
        own = Path("/etc", name).read_text() if Path("/etc", name).exists() else ""
        assert prun("run", "--rm", "--net", "host", "busybox", "cat", f"/etc/{name}").stdout == own


def test_they_are_root_files_that_this_container_alone_may_change(attack: Attack, binary: str) -> None:
    """On a host whose files are copies: nothing that a container writes is seen there, or in the next container."""
    image = attack.image()
    script = "stat -c '%a %u %g' $f; test -f $f && echo changed >$f && cat $f"
    for name in ("hosts", "resolv.conf", "hostname"):
        done = attack.run(binary, image, "sh", "-c", f"f=/etc/{name}; {script}")
        assert done.stdout == "644 0 0\nchanged\n", done.stderr
        assert "changed" not in attack.run(binary, image, "cat", f"/etc/{name}").stdout


def test_with_a_read_only_root_they_are_read_only(prun: Prun) -> None:
    for name in ("hosts", "resolv.conf", "hostname"):
        done = prun("run", "--rm", "--read-only", "busybox", "sh", "-c", f"echo x >/etc/{name}")
        assert "Read-only" in done.stderr


def test_an_ordinary_user_reads_and_does_not_write_them(prun: Prun) -> None:
    done = prun("run", "--rm", "-u", "1000", "busybox", "sh", "-c", "cat /etc/hosts; echo x >/etc/hosts")
    assert "localhost" in done.stdout
    assert "Permission denied" in done.stderr


def test_a_users_mount_over_one_of_them_wins(prun: Prun, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine\n")
    done = prun("run", "--rm", "-v", f"{tmp_path}/mine:/etc/hosts", "busybox", "cat", "/etc/hosts")
    assert done.stdout == "mine\n", done.stderr


def test_a_users_mount_over_all_of_etc_has_them_on_top(prun: Prun, tmp_path: Path) -> None:
    """As docker's."""
    (tmp_path / "mine").write_text("mine\n")
    (tmp_path / "hosts").write_text("mine\n")
    done = prun("run", "--rm", "-v", f"{tmp_path}:/etc", "busybox", "cat", "/etc/mine", "/etc/hosts")
    assert done.stdout.startswith("mine\n127.0.0.1\tlocalhost\n"), done.stderr
    assert (tmp_path / "hosts").read_text() == "mine\n"


def test_the_time_zone_is_a_copy_of_the_hosts_file(prun: Prun) -> None:
    words = ("busybox", "sh", "-c", "cat /etc/localtime; echo x >/etc/localtime")
    done = prun("run", "--rm", "--tz", "Asia/Tokyo", *words)
    assert done.stdout == Path(ZONEINFO, "Asia/Tokyo").read_bytes().decode(errors="replace")
    assert "Read-only" in done.stderr
    assert "TZ=" not in prun("run", "--rm", "--tz", "Asia/Tokyo", "busybox", "env").stdout  # as podman's
    done = prun("run", "--rm", "--tz", "../../etc/passwd", "busybox", "true")
    assert (done.returncode, done.stdout) == (125, "")
    assert "--tz" in done.stderr
    if os.path.exists("/etc/localtime"):
        own = Path("/etc/localtime").read_bytes().decode(errors="replace")
        for choice in ((), ("--tz", "local")):
            assert prun("run", "--rm", *choice, "busybox", "cat", "/etc/localtime").stdout == own


def test_a_spec_is_shown_although_its_files_do_not_exist_yet(prun: Prun) -> None:
    done = prun("spec", "--id", "shown", "--add-host", "db:192.0.2.7", "busybox")
    sources = [mount["source"] for mount in json.loads(done.stdout)["mounts"] if mount["destination"] == "/etc/hosts"]
    assert sources == [str(prun.state / "bundles" / "shown" / "hosts")]
    assert not (prun.state / "bundles" / "shown").exists()


@pytest.mark.parametrize("word", ["db", "db:", "db:nope", "db:host-gateway", ":192.0.2.7"])
def test_a_host_that_is_none_is_refused_in_one_line(prun: Prun, word: str) -> None:
    done = prun("run", "--rm", "--add-host", word, "busybox", "true")
    assert (done.returncode, done.stdout) == (125, "")
    assert "--add-host" in done.stderr
    assert done.stderr.count("\n") == 1
