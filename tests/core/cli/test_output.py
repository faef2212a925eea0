from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.cli.output import ago, error_json, error_line, lasted, printable, printable_lines, size
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


def test_lines_stay_lines_where_that_is_wanted() -> None:
    assert printable_lines("a\tb\nc\x1b[0m\r") == "a\tb\nc\\x1b[0m\\r"


def test_words_of_all_scripts_are_left_alone() -> None:
    assert printable("Grüße, 世界") == "Grüße, 世界"


@pytest.mark.parametrize(("n", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (1234567, "1.23MB"), (5e12, "5TB")])
def test_sizes_are_dockers(n: float, text: str) -> None:
    assert size(n) == text


def test_never_is_empty() -> None:
    assert ago(None) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"), (3599, "59 minutes"), (3600, "About an hour"), (5399, "About an hour"), (5400, "2 hours"),
        (47.4 * 3600, "47 hours"), (48 * 3600, "2 days"), (13 * 86400, "13 days"), (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"), (729 * 86400, "24 months"), (730 * 86400, "2 years"), (-5, "Less than a second"),
    ],
)  # fmt: skip
def test_times_are_in_dockers_words(seconds: float, words: str) -> None:
    assert lasted(seconds) == words
