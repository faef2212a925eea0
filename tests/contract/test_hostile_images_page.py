"""docs/hostile-images.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
PAGE = (HERE / "docs" / "hostile-images.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| I(\d+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
NODE = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_row_names_tests_that_exist() -> None:
    rows = ROW.findall(PAGE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 53))
    known: dict[str, set[str]] = {}
    for _, what, shown_by in rows:
        assert what.strip()
        nodes = NODE.findall(shown_by)
        assert nodes
        assert not NODE.sub("", shown_by).strip()
        for path, name in nodes:
            if path not in known:
                tree = ast.parse((HERE / path).read_text(encoding="utf-8"))
                known[path] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert name in known[path], f"{path} has no {name}"
