from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import InvalidArgument
from prun.when import duration_ns, point_ns

SECOND = 10**9


@pytest.mark.parametrize(
    ("word", "nanoseconds"),
    [
        ("0", 0), ("5s", 5 * SECOND), ("1h30m", 5400 * SECOND), ("1.5s", 1_500_000_000),
        ("-1.5h", -5400 * SECOND), ("+2ms", 2_000_000),
        ("3us", 3000), ("3µs", 3000), ("3μs", 3000), ("7ns", 7), ("1m0.000000001s", 60 * SECOND + 1),
        (".5s", SECOND // 2), ("1.s", SECOND), ("0.1s", 100_000_000), ("39h9m14.425s", 140_954_425_000_000),
        ("1s1s", 2 * SECOND), ("0.0000000001s", 0), ("-0", 0),
    ],
)  # fmt: skip
def test_durations_are_gos(word: str, nanoseconds: int) -> None:
    assert duration_ns(word) == nanoseconds


@pytest.mark.parametrize(
    "word",
    ["", "3", "-", "s", ".", "-.", ".s", "3d", "1 s", "1h-5m", "1h 5m", "1e3s", "9999999h", "\u0661s", "--1s", "1S"],
)
def test_what_go_takes_for_no_duration_is_none(word: str) -> None:
    with pytest.raises(InvalidArgument, match="duration"):
        duration_ns(word)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("2024-05-01T10:20:30Z", "2024-05-01T10:20:30"),
        ("2024-05-01T10:20:30.5+02:00", "2024-05-01T08:20:30.5"),
        ("2024-05-01t10:20:30-05:30", "2024-05-01T15:50:30"),
        ("2024-05-01T10:20Z", "2024-05-01T10:20:00"),
        ("2024-05-01T10+01:00", "2024-05-01T09:00:00"),
        ("2024-05-01Z", "2024-05-01T00:00:00"),
        ("2024-05-01+02:00", "2024-04-30T22:00:00"),
        ("2024-02-29T23:59:59.999999Z", "2024-02-29T23:59:59.999999"),
        ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59"),
    ],
)
def test_dates_are_points_in_time(word: str, text: str) -> None:
    expected = datetime.fromisoformat(text).replace(tzinfo=UTC)
    seconds = (expected - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    assert point_ns(word) == round(seconds * 10**6) * 1000


def test_a_date_without_a_zone_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert point_ns("2024-07-01T12:00:00") == point_ns("2024-07-01T10:00:00Z")
        assert point_ns("2024-01-01") == point_ns("2023-12-31T23:00:00Z")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_every_nanosecond_counts() -> None:
    assert point_ns("2024-05-01T10:20:30.123456789Z") % SECOND == 123_456_789
    assert point_ns("2024-05-01T10:20:30.1234567891Z") % SECOND == 123_456_789
    assert point_ns("1714557600.000000001") == 1714557600 * SECOND + 1
    assert point_ns("1714557600") == 1714557600 * SECOND
    assert point_ns("-1.5") == -1_500_000_000


def test_a_duration_is_that_long_ago() -> None:
    assert abs(time.time_ns() - 90 * 60 * SECOND - point_ns("1h30m")) < 5 * SECOND
    assert point_ns("-1h") > time.time_ns() + 3590 * SECOND


@pytest.mark.parametrize(
    "word",
    ["", "yesterday", "2024-13-01", "2024-02-30", "2023-02-29", "2024-05-01T24:00:00Z", "2024-05-01T10:60:00Z", "10:00",
     "2024-5-1", "1e9", "24-05-01", "0000-00-00", "2024-05-01T10:00:00 UTC", "\u0662024-05-01"],
)  # fmt: skip
def test_what_is_no_time_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="is no time"):
        point_ns(word)


@given(st.text(max_size=30) | st.from_regex(r"[0-9T:.Z+\-hmsn]{0,25}", fullmatch=True))
def test_any_word_is_a_time_or_a_plain_mistake(word: str) -> None:
    for reading in (duration_ns, point_ns):
        try:
            assert isinstance(reading(word), int)
        except InvalidArgument:
            continue


@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)), st.integers(0, 999_999_999))
def test_a_date_comes_back(moment: datetime, nanoseconds: int) -> None:
    whole = moment.replace(microsecond=0, tzinfo=UTC)
    word = f"{whole:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
    assert point_ns(word) == int(whole.timestamp()) * SECOND + nanoseconds
