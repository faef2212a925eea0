"""Go templates over records; tests/integration/test_templates.py compares the language with a Go program."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.cli.output import printable
from prun.cli.template import parse
from prun.cli.template.values import Bytes, Headings, Pairs, Words
from prun.errors import InvalidArgument

RECORD: dict[str, Any] = {
    "Name": "web",
    "State": {"Running": True, "Pid": 7, "Health": None},
    "Config": {"Env": ["A=1", "B=2"], "Labels": Pairs({"com.example.tier": "front", "b": ""})},
    "Mounts": [{"Source": "/a", "RW": True}, {"Source": "/b", "RW": False}],
    "Size": Bytes(1_234_567),
    "Networks": Words(["none", "other"]),
    "Empty": [],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Name}} {{.State.Running}} {{.State.Pid}}", "web true 7"),
        ("{{.Config.Env}} {{index .Config.Env 1}} {{len .Config.Env}}", "[A=1 B=2] B=2 2"),
        ("{{join .Config.Env \",\"}} {{json .Config.Env}}", 'A=1,B=2 ["A=1","B=2"]'),
        ("{{range .Mounts}}{{if .RW}}{{.Source}}{{else}}({{.Source}}){{end}} {{end}}", "/a (/b) "),
        ("{{range $i, $m := .Mounts}}{{if $i}},{{end}}{{$m.Source}}={{$.Name}}{{end}}", "/a=web,/b=web"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}};{{end}}", "b:;com.example.tier:front;"),
        ('{{index .Config.Labels "com.example.tier"}}|{{index .Config.Labels "no"}}|', "front||"),
        ('{{.Config.Label "com.example.tier"}} {{"b" | .Config.Label}}', "front "),
        ("{{.Config.Labels.b}}|{{.Config.Labels.none}}", "|<no value>"),
        ("{{.Config.Labels}} {{json .Config.Labels}}",
         'b=,com.example.tier=front {"com.example.tier":"front","b":""}'),
        ("{{.Size}} {{json .Size}} {{gt .Size 1000}}", "1.23MB 1234567 true"),
        ('{{printf "%d %s" .Size .Size}}', "1234567 1.23MB"),
        ("{{.Networks}} {{index .Networks 0}}", "none,other none"),
        ("{{.State.Health}} {{json .State.Health}}", "<nil> null"),
        ("{{with .State.Health}}{{.Status}}{{else}}none{{end}}", "none"),
        ("{{range .Empty}}x{{else}}nothing{{end}}", "nothing"),
        ("{{(index .Mounts 1).Source}} {{(.State).Pid}}", "/b 7"),
        ("{{with $x := .State}}{{$x.Pid}}{{.Pid}}{{end}}", "77"),
        ('{{with .Empty}}a{{else with .Name}}{{.}}{{end}}', "web"),
        ("{{$n := 0}}{{range .Mounts}}{{$n = len .Source}}{{end}}{{$n}}", "2"),
        (r"{{.Name}}\t{{.Name}}\n", "web\tweb\n"),
        ('{{if and .State.Running (eq .Name "web")}}yes{{end}}', "yes"),
        # What follows the value that decides is not looked at.
        ('{{if and .State.Health .State.Health.Status}}x{{end}}{{or .Name .No}}', "web"),
        ("{{.Name -}}  \n  {{- .Name}}", "webweb"),
        ("{{.State}} {{.Mounts}}",
         "map[Health:<nil> Pid:7 Running:true] [map[RW:true Source:/a] map[RW:false Source:/b]]"),
    ],
)  # fmt: skip
def test_a_template_over_a_record(template: str, text: str) -> None:
    assert parse(template).render(RECORD) == text


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("ab{{.Nam}}", ["column 5", "no field .Nam", "did you mean .Name?", "Config"]),
        ("{{.State.running}}", ["did you mean .Running?"]),
        ("{{.ID}}", ["no field .ID", "there are"]),
        ("{{.State.Health.Status}}", ["null has no field .Status"]),
        ("{{.Name.Length}}", ["web has no field .Length"]),
        ("one\n  {{.Nope}}", ["2:5"]),
        ("{{range .Name}}{{end}}", ["range cannot go over web"]),
        ("{{uper .Name}}", ["'uper' is not defined", "did you mean upper?"]),
        ("{{Name}}", ["did you mean .Name?"]),
        ("{{.Name 1}}", [".Name is no function"]),
        ("{{index .Config.Env 9}}", ["9 is out of range: it has 2"]),
        ('{{index .Config.Env "a"}}', ["it takes a whole number, not a string"]),
        ('{{eq .Name 1}}', ["a string and a whole number cannot be compared"]),
        ("{{join .Name 1}}", ["it takes a list, not a string"]),
        ("{{upper}}", ["upper does not take 0 arguments"]),
        ("{{truncate .Name}}", ["truncate does not take 1 argument"]),
        ("{{template \"x\"}}", ["template is not supported"]),
        ("{{break}}", ["outside of a range"]),
        ("{{if .Name}}", ["if has no end"]),
        ("{{$x}}", ["variable $x is not defined"]),
        ('{{"a}}', ["a string is not closed"]),
        ("{{.Name", ["an action is not closed"]),
        ("{{/* no end }}", ["the comment is not closed"]),
        ("{{" + "(" * 200 + "1" + ")" * 200 + "}}", ["too deep"]),
        ("{{if 1}}" * 200 + "{{end}}" * 200, ["too deep"]),
        ("{{if 0}}{{else if 0}}" * 200 + "{{end}}" * 200, ["too deep"]),
    ],
)  # fmt: skip
def test_an_error_says_where_and_what_there_is(template: str, words: list[str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(template).render(RECORD)
    for word in ("--format", *words):
        assert word in f"{caught.value} ({caught.value.hint})"


@pytest.mark.parametrize(
    "template",
    [
        "{{", "{{1", "{{end}}", "{{if}}x{{end}}", "{{else}}", "{{1 2}}", "{{eq 1 1.0}}", "{{eq 1}}",
        "{{lt true false}}", "{{len 5}}", "{{range 1.5}}{{end}}",
        '{{slice "abc" 2 1}}', '{{slice "abc" 0 9}}', '{{slice "a" 0 0 0}}',
        "{{range $a, $b, $c := 1}}{{end}}", "{{if 1}}{{else}}{{else}}{{end}}", "{{(1}}", "{{1)}}", "{{1 | 2}}",
        "{{}}", "{{$x = 1}}", r'{{"\q"}}', r'{{"\U00110000"}}', '{{define "x"}}{{end}}', "{{and}}", "{{not 1 2}}",
        "{{nil}}", "{{08}}", "{{1x}}", "{{'ab'}}", '{{ "a""b" }}', '{{"a".Foo}}', "{{printf 5}}", "{{1 | true}}",
        "{{with 1}}{{else if 1}}{{end}}", "{{range 1}}{{else range 2}}{{end}}", "{{--1}}", "{{.5.6}}",
        "{{=}}", "{{$x :=}}", "{{$x, $y := 1}}", "{{@}}", "{{continue}}",
        "{{if 1}}{{end}}{{end}}", "{{and | 1}}", "{{index nil 1}}",
    ],
)  # fmt: skip
def test_what_go_refuses_is_refused(template: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(template).render(RECORD)


WORDS = st.sampled_from(
    ["{{", "}}", "{{-", "-}}", " ", "if", "else", "end", "range", "with", ".Name", ".State", "$", "$x", ":=", "=", ",",
     "|", "(", ")", "1", "-2", ".5", '"a"', "`b`", "'c'", "len", "index", "printf", '"%d"', "join", "slice", "json",
     "and", "or", "break", ".Label", "/*", "*/", "\\n", "text", "é", "nil", "eq", "split", ".", "title", "pad"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=14).map("".join) | st.lists(WORDS, max_size=8).map(lambda w: f"{{{{{' '.join(w)}}}}}"))
def test_any_text_is_a_template_or_a_plain_mistake(text: str) -> None:
    try:
        assert isinstance(parse(text).render(RECORD, printable), str)
    except InvalidArgument as error:
        mistake = str(error)
        assert mistake.startswith("--format, ")


def test_what_the_record_says_is_escaped_and_what_the_template_says_is_not() -> None:
    record = {"Label": "a\x1b[2Jb\nc"}
    assert parse('{{.Label}}\x1b{{"\\t\x07"}}').render(record, printable) == "a\\x1b[2Jb\\nc\x1b\t\x07"
    assert parse("{{printf `%s` .Label}}{{println .Label}}").render(record, printable).isprintable()
    assert parse("{{.Label}}").render(record) == record["Label"]


def test_the_heading_of_a_table_is_the_same_template_over_the_names_of_columns() -> None:
    headings = Headings(ID="CONTAINER ID")
    template = parse('{{.ID}} {{truncate .Names 3}} {{upper .CreatedAt}} {{json .Labels}} {{.Label "com.a.cpu-set"}}')
    assert template.heading(headings) == "CONTAINER ID NAMES CREATED AT LABELS cpu set"
    assert (
        parse('{{slice .ID 0 3}} {{index .Labels "x"}} {{.State.ExitCode}}').heading(headings)
        == "CONTAINER ID x EXIT CODE"
    )
    assert parse("{{range .Mounts}}{{.Source}}{{end}}{{pad .Size 1 1}}|").heading(headings) == "SOURCE SIZE |"
