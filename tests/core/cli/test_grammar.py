"""docker's grammar, to the letter (reference: pflag, spf13/pflag README)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.cli.grammar import Option, parse
from prun.cli.options import GLOBAL, RUN
from prun.errors import InvalidArgument, PrunError

OPTIONS = (
    Option("interactive", "flag", "", "i"),
    Option("tty", "flag", "", "t"),
    Option("rm", "flag", ""),
    Option("env", "list", "", "e"),
    Option("name", "value", ""),
    Option("hostname", "value", "", "h"),
    Option("network", "value", "", "", "", ("net",)),
    Option("color", "value", "", choices=("red", "blue")),
)


def test_parsing_stops_at_the_first_other_word() -> None:
    parsed = parse(["-i", "busybox", "ls", "-t", "--rm"], OPTIONS, "run")
    assert parsed.rest == ("busybox", "ls", "-t", "--rm")
    assert parsed.flags == {"interactive": True, "tty": False, "rm": False}


@pytest.mark.parametrize(
    "words",
    [["-e", "A=b"], ["-eA=b"], ["-e=A=b"], ["--env", "A=b"], ["--env=A=b"], ["-ite", "A=b"], ["-iteA=b"]],
    ids=" ".join,
)
def test_a_value_may_be_attached_or_follow(words: list[str]) -> None:
    assert parse([*words, "busybox"], OPTIONS, "run").lists["env"] == ("A=b",)


def test_lists_keep_all_values_and_values_the_last() -> None:
    parsed = parse(["-e", "A=1", "--name", "x", "-e", "A=1,B=2", "--name=y", "i"], OPTIONS, "run")
    assert (parsed.lists["env"], parsed.values["name"]) == (("A=1", "A=1,B=2"), "y")


@pytest.mark.parametrize(
    ("word", "value"), [("--rm", True), ("--rm=true", True), ("--rm=false", False), ("--rm=0", False)]
)
def test_a_boolean_may_have_a_value(word: str, value: bool) -> None:
    assert parse([word, "i"], OPTIONS, "run").flags["rm"] is value


def test_short_h_is_the_host_name() -> None:
    assert parse(["-h", "box", "i"], OPTIONS, "run").values["hostname"] == "box"


def test_an_alias_sets_the_option_it_stands_for() -> None:
    assert parse(["--net=host"], OPTIONS, "run").values["network"] == "host"


def test_two_dashes_end_the_options_and_one_is_a_word() -> None:
    assert parse(["--", "-i"], OPTIONS, "run").rest == ("-i",)
    assert parse(["-", "x"], OPTIONS, "run").rest == ("-", "x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope", "i"], "unknown flag: --nope"),
        (["-x", "i"], "unknown flag: -x"),
        (["-itx", "i"], "unknown flag: -x in -itx"),
        (["--inter", "i"], "unknown flag: --inter"),  # no abbreviations
        (["--name"], "flag needs an argument: --name"),
        (["-e"], "flag needs an argument: -e"),
        (["--rm=maybe"], "--rm takes true or false, not 'maybe'"),
        (["--color", "green"], "--color 'green' is not one of red, blue"),
    ],
)
def test_a_wrong_word_is_named(words: list[str], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse(words, OPTIONS, "run")


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(["--hostnam", "x"], OPTIONS, "run")
    assert "--hostname" in caught.value.hint


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_words_parse_or_are_refused(words: list[str]) -> None:
    try:
        parsed = parse(words, RUN, "run")
    except PrunError:
        return
    assert set(parsed.flags) | set(parsed.values) | set(parsed.lists) == {option.key for option in RUN}
    assert parsed.rest == tuple(words[len(words) - len(parsed.rest) :])


@pytest.mark.parametrize("table", [GLOBAL, RUN])
def test_no_two_options_share_a_name(table: tuple[Option, ...]) -> None:
    names = [name for option in table for name in (option.name, *option.aliases)]
    shorts = [option.short for option in table if option.short]
    assert len(names) == len(set(names))
    assert len(shorts) == len(set(shorts))
