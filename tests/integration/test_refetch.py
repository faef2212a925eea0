"""``system check --repair``: what is damaged comes again from where it came from, or goes; which of both, is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import bad, good
from debian_registry import PASSWORD, USER, debian_registry, skopeo
from images import file, layer_tar, oci_layout, six_platforms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun
    from debian_registry import DebianRegistry

pytestmark = pytest.mark.usefixtures("own_logins")


@pytest.fixture(scope="module")
def image(registry: DebianRegistry, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("image")
    oci_layout(path, [layer_tar([file("a", b"a" * 5000)]), layer_tar([file("b", b"b")])])
    name = f"{registry.netloc}/team/app:1"
    skopeo(f"oci:{path}:latest", f"docker://{name}")
    return name


@pytest.fixture
def prun(new_prun: Callable[[], Prun], image: str) -> Prun:
    made = new_prun()
    good(made("pull", "-q", image))
    return made


def blob(prun: Prun, digest: str) -> Path:
    return prun.root / "content/blobs" / digest.replace(":", "/")


def digests(prun: Prun, image: str) -> dict[str, str]:
    manifest_digest = json.loads(good(prun("image", "inspect", image)))[0]["Digest"]
    manifest = json.loads(blob(prun, manifest_digest).read_text())
    layers = {f"layer {number}": each["digest"] for number, each in enumerate(manifest["layers"])}
    return {"manifest": manifest_digest, "config": manifest["config"]["digest"], **layers}


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.chmod(0o600)
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("how", [spoil, remove])
@pytest.mark.parametrize("which", ["manifest", "config", "layer 0", "layer 1"])
def test_it_comes_again_from_where_it_came_from(
    prun: Prun, registry: DebianRegistry, image: str, which: str, how: Callable[[Path], None]
) -> None:
    columns = ("images", "--no-trunc", "--format", "{{.Name}} {{.ID}} {{.Size}}")
    before = good(prun(*columns))
    digest = digests(prun, image)[which]
    how(blob(prun, digest))
    assert prun("system", "check").returncode == 1
    registry.forget()
    said = good(prun("system", "check", "--repair"))
    assert (f"blob {digest} is damaged: removed" in said) == (how is spoil)
    assert f"image {image}: blob {digest} is not in the content store" in said
    assert f": fetched again from {registry.netloc}/team/app@sha256:" in said
    assert len([path for path in registry.requests("GET") if "/blobs/" in path]) == (which != "manifest")
    assert good(prun("system", "check")) == "nothing is left over\n"
    assert good(prun(*columns)) == before
    assert good(prun("image", "verify", image)) == f"{image}: whole\n"


def test_other_names_of_it_are_mended_with_it(prun: Prun, image: str) -> None:
    good(prun("tag", image, "aaa.invalid/mine:1"))
    remove(blob(prun, digests(prun, image)["layer 0"]))
    said = good(prun("system", "check", "--repair"))
    assert said.count("fetched again from") == 2
    assert good(prun("image", "verify", "aaa.invalid/mine:1", image)).count("whole") == 2


def test_of_several_platforms_those_that_were_here_come_again(
    new_prun: Callable[[], Prun], registry: DebianRegistry, tmp_path: Path
) -> None:
    six_platforms(tmp_path / "six")
    name = f"{registry.netloc}/team/six:1"
    skopeo(f"oci:{tmp_path / 'six'}", f"docker://{name}")
    prun = new_prun()
    for machine in ("s390x", "riscv64"):
        good(prun("pull", "-q", "--platform", f"linux/{machine}", name))
    index = json.loads(blob(prun, json.loads(good(prun("images", "--format", "json")))[0]["Digest"]).read_text())
    [entry] = [each for each in index["manifests"] if each["platform"]["architecture"] == "riscv64"]
    remove(blob(prun, json.loads(blob(prun, entry["digest"]).read_text())["layers"][0]["digest"]))
    assert "fetched again from" in good(prun("system", "check", "--repair"))
    assert good(prun("system", "check")) == "nothing is left over\n"
    assert sum(blob(prun, each["digest"]).exists() for each in index["manifests"]) == 2


def test_a_login_that_is_kept_is_used(new_prun: Callable[[], Prun], tmp_path: Path, archive: Path) -> None:
    with debian_registry(tmp_path / "closed", auth="basic") as registry:
        name = f"{registry.netloc}/team/busybox:1"
        skopeo(f"oci-archive:{archive}", f"docker://{name}", "--dest-creds", f"{USER}:{PASSWORD}")
        prun = new_prun()
        good(prun("login", "-u", USER, "--password-stdin", registry.netloc, stdin=PASSWORD.encode()))
        good(prun("pull", "-q", name))
        remove(blob(prun, digests(prun, name)["layer 0"]))
        assert "fetched again from" in good(prun("system", "check", "--repair"))
        remove(blob(prun, digests(prun, name)["layer 0"]))
        good(prun("logout", registry.netloc))
        assert "wants to know who you are" in good(prun("system", "check", "--repair"))


def test_without_its_registry_it_goes_and_that_is_said(prun: Prun, registry: DebianRegistry, image: str) -> None:
    remove(blob(prun, digests(prun, image)["layer 1"]))
    registry.kill()
    try:
        said = json.loads(good(prun("system", "check", "--repair", "--format", "json")))
    finally:
        registry.start()
    [found] = [each["Found"] for each in said if image in each["Found"]]
    assert f"removed, for it cannot be fetched again: {registry.netloc} cannot be reached" in found
    assert all(each["Repaired"] for each in said)
    assert good(prun("images", "-q")) == ""
    assert good(prun("system", "check")) == "nothing is left over\n"
    assert "could not resolve" in bad(prun("run", "--rm", "--pull", "never", image, "true"))


def test_a_registry_that_has_another_blob_by_now_gives_none(
    prun: Prun, registry: DebianRegistry, image: str, tmp_path: Path
) -> None:
    digest = digests(prun, image)["layer 0"]
    remove(blob(prun, digest))
    there = registry.data / "docker/registry/v2/blobs/sha256" / digest[7:9] / digest[7:] / "data"
    whole = there.read_bytes()
    there.write_bytes(whole[:-1] + b"?")
    try:
        said = good(prun("system", "check", "--repair"))
    finally:
        there.write_bytes(whole)
    assert "removed, for it cannot be fetched again: blob " in said
    assert good(prun("images", "-q")) == ""
