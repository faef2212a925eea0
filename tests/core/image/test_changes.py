"""``--change``: what a Dockerfile's instruction does to a config (docs.docker.com/reference/dockerfile)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import InvalidArgument, PrunError
from prun.image.changes import with_changes


@pytest.mark.parametrize(
    ("change", "config"),
    [
        ('CMD ["a", "b c"]', {"Cmd": ["a", "b c"]}),
        ("CMD echo $HOME", {"Cmd": ["/bin/sh", "-c", "echo $HOME"]}),
        ("cmd []", {"Cmd": []}),
        ('ENTRYPOINT ["/init"]', {"Entrypoint": ["/init"]}),
        ("ENTRYPOINT [broken", {"Entrypoint": ["/bin/sh", "-c", "[broken"]}),
        ("ENV A=1 B='x y' C=\"q'r\" D=a\\ b", {"Env": ["A=1", "B=x y", "C=q'r", "D=a b"]}),
        ("ENV A the rest  of it", {"Env": ["A=the rest  of it"]}),
        ("ENV A=", {"Env": ["A="]}),
        ('LABEL one=1 "two words"="2"', {"Labels": {"one": "1", "two words": "2"}}),
        ("EXPOSE 80 443/TCP 90-91/udp", {"ExposedPorts": {"80/tcp": {}, "443/tcp": {}, "90/udp": {}, "91/udp": {}}}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ('VOLUME ["/a b"]', {"Volumes": {"/a b": {}}}),
        ("WORKDIR /srv", {"WorkingDir": "/srv"}),
        ("USER 1000:1000", {"User": "1000:1000"}),
        ("STOPSIGNAL SIGINT", {"StopSignal": "SIGINT"}),
    ],
)
def test_an_instruction_changes_its_part(change: str, config: dict[str, object]) -> None:
    assert with_changes({}, [change]) == config


def test_later_instructions_build_on_earlier_ones() -> None:
    changes = ["ENV A=1 B=2", "ENV A=3", "WORKDIR a", "WORKDIR ../b", "LABEL x=1", "LABEL y=2"]
    before = {"Env": ["Z=0"], "Labels": {"w": "0"}}
    assert with_changes(before, changes) == {  # type: ignore[arg-type]
        "Env": ["Z=0", "A=3", "B=2"], "WorkingDir": "/b", "Labels": {"w": "0", "x": "1", "y": "2"},
    }  # fmt: skip
    assert before == {"Env": ["Z=0"], "Labels": {"w": "0"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("RUN rm -rf /", "'RUN' is not known"),
        ("", "'' is not known"),
        ("ENV", "ENV has no value"),
        ("ENV A", "not KEY=VALUE"),
        ("ENV =x", "not KEY=VALUE"),
        ('ENV A="x', "quote without an end"),
        ("LABEL a=1 b", "not KEY=VALUE"),
        ("EXPOSE 0", "is no port"),
        ("EXPOSE 70000", "is no port"),
        ("EXPOSE 9-3", "is no port"),
        ("EXPOSE 1-65535", "is no port"),
        ("EXPOSE 80/icmp", "is no port"),
        ("STOPSIGNAL a b", "is no signal"),
    ],
)
def test_what_is_no_instruction_is_refused_by_name(change: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        with_changes({}, [change])


@given(st.lists(st.text(max_size=30) | st.sampled_from(["ENV ", "LABEL "]).flatmap(lambda w: st.text().map(w.__add__))))
def test_any_words_change_the_config_or_are_refused(changes: list[str]) -> None:
    try:
        config = with_changes({}, changes)
    except PrunError:
        return
    assert all("=" in entry for entry in config.get("Env", ()))
