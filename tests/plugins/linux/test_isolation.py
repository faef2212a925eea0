from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from referencing import Registry, Resource

import prun_linux
from prun.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from prun.spec import seccomp
from prun.types import Platform, RunRequest
from prun_linux import isolation

from .conftest import SCRATCH, NoRootfs, make_spec

if TYPE_CHECKING:
    from prun.spec.document import Spec
    from prun.testing import SpecSnapshots

# Debian's golang-github-opencontainers-specs-dev.
SCHEMA = Path("/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema")
TEMPLATE = Path(__file__).parents[2] / "data" / "seccomp-template.json"
ID = "0123456789abcdef" * 4


class WithFiles(NoRootfs):
    def __init__(self, **files: bytes) -> None:
        self.files = {f"/etc/{name}": data for name, data in files.items()}

    def read(self, path: str, limit_bytes: int) -> bytes:
        if path not in self.files:
            raise NotFound(path)
        if len(self.files[path]) > limit_bytes:
            raise ResourceExhausted(path)
        return self.files[path]


ROOTFS = WithFiles(passwd=b"root:x:0:0::/root:/bin/sh\napp:x:7:8::/app:/bin/sh\n", group=b"g:x:9:app\n")


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What depends on the machine is the same on every one: the profile, the host's files, its processors."""
    monkeypatch.setattr(seccomp, "TEMPLATES", (str(TEMPLATE),))
    monkeypatch.setattr(isolation, "thermal_paths", lambda: ())
    monkeypatch.setattr(isolation, "unused_architectures", lambda: ["SCMP_ARCH_X32"])
    (tmp_path / "localtime").touch()
    monkeypatch.setattr("prun_linux.hostfiles.ETC", str(tmp_path))
    monkeypatch.setattr("prun.image.platform.host_platform", lambda: Platform("linux", "amd64"))


def request(**fields: Any) -> RunRequest:
    return RunRequest(**{"id": ID, "args": ("sh",), "state": "/run/prun", **fields})


def spec_of(*, config: Any = None, rootfs: Any = ROOTFS, **fields: Any) -> Spec:
    return make_spec(request(**fields), SCRATCH._replace(config=config or {}), rootfs)


def schema() -> jsonschema.Draft4Validator:
    def load(uri: str) -> Resource[Any]:
        document = json.loads((SCHEMA / uri.rpartition("/")[2]).read_text())
        return Resource.from_contents(document, default_specification=referencing_draft4())

    def referencing_draft4() -> Any:
        from referencing.jsonschema import DRAFT4

        return DRAFT4

    root = json.loads((SCHEMA / "config-schema.json").read_text())
    return jsonschema.Draft4Validator(root, registry=Registry(retrieve=load))


def test_the_default_config_is_the_golden_one(spec_snapshot: SpecSnapshots) -> None:
    spec_snapshot(spec_of(), "linux-default-config")


def test_the_golden_config_has_every_value_of_the_seed() -> None:
    spec = json.loads((Path(__file__).parent / "specs" / "linux-default-config.json").read_text())
    process, linux = spec["process"], spec["linux"]
    assert process["env"][0] == "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert process["noNewPrivileges"] is True
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]
    words = (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT "
        "KILL AUDIT_WRITE"
    )
    capabilities = [f"CAP_{word}" for word in words.split()]
    assert process["capabilities"] == dict.fromkeys(("bounding", "permitted", "effective"), capabilities)
    assert process["user"] == {"uid": 0, "gid": 0, "additionalGids": [0]}
    assert process["cwd"] == "/"
    shared, bundle = {"nosuid", "noexec", "nodev"}, f"/run/prun/bundles/{ID}"
    expected = [
        ("/proc", "proc", "proc", set()),
        ("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
        ("/dev/pts", "devpts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}),
        ("/dev/shm", "tmpfs", "shm", shared | {"mode=1777", "size=65536k"}),
        ("/dev/mqueue", "mqueue", "mqueue", shared),
        ("/sys", "sysfs", "sysfs", shared | {"ro"}),
        ("/run", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
        ("/sys/fs/cgroup", "cgroup", "cgroup", shared | {"ro"}),  # the seed has none
        # Copies in the bundle, where the seed mounts the host's own: only the time zone is the same for everyone.
        *((f"/etc/{name}", "bind", f"{bundle}/{name}", {"rbind"}) for name in ("resolv.conf", "hosts", "hostname")),
        ("/etc/localtime", "bind", f"{bundle}/localtime", {"rbind", "ro"}),
    ]
    found = [(m["destination"], m["type"], m["source"], set(m["options"])) for m in spec["mounts"]]
    assert [mount[:3] for mount in found] == [mount[:3] for mount in expected]
    assert all(mount[3] >= wanted[3] for mount, wanted in zip(found, expected, strict=True))
    assert spec["hostname"] == ID[:12]
    kinds = [namespace["type"] for namespace in linux["namespaces"]]
    assert kinds == ["pid", "ipc", "uts", "mount", "network", "cgroup"]
    assert linux["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert spec["root"] == {"path": "rootfs"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"terminal": True},
        {"network": "host"},
        {"user": "app"},
        {"security": ("seccomp=unconfined", "no-new-privileges=false")},
    ],
)
def test_a_config_is_valid_by_the_schema_of_the_runtime_spec(fields: dict[str, Any]) -> None:
    spec = spec_of(**fields)
    schema().validate(spec)


def test_the_schema_would_find_a_mistake() -> None:
    spec: Any = spec_of()
    spec["linux"]["namespaces"][0]["type"] = "net"
    with pytest.raises(jsonschema.ValidationError):
        schema().validate(spec)


def test_the_distributions_seccomp_profile_is_valid_by_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "TEMPLATES", ("/usr/share/containers/seccomp.json",))
    schema().validate(spec_of())


def test_a_terminal_has_a_type() -> None:
    assert "TERM=xterm" in spec_of(terminal=True)["process"]["env"]
    assert not any(entry.startswith("TERM=") for entry in spec_of()["process"]["env"])


@pytest.mark.parametrize(
    ("user", "config", "expected", "home"),
    [
        ("", {}, {"uid": 0, "gid": 0, "additionalGids": [0]}, "/root"),
        ("", {"User": "app"}, {"uid": 7, "gid": 8, "additionalGids": [8, 9]}, "/app"),
        ("0:0", {"User": "app"}, {"uid": 0, "gid": 0, "additionalGids": [0]}, "/root"),
        ("5", {}, {"uid": 5, "gid": 0, "additionalGids": [0]}, "/"),
    ],
)
def test_the_user_is_the_requests_or_the_images(user: str, config: Any, expected: Any, home: str) -> None:
    process = spec_of(user=user, config=config)["process"]
    assert process["user"] == expected
    assert f"HOME={home}" in process["env"]


def test_an_account_file_that_is_too_long_is_an_error() -> None:
    with pytest.raises(ResourceExhausted):
        spec_of(rootfs=WithFiles(passwd=b"x" * ((1 << 20) + 1)))


@pytest.mark.parametrize(
    ("container_id", "hostname", "expected"),
    [(ID, "", ID[:12]), ("web", "", "web"), ("web", "db", "db"), ("z" * 64, "", "z" * 64)],
)
def test_the_hostname_is_what_was_asked_for_or_the_id(container_id: str, hostname: str, expected: str) -> None:
    assert spec_of(id=container_id, hostname=hostname)["hostname"] == expected


def test_with_the_hosts_network_there_is_no_network_namespace() -> None:
    assert {"type": "network"} not in spec_of(network="host")["linux"]["namespaces"]


@pytest.mark.parametrize("network", ["bridge", "container:x", ""])
def test_a_network_that_there_is_not_is_refused(network: str) -> None:
    with pytest.raises(InvalidArgument, match=repr(network)):
        spec_of(network=network)


@pytest.mark.parametrize(
    ("words", "new_privileges", "seccomp_is_on"),
    [
        ((), True, True),
        (("no-new-privileges",), True, True),
        (("no-new-privileges:false",), False, True),
        (("no-new-privileges=false",), False, True),
        (("no-new-privileges=false", "no-new-privileges=true"), True, True),
        (("seccomp=unconfined",), True, False),
        (("seccomp:unconfined",), True, False),
        ((f"seccomp={TEMPLATE}",), True, True),
    ],
)
def test_security_options_are_understood(words: tuple[str, ...], new_privileges: bool, seccomp_is_on: bool) -> None:
    spec = spec_of(security=words)
    assert spec["process"]["noNewPrivileges"] == new_privileges
    assert ("seccomp" in spec["linux"]) == seccomp_is_on


@pytest.mark.parametrize(
    "word", ["", "seccomp", "seccomp=", "no-new-privileges=yes", "apparmor", "label=x", "seccomp=/no/such"]
)
def test_any_other_security_option_is_refused_by_name(word: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        spec_of(security=(word,))
    assert word.partition("=")[2] in str(caught.value)


def test_a_machine_without_a_profile_is_told_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "TEMPLATES", ("/no/such",))
    with pytest.raises(FailedPrecondition) as caught:
        spec_of()
    assert "unconfined" in caught.value.hint
    assert "seccomp" not in spec_of(security=("seccomp=unconfined",))["linux"]


def test_nothing_of_labels_and_volumes_reaches_the_spec() -> None:
    config = {"Labels": {"run.oci.handler": "krun"}, "Volumes": {"/../../etc": {}}, "StopSignal": "SIGKILL"}
    assert spec_of(config=config) == spec_of()


def test_the_container_has_a_cgroup_of_its_own() -> None:
    assert spec_of()["linux"]["cgroupsPath"] == f"/prun/{ID}"


def test_the_kernels_version_is_two_numbers() -> None:
    assert isolation.kernel_version() >= (3, 0)
    assert os.uname().release.startswith("{}.{}".format(*isolation.kernel_version()))


def test_the_default_spec_has_no_problem() -> None:
    assert prun_linux.prun_check_spec(request(view_only=True), spec_of()) == []
