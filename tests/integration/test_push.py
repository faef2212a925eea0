"""prun push, login, logout, tags and referrers against Debian's docker-registry, and other tools beside."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import urllib.request
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from command import NOTHING, bad, good
from debian_registry import PASSWORD, USER, debian_registry, token_server
from images import INDEX, MANIFEST, descriptor, document, file, layer_tar, oci_layout, six_platforms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from command import Prun
    from debian_registry import Certificate, DebianRegistry

pytestmark = pytest.mark.usefixtures("own_logins")


@pytest.fixture
def prun(new_prun: Callable[[], Prun], archive: Path) -> Iterator[Prun]:
    made = new_prun()
    good(made("load", "--tag", "busybox", str(archive)))
    yield made
    assert made.traces() == NOTHING


def inspected(name: str) -> str:
    """The digest that skopeo sees."""
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]
    return str(descriptor("", subprocess.check_output(command))["digest"])


def local_digest(prun: Prun, name: str) -> str:
    return good(prun("images", "--no-trunc", "-q", "--format", "")) and next(
        row["Digest"] for row in json.loads(good(prun("images", "--format", "json"))) if row["Name"] == name
    )


def test_what_prun_pushes_skopeo_and_podman_read(prun: Prun, registry: DebianRegistry, tmp_path: Path) -> None:
    name = f"{registry.netloc}/team/app:1"
    done = prun("push", "--digestfile", str(tmp_path / "digest"), "busybox", name)
    digest = (tmp_path / "digest").read_text()
    assert good(done) == f"1: digest: {digest} size: {done.stdout.split()[-1]}\n"
    assert inspected(name) == digest == local_digest(prun, "docker.io/library/busybox:latest")
    with TemporaryDirectory(prefix="p") as short:  # podman takes no run root of more than 50 characters
        # Nor a DOCKER_CONFIG without a file.
        podman = [
            "env",
            "-u",
            "DOCKER_CONFIG",
            "podman",
            f"--root={short}/root",
            f"--runroot={short}/run",
            "--storage-driver=vfs",
        ]
        subprocess.run([*podman, "pull", "-q", "--tls-verify=false", name], check=True, capture_output=True)
        shown = subprocess.check_output([*podman, "image", "inspect", "--format", "{{.Digest}}", name], text=True)
        subprocess.run(["umount", "-q", f"{short}/root"], check=False)
    assert shown.strip() == digest


def test_what_skopeo_pushes_prun_reads(prun: Prun, registry: DebianRegistry, archive: Path) -> None:
    name = f"{registry.netloc}/team/other:1"
    command = ["skopeo", "copy", "--dest-tls-verify=false", "--insecure-policy", "--format", "v2s2"]
    subprocess.run([*command, f"oci-archive:{archive}", f"docker://{name}"], check=True, capture_output=True)
    good(prun("pull", "-q", name))
    assert local_digest(prun, name) == inspected(name)
    assert good(prun("run", "--rm", "--pull", "never", name, "echo", "hi")) == "hi\n"
    good(prun("push", "-q", name, f"{registry.netloc}/team/back:1"))
    assert inspected(f"{registry.netloc}/team/back:1") == inspected(name)


def test_a_blob_is_sent_once_and_mounted_elsewhere(prun: Prun, registry: DebianRegistry, tmp_path: Path) -> None:
    oci_layout(tmp_path / "image", [layer_tar([file("big", os.urandom(1 << 20))])])
    good(prun("load", "--tag", f"{registry.netloc}/first/app:1", f"oci:{tmp_path / 'image'}"))

    def statuses(*words: str) -> list[str]:
        done = prun("push", "--progress", "json", *words)
        good(done)
        said = [json.loads(line)["status"] for line in done.stderr.splitlines()]
        return sorted(each for each in said if each in ("uploaded", "exists", "mounted"))

    assert statuses(f"{registry.netloc}/first/app:1") == ["uploaded", "uploaded"]
    assert statuses(f"{registry.netloc}/first/app:1") == ["exists", "exists"]
    registry.forget()
    assert statuses(f"{registry.netloc}/first/app:1", f"{registry.netloc}/second/app:1") == ["mounted", "mounted"]
    assert registry.requests("PUT") == ["/v2/second/app/manifests/1"]


def test_an_index_is_pushed_as_a_whole_or_not(prun: Prun, registry: DebianRegistry, tmp_path: Path) -> None:
    six_platforms(tmp_path / "six")
    name = f"{registry.netloc}/team/six:1"
    good(prun("load", "--tag", name, f"oci:{tmp_path / 'six'}"))
    good(prun("push", "-q", name))
    assert inspected(name) == local_digest(prun, name)
    good(prun("push", "-q", "--platform", "linux/s390x", name, f"{registry.netloc}/team/one:1"))
    assert inspected(f"{registry.netloc}/team/one:1") != inspected(name)

    good(prun("rmi", name))
    good(prun("pull", "-q", "--platform", "linux/s390x", name))
    done = prun("push", name, f"{registry.netloc}/team/alone:1")
    good(done)
    assert "only one platform is here" in done.stderr
    assert inspected(f"{registry.netloc}/team/alone:1") == inspected(f"{registry.netloc}/team/one:1")
    good(prun("pull", "-q", "--platform", "linux/arm64", name))
    assert "2 of 6 platforms" in bad(prun("push", name))


def test_what_cannot_be_pushed(prun: Prun, registry: DebianRegistry) -> None:
    digest = local_digest(prun, "docker.io/library/busybox:latest")
    assert "named by a digest" in bad(prun("push", "busybox", f"{registry.netloc}/x@{digest}"))
    assert "could not resolve" in bad(prun("push", "nope", f"{registry.netloc}/x"))
    assert "cannot be reached" in bad(prun("push", "busybox", "127.0.0.1:9/x"))
    assert good(prun("push", "-q", "busybox", f"docker://{registry.netloc}/x")) == f"{registry.netloc}/x:latest\n"


def test_tags_are_listed_page_by_page(prun: Prun, registry: DebianRegistry) -> None:
    name = f"{registry.netloc}/many/app"
    good(prun("push", "-q", "busybox", f"{name}:t0"))
    manifests = registry.data / "docker/registry/v2/repositories/many/app/_manifests/tags"
    link = (manifests / "t0/current/link").read_text()
    for number in range(1, 5000):
        (manifests / f"t{number}/current").mkdir(parents=True)
        (manifests / f"t{number}/current/link").write_text(link)
    listed = good(prun("tags", "--format", "{{.Tag}}", name)).split()
    assert sorted(listed) == sorted(f"t{number}" for number in range(5000))
    assert "NAME_UNKNOWN" in bad(prun("tags", f"{registry.netloc}/no/such"))


def test_referrers_without_the_api_are_found_by_their_tag(prun: Prun, registry: DebianRegistry, tmp_path: Path) -> None:
    name = f"{registry.netloc}/signed/app"
    good(prun("push", "-q", "busybox", f"{name}:1"))
    assert good(prun("referrers", "--format", "json", f"{name}:1")) == "[]\n"
    digest = inspected(f"{name}:1")
    entry = {"mediaType": MANIFEST, "digest": digest, "size": 1, "artifactType": "application/example"}
    request = urllib.request.Request(
        f"http://{registry.netloc}/v2/signed/app/manifests/{digest.replace(':', '-')}",
        document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}), {"Content-Type": INDEX}, method="PUT",
    )  # fmt: skip
    urllib.request.urlopen(request).close()
    found = json.loads(good(prun("referrers", "--format", "json", f"{name}:1")))
    assert [each["ArtifactType"] for each in found] == ["application/example"]
    assert good(prun("referrers", "--artifact-type", "other", "--format", "json", f"{name}@{digest}")) == "[]\n"


# Who may


@pytest.fixture
def trusted(tmp_path: Path, certificate: Certificate) -> Callable[[str], None]:
    """Believe the tests' authority for a registry."""

    def trust(netloc: str) -> None:
        directory = tmp_path / "xdg_config_home" / "containers" / "certs.d" / netloc
        directory.mkdir(parents=True)
        (directory / "ca.crt").write_bytes(certificate.authority.read_bytes())

    return trust


def auths(path: Path) -> Any:
    return json.loads(path.read_text())["auths"]


def test_login_push_pull_logout(
    prun: Prun, tmp_path: Path, certificate: Certificate, trusted: Callable[[str], None]
) -> None:
    with debian_registry(tmp_path / "closed", auth="basic", certificate=certificate) as registry:
        trusted(registry.netloc)
        name = f"{registry.netloc}/team/app:1"
        kept = tmp_path / "docker_config" / "config.json"
        assert "prun login" in bad(prun("push", "busybox", name))
        words = ["login", "-u", USER, "--password-stdin", registry.netloc]
        error = bad(prun(*words, stdin=b"wrong-word\n"))
        assert "answers 401" in error
        assert "wrong-word" not in error
        assert not kept.exists()
        done = prun(*words, stdin=PASSWORD.encode() + b"\n")
        assert good(done) == "Login Succeeded\n"
        assert str(kept) in done.stderr
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert list(auths(kept)) == [registry.netloc]
        assert good(prun("login", "--get-login", registry.netloc)) == f"{USER}\n"
        done = prun("--debug", "push", "busybox", name)
        good(done)
        assert PASSWORD not in done.stderr
        good(prun("pull", "-q", name))
        assert good(prun("logout", registry.netloc)) == f"Removing login credentials for {registry.netloc}\n"
        assert auths(kept) == {}
        assert good(prun("logout", registry.netloc)) == f"Not logged in to {registry.netloc}\n"
        bad(prun("pull", name))


def test_logins_of_podman_and_skopeo_are_shared(prun: Prun, tmp_path: Path) -> None:
    with debian_registry(tmp_path / "closed", auth="basic") as registry:
        kept = tmp_path / "auth.json"
        words = ["--authfile", str(kept), "--tls-verify=false", "-u", USER, "--password-stdin", registry.netloc]
        subprocess.run(["skopeo", "login", *words], input=PASSWORD.encode(), check=True, capture_output=True)
        name = f"{registry.netloc}/team/app:1"
        good(prun("push", "-q", "busybox", name, REGISTRY_AUTH_FILE=str(kept)))
        good(prun("logout", registry.netloc, REGISTRY_AUTH_FILE=str(kept)))
        bad(prun("push", "-q", "busybox", name, REGISTRY_AUTH_FILE=str(kept)))
        good(prun("login", *words[:2], *words[3:], stdin=PASSWORD.encode()))
        command = ["skopeo", "inspect", "--authfile", str(kept), "--tls-verify=false", f"docker://{name}"]
        subprocess.run(command, check=True, capture_output=True)


def test_a_helper_keeps_the_password(prun: Prun, tmp_path: Path) -> None:
    helper = tmp_path / "bin" / "docker-credential-tests"
    helper.parent.mkdir()
    helper.write_text(
        f"""#!/bin/sh
case $1 in
store) cat > {tmp_path}/kept ;;
get) cat > /dev/null; [ -f {tmp_path}/kept ] && cat {tmp_path}/kept || {{ echo credentials not found; exit 1; }} ;;
erase) rm {tmp_path}/kept ;;
esac
"""
    )
    helper.chmod(0o755)
    path = f"{helper.parent}:{os.environ['PATH']}"
    kept = tmp_path / "docker_config" / "config.json"
    kept.parent.mkdir()
    with debian_registry(tmp_path / "closed", auth="basic") as registry:
        kept.write_text(json.dumps({"credHelpers": {registry.netloc: "tests"}, "detachKeys": "ctrl-a"}))
        words = ["login", "-u", USER, "--password-stdin", registry.netloc]
        done = prun(*words, stdin=PASSWORD.encode(), PATH=path)
        assert "credential helper tests" in done.stderr
        assert PASSWORD not in kept.read_text()
        assert json.loads(kept.read_text())["detachKeys"] == "ctrl-a"
        good(prun("push", "-q", "busybox", f"{registry.netloc}/app", PATH=path))
        good(prun("logout", registry.netloc, PATH=path))
        assert not (tmp_path / "kept").exists()
        bad(prun("push", "-q", "busybox", f"{registry.netloc}/app", PATH=path))
        kept.write_text(json.dumps({"credsStore": "../tests"}))
        assert "is no name of a credential helper" in bad(prun("push", "busybox", f"{registry.netloc}/app", PATH=path))


def test_tokens_have_the_scopes_that_are_needed(prun: Prun, tmp_path: Path, certificate: Certificate) -> None:
    """Over plain HTTP, for the token server speaks nothing else: all of it is on this machine."""
    with (
        token_server(certificate, anonymous=True) as tokens,
        debian_registry(tmp_path / "closed", auth="token", tokens=tokens) as registry,
    ):
        name = f"{registry.netloc}/team/app:1"
        creds = ["--creds", f"{USER}:{PASSWORD}"]
        assert "prun login" in bad(prun("push", "busybox", name))
        good(prun("push", "-q", *creds, "busybox", name))
        assert {each["scope"][0] for each in tokens.asked} == {"repository:team/app:pull,push"}
        assert all(each["service"] == ["registry-of-tests"] for each in tokens.asked)
        tokens.asked.clear()
        tokens.headers.clear()
        good(prun("pull", "-q", name))
        assert [each["scope"] for each in tokens.asked] == [["repository:team/app:pull"]]
        assert tokens.headers == [""]
        kept = tmp_path / "docker_config" / "config.json"
        kept.parent.mkdir()
        kept.write_text(json.dumps({"auths": {registry.netloc: {"identitytoken": f"identity-{PASSWORD}"}}}))
        tokens.asked.clear()
        good(prun("push", "-q", "busybox", f"{registry.netloc}/team/third:1"))
        assert tokens.asked[0]["grant_type"] == ["refresh_token"]
