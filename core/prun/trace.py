"""``PRUN_TRACE_HOOKS=1``: every hook call, its answer and its plugin, on stderr."""

from __future__ import annotations

import functools
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from pluggy import PluginManager

LIMIT = 200


def trace_hooks(pm: PluginManager) -> None:
    """Let every registered hookimpl tell on stderr that it was called, what it answered and how long it took."""
    for name in sorted(vars(pm.hook)):
        if name.startswith("prun_"):
            for impl in getattr(pm.hook, name).get_hookimpls():
                impl.function = _told(impl.function, f"{name} [{impl.plugin_name}]")


def _told(function: Callable[..., Any], what: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: object) -> object:
        began = time.perf_counter()
        try:
            answer = function(*arguments)
        except BaseException as error:
            _tell(what, began, f"raised {type(error).__name__}: {error}")
            raise
        _tell(
            what, began, repr([getattr(a, "__qualname__", a) for a in answer] if isinstance(answer, list) else answer)
        )
        return answer

    return call


def _tell(what: str, began: float, answer: str) -> None:
    milliseconds = (time.perf_counter() - began) * 1000
    shown = answer if len(answer) <= LIMIT else answer[:LIMIT] + "..."
    sys.stderr.write(f"prun: hook {what} {milliseconds:.2f} ms -> {ascii(shown)[1:-1]}\n")
