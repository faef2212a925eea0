"""The contract of a runtime, as rules that it is held to by running containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.errors import PrunError
from prun.testing import run_rules, task_rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from prun.testing.subject import Subject

RULES: tuple[Callable[[Subject], None], ...] = (
    run_rules.it_describes_itself,
    task_rules.the_exit_status_is_the_commands,
    task_rules.an_exit_right_after_start_is_not_lost,
    task_rules.wait_may_be_repeated,
    task_rules.wait_ends_at_its_timeout,
    task_rules.several_may_wait,
    task_rules.kill_ends_the_process,
    task_rules.kill_after_the_end_does_nothing,
    task_rules.a_kill_while_it_starts_ends_it,
    task_rules.delete_ends_what_still_runs,
    task_rules.delete_may_be_repeated,
    task_rules.a_task_that_never_started_can_be_deleted,
    task_rules.a_task_that_was_loaded_can_be_deleted,
    run_rules.everything_written_arrives,
    run_rules.stdin_is_what_was_given,
    run_rules.a_missing_command_is_said_to_be_missing,
    run_rules.nothing_is_left_behind,
)


def runtime_conformance(subject: Subject) -> None:
    """Hold a runtime to every rule; ``pytest.mark.parametrize("rule", RULES)`` makes a test of each instead.

    Raises:
        AssertionError: the rules that do not hold, with what was seen.
    """
    findings = []
    for rule in RULES:
        try:
            rule(subject)
        except (AssertionError, PrunError) as finding:  # what a task raises counts, too
            findings.append(f"{rule.__name__.replace('_', ' ')}: {finding}")
    if findings:
        raise AssertionError("\n".join(findings))
