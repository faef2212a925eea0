"""What is wrong with a finished spec that its JSON schema cannot say.

Each check looks at one thing and yields every problem it finds; all are reported together.

Spec: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md
"""

from __future__ import annotations

import os
from posixpath import normpath
from typing import TYPE_CHECKING

from prun.spec.linux import CAPABILITIES, RLIMITS
from prun.types import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.spec.document import MountEntry, Rlimit, Spec
    from prun.types import RunRequest

CAP_SYS_RESOURCE = 24
_INFINITY = 2**64 - 1


def check_spec(request: RunRequest, spec: Spec) -> list[Problem]:
    """Return every problem that any check finds."""
    problems = [
        problem for check in (_args, _cwd, _env, _capabilities, _rlimits, _hostname, _mounts) for problem in check(spec)
    ]
    if bool(spec.get("process", {}).get("terminal")) != request.terminal:
        problems.append(Problem("/process/terminal", "differs from the request, so the console would not fit", "-t"))
    return problems


def _args(spec: Spec) -> Iterator[Problem]:
    # That there is a command at all, prun.builtin.defaults has checked.
    if spec.get("process", {}).get("args", [])[:1] == [""]:
        yield Problem("/process/args/0", "the command is an empty string")


def _cwd(spec: Spec) -> Iterator[Problem]:
    cwd = spec.get("process", {}).get("cwd", "")
    clean = "/" + normpath(cwd).lstrip("/")
    if not cwd.startswith("/"):
        yield Problem("/process/cwd", f"{cwd!r} is not an absolute path")
    elif _within(clean, "/proc") or _within(clean, "/dev/fd"):
        # CVE-2024-21626: a descriptor leaked by whoever is between us and the process is a way out of the root.
        yield Problem("/process/cwd", f"{cwd!r} may lead out of the container", "choose another with -w")
    yield from _unprintable("/process/cwd", cwd)


def _env(spec: Spec) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, entry in enumerate(spec.get("process", {}).get("env", [])):
        key, has_value, _ = entry.partition("=")
        if not key or not has_value or "\0" in entry:
            yield Problem(f"/process/env/{index}", f"{entry!r} is not KEY=value")  # CVE-2026-57231
        if key in seen:
            yield Problem(f"/process/env/{index}", f"{key!r} is set twice")
        seen.add(key)


def _capabilities(spec: Spec) -> Iterator[Problem]:
    for kind, names in spec.get("process", {}).get("capabilities", {}).items():
        for name in names if isinstance(names, list) else ():
            if name not in CAPABILITIES:
                yield Problem(f"/process/capabilities/{kind}", f"{name!r} is not known", "see capabilities(7)")


def _rlimits(spec: Spec) -> Iterator[Problem]:
    for index, limit in enumerate(spec.get("process", {}).get("rlimits", [])):
        pointer = f"/process/rlimits/{index}"
        if limit["type"] not in RLIMITS:
            yield Problem(pointer, f"{limit['type']!r} is not known", "see getrlimit(2)")
        elif limit["soft"] > limit["hard"]:
            yield Problem(pointer, f"{limit['type']}: soft {limit['soft']} is over hard {limit['hard']}")
        elif (own := _own_hard_limit(limit)) < limit["hard"] and not _may_raise_limits():
            remedy = "lower it, or run prun with CAP_SYS_RESOURCE"
            yield Problem(pointer, f"{limit['type']}: hard {limit['hard']} is over this process's own {own}", remedy)


def _own_hard_limit(limit: Rlimit) -> int:
    import resource

    hard = resource.getrlimit(getattr(resource, limit["type"]))[1] if hasattr(resource, limit["type"]) else -1
    return _INFINITY if hard == resource.RLIM_INFINITY else hard


def _may_raise_limits() -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        effective = next((line.split()[1] for line in file if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> CAP_SYS_RESOURCE & 1)


def _hostname(spec: Spec) -> Iterator[Problem]:
    kinds = [namespace["type"] for namespace in spec.get("linux", {}).get("namespaces", [])]
    if spec.get("hostname") and "uts" not in kinds:
        yield Problem("/hostname", "would rename the host: there is no uts namespace")


def _mounts(spec: Spec) -> Iterator[Problem]:
    seen: list[str] = []
    for index, mount in enumerate(spec.get("mounts", [])):
        pointer = f"/mounts/{index}"
        destination = mount.get("destination", "")
        clean = "/" + normpath(destination).lstrip("/")
        if not destination.startswith("/"):
            yield Problem(f"{pointer}/destination", f"{destination!r} is not an absolute path")
        elif clean == "/":
            yield Problem(f"{pointer}/destination", "a mount over the root hides the image", "use --rootfs")
        for child in seen:
            if _within(child, clean) and child != clean:
                yield Problem(f"{pointer}/destination", f"{clean} hides {child}, which is mounted before it")
        seen.append(clean)
        yield from _unprintable(f"{pointer}/destination", destination)
        yield from _mount_source(pointer, mount)


def _mount_source(pointer: str, mount: MountEntry) -> Iterator[Problem]:
    source, options = mount.get("source", ""), mount.get("options", [])
    yield from _unprintable(f"{pointer}/source", source)
    if mount.get("type") != "bind" and "bind" not in options and "rbind" not in options:
        return
    if not source.startswith("/"):
        yield Problem(f"{pointer}/source", f"{source!r} is not an absolute path")
    elif "\0" not in source and not os.path.exists(source):
        yield Problem(f"{pointer}/source", f"{source!r} does not exist on this machine")


def _unprintable(pointer: str, path: str) -> Iterator[Problem]:
    if "\0" in path or "\n" in path:
        yield Problem(pointer, f"{path!r} contains a NUL or a line break")


def _within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
