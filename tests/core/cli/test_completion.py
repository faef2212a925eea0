"""What completion answers; tests/integration/test_completion.py has real shells ask."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.cli.commands import COMMANDS, main
from prun.cli.completion import answered, complete, script
from prun.cli.completion.candidates import Candidates
from prun.cli.completion.words import seen, words_of_line
from prun.cli.options import RUN
from prun.metadata import ContainerRow, ImageRow, Metadata, VolumeRow
from prun.metadata.names import names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BREAKS = " \t\n\"'@><=;|&(:"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that somebody has used and closed."""
    monkeypatch.setenv("PRUN_ROOT", str(tmp_path))
    database = Metadata(str(tmp_path / "metadata.db"))
    for number, status in enumerate(("running", "stopped", "created", "paused")):
        row = ContainerRow(f"{number}" * 64, f"{status}-one", "busybox", "", "linux", status=status)
        database.add_container(row._replace(created_at=float(number)), None)
    for name in ("docker.io/library/busybox:latest", "example.com/a/b:1", "sha256:" + "0" * 64):
        database.put_image(ImageRow(name, "sha256:" + "e" * 64, "", 1, 1.0))
    database.add_volume(VolumeRow("data"))
    database.close()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").touch()
    (tmp_path / "secrets" / ".lock").touch()
    return tmp_path


def words(line: str) -> list[str]:
    """The words that complete the last one of a line."""
    *before, current = line.split(" ")
    return [word for word, _ in complete(before, current).fitting(current)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ver", ["version"]),
        ("--err", ["--error-format"]),
        ("--error-format ", ["text", "json"]),
        ("--root", ["--root"]),
        ("volume in", ["inspect"]),
        ("volume nope ", []),
        ("nope ", []),
        ("rm ", ["paused-one", "created-one", "stopped-one", "running-one"]),
        ("rm paused-one ", ["created-one", "stopped-one", "running-one"]),
        ("rm -f run", ["running-one"]),
        ("inspect ", ["paused-one", "created-one", "stopped-one", "running-one", "busybox:latest",
                      "example.com/a/b:1", "data"]),
        ("inspect --type ", ["container", "image", "volume"]),
        ("inspect --type=im", ["--type=image"]),
        ("images --format ", ["json", "table"]),
        ("rmi ex", ["example.com/a/b:1"]),
        ("push bus", ["busybox:latest"]),
        ("image rm bus", ["busybox:latest"]),
        ("volume rm ", ["data"]),
        ("volume ls --filter ", ["dangling=", "driver=", "label=", "name="]),
        ("volume ls -f d", ["dangling=", "driver="]),
        ("secret rm ", ["token"]),
        ("run ", ["busybox:latest", "example.com/a/b:1"]),
        ("run -it bus", ["busybox:latest"]),
        ("run busybox ", []),
        ("run busybox --na", []),
        ("run --rootfs /srv ", []),
        ("run -- --na", []),
        ("run --name ", []),
        ("run --nam", ["--name", "--namespace"]),
        ("run --name=", []),
        ("run -e A=b -u x ex", ["example.com/a/b:1"]),
        ("run ee", ["e" * 12]),
        ("rm 22", ["2" * 12]),
        ("rm 2", []),
        ("container run -it bus", ["busybox:latest"]),
        ("container run busybox --na", []),
        ("container start ", ["created-one", "stopped-one"]),
        ("container ren", ["rename"]),
        ("rename running-one ", []),
        ("rename running-one b ", []),
        ("volume create ", []),
        ("run -itv ", ["data:"]),
        ("run --pid ", ["private", "host", "container:"]),
        ("run --pull=", ["--pull=missing", "--pull=never", "--pull=always"]),
        ("run --runtime ", ["fake", "linux", "windows"]),
        ("run --security-opt se", ["seccomp=builtin", "seccomp=unconfined"]),
        ("run --stop-signal TER", ["TERM"]),
        ("run --help-no", []),
        ("spec --env-f", ["--env-file"]),
        ("completion ", ["bash", "fish", "zsh"]),
        ("unshare ", []),
    ],
)  # fmt: skip
def test_what_a_word_could_become(root: Path, line: str, expected: list[str]) -> None:
    found = words(line)
    assert (sorted(found) if "--runtime" in line else found) == expected


@pytest.mark.parametrize(
    ("line", "paths"),
    [("load ", "files"), ("run --env-file ", "files"), ("run --rootfs ", "dirs"), ("--config ", "files"),
     ("--root ", "dirs"), ("run ", "files"), ("run -v ", "dirs"), ("rmi ", ""), ("inspect ", ""),
     ("rm ", ""), ("secret create x ", "files")],
)  # fmt: skip
def test_which_paths_fit(root: Path, line: str, paths: str) -> None:
    *before, current = line.split(" ")
    assert complete(before, current).paths == paths


def test_of_cp_both_ends_are_paths_here_or_in_a_container(root: Path) -> None:
    answer = Candidates({}).of_argument("[CONTAINER:]SRC_PATH|-")
    assert [word for word, _ in answer.words] == ["paused-one:", "created-one:", "stopped-one:", "running-one:"]
    assert answer.paths == "files"


def test_the_global_options_say_which_store(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRUN_ROOT")
    assert "running-one" in words(f"--root {root} rm ")
    assert "running-one" in words(f"--root={root} --debug rm ")
    assert words(f"--root {root}/nothing rm ") == []


def test_every_command_and_every_option_of_it_is_offered(root: Path) -> None:
    assert words("") == sorted(COMMANDS)
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command
        options = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
        long = {next(flag for flag in option.opts if flag.startswith("--")) for option in options}
        short = {flag for option in options for flag in option.opts if len(flag) == 2}
        assert long | short <= {*words(f"{name} -")}, name


def test_every_list_of_values_is_of_an_option_that_there_is() -> None:
    from prun.cli.completion.candidates import _WORDS

    offered = {option.name for option in RUN} | {"filter", "format", "plugins", "signal"}
    assert {*_WORDS, *Candidates._asked} <= offered | {"log-driver", "log-opt", "restart"}


def test_nothing_is_written_and_what_cannot_be_read_is_nothing(root: Path, tmp_path: Path) -> None:
    def state() -> list[tuple[str, int, int]]:
        return sorted((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in root.rglob("*"))

    before = state()
    assert len(words("rm ")) == 4
    assert state() == before
    (tmp_path / "metadata.db").write_bytes(b"no database")
    assert words("rm ") == []
    assert names(str(tmp_path / "none" / "metadata.db"), "images") == []
    assert not (tmp_path / "none").exists()


def test_what_another_process_has_just_written_is_seen(root: Path) -> None:
    database = Metadata(str(root / "metadata.db"))
    database.add_volume(VolumeRow("fresh"))
    assert words("volume rm ") == ["data", "fresh"]
    database.close()


def test_odd_paths_are_paths(tmp_path: Path) -> None:
    directory = tmp_path / "a?mode=rwc#%41"
    directory.mkdir()
    database = Metadata(str(directory / "metadata.db"))
    database.add_volume(VolumeRow("data"))
    database.close()
    assert [row.name for row in names(str(directory / "metadata.db"), "volumes")] == ["data"]


def test_an_answer_is_lines_of_words_and_what_they_mean(root: Path) -> None:
    assert answered(["fish", "rm", "run"]) == "none\nrunning-one\trunning, busybox"
    assert answered(["zsh", "load", ""]) == "files"
    assert answered(["zsh"]).splitlines()[0] == "none"


@pytest.mark.parametrize(
    ("line", "last"),
    [
        ("prun run busybox:la", "latest\timage"),
        ("prun run --pull=al", "always"),
        ("prun run 'busybox:la", "busybox:latest\timage"),
        ("prun run --name 'a b' busy", "busybox:latest\timage"),
        (r"prun run --name a\ b busy", "busybox:latest\timage"),
        ("prun run --name \"$(touch x)\" busy", "busybox:latest\timage"),
    ],
)  # fmt: skip
def test_bash_is_told_what_follows_the_last_of_its_word_breaks(root: Path, line: str, last: str) -> None:
    assert answered(["bash", BREAKS, line]).splitlines() == ["files" if "=" not in line else "none", last]
    assert answered(["bash", "", "prun run busybox:la"]).endswith("busybox:latest\timage")


def test_a_name_that_could_mean_something_to_a_shell_is_not_offered(root: Path) -> None:
    (root / "secrets" / "$(id)").touch()
    (root / "secrets" / "a b").touch()
    assert answered(["zsh", "secret", "rm", ""]) == "none\ntoken\tsecret"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", [""]), ("a", ["a"]), ("a ", ["a", ""]), ("a 'b c", ["a", "b c"]), ('a "b', ["a", "b"]),
        (r"a b\ c", ["a", "b c"]), ("a #b", ["a", "#b"]), ("a\tb", ["a", "b"]), ("a ''", ["a", ""]),
    ],
)  # fmt: skip
def test_a_line_is_taken_apart_as_far_as_it_goes(line: str, found: list[str]) -> None:
    assert words_of_line(line)[0] == found


@given(st.text(alphabet="ab '\"\\$`;|\n\t=-", max_size=20))
def test_any_line_has_words(line: str) -> None:
    found, _ = words_of_line(line)
    assert found
    assert answered(["bash", BREAKS, f"prun nothing {line}"]).startswith(("none", "files"))


@pytest.mark.parametrize(
    ("given", "rest", "pending"),
    [
        ((), (), ""), (("-it",), (), ""), (("-ite",), (), "env"), (("-eA",), (), ""), (("--env",), (), "env"),
        (("--env=A",), (), ""), (("--env", "A", "image", "--env"), ("image", "--env"), ""), (("--nope",), (), ""),
        (("-", "x"), ("-", "x"), ""), (("--", "-it"), ("-it",), ""),
    ],
)  # fmt: skip
def test_words_are_read_by_the_grammar(given: Sequence[str], rest: tuple[str, ...], pending: str) -> None:
    line = seen(given, RUN, interspersed=False)
    assert (line.rest, line.pending.name if line.pending else "") == (rest, pending)


def test_there_is_a_script_for_each_shell() -> None:
    for shell in ("bash", "fish", "zsh"):
        assert f"__complete {shell}" in script(shell)
        assert not re.search(r"\beval\b", script(shell))
