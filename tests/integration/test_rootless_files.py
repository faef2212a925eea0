"""``diff``, ``export`` and ``cp`` as a real ordinary user."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest
from images import archive_of, busybox_layer, file, layer_tar, oci_layout
from second_user import NOTHING, SecondUser, second_user

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondUser]:
    layout = tmp_path_factory.mktemp("image") / "layout"
    oci_layout(layout, [busybox_layer()], {"Cmd": ["sh"], "Env": ["PATH=/bin"]})
    with second_user(f"files{os.getpid()}") as made:
        assert made.prun("load", "--tag", "busybox", "-", stdin=archive_of(layout)).returncode == 0
        yield made
        assert made.settled() == NOTHING


@pytest.mark.parametrize("options", [(), ("--userns", "keep-id")])
def test_files_of_containers_without_root(user: SecondUser, options: tuple[str, ...]) -> None:
    def succeeded(*words: str, stdin: bytes = b"") -> str:
        done = user.prun(*words, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    home = str(user.home)
    user.run("sh", "-c", "mkdir -p ~/d/sub; echo host > ~/d/sub/f")
    script = "touch /new; chown 5:6 /new; rm -r /etc/passwd; sleep 100"
    succeeded("run", "-d", "--name", "r", *options, "-v", "vol:/vol", "-u", "0", "busybox", "sh", "-c", script)
    succeeded("run", "--name", "s", *options, "-v", "vol:/vol", "-u", "0", "busybox", "sh", "-c", script[:-11])
    for name in ("r", "s"):
        assert succeeded("diff", name).splitlines() == ["C /etc", "D /etc/passwd", "A /new"]
        succeeded("cp", f"{home}/d", f"{name}:/")
        succeeded("cp", f"{home}/d/.", f"{name}:/vol")
        succeeded("cp", "-", f"{name}:/tmp", stdin=layer_tar([file("t", b"tar")]))
        succeeded("cp", f"{name}:/vol", f"{home}/{name}-out")
        found = user.run("sh", "-c", f"cat ~/{name}-out/sub/f; stat -c %u ~/{name}-out/sub/f").stdout.split()
        assert found == ["host", str(user.uid)]
        tar = user.run("sh", "-c", f"{' '.join(map(repr, user.words))} export -o ~/{name}.tar {name}")
        assert tar.returncode == 0, tar
        with open(user.home / f"{name}.tar", "rb") as data, tarfile.open(fileobj=io.BytesIO(data.read())) as archive:
            owner = archive.getmember("new")
            assert (owner.uid, owner.gid) == (5, 6)
            assert (archive.getmember("d/sub/f").uid, archive.getmember("tmp/t").uid) == (0, 0)
    succeeded("cp", "r:/d", "s:/tmp")
    succeeded("rm", "-f", "r", "s")
    succeeded("volume", "rm", "vol")
