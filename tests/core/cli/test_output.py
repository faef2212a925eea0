from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.cli.output import ago, error_json, error_line, listing, printable, size
from prun.errors import NotFound


def test_an_error_is_one_line_with_stage_plugin_cause_and_remedy() -> None:
    error = NotFound("no such image\nat all", hint="load it", stage="resolve", plugin="embedded")
    assert error_line(error) == "prun: resolve: [embedded] no such image at all (load it)"


def test_an_error_is_json_for_a_program() -> None:
    document = json.loads(error_json(NotFound("gone", hint="look", stage="resolve")))
    assert document == {
        "error": "NotFound", "stage": "resolve", "plugin": "", "cause": "gone", "remedy": "look", "exit_code": 125,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["\x1b]0;x\x07", "a\x00b", "\u202eabc", "\u2066x", "\x7f", "\x9b1m"])
def test_what_steers_a_terminal_is_escaped(text: str) -> None:
    assert printable(text) != text
    assert printable(text).isprintable()


@given(st.text())
def test_nothing_unprintable_passes(text: str) -> None:
    assert all(c.isprintable() or c.isspace() for c in printable(text))


def test_words_of_all_scripts_are_left_alone() -> None:
    assert printable("Grüße, 世界") == "Grüße, 世界"


def test_a_listing_lines_its_columns_up() -> None:
    rows = [{"a": "1", "b": "long value"}, {"a": "longer", "b": 2}]
    assert listing(rows, {"ONE": "a", "TWO": "b"}, "table").splitlines() == [
        "ONE     TWO",
        "1       long value",
        "longer  2",
    ]
    assert json.loads(listing(rows, {"ONE": "a"}, "json")) == rows


@pytest.mark.parametrize(("n", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (1234567, "1.23MB"), (5e12, "5TB")])
def test_sizes_are_dockers(n: float, text: str) -> None:
    assert size(n) == text


def test_never_is_empty() -> None:
    assert ago(None) == ""
