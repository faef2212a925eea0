"""What prun saves, skopeo, podman and umoci read, and the other way round; digests stay the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from images import busybox_layer, directory, file, layer_tar, put_image, put_index, symlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command import Prun

NAME = "docker.io/library/made:1"
COPY = ("skopeo", "copy", "-q", "--insecure-policy", "--preserve-digests")


def run(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def call(prun: Prun, *words: str) -> str:
    done = prun(*words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


class Podman:
    """A podman with a store of its own."""

    def __init__(self, path: Path) -> None:
        self.words = ("podman", "--root", path / "root", "--runroot", path / "run", "--storage-driver", "vfs")

    def __call__(self, *words: object) -> str:
        return run(*self.words, *words)


@pytest.fixture
def podman() -> Iterator[Podman]:
    path = Path(tempfile.mkdtemp(prefix="p"))  # a runroot may have 50 characters
    yield Podman(path)
    shutil.rmtree(path)


@pytest.fixture(scope="module", params=["none", "gzip"])
def layout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A layout of one image of two layers, tag ``1``, and its descriptor."""
    path = tmp_path_factory.mktemp("made")
    layers = [busybox_layer(), layer_tar([directory("srv"), file("srv/a", b"hello", uid=7), symlink("srv/b", "a")])]
    target = put_image(path, layers, {"Cmd": ["cat", "/srv/b"], "Env": ["PATH=/bin"]}, request.param)
    put_index(path, [{**target, "annotations": {"org.opencontainers.image.ref.name": "1"}}])
    return path, target


@pytest.fixture
def prun(new_prun: Callable[[], Prun], layout: tuple[Path, dict[str, Any]]) -> Prun:
    prun = new_prun()
    call(prun, "load", "--tag", NAME, f"oci:{layout[0]}:1")
    return prun


def digest_of(prun: Prun, name: str = NAME) -> str:
    return str(json.loads(call(prun, "image", "inspect", name))[0]["Digest"])


def test_skopeo_reads_what_prun_saves(prun: Prun, layout: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    call(prun, "save", "-o", str(tmp_path / "oci.tar"), NAME)
    call(prun, "save", "--format", "docker-archive", "-o", str(tmp_path / "docker.tar"), NAME)
    for source in (f"oci-archive:{tmp_path}/oci.tar", f"oci-archive:{tmp_path}/oci.tar:1"):
        assert json.loads(run("skopeo", "inspect", source))["Digest"] == layout[1]["digest"]
    config = json.loads(run("skopeo", "inspect", "--config", f"oci-archive:{tmp_path}/oci.tar"))
    for source in (f"docker-archive:{tmp_path}/docker.tar", f"docker-archive:{tmp_path}/oci.tar:made:1"):
        assert json.loads(run("skopeo", "inspect", "--config", source)) == config
        run("skopeo", "copy", "-q", "--insecure-policy", source, f"dir:{tmp_path}/copy")  # reads and checks the layers


def test_skopeo_reads_the_store_itself(prun: Prun, layout: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run(
        "skopeo",
        "copy",
        "-q",
        "--insecure-policy",
        "--preserve-digests",
        f"oci:{prun.root}/content:{NAME}",
        f"oci:{tmp_path}/copy:1",
    )
    index = json.loads((tmp_path / "copy/index.json").read_text())
    assert [entry["digest"] for entry in index["manifests"]] == [layout[1]["digest"]]


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_podman_runs_what_prun_saves(prun: Prun, podman: Podman, tmp_path: Path, form: str) -> None:
    call(prun, "tag", NAME, "example.com/other:2")
    call(prun, "save", "--format", form, "-o", str(tmp_path / "x.tar"), NAME, "example.com/other:2")
    podman("load", "-q", "-i", tmp_path / "x.tar")
    [image] = json.loads(podman("image", "inspect", podman("images", "-q").split()[0]))
    assert NAME in image["RepoTags"]
    ours = json.loads(call(prun, "image", "inspect", NAME))[0]
    assert image["RootFS"]["Layers"] == ours["RootFS"]["Layers"]
    assert image["Config"]["Cmd"] == ours["Config"]["Cmd"]
    mounted = podman("image", "mount", NAME).strip()
    try:
        with open(f"{mounted}/srv/a", encoding="utf-8") as opened:
            assert opened.read() == "hello"
    finally:
        podman("image", "umount", "-a")


def test_umoci_unpacks_what_prun_saves(prun: Prun, tmp_path: Path) -> None:
    (tmp_path / "layout").mkdir()
    call(prun, "save", "-o", str(tmp_path / "x.tar"), NAME)
    run("tar", "-C", tmp_path / "layout", "-xf", tmp_path / "x.tar")
    run("umoci", "unpack", "--image", f"{tmp_path}/layout:1", tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs/srv/a").read_text() == "hello"


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_prun_loads_and_runs_what_podman_saves(
    layout: tuple[Path, dict[str, Any]], podman: Podman, new_prun: Callable[[], Prun], tmp_path: Path, form: str
) -> None:
    run(
        "skopeo",
        "copy",
        "-q",
        "--insecure-policy",
        "--preserve-digests",
        f"oci:{layout[0]}:1",
        f"oci-archive:{tmp_path}/in.tar:{NAME}",
    )
    podman("load", "-q", "-i", tmp_path / "in.tar")
    podman("save", "-q", "--format", form, "-o", tmp_path / "out.tar", NAME)
    prun = new_prun()
    assert call(prun, "load", "-i", str(tmp_path / "out.tar")) == f"Loaded image: {NAME}\n"
    assert call(prun, "run", "--rm", NAME) == "hello"
    if form == "oci-archive":
        index = json.loads(run("tar", "xOf", tmp_path / "out.tar", "index.json"))
        assert digest_of(prun) == index["manifests"][0]["digest"]


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_prun_loads_what_skopeo_writes(
    layout: tuple[Path, dict[str, Any]], new_prun: Callable[[], Prun], tmp_path: Path, form: str
) -> None:
    archive = f"{form}:{tmp_path}/x.tar:{NAME}"
    run(*COPY[: 5 if form == "oci-archive" else 4], f"oci:{layout[0]}:1", archive)
    prun = new_prun()
    assert call(prun, "load", "-i", str(tmp_path / "x.tar")) == f"Loaded image: {NAME}\n"
    assert call(prun, "run", "--rm", NAME) == "hello"
    if form == "oci-archive":
        assert digest_of(prun) == layout[1]["digest"]


def test_several_images_of_one_tag_stay_apart(prun: Prun, new_prun: Callable[[], Prun], tmp_path: Path) -> None:
    done = prun("import", "-", "other:1", stdin=layer_tar([file("x", b"1")]))
    assert done.returncode == 0
    call(prun, "save", "-o", str(tmp_path / "x.tar"), NAME, "other:1")
    for name in (NAME, "docker.io/library/other:1"):
        found = json.loads(run("skopeo", "inspect", f"oci-archive:{tmp_path}/x.tar:{name}"))
        assert found["Digest"] == digest_of(prun, name)
    again = new_prun()
    call(again, "load", "-i", str(tmp_path / "x.tar"))
    assert [digest_of(again, name) for name in (NAME, "other:1")] == [digest_of(prun, n) for n in (NAME, "other:1")]
