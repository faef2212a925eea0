from __future__ import annotations

from typing import NamedTuple

import pytest

from prun.cli.filters import Key, labelled, parse_filters, pattern_in, truth, word_of
from prun.errors import InvalidArgument


class Thing(NamedTuple):
    name: str
    kind: str = "a"
    used: bool = False
    labels: dict[str, str] = {}  # noqa: RUF012  never changed


THINGS = [
    Thing("one", "a", True, {"x": "1", "y": ""}),
    Thing("two", "b", False, {"x": "2"}),
    Thing("three", "c", False, {}),
]
KEYS: dict[str, Key[Thing]] = {
    "name": pattern_in(lambda row: row.name),
    "kind": word_of(lambda row: row.kind, ("a", "b", "c")),
    "used": truth(lambda row: row.used),
    "label": labelled(lambda row: row.labels),
    "label!": labelled(lambda row: row.labels, wanted=False),
}


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([], ["one", "two", "three"]),
        (["name=o"], ["one", "two"]),
        (["name=^o", "name=ee$"], ["one", "three"]),
        (["name=t", "kind=b"], ["two"]),
        (["kind=a", "kind=b"], ["one", "two"]),
        (["used=true"], ["one"]),
        (["used=0"], ["two", "three"]),
        (["used=true", "used=false"], ["one", "two", "three"]),
        (["label=x"], ["one", "two"]),
        (["label=x=2"], ["two"]),
        (["label=x", "label=y"], ["one"]),
        (["label=y="], ["one"]),
        (["label!=x"], ["three"]),
        (["label!=x=1", "label!=x=2"], ["three"]),
        (["label=x", "label!=y"], ["two"]),
    ],
)
def test_one_of_a_key_and_all_keys_have_to_fit_and_every_label(filters: list[str], names: list[str]) -> None:
    assert [thing.name for thing in filter(parse_filters(filters, KEYS), THINGS)] == names


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nope=1", "invalid filter 'nope=1'"),
        ("name", "invalid filter 'name'"),
        ("=x", "invalid filter"),
        ("name=[", "invalid filter 'name=\\['"),
        ("kind=z", "'z' is not one of a, b, c"),
        ("used=perhaps", "it is true or false"),
    ],
)
def test_a_bad_filter_is_named(word: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_filters([word], KEYS)


def test_the_known_filters_are_named() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_filters(["nope=1"], KEYS)
    assert caught.value.hint == "KEY=VALUE with one of kind, label, label!, name, used"
