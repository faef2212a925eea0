"""Short names of prun.toml mean the same to every command that takes the name of an image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import bad, good
from images import file, layer_tar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun
    from debian_registry import DebianRegistry

pytestmark = pytest.mark.usefixtures("own_logins")


class Aliased:
    """Calls prun with a config in which ``box`` stands for ``full``, a repository of a registry."""

    def __init__(self, prun: Prun, registry: DebianRegistry, path: Path) -> None:
        self.prun = prun
        self.full = f"{registry.netloc}/team/busybox"
        self._config = path / "prun.toml"
        self._config.write_text(f'[aliases]\nbox = "{self.full}"\n')

    def __call__(self, *words: str, stdin: bytes | None = None) -> str:
        return good(self.prun("--config", str(self._config), *words, stdin=stdin))

    def fails(self, *words: str) -> str:
        return bad(self.prun("--config", str(self._config), *words))

    def names(self) -> list[str]:
        rows = json.loads(good(self.prun("images", "--format", "json")))
        return sorted(str(row["Name"]).replace(self.full, "FULL") for row in rows)


@pytest.fixture
def aliased(new_prun: Callable[[], Prun], registry: DebianRegistry, tmp_path: Path, archive: Path) -> Aliased:
    made = Aliased(new_prun(), registry, tmp_path)
    made("load", "--tag", "box:1", "-i", str(archive))
    assert made.names() == ["FULL:1"]
    return made


def test_looking_at_images(aliased: Aliased) -> None:
    [record] = json.loads(aliased("inspect", "--type", "image", "box:1"))
    assert json.loads(aliased("image", "inspect", "box:1")) == [record]
    assert aliased("history", "-q", "box:1")
    assert aliased("image", "exists", "box:1") == ""
    assert "whole" in aliased("image", "verify", "box:1")
    for words in (["box"], ["box:1"], ["--filter", "reference=box:*"]):
        assert aliased("images", "--format", "{{.Name}}", *words) == f"{aliased.full}:1\n"
    assert aliased("images", "-q", "busybox") == ""  # it is no other name of it
    assert aliased("image", "mount", "box:1").strip()
    assert aliased("image", "unmount", "box:1")
    assert "box" in aliased.fails("image", "inspect", "box:2")


def test_giving_names(aliased: Aliased, tmp_path: Path) -> None:
    aliased("tag", "box:1", "box:2", "plain:1")
    aliased("import", "-", "box:3", stdin=layer_tar([file("x", b"x")]))
    aliased("run", "--name", "one", "box:1", "true")
    aliased("commit", "-q", "one", "box:4")
    assert aliased.names() == ["FULL:1", "FULL:2", "FULL:3", "FULL:4", "docker.io/library/plain:1"]
    assert aliased("ps", "-aq", "--filter", "ancestor=box:1") != ""
    assert aliased("events", "--since", "1h", "--no-stream", "--filter", "image=box:3", "--format", "{{.Action}}")
    aliased("save", "-o", str(tmp_path / "x.tar"), "box:1", "box:3")
    assert aliased("diff", "one", "box:1") == ""
    aliased("rm", "one")
    assert f"Untagged: {aliased.full}:2" in aliased("rmi", "box:2")
    aliased("rmi", "box:1", "box:3", "box:4", "plain:1")
    assert aliased.names() == []
    aliased("load", "-i", str(tmp_path / "x.tar"))
    assert aliased.names() == ["FULL:1", "FULL:3"]


def test_running_and_mounting(aliased: Aliased) -> None:
    assert aliased("run", "--rm", "--pull", "never", "box:1", "echo", "hi") == "hi\n"
    mount = ["--mount", "type=image,source=box:1,target=/other"]
    assert "busybox" in aliased("run", "--rm", *mount, "box:1", "ls", "/other/bin")
    assert json.loads(aliased("spec", "box:1"))["process"]["args"] == ["sh"]


def test_registries(aliased: Aliased, registry: DebianRegistry, tmp_path: Path) -> None:
    assert aliased("push", "-q", "box:1") == f"{aliased.full}:1\n"
    assert aliased("push", "-q", "box:1", "box:pushed") == f"{aliased.full}:pushed\n"
    assert sorted(aliased("tags", "--format", "{{.Tag}}", "box").split()) == ["1", "pushed"]
    assert aliased("referrers", "--format", "json", "box:1") == "[]\n"
    assert aliased("pull", "-q", "box:pushed") == f"{aliased.full}:pushed\n"
    aliased("rmi", "box:pushed", "box:1")
    assert aliased("run", "--rm", "-q", "box:1", "echo", "hi") == "hi\n"
