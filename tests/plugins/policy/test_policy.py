"""Each rule refuses what it says and names itself, its file and the field; a malformed one refuses everything."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import prun_policy
from prun import hookimpl
from prun.errors import InvalidArgument, PermissionDenied
from prun.request.mounts import MountRequest
from prun.types import Image, Mount, Platform, RunRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prun.testing import FakeRunner
    from pytest_prun import HooksWith

DIGEST = "sha256:" + "a" * 64
PLATFORM = Platform("linux", "amd64")
SPEC: dict[str, Any] = {
    "process": {
        "args": ["sh"],
        "user": {"uid": 1000},
        "capabilities": {"bounding": ["CAP_CHOWN"]},
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "linux": {
        "seccomp": {"defaultAction": "x"},
        "namespaces": [{"type": kind} for kind in ("pid", "network", "mount")],
    },
}


@pytest.fixture
def policy(tmp_path: Path) -> Callable[..., object]:
    """Make the policy of one rule, with the name "r"."""

    def make(rule: str, more: str = "") -> object:
        verb, subject, *values = rule.split()
        said = f"values = {json.dumps(values)}\n" if values else ""
        file = tmp_path / "policy.toml"
        file.write_text(f'[[rule]]\nname = "r"\n{verb} = "{subject}"\n{said}{more}\n')
        return prun_policy.prun_configure({"file": str(file)})

    return make


class Registry:
    """An engine that has every image, and says when it is asked."""

    def __init__(self, name: str = "") -> None:
        self.asked: list[str] = []
        self.name = name

    @hookimpl
    def prun_resolve_image(self, request: RunRequest) -> Image:
        self.asked.append(request.image)
        return Image(self.name or request.image, DIGEST, PLATFORM, {})


def request(**fields: Any) -> RunRequest:
    return RunRequest(
        "c1", **{"image": "registry.example.com/team/app:1", "runtime": "linux", "state": "/run/prun", **fields}
    )


def spec(path: str = "", value: object = None) -> dict[str, Any]:
    document = json.loads(json.dumps(SPEC))
    at = document
    *parents, last = path.split("/")[1:] or [""]
    for parent in parents:
        at = at[parent]
    if last:
        at[last] = value
    return document


BAD_SPECS = [
    ('require readonly-rootfs', "/root/readonly", False, "/root/readonly: the root file system can be written"),
    ('require no-new-privileges', "/process/noNewPrivileges", False, "/process/noNewPrivileges: "),
    ('require seccomp', "/linux/seccomp", None, "/linux/seccomp: no system call is filtered"),
    ('deny user 0-999', "/process/user", {"uid": 0}, "/process/user/uid: user 0 is denied"),
    ('deny user 0', "/process/user", {}, "/process/user/uid: user 0 is denied"),
    ('require user 1000 2000-3000', "/process/user", {"uid": 1500}, "is none of 1000, 2000-3000"),
    (
        'deny capability sys_*', "/process/capabilities", {"bounding": ["CAP_A", "CAP_SYS_ADMIN"]},
        "/process/capabilities/bounding/1: capability CAP_SYS_ADMIN is denied",
    ),
    ('require capability CHOWN', "/process/capabilities", {"ambient": ["CAP_KILL"]}, "is none of CAP_CHOWN"),
    ('deny capability all', "/process/capabilities", {"bounding": ["CAP_CHOWN"]}, "CAP_CHOWN is denied"),
    ('deny host-namespace pid', "/linux/namespaces", [], "/linux/namespaces: the pid namespace is this"),
    ('deny host-namespace network', "/linux", {}, "the network namespace is this machine's is denied"),
    (
        'deny host-namespace pid', "/linux/namespaces", [{"type": "pid", "path": "/proc/self/ns/pid"}],
        "the pid namespace is this machine's",
    ),
    ('deny hook', "/hooks", {"prestart": [{"path": "/bin/x"}]}, "/hooks/prestart/0/path: hook /bin/x is denied"),
    ('require hook /usr/libexec', "/hooks", {"prestart": [{"path": "/usr/libexec/../x"}]}, "hook /usr/x"),
    (
        'deny bind-source /etc', "/mounts", [{"destination": "/x", "type": "bind", "source": "/etc/ssh"}],
        "/mounts/0/source: bind mount of /etc/ssh is denied",
    ),
    (
        'deny bind-source /etc', "/mounts",
        [{"destination": "/x", "type": "none", "options": ["rbind"], "source": "/"}], "bind mount of / is denied",
    ),
    (
        'require bind-source /srv', "/mounts", [{"destination": "/x", "type": "bind", "source": "/srv2"}],
        "bind mount of /srv2 is none of /srv",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "pointer", "value", "told"), BAD_SPECS)
def test_a_spec_that_offends_is_refused_by_name(
    policy: Callable[..., object], hooks_with: HooksWith, rule: str, pointer: str, value: object, told: str
) -> None:
    hooks = hooks_with(policy(rule, 'reason = "ask the platform team"'))
    (problem,) = hooks.check_spec(request(), spec(pointer, value))  # type: ignore[arg-type]
    assert told in str(problem)
    assert "rule 'r' of /" in str(problem)
    assert str(problem).endswith("(ask the platform team)")


@pytest.mark.parametrize("rule", sorted({rule for rule, *_ in BAD_SPECS} - {"deny capability all"}))
def test_a_good_spec_passes(policy: Callable[..., object], hooks_with: HooksWith, rule: str) -> None:
    problems = hooks_with(policy(rule)).check_spec(request(), spec())  # type: ignore[arg-type]
    assert [str(problem) for problem in problems] == []


def test_a_bind_source_is_judged_by_where_it_leads(
    policy: Callable[..., object], hooks_with: HooksWith, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to("/etc")
    link = str(tmp_path / "link")
    hooks = hooks_with(policy("deny bind-source /etc"))
    mounts = [{"destination": "/x", "type": "bind", "source": link}]
    for given in (request(volumes=(MountRequest("bind", link, "/x"),)), request(mounts=(Mount("/x", source=link),))):
        (problem,) = hooks.check_spec(given, spec("/mounts", mounts))  # type: ignore[arg-type]
        assert f"bind mount of {link}, which is /etc is denied" in str(problem)


def test_a_copy_of_nobody_knows_what_is_refused(
    policy: Callable[..., object], hooks_with: HooksWith, tmp_path: Path
) -> None:
    pinned = tmp_path / "bundles" / "c1" / "mounts" / "bind-1"
    pinned.mkdir(parents=True)
    asked = request(state=str(tmp_path), volumes=(MountRequest("bind", "/srv", "/x"),))
    mounts = [{"destination": "/x", "type": "bind", "source": str(pinned)}]
    hooks = hooks_with(policy("deny bind-source /etc"))
    (problem,) = hooks.check_spec(asked, spec("/mounts", mounts))  # type: ignore[arg-type]
    assert "bind mount of a place without a name is denied" in str(problem)


def test_what_prun_itself_mounts_is_no_bind_source(
    policy: Callable[..., object], hooks_with: HooksWith, tmp_path: Path
) -> None:
    root, state = str(tmp_path / "root"), str(tmp_path / "state")
    mounts = [
        {"destination": "/etc/hosts", "type": "bind", "source": f"{state}/bundles/c1/hosts"},
        {"destination": "/v", "type": "bind", "source": f"{root}/volumes/v/_data"},
        {"destination": "/proc", "type": "proc", "source": "proc"},
    ]
    hooks = hooks_with(policy("require bind-source /srv"))
    assert hooks.check_spec(request(root=root, state=state), spec("/mounts", mounts)) == []  # type: ignore[arg-type]
    other = [{"destination": "/v", "type": "bind", "source": f"{state}/bundles/other/rootfs"}]
    assert len(hooks.check_spec(request(root=root, state=state), spec("/mounts", other))) == 1  # type: ignore[arg-type]


BAD_REQUESTS = [
    ('deny privileged', {"privileged": True}, "--privileged: the container is privileged: rule 'r'"),
    ('require runtime fake', {}, "--runtime: runtime linux is none of fake"),
    ('deny runtime linux', {}, "--runtime: runtime linux is denied"),
    ('require digest', {}, "is not named by its digest"),
    ('require digest', {"rootfs": "/srv", "image": ""}, "image /srv is not named"),
    ('require registry docker.io/library', {}, "image registry.example.com/team/app is none of docker.io/"),
    ('require registry docker.io/library', {"image": "evil/busybox"}, "docker.io/evil/busybox is none of"),
    ('require registry registry.example.com/te', {}, "is none of registry.example.com/te"),
    ('require registry docker.io', {"image": "docker.io.evil.com/x"}, "docker.io.evil.com/x is none of"),
    ('require registry docker.io', {"rootfs": "/srv", "image": ""}, "/srv, of no registry, is none of"),
    ('require registry docker.io', {"image": "./x.tar"}, "of no registry"),
    ('require registry docker.io', {"image": "short", "aliases": {"short": "evil.com/x"}}, "evil.com/x is"),
    ('deny registry docker.io', {"image": "busybox"}, "image docker.io/library/busybox is denied"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "fields", "told"), BAD_REQUESTS)
def test_a_request_that_offends_is_refused_before_anything_is_fetched(
    policy: Callable[..., object], hooks_with: HooksWith, rule: str, fields: dict[str, Any], told: str
) -> None:
    registry = Registry()
    with pytest.raises(PermissionDenied) as caught:
        hooks_with(policy(rule), engine=registry).resolve_image(request(**fields), PLATFORM)
    assert told in str(caught.value)
    assert registry.asked == []


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ("deny privileged", {}),
        ("require digest", {"image": f"busybox@{DIGEST}"}),
        ("require digest", {"image": DIGEST}),
        ("require registry registry.example.com", {}),
        ("require registry docker.io/library", {"image": "busybox"}),
        ("require registry localhost:5000", {"image": "localhost:5000/x/y:z"}),
        ("deny registry docker.io", {}),
    ],
)
def test_a_good_request_passes(
    policy: Callable[..., object], hooks_with: HooksWith, rule: str, fields: dict[str, Any]
) -> None:
    hooks = hooks_with(policy(rule), engine=Registry("registry.example.com/team/app:1" if not fields else ""))
    if fields.get("image") != DIGEST:
        hooks.resolve_image(request(**fields), PLATFORM)


def test_an_image_that_turns_out_to_be_another_is_refused(policy: Callable[..., object], hooks_with: HooksWith) -> None:
    hooks = hooks_with(policy("require registry docker.io"), engine=Registry("evil.com/x:1"))
    with pytest.raises(PermissionDenied, match=r"image evil.com/x is none of docker.io"):
        hooks.resolve_image(request(image=DIGEST), PLATFORM)


def test_an_exempt_image_is_known_when_its_spec_is_judged(policy: Callable[..., object], hooks_with: HooksWith) -> None:
    exempt = 'except = ["registry.example.com/team"]'
    hooks_with(policy("require registry docker.io", exempt), engine=Registry()).resolve_image(request(), PLATFORM)
    hooks = hooks_with(policy("require readonly-rootfs", exempt), engine=Registry())
    for image, refused in (("registry.example.com/team/app:1", 0), ("registry.example.com/teamwork/x", 1)):
        hooks.resolve_image(request(image=image), PLATFORM)
        assert len(hooks.check_spec(request(image=image), spec("/root/readonly", False))) == refused  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no rules"),
        ("rule = 3", "has no rules"),
        ("[rules]\n", "has no key 'rules'"),
        ("[[rule]]\n[x", "is no TOML"),
        ("[[rule]]\ndeny = 'privileged'", "has no name"),
        ("[[rule]]\nname = 'a'", "neither or both"),
        ("[[rule]]\nname = 'a'\ndeny = 'privileged'\nrequire = 'digest'", "neither or both"),
        ("[[rule]]\nname = 'a'\ndeny = 'priviledged'", "deny = 'priviledged' is nothing that can be"),
        ("[[rule]]\nname = 'a'\nrequire = 'privileged'", "require = 'privileged' is nothing that can be"),
        ("[[rule]]\nname = 'a'\ndeny = 'privileged'\nvalue = ['x']", "has no key 'value'"),
        ("[[rule]]\nname = 'a'\ndeny = 'privileged'\nvalues = ['x']", "takes no values"),
        ("[[rule]]\nname = 'a'\nrequire = 'registry'", "has no values"),
        ("[[rule]]\nname = 'a'\ndeny = 'user'\nvalues = []", "has no values"),
        ("[[rule]]\nname = 'a'\ndeny = 'user'\nvalues = ['root']", "is neither a uid nor a range"),
        ("[[rule]]\nname = 'a'\ndeny = 'user'\nvalues = [0]", "not a list of strings"),
        ("[[rule]]\nname = 'a'\ndeny = 'capability'\nvalues = ['sys admin']", "is no capability"),
        ("[[rule]]\nname = 'a'\ndeny = 'host-namespace'\nvalues = ['net']", "is no namespace"),
        ("[[rule]]\nname = 'a'\ndeny = 'bind-source'\nvalues = ['etc']", "is no absolute path"),
        ("[[rule]]\nname = 'a'\nrequire = 'registry'\nvalues = ['busybox']", "has no registry in it"),
        ("[[rule]]\nname = 'a'\nrequire = 'signature'\nkey = '/k'", "signatures is ''"),
        ("[[rule]]\nname = 'a'\nrequire = 'digest'\nkey = '/k'", "key is for the signature only"),
        (
            "[[rule]]\nname = 'a'\ndeny = 'privileged'\n[[rule]]\nname = 'a'\nrequire = 'digest'",
            "two rules are called 'a'",
        ),
    ],
)
def test_a_malformed_rule_refuses_everything(prun_fake: FakeRunner, tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    config = tmp_path / "prun.toml"
    config.write_text(f'[plugins.policy]\nfile = "{file}"\n')
    with pytest.raises(InvalidArgument, match="policy") as caught:
        prun_policy.prun_configure({"file": str(file)})
    assert told in str(caught.value)
    if told == "has no rules":  # once as a whole command
        command = ("--config", str(config), "--plugins", "policy", "run", "--rm", "scratch", "true")
        assert told in prun_fake.command(*command, code=125).stderr


@pytest.mark.parametrize("file", [None, "", "relative.toml", 3])
def test_a_policy_needs_a_file(file: object) -> None:
    with pytest.raises(InvalidArgument, match="not an absolute path"):
        prun_policy.prun_configure({} if file is None else {"file": file})


def test_a_file_that_is_missing_or_that_others_may_change_refuses_everything(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    with pytest.raises(InvalidArgument, match="cannot be read: No such file"):
        prun_policy.prun_configure({"file": str(file)})
    file.write_text("[[rule]]\nname = 'a'\nrequire = 'digest'\n")
    file.chmod(0o666)
    with pytest.raises(PermissionDenied, match="may be changed by others"):
        prun_policy.prun_configure({"file": str(file)})


def test_a_run_is_refused_with_the_rules_name_and_leaves_nothing(
    prun_fake: FakeRunner, policy: Callable[..., object]
) -> None:
    runner = prun_fake.with_plugins(policy("require readonly-rootfs"))
    with pytest.raises(InvalidArgument, match=r"/root/readonly: .*: rule 'r' of "):
        runner.run("scratch", ["true"])
    assert os.listdir(f"{runner.state}/bundles") == []
    assert runner.run("scratch", ["true"], read_only=True).exit_code == 0


class Keys:
    """A key pair, and signatures as cosign writes them."""

    def __init__(self, directory: Path) -> None:
        self.private, self.public, self.signatures = directory / "key", directory / "key.pub", directory / "signatures"
        self.signatures.mkdir(parents=True)
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(self.private))
        self.openssl("ec", "-in", str(self.private), "-pubout", "-out", str(self.public))

    def openssl(self, *words: str, data: bytes = b"") -> bytes:
        return subprocess.run(["openssl", *words], input=data, check=True, capture_output=True).stdout

    def sign(
        self, digest: str, *, file: str = "", kind: str = "cosign container image signature", key: Keys | None = None
    ) -> None:
        image = {"docker-manifest-digest": digest}
        payload = json.dumps({"critical": {"identity": {}, "image": image, "type": kind}, "optional": None}).encode()
        signature = self.openssl("dgst", "-sha256", "-sign", str((key or self).private), data=payload)
        line = {"Base64Signature": base64.b64encode(signature).decode(), "Payload": base64.b64encode(payload).decode()}
        with (self.signatures / f"{(file or digest).replace(':', '-')}.json").open("a") as out:
            out.write(json.dumps(line) + "\n")

    @property
    def rule(self) -> tuple[str, str]:
        return "require signature", f'key = "{self.public}"\nsignatures = "{self.signatures}"'


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


def test_a_signed_image_passes_and_no_other(
    keys: Keys, policy: Callable[..., object], hooks_with: HooksWith, tmp_path: Path
) -> None:
    hooks = hooks_with(policy(*keys.rule), engine=Registry())
    index = "sha256:" + "b" * 64

    def refused(image: str = "busybox") -> bool:
        try:
            hooks.resolve_image(request(image=image), PLATFORM)
        except PermissionDenied as error:
            return f"there is no good signature of {DIGEST}" in str(error)
        return False

    assert refused()
    (keys.signatures / f"{DIGEST.replace(':', '-')}.json").write_text(
        'nonsense\n{"Payload": 3}\n[]\n' + "[" * 100_000 + "\n"
    )
    keys.sign(index, file=DIGEST)  # a good signature, of something else
    keys.sign(DIGEST, kind="something else")
    keys.sign(DIGEST, key=Keys(tmp_path / "others"))
    assert refused()
    keys.sign(index)
    assert refused()
    assert not refused(f"busybox@{index}"), "the index is signed, and the request names it"
    keys.sign(DIGEST)
    assert not refused()


def test_what_has_no_digest_is_not_signed(keys: Keys, policy: Callable[..., object], prun_fake: FakeRunner) -> None:
    with pytest.raises(PermissionDenied, match="what has no digest cannot be signed"):
        prun_fake.with_plugins(policy(*keys.rule)).run("scratch", ["true"])


def test_a_key_that_is_none_refuses(keys: Keys, policy: Callable[..., object], hooks_with: HooksWith) -> None:
    keys.sign(DIGEST)
    keys.public.write_text("no key")
    with pytest.raises(Exception, match="openssl cannot use the key"):
        hooks_with(policy(*keys.rule), engine=Registry()).resolve_image(request(image="busybox"), PLATFORM)


def test_its_hooks_are_made_well(policy: Callable[..., object], check_plugin: Callable[[object], None]) -> None:
    check_plugin(policy("require digest"))
