"""``prun config from-docker``: what the table in a file makes is what the words make."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from config_files import request, written
from differential.table import TABLE

from prun.cli.command_line import template, words_of
from prun.cli.from_docker import from_docker
from prun.config.faults import InvalidConfig
from prun.config.variables import expand
from prun.errors import InvalidArgument, PrunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prun.types import RunRequest

LINES = (Path(__file__).parents[2] / "data/docker-run.txt").read_text()
PROGRAMS = ("docker ", "podman ", "nerdctl ", "sudo ", "$ ", "/usr/bin/")


def command_lines() -> list[str]:
    """Those of the file; a line that begins no command goes on with the one before."""
    found: list[str] = []
    for line in LINES.splitlines(keepends=True):
        if line.startswith(PROGRAMS):
            found.append(line)
        else:
            found[-1] += line
    return found


def shells(line: str) -> list[str]:
    """What a real shell makes of the words after ``docker run``."""
    import subprocess

    line = line.removeprefix("$ ").removeprefix("sudo ")
    script = f'show() {{ printf "%s\\0" "$@"; }}\nshow {line}'
    out = subprocess.check_output(["/bin/sh", "-c", script], text=True)
    words = out.split("\0")[:-1]
    return words[words.index("create" if "create" in words[:2] else "run") + 1 :]


def of_file(directory: Path, words: Sequence[str], name: str = "") -> RunRequest:
    text = from_docker(words, name or "it")
    return request(directory, "-f", written(directory / "converted.toml", text), name or "it")


def alike(found: RunRequest) -> RunRequest:
    """Without what is new for each run, and the way to it."""
    name = "" if found.name == found.id else found.name
    return found._replace(id="", name=name, config="", origins={})


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PWD", os.getcwd())
    for name in ("UID_FOR_TEST", "GID_FOR_TEST", "CACHE_FOR_TEST"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("line", command_lines())
def test_the_request_of_the_file_is_that_of_the_words(tmp_path: Path, line: str) -> None:
    words = shells(line)
    assert alike(of_file(tmp_path, [line])) == alike(request(tmp_path, *words))
    assert alike(of_file(tmp_path, ["docker", "run", *words])) == alike(request(tmp_path, *words))


def test_so_is_that_of_every_line_that_is_compared_with_podman(tmp_path: Path) -> None:
    """What prun refuses is refused from the file, too."""
    same = 0
    for case in TABLE:
        with tempfile.TemporaryDirectory() as directory:
            for name, content in case.files.items():
                (Path(directory) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(directory) / name).write_text(content)
            words = case.words(directory, podman=False)
            try:
                expected = request(tmp_path, *words)
            except PrunError:
                with pytest.raises(PrunError):
                    of_file(tmp_path, ["podman", "run", *words])
                continue
            assert alike(of_file(tmp_path, ["podman", "run", *words])) == alike(expected), case.line
            same += 1
    assert same > 150


def test_there_are_enough_of_them() -> None:
    assert len(command_lines()) + len(TABLE) > 250


def test_the_spec_of_the_file_is_that_of_the_words(tmp_path: Path) -> None:
    """The request decides: shown with the runtime that needs no machine."""
    from prun.api import Runner

    runner = Runner(runtime="fake", root=str(tmp_path / "root"), state=str(tmp_path / "state"))
    words = ["--runtime", "fake", "-e", "A=b", "-w", "/x", "--read-only", "-u", "5:6", "scratch", "sh", "-c", "$A ${B}"]
    made, said = (
        runner.plan(each._replace(id="x", name="x"))
        for each in (of_file(tmp_path, ["docker", "run", *words]), request(tmp_path, *words))
    )
    assert made == said
    assert made["process"]["args"] == ["sh", "-c", "$A ${B}"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("docker ps", "no command line of docker run"),
        ("docker run", "IMAGE is missing"),
        ("docker run -p 80:80 nginx", "unknown flag: -p"),
        ("docker run --rm 'alpine", "a quote is not closed"),
        ('docker run --rm "alpine', "a quote is not closed"),
        ("docker run alpine | cat", "is for a shell"),
        ("docker run alpine > out", "is for a shell"),
        ("docker run alpine && echo", "is for a shell"),
        ("docker run -v $(cat x):/x alpine", "is for a shell"),
        ("docker run -v `cat x`:/x alpine", "is for a shell"),
        ("docker run -e A=${B%x} alpine", "is for a shell"),
        ("docker run -e A=$1 alpine", "is for a shell"),
        ("docker run alpine echo $HOME", "the command: .* has a variable"),
        ('docker run --entrypoint "$SHELL" alpine', "--entrypoint: .* has a variable"),
        ("docker run alpine true\ndocker run alpine false", "more than one command"),
        ("docker run -f x alpine", "--file is prun's own"),
        ("docker run ''", "IMAGE is missing"),
    ],
)
def test_what_needs_a_shell_or_is_no_run_is_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises((InvalidArgument, InvalidConfig), match=message):
        from_docker([line])


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("docker run --name web nginx", "web"), ("docker run nginx:1", "nginx"),
        ("docker run a.example:5/b/c-d:1", "c-d"), ("docker run --rootfs /x sh", "main"),
    ],
)  # fmt: skip
def test_the_run_has_the_name_of_the_container_or_the_image(line: str, name: str) -> None:
    assert from_docker([line]).startswith(f"[run.{name}]\n")


@pytest.mark.parametrize("text", ["", "$", "$$", "${", "${x}", "a$", "$${a}", "$a ${b:-c} $$$", "$$$$${", "é\n"])
def test_a_template_says_what_it_was_made_of(text: str) -> None:
    assert expand(template(text), "/d", {}) == text
    assert [expand(word, "/d", {}) for word in words_of(shlex.quote(text))] == [text]


def test_a_literal_dollar_before_a_variable_stays_one() -> None:
    assert [expand(word, "/d", {"A": "x"}) for word in words_of(r'"\$$A" \$${A}$')] == ["$x", "$x$"]
