from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import prun.errors
from prun.cli import command
from prun.cli.output import ago, error_json, error_line, lasted, printable, printable_lines, size
from prun.errors import NotFound, PrunError


def test_an_error_is_one_line_with_stage_plugin_cause_and_remedy() -> None:
    error = NotFound("no such image\nat all", hint="load it", stage="resolve", plugin="embedded")
    assert error_line(error) == "prun: resolve: [embedded] no such image at all (load it)"
    error.evidence = "there are two others"
    assert error_line(error) == "prun: resolve: [embedded] no such image at all; there are two others (load it)"


def every_error() -> list[type[PrunError]]:
    found = [PrunError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == "prun.errors"]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_is_json_for_a_program(kind: type[PrunError]) -> None:
    text = error_json(kind("gone\n\x1b[0m", hint="look", stage="resolve", plugin="p", evidence="\udcff seen"))
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == {
        "error": kind.__name__, "stage": "resolve", "plugin": "p", "cause": "gone\n\x1b[0m",
        "evidence": "\udcff seen", "remedy": "look", "exit_code": kind.exit_code,
    }  # fmt: skip


def test_every_error_is_in_the_tree_and_its_fields_in_the_docs() -> None:
    tree, page = prun.errors.__doc__ or "", (Path(__file__).parents[3] / "docs/output.md").read_text()
    assert [kind.__name__ for kind in every_error() if kind.__name__ not in tree] == []
    assert [key for key in json.loads(error_json(PrunError("x"))) if f"`{key}`" not in page] == []


@pytest.mark.parametrize(
    "words",
    [
        ["--error-format", "json", "--nonsense"],
        ["--error-format=json", "--debug", "--nonsense"],
        ["--error-format", "json", "run"],
        ["--error-format", "json", "nosuch"],
        ["--error-format", "json", "ps", "--nonsense"],
        ["--error-format", "json", "rm"],
        ["--error-format", "json", "run", "--nonsense", "x"],
    ],
)
def test_errors_of_usage_are_json_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(words) == 125
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["error"] == "InvalidArgument"


def test_an_error_for_each_of_several_is_an_object_each(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command(["--root", str(tmp_path), "--state", str(tmp_path), "--error-format", "json", "rm", "a", "b"])
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["cause"] for line in lines] == ["no such container: a", "no such container: b"]


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
