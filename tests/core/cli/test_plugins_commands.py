"""``prun plugins show|order|graph|why``: what is told about plugins, their order and what they decide."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from prun.cli import command

if TYPE_CHECKING:
    from pathlib import Path

MODULE = """
from prun import hookimpl
from prun.spec import with_env

prun_after = {wishes}
prun_options = {{"word": "what is said"}}

def prun_configure(options):
    return None

@hookimpl
def prun_spec_opts():
    return [with_env(["WHO={name}"])]
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two plugins of two distributions, and a prun.toml."""
    site = tmp_path / "site"
    for name in ("first", "other"):
        info = site / f"prun_{name}-1.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: prun-{name}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[prun.plugins]\n{name} = prun_test_{name}\n")
        wishes = '("other?",)' if name == "first" else "()"
        (site / f"prun_test_{name}.py").write_text(MODULE.format(name=name, wishes=wishes))
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PRUN_PLUGINS", raising=False)
    config = tmp_path / "prun.toml"
    config.write_text('[plugins.first]\ntimeout_s = 2\non_error = "warn"\nword = "hi"\n'
                      '[plugins.other]\nbefore = ["first"]\n')  # fmt: skip
    config.chmod(0o600)
    monkeypatch.setenv("PRUN_CONFIG", str(config))
    monkeypatch.setenv("PRUN_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("PRUN_STATE", str(tmp_path / "state"))


def out(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code = command(["plugins", *words])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


def test_order_lists_what_a_run_loads_from_general_to_specific(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(out(capsys, "order", "--runtime", "fake", "--format", "json"))
    names = [row["Name"] for row in rows]
    assert names == ["defaults", "runtime prun_fake", "engine prun.engines.embedded", "other", "first", "flags"]
    first = rows[names.index("first")]
    assert (first["Origin"], first["OnError"], first["TimeoutS"]) == ("prun-first 1.5", "warn", 2)
    assert first["Hooks"] == ["prun_spec_opts"]
    table = out(capsys, "order", "--runtime", "fake")
    assert [line.split()[1] for line in table.splitlines() if "prun-" in line] == ["other", "first"]
    assert "prun-other 1.5" in table


def test_graph_shows_the_wishes_and_who_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(out(capsys, "graph", "--runtime", "fake", "--format", "json")) == {
        "plugins": ["other", "first"],
        "wishes": [
            {"first": "other", "then": "first", "said_by": "first"},
            {"first": "other", "then": "first", "said_by": "prun.toml"},
        ],
    }
    assert out(capsys, "graph", "--runtime", "fake").splitlines() == [
        "other", "first", "  after other, says first", "  after other, says prun.toml",
    ]  # fmt: skip
    dot = out(capsys, "graph", "--runtime", "fake", "--format", "dot").splitlines()
    assert dot[0] == "digraph plugins {"
    assert '  "other" -> "first" [label="prun.toml"];' in dot
    assert dot[-1] == "}"


def test_show_tells_all_that_is_known_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = json.loads(out(capsys, "show", "first"))
    assert shown["Distribution"] == "prun-first"
    assert shown["Options"] == {"word": "what is said"}
    assert shown["Values"] == {"word": "hi"}
    assert (shown["TimeoutS"], shown["OnError"], shown["After"], shown["State"]) == (2, "warn", ["other?"], "enabled")
    assert out(capsys, "show", "linux", "--format", "{{.Kind}} {{.Name}}") == "runtime linux\n"
    (external,) = json.loads(out(capsys, "show", "external"))
    assert external["State"] == "disabled"
    assert "command" in external["Options"]
    assert command(["plugins", "show", "nope"]) == 125
    assert "no runtime, engine or plugin is called 'nope'" in capsys.readouterr().err


def test_why_tells_who_decides_about_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    lines = out(capsys, "why", "--runtime", "fake", "/process/env", "scratch", "true").splitlines()
    assert [line.split()[1] for line in lines if " with_env " in line and "plugin" in line] == ["other", "first"]
    chain = json.loads(out(capsys, "why", "--runtime", "fake", "--format", "json", "/process/args"))["fields"]
    assert chain[0]["value"] == ["sh"]
    assert command(["plugins", "why", "--runtime", "fake", "/nothing"]) == 125
    assert "the spec has no field /nothing" in capsys.readouterr().err


def test_list_is_what_is_done_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert out(capsys) == out(capsys, "list")
    assert "prun-first" in out(capsys, "list")
