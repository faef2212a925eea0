"""prun pull and prun run against Debian's docker-registry."""

from __future__ import annotations

import json
import os
import signal
import time
from base64 import b64encode
from typing import TYPE_CHECKING

import pexpect
import pytest
from command import NOTHING, bad, good
from debian_registry import PASSWORD, USER, debian_registry, skopeo, token_server
from images import busybox_layer, file, layer_tar, oci_layout, six_platforms
from second_user import NOTHING as TRACELESS
from second_user import second_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from command import Prun
    from debian_registry import Certificate, DebianRegistry

pytestmark = pytest.mark.usefixtures("own_logins")


@pytest.fixture
def prun(new_prun: Callable[[], Prun]) -> Iterator[Prun]:
    made = new_prun()
    yield made
    assert made.traces() == NOTHING


@pytest.fixture(scope="module")
def busybox(registry: DebianRegistry, archive: Path) -> str:
    """The name of an image in the registry."""
    name = f"{registry.netloc}/team/busybox:1"
    skopeo(f"oci-archive:{archive}", f"docker://{name}")
    return name


def test_an_image_is_pulled_and_runs(prun: Prun, busybox: str) -> None:
    done = prun("pull", busybox)
    assert good(done) == f"{busybox}\n"
    assert f"Downloaded newer image for {busybox}" in done.stderr
    assert good(prun("run", "--rm", "--pull", "never", busybox, "echo", "hi")) == "hi\n"
    assert f"Image is up to date for {busybox}" in prun("pull", busybox).stderr


def test_a_missing_image_is_pulled_for_a_run(prun: Prun, busybox: str) -> None:
    done = prun("run", "--rm", busybox, "echo", "hi")
    assert good(done) == "hi\n"
    assert busybox in done.stderr
    assert prun("run", "--rm", busybox, "echo", "hi").stderr == ""


def test_quiet_says_nothing(prun: Prun, busybox: str) -> None:
    assert prun("pull", "-q", busybox).stderr == ""
    assert prun("rmi", busybox).returncode == 0
    done = prun("run", "-q", "--rm", busybox, "echo", "hi")
    assert (done.stdout, done.stderr) == ("hi\n", "")


def test_progress_is_json_lines(prun: Prun, busybox: str) -> None:
    said = [json.loads(line) for line in prun("pull", "--progress", "json", busybox).stderr.splitlines()]
    assert said[0] == {"status": "resolved", "detail": busybox}
    assert said[-1]["status"] == "done"
    assert {"downloading", "downloaded", "unpacking", "unpacked"} <= {each["status"] for each in said}


def test_policies(prun: Prun, registry: DebianRegistry, busybox: str, tmp_path: Path) -> None:
    name = f"{registry.netloc}/policies/app:1"
    oci_layout(tmp_path / "old", [busybox_layer()], {"Env": ["WHICH=old"]})
    oci_layout(tmp_path / "new", [busybox_layer()], {"Env": ["WHICH=new"]})

    def ran(policy: str) -> str:
        return good(prun("run", "-q", "--rm", "--pull", policy, name, "sh", "-c", "echo $WHICH")).strip()

    bad(prun("run", "--rm", "--pull", "never", name, "true"))
    skopeo(f"oci:{tmp_path / 'old'}:latest", f"docker://{name}")
    assert ran("missing") == "old"
    skopeo(f"oci:{tmp_path / 'new'}:latest", f"docker://{name}")
    assert [ran(policy) for policy in ("missing", "never", "always")] == ["old", "old", "new"]
    skopeo(f"oci:{tmp_path / 'old'}:latest", f"docker://{name}")
    assert ran("newer") == "old"
    registry.kill()
    try:
        assert [ran(policy) for policy in ("missing", "never", "newer")] == ["old", "old", "old"]
        assert "cannot be reached" in bad(prun("run", "--rm", "--pull", "always", name, "true"))
    finally:
        registry.start()


def test_an_index_of_six_platforms(prun: Prun, registry: DebianRegistry, tmp_path: Path) -> None:
    six_platforms(tmp_path / "six")
    name = f"{registry.netloc}/team/six:1"
    skopeo(f"oci:{tmp_path / 'six'}", f"docker://{name}")

    def asked_for() -> int:
        count = sum("/blobs/" in path for path in registry.requests("GET"))
        registry.forget()
        return count

    registry.forget()
    good(prun("pull", "-q", "--platform", "linux/s390x", name))
    assert asked_for() == 2
    good(prun("pull", "-q", "--all-platforms", name))
    assert asked_for() == 10
    good(prun("pull", "-q", "--all-platforms", name))
    assert asked_for() == 0
    assert good(prun("spec", "--platform", "linux/arm64", "--pull", "never", name, "x"))
    error = bad(prun("pull", "-q", "--platform", "windows/amd64", name))
    assert "linux/riscv64" in error


def test_two_processes_fetch_an_image_once(prun: Prun, registry: DebianRegistry, tmp_path: Path) -> None:
    layers = [layer_tar([file(f"big{number}", os.urandom(4 << 20))]) for number in range(3)]
    oci_layout(tmp_path / "image", layers)
    name = f"{registry.netloc}/team/twice:1"
    skopeo(f"oci:{tmp_path / 'image'}:latest", f"docker://{name}")
    registry.forget()
    processes = [prun.popen("pull", name) for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    blobs = [path for path in registry.requests("GET") if "/blobs/" in path]
    assert len([path for path in blobs if len(set(blobs)) == 4]) - len(set(blobs)) <= 1  # the small config apart
    assert "nothing is left over" in good(prun("system", "check"))


def test_a_pull_goes_on_after_the_registry_was_killed(prun: Prun, registry: DebianRegistry, tmp_path: Path) -> None:
    oci_layout(tmp_path / "image", [layer_tar([file("big", os.urandom(96 << 20))])])
    name = f"{registry.netloc}/team/big:1"
    skopeo(f"oci:{tmp_path / 'image'}:latest", f"docker://{name}")
    process = prun.popen("pull", "--progress", "json", name)
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line).get("current", 0) > 1 << 20:
            break
    registry.kill()
    time.sleep(0.3)
    registry.start()
    said = [json.loads(line)["status"] for line in process.stderr]
    assert process.wait(60) == 0
    assert said[-1] == "done"
    good(prun("run", "--rm", "--pull", "never", "-q", "--runtime", "fake", name, "x"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_pull_that_was_ended_is_gone_on_with(
    prun: Prun, registry: DebianRegistry, tmp_path: Path, number: signal.Signals
) -> None:
    oci_layout(tmp_path / "image", [layer_tar([file("big", os.urandom(96 << 20))])])
    name = f"{registry.netloc}/team/big{number.value}:1"
    skopeo(f"oci:{tmp_path / 'image'}:latest", f"docker://{name}")
    process = prun.popen("pull", "--progress", "json", name)
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line).get("current", 0) > 1 << 20:
            break
    process.send_signal(number)
    before = time.monotonic()
    process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert time.monotonic() - before < 3
    assert name not in prun("images").stdout
    assert len(list((prun.root / "content" / "partial").iterdir())) == 1
    bad(prun("run", "--rm", "--pull", "never", name, "true"))
    said = [json.loads(line) for line in prun("pull", "--progress", "json", name).stderr.splitlines()]
    assert next(each for each in said if each["status"] == "downloading")["current"] > 1 << 20
    checked = good(prun("system", "check"))
    assert ("nothing is left over" in checked) == (number == signal.SIGINT)  # a killed one leaves a snapshot half made
    assert "nothing is left over" in good(prun("system", "check"))


def test_tls_with_a_private_authority(prun: Prun, tmp_path: Path, archive: Path, certificate: Certificate) -> None:
    with debian_registry(tmp_path / "tls", certificate=certificate) as registry:
        name = f"{registry.netloc}/busybox:1"
        skopeo(f"oci-archive:{archive}", f"docker://{name}")
        registry.forget()
        error = bad(prun("pull", name))
        assert "certificate is not trusted" in error
        assert registry.requests("GET") == []
        trusted = tmp_path / "certificates"
        trusted.mkdir()
        (trusted / "ca.crt").write_bytes(certificate.authority.read_bytes())
        good(prun("pull", "-q", "--cert-dir", str(trusted), name))
        by_host = tmp_path / "xdg_config_home" / "containers" / "certs.d" / registry.netloc
        by_host.mkdir(parents=True)
        (by_host / "ca.crt").write_bytes(certificate.authority.read_bytes())
        good(prun("pull", "-q", name))
        (by_host / "ca.crt").unlink()
        good(prun("pull", "-q", "--tls-verify=false", name))
        (by_host / "ca.crt").write_bytes(certificate.authority.read_bytes())
        (by_host / "ca.crt").chmod(0o666)
        assert "may be changed by others" in bad(prun("pull", name))


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_who_may_not_pull_does_not(
    prun: Prun, tmp_path: Path, archive: Path, certificate: Certificate, kind: str
) -> None:
    with (
        token_server(certificate) as tokens,
        debian_registry(tmp_path / "closed", auth=kind, tokens=tokens if kind == "token" else None) as registry,
    ):
        name = f"{registry.netloc}/team/busybox:1"
        skopeo(f"oci-archive:{archive}", f"docker://{name}", "--dest-creds", f"{USER}:{PASSWORD}")
        error = bad(prun("pull", name))
        assert "prun login" in error
        error = bad(prun("--debug", "pull", "--creds", f"{USER}:wrong-word", name))
        assert "wrong-word" not in error.replace("--creds", "")
        done = prun("--debug", "pull", "--creds", f"{USER}:{PASSWORD}", name)
        good(done)
        assert PASSWORD not in done.stderr
        auth = tmp_path / "auth.json"
        word = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        auth.write_text(json.dumps({"auths": {registry.netloc: {"auth": word}}}))
        auth.chmod(0o600)
        good(prun("pull", "-q", "--authfile", str(auth), name))
        good(prun("rmi", name))
        assert good(prun("run", "--rm", "-q", name, "echo", "hi", REGISTRY_AUTH_FILE=str(auth))) == "hi\n"


def test_mirrors_and_aliases(prun: Prun, registry: DebianRegistry, busybox: str, tmp_path: Path) -> None:
    config = tmp_path / "prun.toml"
    config.write_text(
        f"""
        [registries."docker.io"]
        mirrors = ["127.0.0.1:9", {{location = "{registry.netloc}/mirror"}}]
        [registries."blocked.example"]
        blocked = true
        [aliases]
        box = "{busybox.rpartition(":")[0]}"
        """
    )
    skopeo(f"docker://{busybox}", f"docker://{registry.netloc}/mirror/library/busybox:latest")
    done = prun("--config", str(config), "pull", "busybox")
    assert good(done) == "docker.io/library/busybox:latest\n"
    assert "mirror 127.0.0.1:9" in done.stderr
    assert good(prun("--config", str(config), "run", "--rm", "-q", "box:1", "echo", "hi")) == "hi\n"
    assert busybox in prun("images", "--format", "json").stdout
    assert "blocked" in bad(prun("--config", str(config), "pull", "blocked.example/x"))
    config.write_text("[registries.'docker.io']\nmirror = []")
    assert "has no key 'mirror'" in bad(prun("--config", str(config), "pull", "busybox"))


def test_a_terminal_gets_bars(prun: Prun, busybox: str) -> None:
    terminal = pexpect.spawn(prun.words[0], [*prun.words[1:], "pull", busybox], dimensions=(24, 120), timeout=30)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert b"\x1b[2K" in terminal.before
    assert "━".encode() in terminal.before
    lines = pexpect.spawn("sh", ["-c", f"{' '.join(prun.words)} pull --progress plain {busybox} | cat"], timeout=30)
    lines.expect(pexpect.EOF)
    lines.close()
    assert b"\x1b" not in lines.before


def test_an_ordinary_user_pulls_and_pushes(registry: DebianRegistry, busybox: str) -> None:
    with second_user(f"pull{os.getpid()}") as user:
        done = user.prun("run", "--rm", busybox, "sh", "-c", "id -u; echo hi")
        assert (done.returncode, done.stdout) == (0, "0\nhi\n"), done.stderr
        good(user.prun("push", "-q", busybox, f"{registry.netloc}/user/app:1"))
        good(user.prun("pull", "-q", f"{registry.netloc}/user/app:1"))
        assert user.settled() == TRACELESS
