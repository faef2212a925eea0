"""Where a reference leads, by what prun.toml says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from prun.config import read_settings
from prun.errors import FailedPrecondition, InvalidArgument
from prun.image.reference import parse_reference
from prun.image.registry.endpoint import endpoints, host_endpoint
from prun.image.registry.settings import parse_aliases, parse_rules

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "sha256:" + "0" * 64


def asked(reference: str, rules: dict[str, Any], *, tls_verify: bool | None = None) -> list[str]:
    """Who is asked for what; a ``!`` for who need not be what he says."""
    found = endpoints(parse_reference(reference), parse_rules(rules).values(), tls_verify=tls_verify)
    return [f"{each.host}/{each.repository}" + "!" * each.insecure for each in found]


@pytest.mark.parametrize(
    ("reference", "rules", "hosts"),
    [
        ("busybox", {}, ["registry-1.docker.io/library/busybox"]),
        ("localhost:5000/x", {}, ["localhost:5000/x"]),
        ("busybox", {"docker.io": {"mirrors": ["m.example"]}},
         ["m.example/library/busybox", "registry-1.docker.io/library/busybox"]),
        ("busybox", {"docker.io/library": {"mirrors": ["m.example/hub"]}},
         ["m.example/hub/busybox", "registry-1.docker.io/library/busybox"]),
        ("a.example/x", {"a.example": {"location": "b.example/y"}}, ["b.example/y/x"]),
        ("a.example/x", {"a.example": {"insecure": True}}, ["a.example/x!"]),
        ("a.example/x", {"a.example": {}, "a.example/x": {"location": "c.example/x"}}, ["c.example/x"]),
        ("a.example/xy", {"a.example/x": {"location": "c.example/x"}}, ["a.example/xy"]),
        ("a.b.example/x", {"*.example": {"mirrors": [{"location": "m.example", "insecure": True}]}},
         ["m.example/x!", "a.b.example/x"]),
        ("b.example/x", {"*.b.example": {"insecure": True}}, ["b.example/x"]),
        ("a.example/x", {"a.example": {"mirrors": [{"location": "m.example", "pull_from_mirror": "digest-only"}]}},
         ["a.example/x"]),
        (f"a.example/x@{DIGEST}", {"a.example": {"mirrors": [
            {"location": "m.example", "pull_from_mirror": "digest-only"},
            {"location": "n.example", "pull_from_mirror": "tag-only"}]}}, ["m.example/x", "a.example/x"]),
    ],
)  # fmt: skip
def test_who_is_asked(reference: str, rules: dict[str, Any], hosts: list[str]) -> None:
    assert asked(reference, rules) == hosts


def test_the_flag_overrides_the_rules() -> None:
    rules = {"a.example": {"insecure": True, "mirrors": ["m.example"]}}
    assert asked("a.example/x", rules, tls_verify=True) == ["m.example/x", "a.example/x"]
    assert asked("a.example/x", rules, tls_verify=False) == ["m.example/x!", "a.example/x!"]
    assert host_endpoint("a.example", parse_rules(rules).values()).insecure


def test_a_blocked_registry_is_not_asked() -> None:
    with pytest.raises(FailedPrecondition, match="is blocked"):
        asked("a.example/x", {"a.example": {"blocked": True}})


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"a.example": []}, "is no table"),
        ({"a.example": {"mirror": []}}, "has no key 'mirror'"),
        ({"https://a.example": {}}, "no prefix"),
        ({"a.example": {"location": "https://b.example"}}, "location is 'https"),
        ({"a.example": {"location": "../../x"}}, "location is"),
        ({"a.example": {"insecure": "yes"}}, "insecure is 'yes'"),
        ({"a.example": {"mirrors": "m.example"}}, "mirrors is no list"),
        ({"a.example": {"mirrors": [7]}}, "mirror is no table"),
        ({"a.example": {"mirrors": [{"location": "m.example", "pull_from_mirror": "x"}]}}, "pull_from_mirror is 'x'"),
        ({"*.example": {"location": "b.example"}}, "no location of its own"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(rules: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        parse_rules(rules)


@pytest.mark.parametrize(
    ("words", "full"),
    [
        ("deb", "r.example/debian:latest"),
        ("deb:12", "r.example/debian:12"), (f"deb@{DIGEST}", f"r.example/debian@{DIGEST}"),
        ("debian", "docker.io/library/debian:latest"), ("x/deb", "docker.io/x/deb:latest"),
        ("r.example:5/deb", "r.example:5/deb:latest"),
    ],
)  # fmt: skip
def test_a_short_name_is_a_whole_one(words: str, full: str) -> None:
    assert str(parse_reference(words, {"deb": "r.example/debian"})) == full


@pytest.mark.parametrize(
    "aliases", [{"a.example/x": "b.example/x"}, {"x:1": "b.example/x"}, {"x": "b.example/x:1"}, {"x": "y"}, {"x": 7}]
)
def test_an_alias_that_cannot_be_is_refused(aliases: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        parse_aliases(aliases)


def test_files_add_to_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "prun").mkdir()
    for path, text in (("prun/prun.toml", 'a = "r.example/one"'), ("other.toml", 'b = "r.example/two"')):
        (tmp_path / path).write_text(f"[aliases]\n{text}\n[registries.'{text[0]}.example']\nblocked = true\n")
        (tmp_path / path).chmod(0o600)
    settings = read_settings(str(tmp_path / "other.toml"))
    assert settings.aliases == {"a": "r.example/one", "b": "r.example/two"}
    assert set(settings.registries) == {"a.example", "b.example"}
