"""The runtime TEMPLATE-NAME keeps the contract of runtimes, and does what it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import TEMPLATE_MODULE

if TYPE_CHECKING:
    from collections.abc import Callable

    from prun.testing import FakeRunner
    from pytest_prun import Conformance


def test_its_hooks_are_made_well(check_plugin: Callable[[object], None]) -> None:
    check_plugin(TEMPLATE_MODULE)


def test_it_keeps_the_contract(runtime_conformance: Conformance) -> None:
    runtime_conformance(TEMPLATE_MODULE)


def test_it_runs_a_command(prun_fake: FakeRunner) -> None:
    words = ["run", "--rm", "--runtime", "TEMPLATE-NAME", "-e", "WHO=me", "scratch", "sh", "-c"]
    assert prun_fake.command(*words, 'echo "hi $WHO"; exit 3', code=3).stdout == "hi me\n"
