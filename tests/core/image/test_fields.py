from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import InvalidArgument
from prun.image.fields import as_list, as_size, as_string, load_json, load_object

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_null_members_are_absent_at_every_depth():
    assert load_object(b'{"a": null, "b": {"c": null, "d": [null]}}', "it") == {"b": {"d": [None]}}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "a list, not an object"),
        (b'"x"', "a string, not an object"),
        (b"1", "a number, not an object"),
        (b"true", "a boolean, not an object"),
        (b"null", "null, not an object"),
        (b"\xff{}", "not valid JSON"),
        ('{"a": 1}'.encode("utf-16"), "not valid JSON"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not valid JSON"),
        (b'{"a": "\\ud800"}', "not valid JSON"),
        (b'{"\\udfff": 1}', "not valid JSON"),
        (b'{"a":' * 200_000, "too deep"),
        (b"[" * 4_000_000, "too deep"),
    ],
)
def test_what_is_no_json_object_is_refused_with_the_reason(data, reason):
    with pytest.raises(InvalidArgument, match=reason):
        load_object(data, "it")


def test_surrogate_pairs_are_text():
    assert load_object(b'{"a": "\\ud83d\\ude00"}', "it") == {"a": "\N{GRINNING FACE}"}


def test_a_nul_byte_is_no_text():
    with pytest.raises(InvalidArgument, match="NUL"):
        as_string("a\0b", "it")


def test_a_list_has_a_limit():
    assert as_list([1, 2], "it", 2) == [1, 2]
    with pytest.raises(InvalidArgument, match="2 is the limit"):
        as_list([1, 2, 3], "it", 2)


@pytest.mark.parametrize("value", [-1, 1 << 63, True, 1.0, "1", None, 10**400])
def test_what_is_no_size_is_refused(value):
    with pytest.raises(InvalidArgument):
        as_size(value, "it")


@given(st.binary())
def test_any_bytes_are_json_or_refused(data):
    try:
        load_json(data, "it")
    except InvalidArgument:
        return


@given(st.dictionaries(st.text(), values))
def test_any_object_without_nulls_survives(value):
    assert load_object(json.dumps(value).encode(), "it") == _without_nulls(value)


def _without_nulls(value):
    if isinstance(value, dict):
        return {key: _without_nulls(member) for key, member in value.items() if member is not None}
    return [_without_nulls(member) for member in value] if isinstance(value, list) else value
