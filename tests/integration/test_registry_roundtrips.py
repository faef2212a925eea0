"""Round trips over a registry: prun and podman, prun and umoci (through skopeo); every digest stays what it is."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from command import good
from debian_registry import skopeo
from images import busybox_layer, file, layer_tar, oci_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from command import Prun
    from debian_registry import DebianRegistry

pytestmark = pytest.mark.usefixtures("own_logins")


@pytest.fixture
def podman() -> Iterator[Callable[..., str]]:
    """Call podman with a store of its own; a run root may have 50 characters."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/root"}
    with TemporaryDirectory(prefix="p") as short:
        words = ["podman", f"--root={short}/root", f"--runroot={short}/run", "--storage-driver=vfs"]

        def call(*more: str) -> str:
            done = subprocess.run([*words, *more], env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        yield call
        subprocess.run(["umount", "-q", f"{short}/root"], check=False)


@pytest.fixture
def layout(tmp_path: Path) -> str:
    layers = [busybox_layer(), layer_tar([file("srv", b"hello\n")])]
    oci_layout(tmp_path / "layout", layers, {"Cmd": ["cat", "/srv"], "Env": ["PATH=/bin"]})
    return f"oci:{tmp_path / 'layout'}:latest"


def digest_of(prun: Prun, name: str) -> str:
    return str(json.loads(good(prun("image", "inspect", name)))[0]["Digest"])


def test_from_prun_to_podman_and_back_and_to_podman_again(
    new_prun: Callable[[], Prun], podman: Callable[..., str], registry: DebianRegistry, tmp_path: Path
) -> None:
    # In one repository, and of prun's own making: where it finds no blob podman compresses anew, and it writes every
    # manifest anew, without spaces.
    ours, back, again = (f"{registry.netloc}/trip/app:{part}" for part in ("ours", "back", "again"))
    first, second = new_prun(), new_prun()
    (tmp_path / "fs.tar.gz").write_bytes(gzip.compress(busybox_layer()))
    good(first("import", "-c", 'CMD ["/bin/id", "-u"]', str(tmp_path / "fs.tar.gz"), ours))
    digest = digest_of(first, ours)
    good(first("push", "-q", ours))
    podman("pull", "-q", "--tls-verify=false", ours)
    assert podman("image", "inspect", "--format", "{{.Digest}}", ours) == digest
    podman("push", "-q", "--tls-verify=false", "--digestfile", str(tmp_path / "digest"), ours, back)
    assert (tmp_path / "digest").read_text() == digest
    good(second("pull", "-q", back))
    assert digest_of(second, back) == digest
    assert good(second("run", "--rm", back)) == "0\n"
    good(second("push", "-q", back, again))
    podman("rmi", "-a", "-f")
    podman("pull", "-q", "--tls-verify=false", again)
    assert podman("image", "inspect", "--format", "{{.Digest}}", again) == digest


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_what_podman_makes_comes_and_goes_as_it_is(
    new_prun: Callable[[], Prun], podman: Callable[..., str], registry: DebianRegistry, tmp_path: Path, form: str
) -> None:
    theirs, back = (f"{registry.netloc}/{form}/{part}:1" for part in ("theirs", "back"))
    (tmp_path / "fs.tar").write_bytes(layer_tar([file("made", b"by podman")]))
    podman("import", "-q", "-c", "ENV A=b", str(tmp_path / "fs.tar"), "localhost/made:1")
    podman("push", "-q", "--tls-verify=false", "--format", form, "--digestfile", str(tmp_path / "digest"),
           "localhost/made:1", theirs)  # fmt: skip
    digest = (tmp_path / "digest").read_text()
    prun = new_prun()
    good(prun("pull", "-q", theirs))
    assert digest_of(prun, theirs) == digest
    assert "A=b" in json.loads(good(prun("image", "inspect", theirs)))[0]["Config"]["Env"]
    good(prun("push", "-q", theirs, back))
    podman("rmi", "-a", "-f")
    podman("pull", "-q", "--tls-verify=false", back)
    assert podman("image", "inspect", "--format", "{{.Digest}}", back) == digest


def test_what_umoci_makes_goes_round(
    new_prun: Callable[[], Prun], registry: DebianRegistry, layout: str, tmp_path: Path
) -> None:
    """umoci speaks to no registry: skopeo carries for it."""
    theirs, back = f"{registry.netloc}/umoci/theirs:1", f"{registry.netloc}/umoci/back:1"
    made = f"{tmp_path / 'layout'}:latest"
    (tmp_path / "new").write_bytes(b"by umoci\n")
    subprocess.run(["umoci", "insert", "--image", made, tmp_path / "new", "/srv"], check=True, capture_output=True)
    subprocess.run(["umoci", "config", "--image", made, "--config.env", "A=b"], check=True, capture_output=True)
    skopeo(layout, f"docker://{theirs}", "--preserve-digests")
    [entry] = json.loads((tmp_path / "layout/index.json").read_text())["manifests"]
    prun = new_prun()
    good(prun("pull", "-q", theirs))
    assert digest_of(prun, theirs) == entry["digest"]
    assert good(prun("run", "--rm", theirs)) == "by umoci\n"
    good(prun("push", "-q", theirs, back))
    skopeo(f"docker://{back}", f"oci:{tmp_path / 'back'}:1", "--preserve-digests")
    [entry_back] = json.loads((tmp_path / "back/index.json").read_text())["manifests"]
    assert entry_back["digest"] == entry["digest"]
    words = ["umoci", "unpack", "--image", f"{tmp_path / 'back'}:1", tmp_path / "bundle"]
    subprocess.run(words, check=True, capture_output=True)
    assert (tmp_path / "bundle/rootfs/srv").read_bytes() == b"by umoci\n"
