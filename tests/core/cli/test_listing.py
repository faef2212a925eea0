from __future__ import annotations

import json

import pytest

from prun.cli.listing import aligned, listing, print_listing, print_record, print_records
from prun.errors import InvalidArgument

ROWS = [{"ID": "1", "LongName": "long value", "N": 3}, {"ID": "longer than ten", "LongName": "x\ty\x1b", "N": 4}]
COLUMNS = {"THE ID": "ID", "NAME": "LongName"}


def test_a_listing_lines_its_columns_up_as_docker_does() -> None:
    lines = ["THE ID            NAME", "1                 long value", "longer than ten   x\\ty\\x1b"]
    for form in ("", "table"):
        assert listing(ROWS, COLUMNS, form).splitlines() == lines
    assert listing([], COLUMNS, "") == "THE ID    NAME\n"
    assert aligned(["a\t\tb", "a", "\t\tb"]) == "a                   b\na\n                    b\n"


def test_a_table_has_the_columns_asked_for_and_the_headings_of_them() -> None:
    lines = listing(ROWS, COLUMNS, r"table {{.N}}\t{{upper .LongName}}\t{{.ID}}").splitlines()
    assert lines[:2] == ["N         NAME         THE ID", "3         LONG VALUE   1"]


def test_other_forms() -> None:
    assert json.loads(listing(ROWS, COLUMNS, "json")) == ROWS
    assert listing(ROWS, COLUMNS, "{{.N}}:{{.ID}}") == "3:1\n4:longer than ten\n"
    assert [json.loads(line) for line in listing(ROWS, COLUMNS, "{{json .}}").splitlines()] == ROWS
    assert listing([], COLUMNS, "{{.N}}") == ""


def test_programs_get_what_is_there_and_terminals_what_is_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listing(ROWS[1:], COLUMNS, "{{.LongName}}") == "x\ty\x1b\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert listing(ROWS[1:], COLUMNS, "{{.LongName}}") == "x\ty\\x1b\n"


def test_quiet_prints_one_field_and_goes_with_no_format(capsys: pytest.CaptureFixture[str]) -> None:
    print_listing(ROWS, COLUMNS, "", quiet="ID")
    print_listing([], COLUMNS, "", quiet="ID")
    assert capsys.readouterr().out == "1\nlonger than ten\n"
    with pytest.raises(InvalidArgument, match="--quiet and --format exclude each other"):
        print_listing(ROWS, COLUMNS, "json", quiet="ID")


def test_records_are_an_array_or_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("", "json"):
        print_records(ROWS, form)
        assert json.loads(capsys.readouterr().out) == ROWS
    print_records(ROWS, "{{.N}}")
    assert capsys.readouterr().out == "3\n4\n"


def test_what_there_is_one_of_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    print_record(ROWS[0], COLUMNS, "json")
    assert json.loads(capsys.readouterr().out) == ROWS[0]
    print_record(ROWS[0], COLUMNS, "{{.N}}")
    assert capsys.readouterr().out == "3\n"


def test_nothing_is_printed_when_a_later_row_lacks_the_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidArgument):
        print_listing([{"A": 1}, {"B": 1}], {}, "{{.A}}")
    assert capsys.readouterr().out == ""
