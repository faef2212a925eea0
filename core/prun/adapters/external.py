"""A plugin in any language: a program that is given one line of JSON for each hook, and answers with one.

    [plugins.site]
    use = "external"
    command = ["/usr/lib/prun/site"]

``docs/adapters.md`` has the protocol.  The program is started once for each call, so that none outlives prun.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, cast

from prun._marker import hookimpl
from prun.adapters.process import ANSWER_LIMIT_BYTES, Program, answer_of
from prun.errors import FailedPrecondition, InvalidArgument, PermissionDenied, PluginError
from prun.types import Mount, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import Event, Image, RunRequest

VERSION = 1
HOOKS = ("prun_spec_opts", "prun_mounts", "prun_check_spec", "prun_event")

prun_options = {
    "command": "the program and its first arguments; an absolute path",
    "options": "what the program is given as its own options",
    "user": 'who it is run as when prun is root; "nobody", unless given',
    "memory_limit_mb": "its address space; 1024",
    "cpu_limit_s": "the seconds of processor time of each call; 10",
}
# What concerns the library's caller, or where a value came from.
_PRIVATE = frozenset(("stdin", "progress", "origins", "exit_command", "preserve_fds"))


def prun_configure(options: Mapping[str, object]) -> External:
    """Ask the program which hooks it implements."""
    command = options.get("command")
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise InvalidArgument("external: command is no list of words", hint='command = ["/usr/lib/prun/site"]')
    if not os.path.isabs(command[0]):
        raise InvalidArgument(f"external: {command[0]!r} is no absolute path")
    limits = {key: options.get(key, default) for key, default in (("memory_limit_mb", 1024), ("cpu_limit_s", 10))}
    for key, value in limits.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidArgument(f"external: {key} is {value!r}, not a number above 0")
    user = options.get("user", "nobody" if _is_root() else "")
    if not isinstance(user, str):
        raise InvalidArgument(f"external: user is {user!r}, not a name", hint='user = "nobody"')
    if _is_root():
        _refuse_others(command[0])
    memory, seconds = cast("int", limits["memory_limit_mb"]), cast("int", limits["cpu_limit_s"])
    return External(Program(tuple(command), user, memory << 20, seconds), options.get("options", {}))


class External:
    """The program's hookimpls; those that it does not implement do nothing."""

    def __init__(self, program: Program, options: object) -> None:
        self._program = program
        self._hooks: tuple[str, ...] = ()
        answer = self._ask("hello", options=options)
        hooks = answer.get("hooks")
        if not isinstance(hooks, list) or not all(hook in HOOKS for hook in hooks):
            raise PluginError(f"{self} implements {hooks!r}", hint=f"a list of {', '.join(HOOKS)}")
        self._hooks = tuple(hooks)
        self.prun_before, self.prun_after = (self._names(answer, key) for key in ("before", "after"))

    def __str__(self) -> str:
        return self._program.words[0]

    @hookimpl
    def prun_spec_opts(self, request: RunRequest, image: Image) -> list[SpecOpt]:
        """Return the option that does the operations of the program's JSON Patch."""
        if "prun_spec_opts" not in self._hooks:
            return []
        answer = self._ask("prun_spec_opts", request=plain(request), image=plain(image))
        patch = self._list(answer, "patch", ("op", "path"))
        return [_with_patch(patch, str(self))] if patch else []

    @hookimpl
    def prun_mounts(self, request: RunRequest, image: Image) -> list[Mount]:
        """Return the program's mounts."""
        if "prun_mounts" not in self._hooks:
            return []
        answer = self._ask("prun_mounts", request=plain(request), image=plain(image))
        found = []
        for each in self._list(answer, "mounts", ("destination",), ("type", "source", "options")):
            options = each.pop("options", [])
            if not isinstance(options, list):
                raise PluginError(f"{self} answered a mount with the options {options!r}, which are no list")
            found.append(Mount(**each, options=tuple(options)))
        return found

    @hookimpl
    def prun_check_spec(self, request: RunRequest, spec: Spec) -> list[Problem]:
        """Return the problems that the program has with the spec."""
        if "prun_check_spec" not in self._hooks:
            return []
        answer = self._ask("prun_check_spec", request=plain(request), spec=spec)
        return [
            Problem(**{"pointer": "", **each})
            for each in self._list(answer, "problems", ("message",), ("pointer", "hint"))
        ]

    @hookimpl
    def prun_event(self, event: Event) -> None:
        """Tell the program."""
        if "prun_event" in self._hooks:
            self._ask("prun_event", event=plain(event))

    def _ask(self, hook: str, **arguments: object) -> dict[str, Any]:
        """Return the program's answer.

        Raises:
            FailedPrecondition: the program said no.
            PluginError: it is no answer.
        """
        question = json.dumps({"prun": VERSION, "hook": hook, **arguments}, separators=(",", ":"))
        text = answer_of(self._program, question.encode() + b"\n")
        if not text.strip():
            raise PluginError(f"{self} answered nothing to {hook}")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PluginError(f"{self} answered to {hook} what is not one JSON text: {_shown(text)}") from error
        if not isinstance(answer, dict) or answer.get("prun") != VERSION:
            raise PluginError(
                f"{self} does not speak version {VERSION} of the protocol: {_shown(text)}", hint='{"prun":1,...}'
            )
        if "error" in answer:
            raise FailedPrecondition(str(answer["error"]), hint=str(answer.get("hint", "")))
        return answer

    def _list(
        self, answer: dict[str, Any], key: str, needed: tuple[str, ...], more: tuple[str, ...] = ()
    ) -> list[dict[str, Any]]:
        """Return a list of objects that have the members ``needed`` and none but those and ``more``, if ``more``."""
        found = answer.get(key, [])
        if not isinstance(found, list):
            raise PluginError(f"{self} answered {key} that are no list")
        for each in found:
            if (
                not isinstance(each, dict)
                or not set(needed) <= each.keys()
                or (more and each.keys() - {*needed, *more})
            ):
                raise PluginError(f"{self} answered {key} with {_shown(json.dumps(each).encode())}")
        return found

    def _names(self, answer: dict[str, Any], key: str) -> tuple[str, ...]:
        names = answer.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise PluginError(f"{self} wants to come {key} {names!r}, which is no list of names")
        return tuple(names)


def plain(value: object) -> Any:
    """Return a value of ours as JSON; what has its default in a request is left out."""
    defaults = getattr(type(value), "_field_defaults", {})
    if hasattr(value, "_asdict"):
        fields = value._asdict().items()
        is_request = "image" in defaults
        return {
            key: plain(each)
            for key, each in fields
            if key not in _PRIVATE and not (is_request and key in defaults and each == defaults[key])
        }
    if hasattr(value, "items"):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, tuple | list) else value


def _with_patch(operations: list[dict[str, Any]], who: str) -> SpecOpt:
    """Do the operations of a JSON Patch (RFC 6902); ``add`` makes the objects above it where they are missing."""

    def opt(spec: Spec) -> None:
        from jsonpatch import JsonPatch, JsonPatchException
        from jsonpointer import JsonPointerException

        from prun.spec.shape import check_shape

        document: Any = json.loads(json.dumps(spec))
        for operation in operations:
            try:
                if operation["op"] == "add":
                    _make_parents(document, operation["path"])
                document = JsonPatch([operation]).apply(document)
            except (JsonPatchException, JsonPointerException, LookupError, TypeError, AttributeError) as error:
                what = f"{who}: {operation['op']} {operation['path']}"
                raise PluginError(f"{what}: {' '.join(str(error).split()) or type(error).__name__}") from error
        check_shape(document, who)
        ours = cast("dict[str, Any]", spec)
        ours.clear()
        ours.update(document)

    return opt


def _make_parents(document: Any, path: str) -> None:
    from prun.spec.provenance import parts_of

    *above, last = parts_of(path)
    for index, part in enumerate(above):
        if not isinstance(document, dict):
            return
        is_array = last == "-" and index == len(above) - 1
        document = document.setdefault(part, [] if is_array else {})


def _is_root() -> bool:
    from prun.state import is_root

    return is_root()


def _refuse_others(path: str) -> None:
    from prun.trust import Trust

    if why := Trust(frozenset((0,))).why_not(path):
        raise PermissionDenied(
            f"{path} is not executed as root: {why}", hint="have it owned by root, in such directories"
        )


def _shown(text: bytes) -> str:
    shown = ascii(text[:81].decode(errors="replace").strip())
    return shown if len(text) <= 80 else f"{shown}... (of at most {ANSWER_LIMIT_BYTES} bytes)"
