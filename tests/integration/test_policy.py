"""policy and audit beside a real runtime: what is mounted is judged, and both leave nothing behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command import NOTHING

if TYPE_CHECKING:
    from pathlib import Path

    from command import Prun

RULES = """
[[rule]]
name = "hands off"
deny = "bind-source"
values = ["{secret}"]

[[rule]]
name = "no hosts"
deny = "host-namespace"
values = ["network", "pid"]
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "secret").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "policy.toml").write_text(RULES.format(secret=tmp_path / "secret"))
    tables = (
        f'[plugins.{name}]\nfile = "{tmp_path}/{file}"\n'
        for name, file in (("audit", "log"), ("policy", "policy.toml"))
    )
    (tmp_path / "prun.toml").write_text("".join(tables))
    return ["--config", str(tmp_path / "prun.toml"), "--plugins", "audit,policy", "run", "--rm"]


def test_what_is_refused_is_refused_by_name_and_leaves_nothing(prun: Prun, words: list[str], tmp_path: Path) -> None:
    device = ("-o", "type=none", "-o", "o=bind", "-o", f"device={tmp_path}/secret")
    assert prun("volume", "create", *device, "sly").returncode == 0
    for options in (
        ("-v", f"{tmp_path}/secret:/x"),
        ("-v", f"{tmp_path}/link:/x:ro"),
        ("-v", f"{tmp_path}:/x"),
        ("-v", "sly:/x"),
        ("--network", "host"),
        ("--pid", "host"),
    ):
        done = prun(*words, *options, "busybox", "true")
        assert done.returncode == 125, options
        assert "rule 'hands off'" in done.stderr or "rule 'no hosts'" in done.stderr
        assert prun.traces() == NOTHING
    assert prun("volume", "rm", "sly").returncode == 0
    log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in log] == ["refused"] * 6


def test_what_is_allowed_runs_and_is_told(prun: Prun, words: list[str], tmp_path: Path) -> None:
    assert prun("volume", "create", "plain").returncode == 0
    done = prun(*words, "-v", f"{tmp_path}/open:/x", "-v", "plain:/y", "busybox", "sh", "-c", "touch /x/f /y/f; exit 4")
    assert (done.returncode, done.stderr) == (4, "")
    assert (tmp_path / "open" / "f").exists()
    assert prun("volume", "rm", "plain").returncode == 0
    create, end = (json.loads(line) for line in (tmp_path / "log").read_text().splitlines())
    assert create["image_digest"].startswith("sha256:")
    assert create["image"] == "busybox"
    assert (end["event"], end["exit_status"]) == ("exit", 4)
