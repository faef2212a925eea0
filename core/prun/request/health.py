"""Health checks: ``--health-cmd`` and its kin, docker's and podman's."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument
from prun.request import flag, one
from prun.when import duration_ns

if TYPE_CHECKING:
    from prun.request import Asked

ON_FAILURE = ("none", "kill", "restart", "stop")
_LEAST_NS = 10**6  # docker's: a check may not be asked for more often than every millisecond


class HealthRequest(NamedTuple):
    """What was asked of the health check; what was not asked is the image's, else the default.

    ``test`` is docker's ``Test``: ``("CMD", word...)``, ``("CMD-SHELL", line)``, ``("NONE",)``, or empty.  Durations
    are in nanoseconds, as in an image's config; -1 and ``retries`` 0 are what was not asked.
    """

    test: tuple[str, ...] = ()
    interval_ns: int = -1
    timeout_ns: int = -1
    start_period_ns: int = -1
    start_interval_ns: int = -1
    retries: int = 0
    on_failure: str = "none"


def fields(asked: Asked) -> dict[str, object]:
    """Return ``health``.

    Raises:
        InvalidArgument: a value cannot be used, or options contradict each other.
    """
    if flag(asked, "no_healthcheck"):
        if len(asked) > 1:
            raise InvalidArgument("--no-healthcheck conflicts with --health-* options", hint="leave one of them out")
        return {"health": HealthRequest(("NONE",))}
    on_failure = one(asked, "health_on_failure") or "none"
    if on_failure not in ON_FAILURE:
        raise InvalidArgument(f"--health-on-failure {on_failure!r} is not one of {', '.join(ON_FAILURE)}")
    durations = {
        f"{name}_ns": _duration(f"--health-{name.replace('_', '-')}", one(asked, f"health_{name}"))
        for name in ("interval", "timeout", "start_period", "start_interval")
        if f"health_{name}" in asked
    }
    return {
        "health": HealthRequest(
            _test(one(asked, "health_cmd")) if "health_cmd" in asked else (),
            retries=_retries(one(asked, "health_retries")) if "health_retries" in asked else 0,
            on_failure=on_failure,
            **durations,
        )
    }


def _test(word: str) -> tuple[str, ...]:
    """Return the check of a command line for the container's shell, of a JSON array (podman), or ``none``."""
    if word.startswith("["):
        try:
            words = json.loads(word)
        except ValueError:
            words = None
        if not isinstance(words, list) or not words or not all(isinstance(each, str) for each in words):
            raise InvalidArgument(f"--health-cmd {word!r} is no list of words", hint='as in ["CMD", "true"]')
        return tuple(words) if words[0] in ("CMD", "CMD-SHELL", "NONE") else ("CMD", *words)
    if not word.strip():
        raise InvalidArgument("--health-cmd is empty", hint="--no-healthcheck checks nothing")
    return ("NONE",) if word == "none" else ("CMD-SHELL", word)


def _duration(option: str, word: str) -> int:
    if word == "disable" and option == "--health-interval":  # podman: checked only by prun healthcheck run
        return 0
    try:
        duration = duration_ns(f"{word}s" if word.isascii() and word.isdigit() else word)
    except InvalidArgument as error:
        raise InvalidArgument(f"{option} {error}", hint=error.hint) from error
    if duration < 0 or 0 < duration < _LEAST_NS:
        raise InvalidArgument(f"{option} {word!r} is too short", hint="1ms is the least")
    return duration


def _retries(word: str) -> int:
    if not re.fullmatch("0*[1-9][0-9]{0,8}", word, re.ASCII):
        raise InvalidArgument(f"--health-retries {word!r} is no number of at least 1")
    return int(word)
