"""The plugin TEMPLATE-NAME, on the fake runtime: no root, no image, no container."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from TEMPLATE_MODULE import prun_configure

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from prun.testing import FakeRunner


def test_its_hooks_are_made_well(check_plugin: Callable[[object], None]) -> None:
    check_plugin(prun_configure({}))


def test_it_sets_a_variable(prun_fake: FakeRunner) -> None:
    spec = prun_fake.with_plugins(prun_configure({"site": "paris"})).spec("scratch", ["true"])
    assert "SITE=paris" in spec["process"]["env"]


def test_it_refuses_a_command(prun_fake: FakeRunner) -> None:
    runner = prun_fake.with_plugins(prun_configure({"forbidden": ["nc"]}))
    with pytest.raises(InvalidArgument, match="/process/args/0: nc does not run on this site"):
        runner.run("scratch", ["/bin/nc", "-l"])
    assert runner.run("scratch", ["true"]).exit_code == 0


@pytest.mark.parametrize("options", [{"site": 3}, {"forbidden": "nc"}, {"forbidden": [3]}])
def test_it_refuses_options_that_it_cannot_use(options: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        prun_configure(options)


def test_it_is_loaded_where_it_is_installed(prun_fake: FakeRunner) -> None:
    spec = prun_fake.command("--plugins", "TEMPLATE-NAME", "spec", "scratch", "true").stdout
    assert "SITE=here" in spec
