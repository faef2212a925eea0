"""Whole indexes, signatures and artifacts: from and to Debian's docker-registry and skopeo, digests and all."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from artifacts import SIMPLE_SIGNING, put_artifact, put_signature, put_whole_index
from command import NOTHING
from debian_registry import debian_registry
from images import busybox_layer, digest, layer_tar, put_image, put_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from command import Prun
    from debian_registry import DebianRegistry

COPY = ("skopeo", "copy", "-q", "--insecure-policy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRegistry]:
    with debian_registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture
def prun(new_prun: Callable[[], Prun]) -> Iterator[Prun]:
    made = new_prun()
    yield made
    assert made.traces() == NOTHING


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def copy(*words: object) -> None:
    done = subprocess.run([*COPY, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def raw(name: str) -> bytes:
    return subprocess.check_output(["skopeo", "inspect", "--raw", "--tls-verify=false", name])


def blobs(layout: Path) -> set[str]:
    return {each.name for each in (layout / "blobs" / "sha256").iterdir()}


def inspected(prun: Prun, name: str) -> Any:
    return json.loads(good(prun("image", "inspect", name)))[0]


def whole(prun: Prun, *names: str) -> None:
    """The store is sound, and nothing of these images is garbage."""
    before = blobs(Path(prun.root, "content"))
    assert good(prun("image", "verify", *names)) == "".join(f"{name}: whole\n" for name in names)
    good(prun("system", "check"))
    good(prun("image", "prune", "-f"))
    assert blobs(Path(prun.root, "content")) == before


def test_an_index_with_attestations_passes_whole_through_registry_store_and_archive(
    prun: Prun, new_prun: Callable[[], Prun], registry: DebianRegistry, tmp_path: Path
) -> None:
    put_index(tmp_path / "own", [put_whole_index(tmp_path / "own")])
    copy(f"oci:{tmp_path}/own", f"oci:{tmp_path}/made:1")  # skopeo of old writes indexes anew, in its own way
    target = json.loads((tmp_path / "made/index.json").read_text())["manifests"][0]
    name, back = f"{registry.netloc}/team/app:1", f"{registry.netloc}/team/back:1"
    copy(f"oci:{tmp_path}/made:1", f"docker://{name}")
    assert digest(raw(f"docker://{name}")) == target["digest"]

    good(prun("pull", "-q", "--all-platforms", name))
    whole(prun, name)
    assert blobs(Path(prun.root, "content")) == blobs(tmp_path / "made")
    kinds = [(each["Kind"], each["Available"]) for each in inspected(prun, name)["Manifests"]]
    assert kinds == [("image", True), ("attestation", True), ("image", True), ("attestation", True), ("unknown", True)]

    good(prun("push", "-q", name, back))
    assert digest(raw(f"docker://{back}")) == target["digest"]
    copy(f"docker://{back}", f"oci:{tmp_path}/copied:1")
    assert blobs(tmp_path / "copied") == blobs(tmp_path / "made")

    good(prun("save", "-o", str(tmp_path / "saved.tar"), name))
    copy(f"oci-archive:{tmp_path}/saved.tar:1", f"oci:{tmp_path}/unpacked:1")
    assert blobs(tmp_path / "unpacked") == blobs(tmp_path / "made")
    other = new_prun()
    good(other("load", "-i", str(tmp_path / "saved.tar")))
    assert inspected(other, name)["Digest"] == target["digest"]
    whole(other, name)
    good(other("rmi", name))
    assert blobs(Path(other.root, "content")) == set()


def test_an_index_of_oci_1_1_is_pushed_and_pulled_byte_for_byte(
    prun: Prun, new_prun: Callable[[], Prun], registry: DebianRegistry, tmp_path: Path
) -> None:
    target = put_whole_index(tmp_path / "made")
    put_index(tmp_path / "made", [target])
    name = f"{registry.netloc}/team/new:1"
    good(prun("load", "-q", "--tag", name, f"oci:{tmp_path}/made"))
    good(prun("push", "-q", name))
    assert raw(f"docker://{name}") == (tmp_path / "made/blobs/sha256" / target["digest"][7:]).read_bytes()
    other = new_prun()
    good(other("pull", "-q", "--all-platforms", name))
    whole(other, name)
    assert blobs(Path(other.root, "content")) == blobs(tmp_path / "made")


def test_of_an_index_one_platform_is_pulled_without_what_lies_beside_it(
    prun: Prun, registry: DebianRegistry, tmp_path: Path
) -> None:
    put_index(tmp_path / "made", [put_whole_index(tmp_path / "made")])
    name = f"{registry.netloc}/team/one:1"
    copy(f"oci:{tmp_path}/made", f"docker://{name}")
    good(prun("pull", "-q", "--platform", "linux/arm64", name))
    whole(prun, name)
    shown = inspected(prun, name)
    assert [each["Available"] for each in shown["Manifests"]] == [False, False, True, False, False]
    done = prun("push", name, f"{registry.netloc}/team/alone:1")
    assert "only one platform is here" in done.stderr
    assert digest(raw(f"docker://{registry.netloc}/team/alone:1")) == shown["ManifestDigest"]


def test_an_attestation_that_is_damaged_is_found_and_fetched_again(
    prun: Prun, registry: DebianRegistry, tmp_path: Path
) -> None:
    put_index(tmp_path / "made", [put_whole_index(tmp_path / "made")])
    name = f"{registry.netloc}/team/damaged:1"
    copy(f"oci:{tmp_path}/made", f"docker://{name}")
    good(prun("pull", "-q", "--all-platforms", name))
    manifest = inspected(prun, name)["Manifests"][1]["ID"]
    layer = json.loads(Path(prun.root, "content/blobs/sha256", manifest[7:]).read_bytes())["layers"][0]["digest"]
    path = Path(prun.root, "content/blobs/sha256", layer[7:])
    path.chmod(0o600)
    path.write_bytes(b"{}")
    assert f"blob {layer} is damaged" in prun("image", "verify", name).stdout
    assert prun("system", "check").returncode == 1
    done = prun("system", "check", "--repair")
    assert "fetched again from" in done.stdout + done.stderr
    assert digest(path.read_bytes()) == layer
    whole(prun, name)


def test_a_signature_is_pulled_pushed_saved_and_never_run(
    prun: Prun, new_prun: Callable[[], Prun], registry: DebianRegistry, tmp_path: Path
) -> None:
    subject = "a" * 64
    signature = put_signature(tmp_path / "made", os.urandom(64), "c2ln")
    put_index(tmp_path / "made", [signature])
    name = f"{registry.netloc}/team/app:sha256-{subject}.sig"
    good(prun("load", "--tag", name, f"oci:{tmp_path}/made"))
    good(prun("push", "-q", name))
    assert digest(raw(f"docker://{name}")) == signature["digest"]

    other = new_prun()
    for pull in ("never", "missing"):
        done = other("run", "--rm", f"--pull={pull}", name, "true")
        assert done.returncode == 125
        assert not os.path.exists(f"{other.root}/content/blobs") or blobs(Path(other.root, "content")) == set()
    assert f"unknown layer media type '{SIMPLE_SIGNING}': that is no image" in done.stderr
    assert "Traceback" not in done.stderr
    good(other("pull", "-q", name))
    whole(other, name)
    done = other("run", "--rm", name, "true")
    assert done.returncode == 125
    assert "that is no image" in done.stderr
    assert "not run" in done.stderr
    shown = inspected(other, name)
    assert shown["Artifact"]["layers"][0]["annotations"] == {"dev.cosignproject.cosign/signature": "c2ln"}
    assert [each["Kind"] for each in shown["Manifests"]] == ["unknown"]
    listed = json.loads(good(other("images", "--format", "json")))
    assert [each["Name"] for each in listed] == [name]
    assert int(listed[0]["Size"] if str(listed[0]["Size"]).isdigit() else 1) > 0
    good(other("save", "-o", str(tmp_path / "saved.tar"), name))
    assert digest(raw(f"oci-archive:{tmp_path}/saved.tar")) == signature["digest"]
    done = other("save", "--format", "docker-archive", "-o", str(tmp_path / "old.tar"), name)
    assert done.returncode == 125
    assert "that is no image" in done.stderr
    assert not (tmp_path / "old.tar").exists()
    assert other("history", name).returncode == 125
    assert other("image", "mount", name).returncode == 125
    assert "Traceback" not in other("history", name).stderr + other("image", "mount", name).stderr


def test_an_artifact_goes_through_the_store_as_it_is(prun: Prun, registry: DebianRegistry, tmp_path: Path) -> None:
    subject = put_signature(tmp_path / "made")
    artifact = put_artifact(tmp_path / "made", subject, os.urandom(1 << 20))
    put_index(tmp_path / "made", [{key: artifact[key] for key in ("mediaType", "digest", "size")}])
    name = f"{registry.netloc}/team/sbom:1"
    copy(f"oci:{tmp_path}/made", f"docker://{name}")
    good(prun("pull", "-q", name))
    whole(prun, name)
    assert inspected(prun, name)["Artifact"]["artifactType"] == "application/vnd.example.sbom+json"
    good(prun("push", "-q", name, f"{registry.netloc}/team/sbom:2"))
    assert raw(f"docker://{registry.netloc}/team/sbom:2") == raw(f"docker://{name}")
    good(prun("save", "-o", str(tmp_path / "saved.tar"), name))
    good(prun("rmi", name))
    good(prun("load", "-i", str(tmp_path / "saved.tar")))
    assert inspected(prun, name)["Digest"] == artifact["digest"]


def test_the_image_beside_a_signature_in_a_layout_is_what_is_run(prun: Prun, tmp_path: Path) -> None:
    image = put_image(tmp_path / "made", [busybox_layer(), layer_tar([])], {"Cmd": ["echo", "hi"]})
    put_index(tmp_path / "made", [image, put_artifact(tmp_path / "made", image)])
    assert good(prun("run", "--rm", f"oci:{tmp_path}/made", "echo", "hi")) == "hi\n"
