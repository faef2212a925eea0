"""``commit``: what podman's and docker's say of it, and that the new image's tree is the container's."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from images import directory
from running import made_image, refusal, running

from prun.api import Runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun

SCRIPT = (
    "mkdir -m 1777 /d; echo 1 > /d/f; ln /d/f /d/hard; ln -s f /d/soft; mkfifo /d/p; chown 5:6 /d/f; chmod 4755 /d/f;"
    "rm /etc/passwd; rm -r /usr; mkdir /usr; echo 2 > /usr/new; rmdir /root; echo file > /root;"
    "rm /bin/vi; mkdir /bin/vi; chmod 700 /; truncate -s 67108864 /hole"
)


def committed(prun: Prun, *words: str) -> str:
    """Commit, and return the id of the image."""
    done = prun("commit", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.startswith("sha256:")
    return done.stdout.strip()


def image(prun: Prun, name: str) -> Any:
    return json.loads(prun("inspect", "--type", "image", name).stdout)[0]


def tree(prun: Prun, name: str) -> dict[str, tuple[object, ...]]:
    """What a container's tree is, without the empty files that a run makes to mount over."""
    done = subprocess.run([*prun.words, "export", name], capture_output=True, check=True)
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        for info in tar:
            if info.name.split("/")[0] in ("dev", "proc", "run", "sys") or (
                info.name.startswith("etc/") and not info.size
            ):
                continue
            data = (
                hashlib.sha256(tar.extractfile(info).read()).digest() if info.isreg() and info.size < 1 << 20 else b""
            )  # type: ignore[union-attr]
            mtime = 0 if info.isdir() else info.mtime
            found[info.name] = (info.type, info.mode, info.uid, info.gid, info.size, mtime, info.linkname, data)
    return found


@pytest.mark.parametrize("snapshotter", ["overlayfs", "copy", "fuse"])
@pytest.mark.parametrize("squash", [False, True])
def test_the_tree_of_the_image_is_the_containers(
    new_prun: Callable[[], Prun], archive: Path, snapshotter: str, squash: bool
) -> None:
    prun = new_prun()
    os.makedirs(prun.root / "snapshots")
    os.symlink(snapshotter, prun.root / "snapshots" / "driver")
    assert prun("load", "--tag", "busybox", str(archive)).returncode == 0
    assert prun("run", "--name", "n", "busybox", "sh", "-c", SCRIPT).returncode == 0
    committed(prun, *(["-s"] if squash else []), "n", "new")
    assert prun("create", "--name", "m", "new", "true").returncode == 0
    theirs, ours = tree(prun, "n"), tree(prun, "m")
    assert len(theirs) > 10
    assert ours == theirs
    assert prun("run", "--rm", "new", "stat", "-c", "%a", "/").stdout == "700\n"
    assert prun("diff", "m").stdout == ""
    layers = image(prun, "new")["RootFS"]["Layers"]
    assert len(layers) == (1 if squash else 2)
    if not squash:
        assert prun("diff", "new").stdout == prun("diff", "n").stdout
        first = image(prun, "busybox")["RootFS"]["Layers"]
        assert layers[:1] == first
    assert prun("rm", "n", "m").returncode == 0
    assert prun("system", "check").returncode == 0


def test_config_is_what_the_container_was_made_with(prun: Prun, tmp_path: Path) -> None:
    base = made_image(tmp_path, [directory("srv")], Entrypoint=["/bin/sh", "-c"], Cmd=["true"], Labels={"a": "1"})
    options = (
        *("-e", "TEST=1=1-01=9.01", "-e", "PATH=/bin", "-u", "5:6", "-w", "/srv", "-l", "b=2", "--stop-signal", "INT"),
        *("-v", "/anonymous", "-v", "vol:/named", "-v", f"{tmp_path}:/bind"),
    )
    assert prun("run", "--name", "n", *options, base, "echo hi").returncode == 0
    committed(
        prun, "--author", "snoopy", "-m", "testing-commit", "-c", "LABEL=image=blue", "-c", "ENV X=1", "n", "new:1"
    )
    found = image(prun, "new:1")
    assert (found["Author"], found["Comment"]) == ("snoopy", "testing-commit")
    config = found["Config"]
    assert config["Env"] == ["PATH=/bin", "TEST=1=1-01=9.01", "X=1"]
    assert (config["Entrypoint"], config["Cmd"], config["User"]) == (["/bin/sh", "-c"], ["echo hi"], "5:6")
    assert (config["WorkingDir"], config["StopSignal"]) == ("/srv", "SIGINT")
    assert config["Labels"] == {"a": "1", "b": "2", "image": "blue"}
    assert list(config["Volumes"]) == ["/anonymous"]
    assert prun("run", "--rm", "new:1").stdout == "hi\n"
    committed(prun, "--include-volumes", "n", "new:2")
    assert sorted(image(prun, "new:2")["Config"]["Volumes"]) == ["/anonymous", "/bind", "/named"]
    assert prun("rm", "-v", "n").returncode == prun("volume", "rm", "vol").returncode == 0


def test_secrets_are_not_committed(prun: Prun) -> None:
    assert prun("secret", "create", "s", "-", stdin=b"secretdata").returncode == 0
    words = ("--secret", "s", "--secret", "source=s,type=env,target=IN_ENV")
    assert prun("run", "--name", "n", *words, "busybox", "cat", "/run/secrets/s").stdout == "secretdata"
    committed(prun, "n", "new")
    assert prun("run", "--rm", "new", "cat", "/run/secrets/s").returncode == 1
    assert "secretdata" not in prun("run", "--rm", "new", "printenv").stdout
    assert prun("secret", "rm", "s").returncode == 0


def test_names_ids_and_files(prun: Prun, tmp_path: Path) -> None:
    assert prun("run", "--name", "n", "busybox", "touch", "/x").returncode == 0
    first = committed(prun, "-q", "n", "a", "--iidfile", str(tmp_path / "id"))
    assert (tmp_path / "id").read_text() == first
    assert image(prun, "a")["RepoTags"] == ["docker.io/library/a:latest"]
    nameless = committed(prun, "n")
    assert prun("run", "--rm", nameless, "ls", "/x").stdout == "/x\n"
    second = committed(prun, "-m", "other", "n", "a")
    assert image(prun, "a")["Id"] == second
    # of an image that was committed
    assert prun("run", "--name", "m", "a", "rm", "/x").returncode == 0
    committed(prun, "m", "b")
    assert prun("run", "--rm", "b", "ls", "/x").returncode == 1
    assert prun("diff", "b").stdout == "D /x\n"
    # nothing changed: no layer
    assert prun("run", "--name", "o", "b", "true").returncode == 0
    committed(prun, "o", "c")
    assert image(prun, "c")["RootFS"] == image(prun, "b")["RootFS"]
    assert prun("run", "--rm", "c", "true").returncode == 0


def test_plain_mistakes_change_nothing(prun: Prun, tmp_path: Path) -> None:
    before = prun("images", "-q").stdout
    assert prun("run", "--name", "n", "busybox", "sh", "-c", "touch /.wh.x").returncode == 0
    assert "no such container: bogus" in refusal(prun("commit", "-q", "bogus", "new"))
    assert 'did not understand change instruction "BOGUS=foo"' in refusal(prun("commit", "n", "-c", "BOGUS=foo"))
    assert "must be lower case" in refusal(prun("commit", "n", "UPPER"))
    assert "has a digest" in refusal(prun("commit", "n", f"x@sha256:{'0' * 64}"))
    assert "has the name of a whiteout" in refusal(prun("commit", "n", "new"))
    assert "cannot be written" in refusal(prun("commit", "n", "--iidfile", "/no/such/file", "-c", "CMD x"))
    assert prun("images", "-q").stdout == before
    (tmp_path / "bin").mkdir()
    subprocess.run(["cp", "/bin/busybox", str(tmp_path / "bin" / "true")], check=True)
    assert prun("run", "--name", "d", "--rootfs", str(tmp_path), "/bin/true").returncode == 0
    assert "has no files in the store" in refusal(prun("commit", "d", "new"))


def test_a_running_container_stands_still_unless_told_otherwise(prun: Prun) -> None:
    """docker's default; podman's is not to pause."""
    script = "dd if=/dev/zero of=/big bs=1M count=300 2>/dev/null; echo up; while :; do echo x >> /log; done"
    seen: dict[str, set[str]] = {"true": set(), "false": set()}
    with running(prun, "n", command=script):
        for pause, states in seen.items():
            thread = threading.Thread(target=committed, args=(prun, f"--pause={pause}", "n", f"pause-{pause}"))
            thread.start()
            while thread.is_alive():
                states.add(prun("inspect", "n", "--format", "{{.State.Status}}").stdout.strip())
            thread.join()
        assert prun("inspect", "n", "--format", "{{.State.Status}}").stdout == "running\n"
        size = prun("cp", "n:/log", "-").stdout
        time.sleep(0.2)
        assert prun("cp", "n:/log", "-").stdout != size
    assert "paused" in seen["true"]
    assert seen["false"] == {"running"}


def test_a_paused_container_stays_so(prun: Prun) -> None:
    with running(prun, "n", command="touch /x; echo up; sleep 100"):
        assert prun("pause", "n").returncode == 0
        committed(prun, "n", "new")
        assert prun("inspect", "n", "--format", "{{.State.Status}}").stdout == "paused\n"
        assert prun("unpause", "n").returncode == 0
    assert prun("run", "--rm", "new", "ls", "/x").stdout == "/x\n"


def test_the_layer_is_what_its_digests_say(prun: Prun) -> None:
    assert prun("run", "--name", "n", "busybox", "sh", "-c", "echo hi > /x; rm /etc/group").returncode == 0
    committed(prun, "n", "new")
    content = prun.root / "content" / "blobs" / "sha256"
    manifest = json.loads((content / image(prun, "new")["Id"].partition(":")[2]).read_bytes())
    config = json.loads((content / manifest["config"]["digest"].partition(":")[2]).read_bytes())
    layer = (content / manifest["layers"][-1]["digest"].partition(":")[2]).read_bytes()
    assert hashlib.sha256(layer).hexdigest() == manifest["layers"][-1]["digest"].partition(":")[2]
    tar = gzip.decompress(layer)
    assert f"sha256:{hashlib.sha256(tar).hexdigest()}" == config["rootfs"]["diff_ids"][-1]
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        assert archive.getnames() == ["etc", "etc/.wh.group", "x"]
    assert config["history"][-1]["created_by"] == "sh -c echo hi > /x; rm /etc/group"


def test_the_library_has_all_four(prun: Prun, tmp_path: Path) -> None:
    files = Runner(root=str(prun.root), state=str(prun.state)).files
    assert prun("run", "--name", "n", "busybox", "touch", "/x").returncode == 0
    assert [(change.kind, change.path) for change in files.diff("n")] == [("A", b"x")]
    (tmp_path / "f").write_text("12345")
    assert files.copy(str(tmp_path / "f"), "n:/") == 5
    out = io.BytesIO()
    assert files.copy("n:/f", "-", stdout=out) == 5
    out.seek(0)
    assert files.copy("-", "n:/tmp", stdin=out) == 5
    digest = files.commit("n", "new", changes=["CMD cat /f"])
    assert prun("run", "--rm", digest).stdout == "12345"
    exported = io.BytesIO()
    files.export("n", exported)
    exported.seek(0)
    with tarfile.open(fileobj=exported) as tar:
        assert {"x", "f", "tmp/f"} <= set(tar.getnames())
