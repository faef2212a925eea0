"""Flags, files, the published JSON Schema and the documentation say the same."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli
from config_files import request, written

from prun.cli.options import RUN
from prun.config import read_settings
from prun.config.checking import check
from prun.config.faults import InvalidConfig
from prun.config.files import Document, parsed
from prun.config.published import json_schema
from prun.config.schema import TABLES, TOP, WORDS_ONLY, keys_of, kind_of
from prun.config.starter import STARTER

DOCS = Path(__file__).parents[3] / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text()


def test_the_published_schema_is_that_of_the_definitions() -> None:
    """``prun config schema > docs/prun.schema.json``."""
    assert json.loads((DOCS / "prun.schema.json").read_text()) == json_schema()
    jsonschema.Draft7Validator.check_schema(json_schema())


def test_every_option_of_run_is_a_key_of_runs_profiles_and_defaults() -> None:
    named = {option.key for option in RUN} - WORDS_ONLY
    schema = json_schema()["properties"]
    for table in ("defaults", "profiles", "run"):
        assert named <= set(keys_of(TABLES[table]))
        shown = schema[table] if table == "defaults" else schema[table]["additionalProperties"]
        assert {name.replace("_", "-") for name in named} <= set(shown["properties"])
        assert named <= set(shown["properties"])


def example_of(kind: str) -> str:
    examples = {"flag": "true", "word": '"1"', "words": '["a"]', "pairs": '{a = "b"}', "entrypoint": '["a"]'}
    return examples[kind]


@pytest.mark.parametrize(
    "option", [option for option in RUN if option.key not in WORDS_ONLY], ids=lambda each: each.name
)
def test_an_option_has_the_kind_of_its_flag(option: Any) -> None:
    """What the file may say, the schema allows; what it may not, both refuse."""
    validator = jsonschema.Draft7Validator(json_schema())
    good = f"[profiles.x]\n{option.name} = {example_of(kind_of(option))}\n"
    bad = f"[profiles.x]\n{option.key} = {'1' if option.kind == 'flag' else 'true'}\n"
    for text, fine in ((good, True), (bad, False)):
        assert validator.is_valid(tomli.loads(text)) is fine
        assert (check(Document("/p", text, tomli.loads(text))) == []) is fine


def test_the_schema_agrees_with_the_broken_files() -> None:
    """Whatever has to do with keys and kinds; references, names in ``extends`` and circles are beyond a schema."""
    validator = jsonschema.Draft7Validator(json_schema())
    seen = 0
    for case in (DOCS.parent / "tests/data/broken-configs.txt").read_text().split("===\n"):
        text, message = case.split("---\n")
        try:
            table = parsed("/p", text)
        except InvalidConfig:
            continue
        beyond = r"extends|unset|stands for|no prefix|no variable|both image|which are the same|is no name"
        if not re.search(beyond, message):
            assert not validator.is_valid(table), text
            seen += 1
    assert seen > 20


def test_every_table_and_key_of_the_top_is_documented() -> None:
    for name in (*(key.name for key in TOP), *(f"[{name}" for name in TABLES)):
        assert name in CONFIGURATION


def examples() -> list[str]:
    return re.findall(r"```toml\n(.*?)```", CONFIGURATION, re.DOTALL)


@pytest.mark.parametrize("text", examples())
def test_every_example_of_the_documentation_is_a_file_that_can_be_read(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAG", "1")
    path = written(tmp_path / "prun.toml", text)
    settings = read_settings(path)
    assert jsonschema.Draft7Validator(json_schema()).is_valid(settings.documents[-1].table)
    for name in settings.documents[-1].table.get("run", {}):
        assert request(tmp_path, "-f", path, name).image
    for name in settings.documents[-1].table.get("profiles", {}):
        assert request(tmp_path, "--profile", name, "busybox", config=path).image == "busybox"


def test_every_command_line_of_the_documentation_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "home/prun/prun.toml", examples()[1])
    written(tmp_path / "other.toml", '[run.tests]\nimage = "other"\n')
    lines = [line.partition(" #") for line in re.findall(r"^    prun (run .*)$", CONFIGURATION, re.MULTILINE)]
    found = [request(tmp_path, *shlex.split(line)[1:]) for line, _, _ in lines]
    assert [(each.image.rpartition("/")[2], *each.args) for each in found] == [
        ("python:3.13", "python", "-m", "pytest"), ("python:3.13", "python", "-m", "pytest", "-x", "-q"),
        ("python:3.13", "python", "-m", "pytest"), ("busybox", "true"), ("other",),
    ]  # fmt: skip
    assert [each.labels for each in found] == [{"owner": "me"}, {"owner": "me"}, {}, {"owner": "me"}, {"owner": "me"}]


def test_the_fault_that_the_documentation_shows_is_the_one_there_is(tmp_path: Path) -> None:
    path = written(tmp_path / "prun.toml", '\n\n\n\n[run.web]\nimage = "x"\nvolumes = ["a:/b"]\n')
    with pytest.raises(InvalidConfig) as raised:
        read_settings(path)
    shown = "\n".join(f"    {line}" for line in str(raised.value).splitlines())
    assert shown.replace(path, "prun: /home/me/app/prun.toml") in CONFIGURATION


def test_there_are_examples() -> None:
    assert len(examples()) == 3


def test_the_starter_is_right_once_it_is_no_comment(tmp_path: Path) -> None:
    text = re.sub(r"^# (?=\[|[a-z_]+ = )", "", STARTER, flags=re.MULTILINE)
    table = read_settings(written(tmp_path / "prun.toml", text)).documents[-1].table
    assert set(TABLES) - {"engines"} <= set(table)
    assert tomli.loads(STARTER) == {}
