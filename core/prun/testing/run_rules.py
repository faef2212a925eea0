"""Rules for whole runs: what a runtime says of itself, its streams, its errors, and what it leaves behind."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from prun.errors import CommandNotFound, PrunError
from prun.testing.subject import SOON_S, expect
from prun.types import RUNTIME_FIELDS, ExitStatus

if TYPE_CHECKING:
    from prun.testing.subject import Subject

MORE_THAN_A_PIPE = 100_000  # bytes: Linux's hold 65,536; a word of a command line may have 131,072


def it_describes_itself(subject: Subject) -> None:
    """Quickly, the same each time: a name, platforms, and only fields that exist."""
    began = time.monotonic()
    info = subject.hooks().describe_runtime()
    expect("prun_describe_runtime was quick", time.monotonic() - began < SOON_S / 10, True)
    expect("a second description", subject.hooks().describe_runtime(), info)
    expect("it has a name", bool(info.name), True)
    expect("it has platforms", bool(info.platforms), True)
    expect("it honours fields that are none", sorted(info.honours - RUNTIME_FIELDS), [])


def everything_written_arrives(subject: Subject) -> None:
    """Also when the process ends at once, and when it is more than a pipe holds."""
    for text in ("a few words", "0123456789" * (MORE_THAN_A_PIPE // 10)):
        outcome = subject.run(subject.writes(text))
        expect("the exit status", outcome.status, ExitStatus(0))
        found = outcome.stdout.decode(errors="replace")
        expect(f"{len(text)} characters are in the {len(found)} of stdout", text in found, True)


def stdin_is_what_was_given(subject: Subject) -> None:
    """All of it, and then its end; empty where nothing was given."""
    if not subject.copies:
        return
    data = bytes(range(256)) * (MORE_THAN_A_PIPE // 256)
    for stdin in (data, b"", None):
        outcome = subject.run(subject.copies, stdin)
        expect("the exit status", outcome.status, ExitStatus(0))
        expect("what it read is what it was given", outcome.stdout == (stdin or b""), True)


def a_missing_command_is_said_to_be_missing(subject: Subject) -> None:
    """By the class of the error, which makes the exit code 127."""
    if not subject.missing:
        return
    try:
        outcome = subject.run(subject.missing)
    except CommandNotFound:
        return
    except PrunError as error:
        raise AssertionError(f"a missing command: {type(error).__name__} ({error}), not CommandNotFound") from error
    raise AssertionError(f"a missing command: exit status {outcome.status.code}, not CommandNotFound")


def nothing_is_left_behind(subject: Subject) -> None:
    """No descriptor, no thread, no bundle."""
    subject.run(subject.exits(0))  # what is opened once and kept is nobody's leak
    before = _descriptors()
    threads = set(threading.enumerate())
    subject.run(subject.exits(0))
    expect("descriptors after a run", _descriptors(), before)
    expect("threads after a run", [thread.name for thread in threading.enumerate() if thread not in threads], [])
    expect("the bundle is there after a run", os.path.lexists(subject.bundle), False)


def _descriptors() -> list[str]:
    try:
        return sorted(fd for fd in os.listdir("/dev/fd") if os.path.lexists(f"/dev/fd/{fd}"))
    except FileNotFoundError:
        return []  # Windows has no such list
