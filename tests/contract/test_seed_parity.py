"""docs/seed-parity.md has every row of the seed, and names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2]
PAGE = (HERE / "docs" / "seed-parity.md").read_text(encoding="utf-8")
ROWS = {cells[1].strip(): cells[2:-1] for line in PAGE.splitlines() if len(cells := line.split("|")) == 6}
NODE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((HERE / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_row_of_the_seed_is_there_once_and_in_order() -> None:
    assert [name for name in ROWS if name.startswith("S")] == [f"S{number}" for number in range(1, 21)]
    assert len(re.findall(r"^\| S\d+ \|", PAGE, re.MULTILINE)) == 20


@pytest.mark.parametrize("name", [f"S{number}" for number in range(1, 21)])
def test_a_row_says_what_prun_does_and_names_tests_that_exist(name: str) -> None:
    seed, prun, shown_by = ROWS[name]
    assert seed.strip()
    assert prun.strip()
    nodes = NODE.findall(shown_by)
    assert nodes
    assert not NODE.sub("", shown_by).strip()
    for path, test in nodes:
        assert test.startswith("test_")
        assert test in functions_of(path), f"{path} has no {test}"


def test_every_row_that_a_test_names_is_a_row() -> None:
    """Docstrings say ``S1, S15.``; a number that is no row has been misspelled."""
    for path in (HERE / "tests" / "integration").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert set(re.findall(r"\bS\d+\b", ast.get_docstring(node) or "")) <= set(ROWS)
