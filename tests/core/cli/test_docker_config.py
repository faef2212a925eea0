"""docker's own config file: proxies for the container and keys to leave it; never a reason not to run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from prun.cli.docker_config import MAX_FILE_BYTES, DockerConfig, docker_config
from prun.cli.run import asked

if TYPE_CHECKING:
    from pathlib import Path

    from prun.types import RunRequest

PROXIES = {"httpProxy": "http://p:1", "noProxy": "*.example.com", "httpsProxy": ""}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def read(directory: Path, content: object) -> tuple[DockerConfig, list[str]]:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (directory / "config.json").write_bytes(data)
    warnings: list[str] = []
    return docker_config(warnings.append), warnings


def request(directory: Path, *words: str) -> RunRequest:
    return asked("run", [*words, "image"], {"root": str(directory), "state": str(directory)})[1]


def test_a_proxy_sets_two_variables(directory: Path) -> None:
    """docker/cli, ``configfile.ParseProxyConfig``."""
    found, warnings = read(directory, {"proxies": {"default": PROXIES, "tcp://other": {"httpProxy": "x"}}, "auths": {}})
    assert found.env == (
        *("HTTP_PROXY=http://p:1", "http_proxy=http://p:1"),
        *("NO_PROXY=*.example.com", "no_proxy=*.example.com"),
    )
    assert warnings == []


@pytest.mark.parametrize("content", [b"", b"{}", b'{"proxies": null, "detachKeys": ""}', b'{"proxies": {"x": {}}}'])
def test_nothing_said_is_nothing(directory: Path, content: bytes) -> None:
    assert read(directory, content) == (DockerConfig(), [])


@pytest.mark.parametrize(
    "content",
    [
        *(b"[]", b"nonsense", b"[" * 100_000, b'{"proxies": [1]}', b'{"proxies": {"default": "x"}}', b"\xff"),
        *(b'{"proxies": {"default": {"httpProxy": 5}}}', b'{"detachKeys": "ctrl-xx"}', b'{"detachKeys": 5}'),
        b'{"a": "' + b"x" * MAX_FILE_BYTES + b'"}',
    ],
)
def test_what_is_wrong_is_a_warning(directory: Path, content: bytes) -> None:
    found, warnings = read(directory, content)
    assert found == DockerConfig()
    assert len(warnings) == 1
    assert str(directory / "config.json") in warnings[0]


def test_a_file_that_others_may_change_is_not_used(directory: Path) -> None:
    (directory / "config.json").touch()
    (directory / "config.json").chmod(0o666)
    found, warnings = read(directory, {"proxies": {"default": PROXIES}})
    assert (found, "others may change it" in warnings[0]) == (DockerConfig(), True)


def test_what_the_command_line_says_goes_over_it(directory: Path) -> None:
    read(directory, {"proxies": {"default": {"httpProxy": "p"}}, "detachKeys": "ctrl-a"})
    words = ["--unsetenv", "http_proxy", "-e", "HTTP_PROXY=mine"]
    assert request(directory, *words).env == ("HTTP_PROXY=p", "http_proxy=p", "http_proxy", "HTTP_PROXY=mine")
    assert request(directory, "--init").detach_keys == "ctrl-a"
    assert request(directory, "--detach-keys", "").detach_keys == ""
    assert request(directory, "--detach-keys", "ctrl-b").detach_keys == "ctrl-b"


def test_without_a_file_nothing_is_said(directory: Path) -> None:
    assert request(directory).env == ()
    assert request(directory).detach_keys is None
