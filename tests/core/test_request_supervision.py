"""``--restart``, ``--stop-timeout``, ``--log-*``, and requests that are kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from prun.api import Runner
from prun.errors import DataLoss, InvalidArgument
from prun.request import fields_of
from prun.request.stored import dumped, loaded
from prun.request.supervision import LogRequest, restart_policy, settled_log
from prun.types import Mount, Origin, RunRequest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("word", "policy"),
    [
        ("no", ""), ("", ""), ("always", "always"), ("unless-stopped", "unless-stopped"),
        ("on-failure", "on-failure"), ("on-failure:3", "on-failure:3"), ("on-failure:0", "on-failure"),
    ],
)  # fmt: skip
def test_a_restart_policy_is_one_of_dockers(word: str, policy: str) -> None:
    assert restart_policy(word) == policy


@pytest.mark.parametrize("word", ["yes", "on-failure:", "on-failure:-1", "on-failure:x", "always:2", "ALWAYS"])
def test_other_words_are_no_policy(word: str) -> None:
    with pytest.raises(InvalidArgument, match="no restart policy"):
        restart_policy(word)


@pytest.mark.parametrize(
    ("asked", "field", "value"),
    [
        ({"stop_timeout": "3"}, "stop_timeout_s", 3.0),
        ({"stop_timeout": "-1"}, "stop_timeout_s", float("inf")),
        ({"log_driver": "none"}, "log", LogRequest("none")),
        ({"log_driver": "json-file", "log_opt": ("max-size=1k",)}, "log", LogRequest("json-file", size_bytes=1024)),
        ({"log_opt": ("max-size=10m", "max-file=3")}, "log", LogRequest(size_bytes=10 << 20, files=3)),
        ({"log_opt": ("max-size=-1",)}, "log", LogRequest()),
    ],
)
def test_words_become_fields(asked: dict[str, Any], field: str, value: object) -> None:
    assert fields_of(asked)[field] == value


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"log_driver": "syslog"}, "k8s-file, json-file, none"),
        ({"log_opt": ("tag=x",)}, "max-size="),
        ({"log_opt": ("max-size",)}, "max-size="),
        ({"log_opt": ("max-file=2",)}, "needs max-size"),
        ({"log_opt": ("max-size=1k", "max-file=0")}, "no number of files"),
        ({"log_opt": ("path=/no/such/dir/x",)}, "no file in a directory"),
        ({"log_driver": "none", "log_opt": ("max-size=1k",)}, "has no options"),
        ({"stop_timeout": "soon"}, "no number of seconds"),
        ({"stop_timeout": "-2"}, "no number of seconds"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        fields_of(asked)


def test_a_log_has_a_place_of_its_own(tmp_path: Path) -> None:
    assert settled_log(None, str(tmp_path / "c")).path == str(tmp_path / "c/ctr.log")
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o700
    assert settled_log(LogRequest("none"), str(tmp_path / "d")).path == ""
    assert not (tmp_path / "d").exists()


def test_a_stored_request_comes_back_equal(tmp_path: Path) -> None:
    runner = Runner(runtime="linux", root=str(tmp_path), state=str(tmp_path))
    request = runner.request(
        "x", ["sh"], env={"A": "b"}, volume=["/a:/b:ro", "named:/c"], memory="64m", ulimit=["nofile=5:6"],
        sysctl={"kernel.shm_rmid_forced": "1"}, secret=["s"], platform="linux/amd64", restart="on-failure:2",
        log_opt={"max-size": "1m"}, mounts=[Mount("/m", "tmpfs")], labels={"l": "1"}, entrypoint=[], stop_timeout=3,
    )  # fmt: skip
    request = request._replace(origins={"memory": (Origin("profile", "ci", "/p.toml", 3), Origin("flag", "--memory"))})
    back = loaded(dumped(request))
    assert back == request
    assert [str(each) for each in back.origins["memory"]] == ["[profiles.ci] (/p.toml:3)", "--memory"]
    for name in ("volumes", "resources", "secrets", "log", "mounts", "platform"):
        assert type(getattr(back, name)) is type(getattr(request, name))


def test_what_belongs_to_one_run_is_not_stored() -> None:
    request = RunRequest("id", "x", stdin=b"secret", capture=True, preserve_fds=2, cid_file="/f")
    assert loaded(dumped(request)) == RunRequest("id", "x")


@pytest.mark.parametrize("text", ["", "[]", '{"id": "x", "later": 1}', '{"id": "x", "log": {"$": "Unknown"}}', "{}"])
def test_a_record_that_cannot_be_read_is_said_to_be_so(text: str) -> None:
    with pytest.raises(DataLoss, match="cannot be read"):
        loaded(text)


def test_names_that_are_not_ours_are_no_classes() -> None:
    with pytest.raises(DataLoss):
        loaded(json.dumps({"id": "x", "log": {"$": "Popen", "args": ["true"]}}))
