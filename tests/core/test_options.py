"""The options of the command line and of the library are the same ones."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import prun.options
from prun.api import Runner
from prun.cli.options import RUN
from prun.errors import InvalidArgument
from prun.request import OPTIONS, TOPICS

DOCS = Path(__file__).parents[2] / "docs/run.md"
# What the command line has and a library does not need: it has the host's environment and files, and its own streams.
COMMAND_LINE_ONLY = {
    *(
        "detach_keys",
        "dry_run",
        "env_file",
        "env_host",
        "file",
        "interactive",
        "label_file",
        "profile",
        "quiet",
        "sig_proxy",
        "tty",
    )
}
# What the library calls otherwise.
RENAMED = {"annotation": "annotations", "label": "labels", "rm": "remove"}
RUNNERS = {"address", "engine", "namespace", "runtime", "snapshotter"}


def library() -> set[str]:
    """The names in ``RunOptions``."""
    tree = ast.parse(inspect.getsource(prun.options))
    found = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "RunOptions")
    return {
        node.target.id for node in found.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def test_every_option_of_the_command_line_is_one_of_the_library() -> None:
    named = {RENAMED.get(option.key, option.key) for option in RUN}
    assert named - library() == COMMAND_LINE_ONLY | RUNNERS


def test_the_library_has_no_option_of_its_own_but_mounts_and_stdin() -> None:
    assert library() - {RENAMED.get(option.key, option.key) for option in RUN} == {"mounts", "stdin"}


def test_every_parsed_option_is_a_row() -> None:
    assert {option.key for option in RUN} >= OPTIONS
    assert sum(map(len, TOPICS.values())) == len(OPTIONS)


def test_every_option_is_documented() -> None:
    text = DOCS.read_text()
    families = {f"device-{way}-{unit}" for way in ("read", "write") for unit in ("bps", "iops")}
    missing = [
        option.name
        for option in RUN
        if f"--{option.name}" not in text and f"`-{option.short}" not in text and option.name not in families
    ]
    assert missing == []


def test_words_and_numbers_of_the_library_are_those_of_the_command_line(tmp_path: Path) -> None:
    runner = Runner(runtime="fake", root=str(tmp_path), state=str(tmp_path))
    request = runner.request(
        "x", memory="64m", cpus=0.5, volume=["/a:/b"], sysctl={"kernel.shm_rmid_forced": "1"}, timeout=2.5, init=True
    )
    assert request.resources is not None
    assert request.resources.memory_bytes == 64 << 20
    assert request.resources.cpus == 0.5
    assert request.volumes[0].destination == "/b"
    assert request.sysctls == {"kernel.shm_rmid_forced": "1"}
    assert (request.timeout_s, request.init) == (2.5, True)


@pytest.mark.parametrize(
    "options",
    [
        {"quiet": True},
        {"sig_proxy": False},
        {"security_opt": "x"},
        {"volume": "/a:/b"},
        {"init": "yes"},
        {"memory": object()},
        {"dns": [1]},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(options: dict[str, object], tmp_path: Path) -> None:
    runner = Runner(runtime="fake", root=str(tmp_path), state=str(tmp_path))
    with pytest.raises(InvalidArgument, match=next(iter(options))):
        runner.request("x", **options)  # type: ignore[arg-type]
