"""Logins as docker and podman keep them, and what a registry may ask for."""

from __future__ import annotations

import base64
import json
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, PrunError
from prun.image.registry.auth import ANONYMOUS, Login, parse_challenges
from prun.image.registry.credentials import find_login, remove_logins, store_login

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "auth.json"


def write(path: Path, document: Any, mode: int = 0o600) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("name", "user"),
    [
        ("a.example/team/app", "app"), ("a.example/team/other", "team"), ("a.example/x", "a"), ("b.example/x", ""),
        ("docker.io/library/busybox", "hub"), ("old.example/x", "old"), ("a.example/teams", "a"),
    ],
)  # fmt: skip
def test_the_longest_name_counts(kept: Path, name: str, user: str) -> None:
    auths = {
        "a.example": auth("a:1"), "a.example/team": auth("team:2"), "a.example/team/app": auth("app:3"),
        "https://index.docker.io/v1/": auth("hub:4"), "https://old.example/v2/": auth("old:5"),
    }  # fmt: skip
    assert find_login(name, write(kept, {"auths": auths})).username == user


def test_tokens_and_plain_words(kept: Path) -> None:
    auths = {"a.example": {"identitytoken": "i"}, "b.example": {"username": "u", "password": "p:q"}}
    path = write(kept, {"auths": auths})
    assert find_login("a.example/x", path) == Login(identity_token="i")
    assert find_login("b.example/x", path) == Login("u", "p:q")


def test_files_are_asked_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = (
        "docker_config/config.json",
        "xdg_runtime_dir/containers/auth.json",
        "xdg_config_home/containers/auth.json",
    )
    for place in reversed(places):
        write(tmp_path / place, {"auths": {"a.example": auth(f"{place}:1"), f"{place[:3]}.example": auth("x:1")}})
        assert find_login("a.example/x").username == place
    assert find_login("xdg.example/x").username == "x"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "nothing"))
    assert find_login("a.example/x") == ANONYMOUS


@pytest.mark.parametrize(
    "document",
    ["{", "[]", {"auths": []}, {"auths": {"a.example": []}}, {"auths": {"a.example": {"auth": 7}}},
     {"auths": {"a.example": {"auth": "no base64: s3cret"}}}, {"credsStore": "../x"},
     {"credHelpers": {"a.example": 7}}],
    ids=str,
)  # fmt: skip
def test_a_malformed_file_is_named_and_not_shown(kept: Path, document: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"auth\.json") as caught:
        find_login("a.example/x", write(kept, document))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_a_file_that_others_may_change_is_refused(kept: Path, mode: int) -> None:
    with pytest.raises(PermissionDenied, match="may be changed by others"):
        find_login("a.example/x", write(kept, {}, mode))


def test_a_login_is_written_beside_what_is_there(kept: Path) -> None:
    path = write(kept, {"auths": {"b.example": auth("b:1")}, "detachKeys": "ctrl-a"}, 0o644)
    assert store_login("a.example", Login("me", "word"), path) == path
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text()) == {
        "auths": {"b.example": auth("b:1"), "a.example": auth("me:word")}, "detachKeys": "ctrl-a",
    }  # fmt: skip
    assert find_login("a.example/x", path) == Login("me", "word")
    assert [each.name for each in kept.parent.iterdir() if "auth" in each.name] == ["auth.json"]
    assert remove_logins("a.example", path) == ["a.example"]
    assert remove_logins("a.example", path) == []
    assert remove_logins("", path) == ["b.example"]


def test_docker_io_has_dockers_key(kept: Path) -> None:
    store_login("docker.io", Login("me", "word"), str(kept))
    assert list(json.loads(kept.read_text())["auths"]) == ["https://index.docker.io/v1/"]
    assert remove_logins("docker.io", str(kept)) == ["docker.io"]


def test_a_link_to_the_file_stays_one(kept: Path, tmp_path: Path) -> None:
    write(tmp_path / "real" / "auth.json", {})
    kept.symlink_to(tmp_path / "real" / "auth.json")
    store_login("a.example", Login("me", "word"), str(kept))
    assert kept.is_symlink()
    assert "a.example" in (tmp_path / "real" / "auth.json").read_text()


def test_logins_at_once_are_all_kept(kept: Path) -> None:
    threads = [
        threading.Thread(target=store_login, args=(f"r{number}.example", Login("me", "word"), str(kept)))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads(kept.read_text())["auths"]) == 16


def test_a_directory_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FailedPrecondition, match="cannot be written"):
        store_login("a.example", Login("me", "word"), str(tmp_path / "file" / "auth.json"))


def test_a_helper_that_is_not_there_is_named(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotFound, match="docker-credential-x is not installed"):
        find_login("a.example/x", write(kept, {"credsStore": "x"}))


def test_what_a_helper_says_is_not_repeated(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker-credential-x").write_text("#!/bin/sh\necho s3cret; exit 1\n")
    (tmp_path / "docker-credential-x").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(PrunError, match="fails to get") as caught:
        find_login("a.example/x", write(kept, {"credsStore": "x"}))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"',
         [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"})]),
        ('Basic realm="a, b", Bearer realm=https://a/t', [("basic", {"realm": "a, b"}), ("bearer", {"realm": "https://a/t"})]),
        (r'Basic realm="a \"b\""', [("basic", {"realm": 'a "b"'})]),
        ("Negotiate", [("negotiate", {})]),
        ("", []),
    ],
)  # fmt: skip
def test_challenges_are_read(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(header) == found


@given(st.text(max_size=300))
def test_no_challenge_is_too_strange(header: str) -> None:
    parse_challenges(header)
