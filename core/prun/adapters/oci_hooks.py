"""OCI hooks of ``hooks.d``: programs that the OCI runtime executes, for the containers that each file says.

    [plugins.oci-hooks]
    hooks-dir = ["/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"]   # the default

The format is podman's and CRI-O's, oci-hooks(5), version 1.0.0.  The files are read anew for each container.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from prun._marker import hookimpl
from prun.builtin.defaults import process_args
from prun.errors import InvalidArgument, NotFound, PermissionDenied
from prun.spec.linux import with_added_hooks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.trust import Trust
    from prun.types import Image, RunRequest

DIRECTORIES = ("/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d")  # the later goes before
STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
FILE_LIMIT_BYTES = 1 << 20
# One that is not known could be a restriction, so it makes the file unusable.
_KEYS = {
    "file": {"version", "hook", "when", "stages"},
    "hook": {"path", "args", "env", "timeout"},
    "when": {"always", "annotations", "commands", "hasBindMounts"},
}

prun_options = {"hooks-dir": "the directories of hooks, the later before the earlier; podman's, unless given"}


def prun_configure(options: Mapping[str, object]) -> Hooks:
    """Take the directories; those that are named must be there."""
    directories = options.get("hooks-dir")
    if directories is None:
        return Hooks(tuple(filter(os.path.isdir, DIRECTORIES)))
    if not isinstance(directories, list) or not all(map(_is_absolute, directories)):
        raise InvalidArgument("oci-hooks: hooks-dir is no list of absolute paths")
    for each in directories:
        if not os.path.isdir(each):
            raise NotFound(f"oci-hooks: {each} is no directory", hint="make it, or take it from hooks-dir")
    return Hooks(tuple(directories))


class When(NamedTuple):
    """For which containers; what is None or empty is no condition, all others must hold."""

    always: bool | None = None
    annotations: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = ()
    commands: tuple[re.Pattern[str], ...] = ()
    has_bind_mounts: bool | None = None

    def holds(self, annotations: Mapping[str, str], command: str, *, bind_mounts: bool) -> bool:
        """Tell whether all conditions hold; that there is none is not enough."""
        holding = [
            any(key.search(name) and value.search(text) for name, text in annotations.items())
            for key, value in self.annotations
        ]
        if self.always is not None:
            holding.append(self.always)
        if self.commands:
            holding.append(any(pattern.search(command) for pattern in self.commands))
        if self.has_bind_mounts is not None:
            holding.append(self.has_bind_mounts and bind_mounts)
        return bool(holding) and all(holding)


class Hook(NamedTuple):
    """One file: what the OCI runtime is to execute, when, and at which stages."""

    path: str
    entry: Mapping[str, object]
    when: When
    stages: tuple[str, ...]


class Hooks:
    """The hookimpl."""

    def __init__(self, directories: tuple[str, ...]) -> None:
        self._directories = directories

    @hookimpl
    def prun_spec_opts(self, request: RunRequest, image: Image) -> list[SpecOpt]:
        """Add the hooks whose conditions hold, in the order of the files' names."""
        found = read(self._directories)
        command = next(iter(process_args(request, image)), "")
        kinds = (*(volume.type for volume in request.volumes), *(mount.type for mount in request.mounts))
        bind_mounts = "bind" in kinds

        def with_oci_hooks(spec: Spec) -> None:
            annotations = {**spec.get("annotations", {}), **request.annotations}
            chosen = [hook for hook in found if hook.when.holds(annotations, command, bind_mounts=bind_mounts)]
            with_added_hooks((stage, hook.entry) for hook in chosen for stage in hook.stages)(spec)

        return [with_oci_hooks] if found else []


def read(directories: Iterable[str]) -> list[Hook]:
    """Return the hooks of some directories; a file hides those of its name in the directories before its own.

    Raises:
        InvalidArgument: a file is none of the format.
        PermissionDenied: another user may change a file, or the program that it names.
    """
    trust = _trust()
    paths = {}
    for directory in directories:
        _refuse_others(trust, directory)
        for name in os.listdir(directory):
            if name.endswith(".json"):
                paths[name] = os.path.join(directory, name)
    return [_hook(paths[name], trust) for name in sorted(paths, key=lambda name: (name.lower(), name))]


def _hook(path: str, trust: Trust) -> Hook:
    _refuse_others(trust, path)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        data = file.read(FILE_LIMIT_BYTES + 1)
    try:
        if len(data) > FILE_LIMIT_BYTES:
            raise InvalidArgument(f"is longer than {FILE_LIMIT_BYTES} bytes")
        found = _parsed(path, data)
        _refuse_others(trust, str(found.entry["path"]))
        return found
    except (InvalidArgument, ValueError, RecursionError, re.error) as error:
        raise InvalidArgument(f"oci-hooks: {path}: {' '.join(str(error).split())}") from error


def _parsed(path: str, data: bytes) -> Hook:
    document = _object(json.loads(data), "file")
    if document.get("version") != "1.0.0":
        raise InvalidArgument(f"has version {document.get('version')!r}, not 1.0.0")
    entry, when = _object(document.get("hook"), "hook"), _object(document.get("when"), "when")
    program, timeout = entry.get("path"), entry.get("timeout", 1)
    if not isinstance(program, str) or not os.path.isabs(program) or not os.path.exists(program):
        raise InvalidArgument(f"names the program {program!r}, which is not there")
    _words(entry.get("args", []), "args")
    if not all("=" in word for word in _words(entry.get("env", []), "env")):
        raise InvalidArgument("has an env that is no list of KEY=value")
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout < 1:
        raise InvalidArgument(f"has the timeout {timeout!r}, no number of seconds")
    stages = _words(document.get("stages"), "stages")
    for stage in stages:
        if stage not in STAGES:
            raise InvalidArgument(f"has the stage {stage!r}, which is none of {', '.join(STAGES)}")
    if not stages:
        raise InvalidArgument("has no stages")
    return Hook(path, entry, _when(when), tuple(dict.fromkeys(stages)))


def _when(when: dict[str, Any]) -> When:
    for key in ("always", "hasBindMounts"):
        if not isinstance(when.get(key, False), bool):
            raise InvalidArgument(f"has {key} {when[key]!r}, which is neither true nor false")
    annotations = when.get("annotations", {})
    if not isinstance(annotations, dict):
        raise InvalidArgument("has annotations that are no object")
    _words(list(annotations.values()), "annotations")
    return When(
        when.get("always"),
        tuple((re.compile(key), re.compile(value)) for key, value in annotations.items()),
        tuple(map(re.compile, _words(when.get("commands", []), "commands"))),
        when.get("hasBindMounts"),
    )


def _is_absolute(path: object) -> bool:
    return isinstance(path, str) and os.path.isabs(path)


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgument(f"has no {what}" if what != "file" else "is no object")
    if unknown := sorted(value.keys() - _KEYS[what]):
        raise InvalidArgument(f"has the unknown key {unknown[0]!r}{f' in {what}' if what != 'file' else ''}")
    return value


def _words(value: object, what: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) and "\0" not in word for word in value):
        raise InvalidArgument(f"has {what} that are no list of words")
    return cast("list[str]", value)


def _trust() -> Trust:
    from prun.rootless import is_rootless
    from prun.trust import Trust

    # The machine's root has no id in a user namespace of an ordinary user's.
    return Trust(frozenset((0, os.geteuid(), *((65534,) if is_rootless() else ()))))


def _refuse_others(trust: Trust, path: str) -> None:
    if why := trust.why_not(path):
        raise PermissionDenied(f"oci-hooks: {path} is not used: {why}", hint="have root own it, and all above it")
