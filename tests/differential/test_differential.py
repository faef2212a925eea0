"""Podman and prun, given the same words, do the same; each exception is in the table with its reason."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from differential.case import NOT_SHOWN, Case, split
from differential.normal import Aspects, aspects, lines
from differential.peers import Companion
from differential.table import TABLE

if TYPE_CHECKING:
    from pathlib import Path

    from differential.peers import Peer

# Independent mounts are made in any order.
UNORDERED = {"mounts"}
FAILURES = ("125", "126", "127")


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_prun_does_what_podman_does(case: Case, both: tuple[Peer, Peer], tmp_path: Path) -> None:
    with ThreadPoolExecutor(len(both)) as pool:
        (ours, said), (theirs, _) = pool.map(lambda peer: outcome(case, peer, tmp_path / peer.name), both)
    assert differences(ours, theirs) == accepted(case)
    if ours["exit"][0] in FAILURES:
        # What comes before says that an image is being pulled.
        assert said.splitlines()[-1].startswith("prun: "), f"not prun's own words: {said}"


def test_a_line_stands_once_in_the_table() -> None:
    names = [case.name for case in TABLE]
    assert len(names) == len(set(names))


def test_every_accepted_difference_has_its_reason() -> None:
    accepted = [difference for case in TABLE for difference in case.differences]
    assert all(len(difference.reason.split()) > 3 for difference in accepted)


def outcome(case: Case, peer: Peer, directory: Path) -> tuple[Aspects, str]:
    """Run the case's line with one of the two, with a directory of its own, and what goes before and after.

    Returns what is compared, and standard error.
    """
    directory.mkdir()
    for name, text in case.files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")
    peer = peer.at(directory)
    with ExitStack() as stack:
        for line in case.after:
            stack.callback(peer.command, split(line, str(directory)))
        for line in case.before:
            done = peer.command(split(line, str(directory)))
            assert done.returncode == 0, done.stderr
        if case.beside:
            stack.callback(Companion(peer, split(case.beside, str(directory))).close)
        words = case.words(str(directory), podman=peer.name == "podman")
        done = peer(*peer.run, *words, stdin=case.stdin, descriptor=case.descriptor)
        print(f"{peer.name}: {done.stderr}")
        found = aspects(done, directory)
        for name in case.leaves:
            path = directory / name
            text = path.read_text(encoding="utf-8") if path.exists() else "missing"
            found[name] = ["<pid>"] if name == "pid" and text.strip().isdigit() else lines(text, directory)
        return found, done.stderr


Differences = dict[str, tuple[list[str], list[str]]]


def accepted(case: Case) -> Differences:
    """The lines of each aspect that only one of them may show, and must."""
    found: Differences = {}
    for difference in case.differences:
        mine, other = found.setdefault(difference.aspect, ([], []))
        mine += difference.prun
        other += difference.podman
    return {aspect: (sorted(mine), sorted(other)) for aspect, (mine, other) in found.items()}


def differences(ours: Aspects, theirs: Aspects) -> Differences:
    """The lines of each aspect that only one of them shows; the whole aspect where only the order differs."""
    found = {}
    for aspect in {**theirs, **ours}:
        mine, other = ours.get(aspect, [NOT_SHOWN]), theirs.get(aspect, [NOT_SHOWN])
        if (mine != other and aspect not in UNORDERED) or sorted(mine) != sorted(other):
            only = [line for line in mine if line not in other], [line for line in other if line not in mine]
            found[aspect] = (sorted(only[0]), sorted(only[1])) if any(only) else (mine, other)
    return found
