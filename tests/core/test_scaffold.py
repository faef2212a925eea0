"""What ``prun plugins new`` writes, and what it refuses; that it installs and runs is shown in tests/packaging."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from prun import cli
from prun.errors import AlreadyExists, InvalidArgument, PrunError
from prun.scaffold import Kind, write

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["runtime", "plugin"])
def test_a_distribution_is_whole_and_says_its_name_everywhere(kind: Kind, tmp_path: Path) -> None:
    there = tmp_path / "d"
    assert write("two-words", kind, str(there)) == str(there)
    files = {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()}
    assert files == {"README.md", "pyproject.toml", "prun_two_words.py", "tests/test_prun_two_words.py"}
    assert not [name for name in files if "TEMPLATE" in (there / name).read_text()]
    project = tomllib.loads((there / "pyproject.toml").read_text())["project"]
    assert project["name"] == "prun-two-words"
    assert project["entry-points"] == {f"prun.{kind}s": {"two-words": "prun_two_words"}}
    assert os.listdir(tmp_path) == ["d"], "something was left beside it"


def test_what_is_written_has_our_style_and_strict_types(tmp_path: Path) -> None:
    write("one", "runtime", str(tmp_path / "one"))
    write("two", "plugin", str(tmp_path / "two"))
    tools = Path(sys.executable).parent
    ruff = [tools / "ruff", "check", "--isolated", "--line-length=120", "--select=E,F,B,UP,SIM", tmp_path]
    subprocess.run(ruff, check=True)
    # Their tests too: what prun.testing and its fixtures give has types.
    files = [f"one/{name}" for name in ("prun_one.py", "tests/test_prun_one.py")]
    files += [f"two/{name}" for name in ("prun_two.py", "tests/test_prun_two.py")]
    mypy = [tools / "mypy", "--strict", "--cache-dir", tmp_path / "cache", *files]
    env = {**os.environ, "MYPYPATH": f"{tmp_path}/one:{tmp_path}/two"}
    subprocess.run(mypy, cwd=tmp_path, env=env, check=True)


@pytest.mark.parametrize(
    "name", ["", "Upper", "a_b", "-a", "a-", "a--b", "1a", "a/b", "../x", "prun-x", "prun", "none", "x" * 41, "a b"]
)
def test_a_name_that_cannot_be_used_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is not usable"):
        write(name, "plugin", str(tmp_path / "d"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("name", "kind"), [("fake", "runtime"), ("linux", "plugin"), ("protos", "plugin")])
def test_a_name_that_is_taken_is_refused(name: str, kind: Kind, tmp_path: Path) -> None:
    with pytest.raises(AlreadyExists, match=name):
        write(name, kind, str(tmp_path / "d"))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link", "."):
        with pytest.raises(AlreadyExists):
            write("mine", "plugin", str(tmp_path / name))
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]
    (tmp_path / "empty").mkdir()
    write("mine", "plugin", str(tmp_path / "empty"))
    with pytest.raises(AlreadyExists):
        write("mine", "plugin", str(tmp_path / "empty"))


def test_a_place_that_cannot_be_written_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PrunError, match="cannot be written"):
        write("mine", "plugin", str(tmp_path / "file" / "d"))


def test_the_command_says_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.command(["plugins", "new", "mine", "--runtime"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "prun-mine", "  pip install ./prun-mine", "  prun run --rm --runtime mine scratch echo hi",
    ]  # fmt: skip
    assert (tmp_path / "prun-mine" / "prun_mine.py").exists()


@pytest.mark.parametrize("options", [[], ["--runtime", "--plugin"]])
def test_it_is_one_of_the_two(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.command(["plugins", "new", "mine", *options]) == 125
    assert "is mine to be a runtime or a plugin?" in capsys.readouterr().err


def test_the_list_is_what_the_word_alone_means(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.command(["plugins", "--format", "{{.Name}}"]) == 0
    alone = capsys.readouterr().out
    assert cli.command(["plugins", "list", "--format", "{{.Name}}"]) == 0
    assert capsys.readouterr().out == alone
    assert cli.command(["plugins", "--format", "json", "list"]) == 125
