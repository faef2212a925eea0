from __future__ import annotations

import pytest
from images import config_document, document

from prun.errors import InvalidArgument
from prun.image.config import parse_config


def config_of(**fields):
    return document(config_document([], fields))


def test_unknown_fields_survive():
    data = document({**config_document([], {"Healthcheck": {"Test": ["NONE"]}}), "x": [1]})
    parsed = parse_config(data, 0)
    assert parsed["config"]["Healthcheck"] == {"Test": ["NONE"]}
    assert parsed["x"] == [1]


def test_null_fields_are_absent():
    parsed = parse_config(config_of(Cmd=None, Entrypoint=None, Env=None, Labels=None, User=None, Volumes=None), 0)
    assert parsed["config"] == {}


@pytest.mark.parametrize("missing", [{}, {"config": None}, {"rootfs": None}])
def test_config_and_rootfs_always_exist(missing):
    parsed = parse_config(document(missing), 0)
    assert parsed["config"] == {}
    assert parsed["rootfs"]["diff_ids"] == []


def test_an_env_entry_without_a_value_is_dropped_and_never_looked_up(monkeypatch):
    monkeypatch.setenv("HOST_SECRET", "s3cret")
    env = ["HOST_SECRET", "A=1", "=x", "", "B=", "C=a=b", "D=two\nlines"]
    assert parse_config(config_of(Env=env), 0)["config"]["Env"] == ["A=1", "B=", "C=a=b", "D=two\nlines"]


@pytest.mark.parametrize(
    "fields",
    [
        {"Cmd": "sh -c true"},
        {"Cmd": ["sh", 1]},
        {"Cmd": [None]},
        {"Cmd": {"0": "sh"}},
        {"Entrypoint": ["a\0b"]},
        {"Entrypoint": True},
        {"Env": {"A": "1"}},
        {"Env": ["A=\0"]},
        {"User": 0},
        {"User": ["root"]},
        {"WorkingDir": 1},
        {"WorkingDir": "/\0"},
        {"Labels": ["a=b"]},
        {"Labels": {"a": 1}},
        {"StopSignal": 9},
        {"Volumes": ["/data"]},
        {"ExposedPorts": "80"},
        {"Cmd": ["x"] * 10_001},
    ],
)
def test_a_field_of_another_type_is_refused_by_its_name(fields):
    with pytest.raises(InvalidArgument, match=next(iter(fields))):
        parse_config(config_of(**fields), 0)


@pytest.mark.parametrize("document_", [[], {"config": []}, {"os": 1}, {"rootfs": []}, {"rootfs": {"diff_ids": "x"}}])
def test_a_document_of_another_shape_is_refused(document_):
    with pytest.raises(InvalidArgument):
        parse_config(document(document_), 0)


@pytest.mark.parametrize("diff_id", ["", "sha256:x", "../../etc", "sha256:" + "A" * 64])
def test_a_diff_id_is_a_digest(diff_id):
    with pytest.raises(InvalidArgument):
        parse_config(document({"rootfs": {"diff_ids": [diff_id]}}), 1)


def test_there_are_as_many_diff_ids_as_layers():
    with pytest.raises(InvalidArgument, match="1 diff IDs, the manifest has 2 layers"):
        parse_config(document(config_document([b"x"], {})), 2)
