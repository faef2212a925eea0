from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from prun.errors import FailedPrecondition, InvalidArgument, NotFound
from prun.request.files import SecretRequest
from prun.secrets import Secrets
from prun.types import RunRequest
from prun_linux import hostfiles, init
from prun_linux.command import INIT, check_command, without_init

from .conftest import NoRootfs

if TYPE_CHECKING:
    from pathlib import Path

    from prun.spec.document import Spec

ID = "0123456789abcdef" * 4
RESOLV = """# a comment
search old.example
search host.example lan
nameserver 127.0.0.53
nameserver 192.0.2.1
options edns0
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host's /etc."""
    path = tmp_path / "etc"
    path.mkdir()
    (path / "hosts").write_text("127.0.0.1 localhost\n192.0.2.9 host-only\n")
    (path / "resolv.conf").write_text(RESOLV)
    (path / "localtime").write_bytes(b"TZif2 of the host")
    monkeypatch.setattr(hostfiles, "ETC", str(path))
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "bundles" / ID
    path.mkdir(parents=True)
    return path


def request(tmp_path: Path, **fields: Any) -> RunRequest:
    return RunRequest(**{"id": ID, "root": str(tmp_path / "root"), "state": str(tmp_path / "state"), **fields})


def written(tmp_path: Path, bundle: Path, **fields: Any) -> dict[str, str]:
    for path in bundle.iterdir():
        path.unlink()
    hostfiles.write(request(tmp_path, **fields), str(bundle))
    return {path.name: path.read_text() for path in bundle.iterdir()}


def test_the_hosts_own_files_are_never_mounted(tmp_path: Path, host: Path, bundle: Path) -> None:
    for network in ("none", "host"):
        asked = request(tmp_path, network=network, timezone="local")
        hostfiles.write(asked, str(bundle))
        mounts = hostfiles.mounts(asked)
        assert [mount.destination for mount in mounts] == [
            "/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/etc/localtime",
        ]  # fmt: skip
        for mount in mounts:
            assert os.path.dirname(mount.source) == str(bundle)
            assert os.path.isfile(mount.source)
            assert not os.path.islink(mount.source)
            own = host / os.path.basename(mount.source)
            assert not (own.exists() and own.samefile(mount.source))
            os.unlink(mount.source)


def test_without_a_network_the_names_are_localhosts_and_its_own(tmp_path: Path, host: Path, bundle: Path) -> None:
    files = written(tmp_path, bundle, hosts=("192.0.2.7 db", "::1 six"))
    assert files["hostname"] == f"{ID[:12]}\n"
    lines = files["hosts"].splitlines()
    assert lines[:3] == ["192.0.2.7\tdb", "::1\tsix", "127.0.0.1\tlocalhost"]
    assert lines[-1] == f"127.0.0.1\t{ID[:12]}"
    assert "host-only" not in files["hosts"]
    assert written(tmp_path, bundle, hostname="web.example.com")["hosts"].endswith("\tweb.example.com web\n")


def test_with_the_hosts_network_they_are_the_hosts_and_what_was_asked_for(
    tmp_path: Path, host: Path, bundle: Path
) -> None:
    files = written(tmp_path, bundle, network="host", hosts=("192.0.2.7 db",))
    assert files["hosts"] == "192.0.2.7\tdb\n" + (host / "hosts").read_text()
    assert files["resolv.conf"] == RESOLV


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "search host.example lan\nnameserver 192.0.2.1\noptions edns0\n"),
        ({"dns": ("192.0.2.2",)}, "search host.example lan\nnameserver 192.0.2.2\noptions edns0\n"),
        ({"dns_search": (".",)}, "nameserver 192.0.2.1\noptions edns0\n"),
        ({"dns_search": ("a", "b")}, "search a b\nnameserver 192.0.2.1\noptions edns0\n"),
        ({"dns_options": ("ndots:2", "rotate")},
         "search host.example lan\nnameserver 192.0.2.1\noptions ndots:2 rotate\n"),
        ({"network": "host", "dns_search": ("a",)},
         "search a\nnameserver 127.0.0.53\nnameserver 192.0.2.1\noptions edns0\n"),
    ],
)  # fmt: skip
def test_the_resolver_is_the_hosts_but_for_what_was_asked_for_and_its_loopback(
    tmp_path: Path, host: Path, bundle: Path, fields: dict[str, Any], expected: str
) -> None:
    assert written(tmp_path, bundle, **fields)["resolv.conf"] == expected


def test_dns_none_leaves_the_images_own_file(tmp_path: Path, host: Path, bundle: Path) -> None:
    asked = request(tmp_path, dns=("none",))
    assert "/etc/resolv.conf" not in [mount.destination for mount in hostfiles.mounts(asked)]
    assert "resolv.conf" not in written(tmp_path, bundle, dns=("none",))


def test_a_host_without_these_files_is_no_obstacle(tmp_path: Path, host: Path, bundle: Path) -> None:
    for path in host.iterdir():
        path.unlink()
    files = written(tmp_path, bundle)
    assert files["resolv.conf"] == ""
    assert "localtime" not in files
    assert written(tmp_path, bundle, network="host", hosts=("192.0.2.7 db",))["hosts"] == "192.0.2.7\tdb\n"


def test_the_time_zone_is_the_hosts_or_the_one_asked_for(
    tmp_path: Path, host: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zone").write_bytes(b"TZif2 asked for")
    monkeypatch.setattr("prun.request.files.ZONEINFO", str(tmp_path))
    assert written(tmp_path, bundle)["localtime"] == "TZif2 of the host"
    assert written(tmp_path, bundle, timezone="local")["localtime"] == "TZif2 of the host"
    assert written(tmp_path, bundle, timezone="zone")["localtime"] == "TZif2 asked for"


def test_the_files_are_writable_for_root_whatever_the_umask_and_read_only_with_the_root(
    tmp_path: Path, host: Path, bundle: Path
) -> None:
    before = os.umask(0o077)
    try:
        hostfiles.write(request(tmp_path), str(bundle))
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o7777 for path in bundle.iterdir()} == {0o644}
    readonly = {mount.destination: "ro" in mount.options for mount in hostfiles.mounts(request(tmp_path))}
    assert [name for name, value in readonly.items() if value] == ["/etc/localtime"]
    assert all("ro" in mount.options for mount in hostfiles.mounts(request(tmp_path, readonly=True)))


def test_with_the_hosts_uts_namespace_the_name_is_the_hosts(tmp_path: Path, host: Path, bundle: Path) -> None:
    assert written(tmp_path, bundle, namespaces={"uts": "host"})["hostname"] == f"{os.uname().nodename}\n"


def test_a_secret_is_a_file_of_its_own_that_cannot_be_changed(tmp_path: Path, host: Path, bundle: Path) -> None:
    Secrets(str(tmp_path / "root")).create("token", b"hunter2")
    asked = request(tmp_path, secrets=(SecretRequest("token", "/run/secrets/token", mode=0o400),))
    hostfiles.write(asked, str(bundle))
    mount = hostfiles.mounts(asked)[-1]
    assert (mount.destination, mount.source) == ("/run/secrets/token", str(bundle / "secret-0"))
    assert {"ro", "nosuid", "nodev"} <= set(mount.options)
    assert (bundle / "secret-0").read_bytes() == b"hunter2"
    assert (bundle / "secret-0").stat().st_mode & 0o7777 == 0o400


def test_a_secret_that_there_is_not_is_an_error_before_anything_runs(tmp_path: Path, host: Path, bundle: Path) -> None:
    with pytest.raises(NotFound, match="token"):
        hostfiles.write(request(tmp_path, secrets=(SecretRequest("token", "/run/x"),)), str(bundle))
    for view_only in (False, True):
        with pytest.raises(NotFound, match="token"):
            hostfiles.spec_opts(request(tmp_path, secrets=(SecretRequest("token", "T", "env"),), view_only=view_only))


def test_a_secret_in_the_environment_is_shown_only_to_its_process(tmp_path: Path) -> None:
    Secrets(str(tmp_path / "root")).create("token", "hünter2".encode())

    def env(**fields: Any) -> list[str]:
        spec: Spec = {}
        for opt in hostfiles.spec_opts(request(tmp_path, secrets=(SecretRequest("token", "T", "env"),), **fields)):
            opt(spec)
        return spec["process"]["env"]

    assert env() == ["T=hünter2"]
    assert env(view_only=True) == ["T=*******"]
    assert hostfiles.spec_opts(request(tmp_path)) == []


@pytest.mark.parametrize("data", [b"a\0b", b"\xff"])
def test_a_secret_that_is_no_text_is_no_variable_and_not_in_the_error(tmp_path: Path, data: bytes) -> None:
    Secrets(str(tmp_path / "root")).create("token", b"hunter2" + data)
    with pytest.raises(InvalidArgument, match="no text") as caught:
        hostfiles.spec_opts(request(tmp_path, secrets=(SecretRequest("token", "T", "env"),)))
    assert "hunter2" not in str(caught.value) + caught.value.hint


@pytest.mark.root
def test_in_a_user_namespace_the_files_are_the_containers_users(tmp_path: Path, host: Path, bundle: Path) -> None:
    Secrets(str(tmp_path / "root")).create("token", b"x")
    asked = request(tmp_path, secrets=(SecretRequest("token", "/run/x", uid=5, gid=6),))
    hostfiles.write(asked, str(bundle))
    mappings = [{"containerID": 0, "hostID": 100000, "size": 10}, {"containerID": 10, "hostID": 5, "size": 1}]
    hostfiles.give(asked, str(bundle), {"linux": {"uidMappings": mappings, "gidMappings": mappings}})
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in bundle.iterdir()}
    assert owners.pop("secret-0") == (100005, 100006)
    assert set(owners.values()) == {(100000, 100000)}
    unmapped = request(tmp_path, secrets=(SecretRequest("token", "/run/x", uid=11),))
    with pytest.raises(InvalidArgument, match="id 11 of a secret is not mapped"):
        hostfiles.give(unmapped, str(bundle), {"linux": {"uidMappings": mappings, "gidMappings": mappings}})


def test_a_file_that_cannot_be_written_is_said_to_be(tmp_path: Path, host: Path, bundle: Path) -> None:
    (bundle / "hosts").touch()
    with pytest.raises(FailedPrecondition, match="hosts cannot be written"):
        hostfiles.write(request(tmp_path), str(bundle))


# --init

ELF = b"\x7fELF\x02\x01\x01" + bytes(57)


def test_the_init_is_the_first_that_needs_nothing_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dynamic = bytearray(ELF + bytes(200))
    dynamic[32:40], dynamic[54:58] = (64).to_bytes(8, "little"), b"\x38\0\1\0"
    dynamic[64:68], dynamic[72:80], dynamic[96:104] = b"\3\0\0\0", b"\x80\0\0\0\0\0\0\0", b"\x0a\0\0\0\0\0\0\0"
    dynamic[128:138] = b"/lib/ld.so"
    for name, data, mode in (("dynamic", bytes(dynamic), 0o755), ("no-x", ELF, 0o644), ("static", ELF, 0o755)):
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(mode)
    names = ("missing", "dynamic", "no-x", "static")
    monkeypatch.setattr(init, "PROGRAMS", tuple(str(tmp_path / name) for name in names))
    assert init.find_init() == str(tmp_path / "static")
    assert init.mount()[:3] == (INIT, "bind", str(tmp_path / "static"))
    monkeypatch.setattr(init, "PROGRAMS", tuple(str(tmp_path / name) for name in names[:3]))
    with pytest.raises(FailedPrecondition, match="--init") as caught:
        init.find_init()
    assert "apt install" in caught.value.hint


def test_the_init_comes_before_the_command_if_there_is_one() -> None:
    spec: Spec = {"process": {"args": ["sh", "-c", "x"]}}
    init.with_init(spec)
    assert spec["process"]["args"] == [INIT, "--", "sh", "-c", "x"]
    assert without_init(spec["process"]["args"]) == ["sh", "-c", "x"]
    empty: Spec = {}
    init.with_init(empty)
    assert empty == {"process": {}}


@pytest.mark.parametrize("mode", ["host", "container:x"])
def test_an_init_that_would_not_be_process_1_is_refused(mode: str) -> None:
    with pytest.raises(InvalidArgument, match="--init"):
        init.spec_opts(RunRequest("x", namespaces={"pid": mode}))


def test_the_command_is_looked_for_behind_the_init() -> None:
    from prun.errors import CommandNotFound

    spec: Any = {
        "process": {"args": [INIT, "--", "nope"], "env": ["PATH=/bin"]},
        "mounts": [{"destination": INIT, "type": "bind"}, {"destination": "/run/secrets/s", "type": "bind"}],
    }
    with pytest.raises(CommandNotFound, match="'nope'"):
        check_command(spec, NoRootfs(), [INIT, "/run/secrets/s"])  # type: ignore[arg-type]
