"""Chains of changes: each ends in the value that is there, and replayed they give the spec."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import DataLoss, InvalidArgument, NotFound
from prun.spec import apply, with_args, with_env, with_mounts
from prun.spec.provenance import ABSENT, Author, Explanation, Recorder, Said, explanation_of, replayed, value_at
from prun.types import Mount

ONE, TWO = Author("default", "defaults", "with_one"), Author("plugin", "audit", "with_two", "audit:7")
SCALARS = st.none() | st.booleans() | st.integers(2, 9) | st.sampled_from(["", "a", "b=1", "b=2", "~/"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b/~", ""]), inner)
)
SPECS = st.dictionaries(st.sampled_from(["process", "mounts", "linux", "a/~"]), VALUES)
ENV = st.lists(st.sampled_from(["A=1", "A=2", "B=1", "C"]), max_size=4)
MOUNTS = st.lists(
    st.fixed_dictionaries({"destination": st.sampled_from(["/a", "/b", "/c"]), "type": st.sampled_from("xy")}),
    max_size=3,
)
REAL = st.fixed_dictionaries({"process": st.fixed_dictionaries({"env": ENV, "args": ENV}), "mounts": MOUNTS})


def explained(*specs: dict[str, Any]) -> Explanation:
    recorder = Recorder()
    for number, spec in enumerate(specs):
        recorder.step(spec, TWO if number % 2 else ONE)
    return Explanation(recorder.changes)


def check(explanation: Explanation, spec: dict[str, Any]) -> None:
    assert replayed(explanation.changes) == spec == explanation.spec
    for pointer in explanation.pointers():
        chain = explanation.chain(pointer)
        assert chain[0].old is ABSENT
        assert chain[-1].new == value_at(spec, pointer)
        for earlier, later in itertools.pairwise(chain):
            assert later.old == earlier.new


@given(st.lists(st.one_of(SPECS, REAL), min_size=1, max_size=5))
def test_a_chain_begins_with_nothing_and_ends_in_what_is_there(specs: list[dict[str, Any]]) -> None:
    if specs[-1]:
        check(explained(*specs), specs[-1])


@given(st.lists(st.one_of(SPECS, REAL), min_size=1, max_size=4))
def test_what_is_kept_as_json_says_the_same(specs: list[dict[str, Any]]) -> None:
    explanation = explained(*specs)
    for old in (True, False):
        again = explanation_of(json.loads(json.dumps(explanation.plain(old=old))))
        assert again.spec == explanation.spec
        assert [(each.pointer, each.old, each.new) for each in again.changes] == [
            (each.pointer, each.old, each.new) for each in explanation.changes
        ]


def test_a_later_change_in_place_does_not_reach_what_was_written_down() -> None:
    recorder, spec = Recorder(), {"process": {"env": ["A=1"], "user": {"uid": 0}}}
    recorder.step(spec, ONE)
    spec["process"]["env"].append("B=2")  # type: ignore[attr-defined]
    spec["process"]["user"]["uid"] = 7  # type: ignore[index]
    recorder.step(spec, TWO)
    chain = Explanation(recorder.changes).chain("/process/user/uid")
    assert [(each.old, each.new, each.author) for each in chain] == [(ABSENT, 0, ONE), (0, 7, TWO)]
    assert recorder.changes[0].new == {"env": ["A=1"], "user": {"uid": 0}}


def test_an_element_is_followed_by_its_name_wherever_it_moves() -> None:
    recorder, spec = Recorder(), apply({}, [with_env(["A=1", "B=1"])])
    recorder.step(spec, ONE)
    apply(spec, [with_env(["A", "C=1", "B=2"]), with_mounts([Mount("/x/y", "tmpfs"), Mount("/x", "tmpfs")])])
    recorder.step(spec, TWO)
    explanation = Explanation(recorder.changes, spec)
    assert [each.new for each in explanation.chain("/process/env/0")] == ["B=1", "B=2"]
    assert [each.author for each in explanation.chain("/process/env/1")] == [TWO]
    assert value_at(spec, "/mounts/0/destination") == "/x"
    assert [each.new for each in explanation.chain("/mounts/1/destination")] == ["/x/y"]


def test_what_was_said_of_one_variable_is_not_said_of_another() -> None:
    recorder, spec = Recorder(), apply({}, [with_env(["A=1", "B=1"])])
    recorder.step(spec, ONE)
    changes = [each._replace(origins=(Said("image: Env", "B"),)) for each in recorder.changes]
    explanation = Explanation(changes, spec)
    assert [each.origins for each in explanation.chain("/process/env/1")] == [(Said("image: Env"),)]
    assert [each.origins for each in explanation.chain("/process/env/0")] == [()]


@pytest.mark.parametrize(
    ("pointer", "error", "words"),
    [
        ("/process/arg", NotFound, "/process/args"),
        ("/process/args/2", NotFound, "/process/args/"),
        ("/nothing/like/it", NotFound, "/process"),
        ("/process/args/x", NotFound, "/process/args"),
        ("process", InvalidArgument, "~1 is /"),
        ("/process~2", InvalidArgument, "~1 is /"),
    ],
)
def test_a_pointer_that_leads_nowhere_is_told_the_nearest(pointer: str, error: type, words: str) -> None:
    explanation = explained(apply({}, [with_args(["a", "b"])]))  # type: ignore[arg-type]
    with pytest.raises(error) as found:
        explanation.chain(pointer)
    assert words in found.value.hint


@pytest.mark.parametrize("damaged", [None, 1, [1], [{}], [{"pointer": "/a/b", "new": 1}], {"a": 1}])
def test_a_damaged_record_is_refused(damaged: object) -> None:
    with pytest.raises(DataLoss):
        explanation_of(damaged)
