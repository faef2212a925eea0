"""The guest itself: what it answers, and that nothing of it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command import children

if TYPE_CHECKING:
    from vm.machine import Machine


def test_a_command_gives_its_status_and_its_output(machine: Machine):
    ended = machine.run(["sh", "-c", "echo out; pwd >&2; exit 7"], 60, "/usr")
    assert ended == (7, "out\n/usr\n")


def test_a_guest_that_takes_too_long_is_ended_and_the_reason_told(machine: Machine):
    before = children()
    with pytest.raises(RuntimeError, match="no exit status from the guest: not done after 2 s"):
        machine.run(["sleep", "1000"], 2)
    assert children() == before
