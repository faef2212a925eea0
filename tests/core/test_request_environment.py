"""Files of variables and of labels, as docker reads them (docker/cli, ``pkg/kvfile``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prun.errors import InvalidArgument, NotFound
from prun.request.environment import from_files, labels_from_files

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path, data: bytes) -> list[str]:
    path.joinpath("env").write_bytes(data)
    return from_files([str(path / "env")])


@pytest.mark.parametrize(
    ("data", "entries"),
    [
        (b"\xef\xbb\xbfA=1\n", ["A=1"]),  # a byte order mark
        (b"A=1\r\nB=2\r\n", ["A=1", "B=2"]),
        (b"A=1\rB=2\n", ["A=1\rB=2"]),  # a carriage return alone ends no line
        (b"A= x \t\n", ["A= x \t"]),
        (b"A='x'\nB=\"y\"\n", ["A='x'", 'B="y"']),
        (b"\n  \n# A=1\n  # B=2\nC=#3\n", ["C=#3"]),
        (b" \tA=1", ["A=1"]),
        (b"A=\nB==\n", ["A=", "B=="]),
    ],
)
def test_a_line_is_a_variable(tmp_path: Path, data: bytes, entries: list[str]) -> None:
    assert read(tmp_path, data) == entries


@pytest.mark.parametrize("character", ["\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, character: str) -> None:
    """What comes after any other of Unicode's line ends would be a variable that nobody has set."""
    value = f"A=x{character}LD_PRELOAD=y"
    assert read(tmp_path, value.encode() + b"\nB=2\n") == [value, "B=2"]


def test_a_name_alone_takes_the_hosts_value_or_is_a_label_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRESENT", "here")
    monkeypatch.delenv("ABSENT", raising=False)
    assert read(tmp_path, b"PRESENT\nABSENT\n") == ["PRESENT=here"]
    assert labels_from_files([str(tmp_path / "env")]) == ["PRESENT", "ABSENT"]


@pytest.mark.parametrize("data", [b"=1", b"A B=1", b"A\t=1", b"A =1"])
def test_a_line_without_a_usable_name_is_told_by_its_number(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="env:2: "):
        read(tmp_path, b"X=1\n" + data)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is not UTF-8"):
        read(tmp_path, b"A=\xff")
    with pytest.raises(NotFound, match="cannot be read"):
        from_files([str(tmp_path / "absent")])
