"""Containers that outlive the command that made them: ``--detach``, ``--restart``, ``--stop-timeout``, ``--log-*``."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument
from prun.request import flag, many, one

if TYPE_CHECKING:
    from prun.request import Asked

LOG_DRIVERS = ("k8s-file", "json-file", "none")
LOG_OPTIONS = ("max-size", "max-file", "path")
_RESTART = re.compile(r"always|unless-stopped|on-failure(:[0-9]{1,9})?", re.ASCII)


class LogRequest(NamedTuple):
    """Where a container's output is kept.

    ``path`` is absolute, empty for the store's own place.  ``size_bytes`` is when a file makes room for the next one,
    0 for never; ``files`` is how many there may be, the one that is written included.
    """

    driver: str = "k8s-file"
    path: str = ""
    size_bytes: int = 0
    files: int = 1


def fields(asked: Asked) -> dict[str, object]:
    """Return ``detach``, ``restart``, ``stop_timeout_s`` and ``log``."""
    return {
        "detach": flag(asked, "detach"),
        "restart": restart_policy(one(asked, "restart")),
        "stop_timeout_s": stop_timeout(one(asked, "stop_timeout")) if "stop_timeout" in asked else None,
        "log": _log(asked) if "log_driver" in asked or "log_opt" in asked else None,
    }


def settled_log(log: LogRequest | None, directory: str, *, make: bool = True) -> LogRequest:
    """Return where the log is, by default in ``directory``, which is made for it unless ``make`` says otherwise."""
    log = log or LogRequest()
    if log.driver == "none" or log.path:
        return log
    if make:
        os.makedirs(directory, 0o700, exist_ok=True)
    return log._replace(path=os.path.join(directory, "ctr.log"))


def restart_policy(word: str) -> str:
    """Return a restart policy: empty for ``no``, ``always``, ``unless-stopped``, ``on-failure`` or ``on-failure:N``.

    Raises:
        InvalidArgument: there is no such policy.
    """
    if word in ("", "no"):
        return ""
    if not _RESTART.fullmatch(word):
        raise InvalidArgument(
            f"--restart {word!r} is no restart policy", hint="no, always, unless-stopped, on-failure or on-failure:N"
        )
    return word.removesuffix(":0")


def stop_timeout(word: str) -> float:
    """Return how many seconds a process gets to end by itself; -1 is for ever, as docker has it.

    Raises:
        InvalidArgument: it is no number of seconds.
    """
    if not re.fullmatch(r"-1|[0-9]{1,9}", word, re.ASCII):
        raise InvalidArgument(f"stop timeout {word!r} is no number of seconds", hint="as in 10; -1 waits for ever")
    return float("inf") if word == "-1" else float(word)


def _log(asked: Asked) -> LogRequest:
    driver = one(asked, "log_driver") or "k8s-file"
    if driver not in LOG_DRIVERS:
        raise InvalidArgument(f"--log-driver {driver!r} is not one of {', '.join(LOG_DRIVERS)}")
    log = LogRequest(driver)
    for word in many(asked, "log_opt"):
        key, equals, value = word.partition("=")
        if driver == "none":
            raise InvalidArgument(f"--log-opt {word!r}: the log driver none has no options")
        if not equals or key not in LOG_OPTIONS:
            raise InvalidArgument(f"--log-opt {word!r} is none of {', '.join(f'{name}=' for name in LOG_OPTIONS)}")
        log = _with_option(log, key, value)
    if log.files > 1 and not log.size_bytes:
        raise InvalidArgument("--log-opt max-file needs max-size", hint="--log-opt max-size=10m")
    return log


def _with_option(log: LogRequest, key: str, value: str) -> LogRequest:
    from prun.request.sizes import size_of

    if key == "max-size":
        return log._replace(size_bytes=0 if value == "-1" else size_of("--log-opt max-size", value))
    if key == "max-file":
        if not re.fullmatch("[1-9][0-9]{0,3}", value, re.ASCII):
            raise InvalidArgument(f"--log-opt max-file={value!r} is no number of files", hint="1 or more")
        return log._replace(files=int(value))
    if not value or "\0" in value or ":" in value or not os.path.isdir(os.path.dirname(os.path.abspath(value))):
        raise InvalidArgument(f"--log-opt path={value!r} is no file in a directory that exists")
    return log._replace(path=os.path.abspath(value))
