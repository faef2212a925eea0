"""``--change``: Dockerfile instructions over an image's config."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import InvalidArgument
from prun.image.instructions import applied

BASE: Any = {"Cmd": ["sh"], "Env": ["PATH=/bin", "A=1"], "WorkingDir": "/srv", "Labels": {"x": "y"}}


@pytest.mark.parametrize(
    ("instruction", "key", "value"),
    [
        ("CMD a b c", "Cmd", ["/bin/sh", "-c", "a b c"]),
        ('CMD=["a","b","c"]', "Cmd", ["a", "b", "c"]),
        ("CMD=/bin/bash", "Cmd", ["/bin/sh", "-c", "/bin/bash"]),
        ('cmd ["a", 1]', "Cmd", ["/bin/sh", "-c", '["a", 1]']),
        ('ENTRYPOINT ["foo", "bar=baz"]', "Entrypoint", ["foo", "bar=baz"]),
        ("ENV B=2 A='3 4'", "Env", ["PATH=/bin", "A=3 4", "B=2"]),
        ("ENV B 2 and more", "Env", ["PATH=/bin", "A=1", "B=2 and more"]),
        ("ENV=TEST=1=1-01=9.01", "Env", ["PATH=/bin", "A=1", "TEST=1=1-01=9.01"]),
        ("EXPOSE 80 443/udp 90-91", "ExposedPorts", {"80/tcp": {}, "443/udp": {}, "90/tcp": {}, "91/tcp": {}}),
        ("LABEL blue=image", "Labels", {"x": "y", "blue": "image"}),
        ("LABEL=image=blue", "Labels", {"x": "y", "image": "blue"}),
        ("ONBUILD RUN x", "OnBuild", ["RUN x"]),
        ("STOPSIGNAL 9", "StopSignal", "SIGKILL"),
        ("USER 5:6", "User", "5:6"),
        ("VOLUME /a /b", "Volumes", {"/a": {}, "/b": {}}),
        ('VOLUME ["/a b"]', "Volumes", {"/a b": {}}),
        ("WORKDIR sub", "WorkingDir", "/srv/sub"),
        ("WORKDIR /x/../y", "WorkingDir", "/y"),
    ],
)
def test_what_an_instruction_sets(instruction: str, key: str, value: object) -> None:
    changed: Any = applied(BASE, [instruction])
    assert changed[key] == value
    assert BASE == {"Cmd": ["sh"], "Env": ["PATH=/bin", "A=1"], "WorkingDir": "/srv", "Labels": {"x": "y"}}


def test_an_entrypoint_drops_the_command_that_was_anothers() -> None:
    assert "Cmd" not in applied(BASE, ["ENTRYPOINT x"])
    assert applied(BASE, ["CMD y", "ENTRYPOINT x"])["Cmd"] == ["/bin/sh", "-c", "y"]


@pytest.mark.parametrize(
    "instruction",
    [
        "BOGUS=foo", "RUN x", "CMD", "CMD ", "", "=", "EXPOSE x", "EXPOSE 70000", "EXPOSE 9-8", "STOPSIGNAL NOPE",
        "USER a b",
        "ENV A", "ENV =b", "LABEL 'x", 'VOLUME [" "]',
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_words(instruction: str) -> None:
    with pytest.raises(InvalidArgument):
        applied(BASE, [instruction])


@given(st.lists(st.text(max_size=40), max_size=3))
def test_any_words_are_applied_or_refused(words: list[str]) -> None:
    names = ["CMD ", "ENV ", "LABEL=", "EXPOSE ", "VOLUME ", "WORKDIR ", "USER ", ""]
    try:
        changed: Any = applied(BASE, [f"{name}{word}" for name, word in zip(names, words, strict=False)])
    except InvalidArgument:
        return
    assert all("=" in entry for entry in changed["Env"])
