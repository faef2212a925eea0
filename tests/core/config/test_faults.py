"""Broken files, each with the exact message: where, the line, what, and the nearest word that would do."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_files import own, written

from prun.cli.output import error_line
from prun.config import read_settings
from prun.config.faults import InvalidConfig

CASES = (Path(__file__).parents[2] / "data/broken-configs.txt").read_text().split("===\n")
TABLE = [tuple(part.removesuffix("\n") for part in case.split("---\n")) for case in CASES]


@pytest.mark.parametrize(("text", "message"), TABLE, ids=[text for text, _ in TABLE])
def test_a_broken_file(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path / "prun.toml", text)
    with pytest.raises(InvalidConfig) as raised:
        read_settings(path)
    assert error_line(raised.value) == f"prun: {path}:{message}"


def test_there_are_some_forty_of_them() -> None:
    assert len({message for _, message in TABLE}) >= 45


def test_everything_wrong_in_all_files_is_reported_at_once(tmp_path: Path) -> None:
    mine = own(tmp_path, "[defaults]\nmemry = 1\n\n[run.a]\nvolume = 1\nimage = 2\n")
    other = written(tmp_path / "other.toml", "root = \n")
    with pytest.raises(InvalidConfig) as raised:
        read_settings(other)
    assert [(each.file, each.line, each.column) for each in raised.value.faults] == [
        (mine, 2, 1), (mine, 5, 10), (mine, 6, 9), (other, 1, 8),
    ]  # fmt: skip


def test_a_long_line_is_shown_where_it_is_wrong(tmp_path: Path) -> None:
    path = written(tmp_path / "prun.toml", "defaults = {" + "env = ['" + "x" * 300 + "'], x = 1}")
    with pytest.raises(InvalidConfig) as raised:
        read_settings(path)
    _, line, mark = str(raised.value).split("\n")
    assert line[mark.index("^") :].startswith("x = 1}")
    assert len(line) <= 104


def test_what_a_file_says_cannot_steer_a_terminal(tmp_path: Path) -> None:
    path = written(tmp_path / "prun.toml", '"\\u001b]0;x" = 1 # \u202e')
    with pytest.raises(InvalidConfig) as raised:
        read_settings(path)
    assert "\x1b" not in error_line(raised.value)
    assert "\u202e" not in error_line(raised.value)


def test_what_is_not_utf8_and_what_is_nested_without_end_has_its_place(tmp_path: Path) -> None:
    path = tmp_path / "prun.toml"
    written(path, "")
    path.write_bytes(b"a = 1\nb = '\xc3\xa9\xff'\n")
    with pytest.raises(InvalidConfig, match=r"prun.toml:2:7: this is not UTF-8"):
        read_settings(str(path))
    path.write_text("a = " + "[" * 50_000)
    with pytest.raises(InvalidConfig, match=r"nested too deeply|unclosed|invalid"):
        read_settings(str(path))
