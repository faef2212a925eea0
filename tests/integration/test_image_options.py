"""Options of docker's and podman's commands on images: one platform of several, several names, podman's --policy."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from command import bad, good
from debian_registry import skopeo
from images import busybox_layer, file, layer_tar, oci_layout, put_image, put_index, six_platforms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun
    from debian_registry import DebianRegistry

pytestmark = pytest.mark.usefixtures("own_logins")


@pytest.fixture
def prun(new_prun: Callable[[], Prun], archive: Path) -> Prun:
    made = new_prun()
    good(made("load", "--tag", "busybox", str(archive)))
    return made


def blobs(prun: Prun) -> int:
    return len(list((prun.root / "content/blobs/sha256").iterdir()))


def names(prun: Prun) -> list[str]:
    return sorted(row["Name"] for row in json.loads(good(prun("images", "--format", "json"))))


@pytest.fixture
def six(tmp_path: Path) -> Path:
    six_platforms(tmp_path / "six")
    subprocess.run(["tar", "-C", tmp_path / "six", "-cf", tmp_path / "six.tar", "."], check=True)
    return tmp_path / "six.tar"


@pytest.mark.parametrize("how", ["file", "pipe", "directory"])
def test_of_an_index_one_platform_is_loaded(new_prun: Callable[[], Prun], six: Path, how: str) -> None:
    prun = new_prun()
    words = ["load", "--tag", "six", "--platform", "linux/s390x"]
    if how == "pipe":
        good(prun(*words, stdin=six.read_bytes()))
    else:
        good(prun(*words, *(["-i", str(six)] if how == "file" else [f"oci:{six.parent / 'six'}"])))
    assert blobs(prun) == 4  # layer, config, manifest, index
    [record] = json.loads(good(prun("image", "inspect", "six")))
    assert record["Architecture"] == "s390x"
    assert good(prun("system", "check")) == "nothing is left over\n"
    error = bad(prun("load", "--tag", "other", "--platform", "linux/sparc64", "-i", str(six)))
    assert "no manifest for linux/sparc64" in error
    assert "linux/riscv64" in error
    assert names(prun) == ["docker.io/library/six:latest"]
    good(prun("load", "--tag", "six", "--platform", "linux/386", "-i", str(six)))
    assert blobs(prun) == 7


def test_what_is_for_one_platform_is_loaded_as_that_or_not(
    prun: Prun, new_prun: Callable[[], Prun], tmp_path: Path
) -> None:
    other = new_prun()
    for form in ("oci-archive", "docker-archive"):
        path = str(tmp_path / form)
        good(prun("save", "--format", form, "-o", path, "busybox"))
        assert "linux/s390x" in bad(other("load", "--platform", "linux/s390x", "-i", path))
        assert names(other) == []
        assert blobs(other) == 0
        good(other("load", "--platform", "linux", "-i", path))
        assert good(other("run", "--rm", "busybox", "echo", "hi")) == "hi\n"
        good(other("rmi", "busybox"))


def test_each_platform_is_inspected(prun: Prun, six: Path) -> None:
    good(prun("load", "--tag", "six", "-i", str(six)))
    for machine in ("s390x", "riscv64"):
        [record] = json.loads(good(prun("image", "inspect", "--platform", f"linux/{machine}", "six")))
        assert record["Architecture"] == machine
    assert "windows" in bad(prun("image", "inspect", "--platform", "windows/amd64", "six"))
    assert "windows" in bad(prun("image", "inspect", "--platform", "windows/amd64", "busybox"))


def test_names_are_taken_away_and_the_image_stays(prun: Prun) -> None:
    good(prun("tag", "busybox", "b:1", "b:2", "b:3"))
    good(prun("image", "untag", "busybox", "b:1", "b:2"))
    assert names(prun) == ["docker.io/library/b:3", "docker.io/library/busybox:latest"]
    assert "has no name nope" in bad(prun("image", "untag", "busybox", "b:3", "nope")).replace("docker.io/library/", "")
    assert "could not resolve" in bad(prun("image", "untag", "nope"))
    assert len(names(prun)) == 2
    identity = json.loads(good(prun("image", "inspect", "busybox")))[0]["Id"]
    good(prun("image", "untag", "busybox"))
    assert names(prun) == [identity]
    assert good(prun("images", "-n")).split()[:2] == ["<none>", "<none>"]
    assert good(prun("run", "--rm", identity, "echo", "hi")) == "hi\n"
    assert "untag" in good(prun("events", "--since", "1h", "--no-stream", "--filter", "event=untag"))
    good(prun("image", "prune", "-f"))
    assert names(prun) == []


def test_a_missing_image_is_ignored_where_that_is_asked_for(prun: Prun) -> None:
    assert "could not resolve" in bad(prun("rmi", "nope"))
    assert good(prun("rmi", "-i", "nope", "busybox")).startswith("Untagged: docker.io/library/busybox")
    assert good(prun("rmi", "--ignore", "busybox")).strip() == ""


def test_mounts_are_listed_in_podmans_json(prun: Prun) -> None:
    assert json.loads(good(prun("image", "mount", "--format", "json"))) == []
    path = good(prun("image", "mount", "busybox")).strip()
    [found] = json.loads(good(prun("image", "mount", "--format", "json")))
    identity = json.loads(good(prun("image", "inspect", "busybox")))[0]["Id"]
    assert found == {
        "id": identity.removeprefix("sha256:"),
        "Repositories": ["docker.io/library/busybox:latest"],
        "mountpoint": path,
    }
    good(prun("image", "unmount", "-a"))


# pull


@pytest.fixture(scope="module")
def repository(registry: DebianRegistry, archive: Path) -> str:
    name = f"{registry.netloc}/several/busybox"
    for tag in ("1", "2", "3"):
        skopeo(f"oci-archive:{archive}", f"docker://{name}:{tag}")
    return name


def test_several_names_and_all_tags_are_pulled(new_prun: Callable[[], Prun], repository: str) -> None:
    prun = new_prun()
    assert good(prun("pull", "-q", f"{repository}:2", f"{repository}:1")) == f"{repository}:2\n{repository}:1\n"
    pulled = good(prun("pull", "-q", "--all-tags", repository)).split()
    assert sorted(pulled) == [f"{repository}:{tag}" for tag in "123"]
    assert names(prun) == [f"{repository}:{tag}" for tag in "123"]
    assert "can't be used" in bad(prun("pull", "-a", f"{repository}:1"))
    error = bad(prun("pull", "-q", f"{repository}:1", f"{repository}:nope"))
    assert "nope" in error


def test_podmans_policies_of_a_pull(new_prun: Callable[[], Prun], registry: DebianRegistry, tmp_path: Path) -> None:
    name = f"{registry.netloc}/policies/pulled:1"
    for which in ("old", "new"):
        oci_layout(tmp_path / which, [busybox_layer()], {"Env": [f"WHICH={which}"]})
    prun = new_prun()

    def pulled(policy: str) -> str:
        good(prun("pull", "-q", "--policy", policy, name))
        return str(json.loads(good(prun("image", "inspect", name)))[0]["Config"]["Env"])

    assert "could not resolve" in bad(prun("pull", "--policy", "never", name))
    skopeo(f"oci:{tmp_path / 'old'}:latest", f"docker://{name}")
    assert "old" in pulled("missing")
    skopeo(f"oci:{tmp_path / 'new'}:latest", f"docker://{name}")
    assert [pulled(policy)[8:11] for policy in ("missing", "never", "newer")] == ["old", "old", "new"]
    registry.kill()
    try:
        assert [pulled(policy)[8:11] for policy in ("missing", "never", "newer")] == ["new"] * 3
        assert "cannot be reached" in bad(prun("pull", "--policy", "always", name))
    finally:
        registry.start()
    good(prun("pull", "-q", "--policy", "missing", name))
    assert "has no manifest for" in bad(prun("pull", "-q", "--policy", "missing", "--platform", "linux/s390x", name))


def test_an_index_of_other_machines_is_not_unpacked_here(new_prun: Callable[[], Prun], tmp_path: Path) -> None:
    """Of two platforms the other is loaded: the layers of this machine's are no part of it."""
    platforms = [{"os": "linux", "architecture": "s390x"}, {"os": "linux", "architecture": "ppc64le"}]
    layers = [layer_tar([file("x", each["architecture"].encode())]) for each in platforms]
    targets = [{**put_image(tmp_path, [layer], {}, platform=each), "platform": each}
               for layer, each in zip(layers, platforms, strict=True)]  # fmt: skip
    put_index(tmp_path, targets)
    prun = new_prun()
    good(prun("load", "--tag", "both", "--platform", "linux/ppc64le", f"oci:{tmp_path}"))
    assert not list((prun.root / "snapshots").glob("[0-9]*"))
    assert blobs(prun) == 4
