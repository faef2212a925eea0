"""kill -9 and a full disk while an image is pulled or pushed: never an image that claims to be whole and is not."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from command import NOTHING, good
from debian_registry import debian_registry
from images import busybox_layer, directory, file, layer_tar, oci_layout

import prun as library
from prun.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun
    from debian_registry import DebianRegistry

pytestmark = pytest.mark.usefixtures("own_logins")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of three layers, 24 MiB of them noise."""
    path = tmp_path_factory.mktemp("image") / "layout"
    noise = [layer_tar([directory("noise"), file(f"noise/{number}", os.urandom(12 << 20))]) for number in range(2)]
    oci_layout(path, [busybox_layer(), *noise])
    return f"oci:{path}:latest"


@pytest.fixture(scope="module")
def image(registry: DebianRegistry, layout: str) -> str:
    name = f"{registry.netloc}/faults/app:1"
    command = ["skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", layout, f"docker://{name}"]
    subprocess.run(command, check=True, capture_output=True)
    return name


def names(prun: Prun) -> list[str]:
    return [row["Name"] for row in json.loads(good(prun("images", "--format", "json")))]


def runs(prun: Prun, image: str) -> bool:
    done = prun("run", "--rm", "--pull", "never", image, "wc", "-c", "/noise/0", "/noise/1")
    return done.returncode == 0 and f"{24 << 20} total" in done.stdout


# At random, for the threads; test_kill_points.py has every place.
@pytest.mark.parametrize("seed", range(2))
def test_a_pull_that_is_killed(new_prun: Callable[[], Prun], image: str, seed: int) -> None:
    prun = new_prun()
    good(prun("images"))
    process = prun.popen("pull", image)
    time.sleep(random.Random(seed).uniform(0.1, 0.6))
    process.kill()
    process.communicate()
    assert runs(prun, image) == (image in names(prun))
    good(prun("pull", "-q", image))
    assert runs(prun, image)
    prun("system", "check")
    assert "nothing is left over" in good(prun("system", "check"))
    assert runs(prun, image)
    assert prun.traces() == NOTHING


@pytest.mark.parametrize("seed", range(1))
def test_a_push_that_is_killed(new_prun: Callable[[], Prun], registry: DebianRegistry, layout: str, seed: int) -> None:
    prun, name = new_prun(), f"{registry.netloc}/killed{seed}/app:1"
    good(prun("load", "--tag", name, layout))
    process = prun.popen("push", name)
    time.sleep(random.Random(seed).uniform(0.1, 0.5))
    process.kill()
    process.communicate()
    there = new_prun()
    done = there("pull", "-q", name)
    assert runs(there, name) == (done.returncode == 0)
    good(prun("push", "-q", name))
    good(there("pull", "-q", name))
    assert runs(there, name)


def test_a_pull_that_fills_the_disk(new_prun: Callable[[], Prun], image: str) -> None:
    prun = new_prun()
    prun.root.parent.mkdir(parents=True, exist_ok=True)
    prun.root.mkdir()
    for size in ("12m", "34m"):  # too little for the blobs, and for what is in them
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(prun.root)], check=True)
        try:
            done = prun("pull", image)
            assert done.returncode == 125
            assert "Traceback" not in done.stderr
            assert "space" in done.stderr or "room" in done.stderr or "does not fit" in done.stderr
            assert names(prun) == []
            subprocess.run(["mount", "-o", "remount,size=200m", str(prun.root)], check=True)
            good(prun("pull", "-q", image))
            assert runs(prun, image)
        finally:
            subprocess.run(["umount", str(prun.root)], check=True)


@pytest.mark.slow
def test_a_registry_whose_disk_is_full(new_prun: Callable[[], Prun], tmp_path: Path, layout: str) -> None:
    prun = new_prun()
    (tmp_path / "registry" / "data").mkdir(parents=True)
    data = str(tmp_path / "registry" / "data")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", data], check=True)
    try:
        with debian_registry(tmp_path / "registry") as registry:
            name = f"{registry.netloc}/full/app:1"
            good(prun("load", "--tag", name, layout))
            done = prun("push", name)
            assert done.returncode == 125
            assert "answers 5" in done.stderr
            assert prun("pull", "-q", name).returncode == 125
            subprocess.run(["mount", "-o", "remount,size=200m", data], check=True)
            good(prun("push", "-q", name))
    finally:
        subprocess.run(["umount", data], check=True)


def test_a_push_goes_on_after_the_registry_was_killed(
    new_prun: Callable[[], Prun], tmp_path: Path, registry: DebianRegistry
) -> None:
    """Debian's registry forgets what has come of an upload that broke off: the blob is sent anew, and no other."""
    prun, name = new_prun(), f"{registry.netloc}/broken/app:1"
    layers = [layer_tar([file(str(size), os.urandom(size << 20))]) for size in (1, 96)]
    oci_layout(tmp_path / "image", layers)
    good(prun("load", "--tag", name, f"oci:{tmp_path / 'image'}"))
    process = prun.popen("push", "--progress", "json", name)
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line).get("current", 0) > 8 << 20:
            break
    registry.kill()
    time.sleep(0.3)
    registry.forget()
    registry.start()
    said = [json.loads(line) for line in process.stderr]
    assert process.wait(60) == 0
    assert "retrying" in [each["status"] for each in said]
    assert said[-1]["status"] == "done"
    sent = [path for path in registry.requests("PUT") if "/blobs/" in path]
    assert len(sent) == 1
    there = new_prun()
    good(there("pull", "-q", name))
    assert "nothing is left over" in good(there("system", "check"))


def test_a_full_disk_of_ours_is_no_matter_to_a_push_or_is_told(
    new_prun: Callable[[], Prun], registry: DebianRegistry, layout: str
) -> None:
    prun, name = new_prun(), f"{registry.netloc}/ourfull/app:1"
    prun.root.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(prun.root)], check=True)
    try:
        good(prun("load", "--tag", name, layout))
        filler = prun.root / "filler"
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], capture_output=True, check=False)
        done = prun("push", name)
        filler.unlink()
        there = new_prun()
        assert "a fault of prun" not in done.stderr
        assert (there("pull", "-q", name).returncode == 0) or done.returncode == 125
        assert done.returncode == 0 or "free some room" in done.stderr
        good(prun("push", "-q", name))
        good(there("pull", "-q", name))
        assert runs(there, name)
        assert "nothing is left over" in good(prun("system", "check"))
    finally:
        subprocess.run(["umount", str(prun.root)], check=True)


def test_the_library_pulls_and_pushes(new_prun: Callable[[], Prun], registry: DebianRegistry, image: str) -> None:
    made = new_prun()
    runner = library.Runner(root=str(made.root), state=str(made.state))
    news: list[str] = []
    found = runner.pull(image, progress=lambda each: news.append(each.status))
    assert found.name == image
    assert news[0] == "resolved"
    assert news[-1] == "done"
    assert runner.run(image, ["echo", "hi"], pull="never").stdout == b"hi\n"
    pushed = runner.push(image, f"{registry.netloc}/library/app:2", tls_verify=False)
    assert pushed.digest == found.digest
    assert runner.pull(f"{registry.netloc}/library/app@{found.digest}").digest == found.digest
    with pytest.raises(NotFound):
        runner.pull(f"{registry.netloc}/library/nope")
