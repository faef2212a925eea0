"""Options that change an OCI runtime spec: those that are the same on every platform.

An option is a function of the spec, made by a factory that checks its arguments at once.  It sets what is missing,
its name says whether it replaces or adds, and it works on an empty spec.  Factories are called ``with_*`` as in
containerd's ``oci`` package, so that a list of them reads like a sentence.

Spec: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md
"""

from __future__ import annotations

from posixpath import normpath
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prun.spec.document import MountEntry, Spec
    from prun.types import Mount

    SpecOpt = Callable[[Spec], None]

# Debian 12's runc and crun know 1.0.2; nothing that prun writes by default is newer than that.
OCI_VERSION = "1.0.2"


def apply(spec: Spec, opts: Iterable[SpecOpt]) -> Spec:
    """Apply the options in order and return the same spec."""
    for opt in opts:
        opt(spec)
    return spec


def with_spec(whole: Spec) -> SpecOpt:
    """Replace the whole document by a copy of another."""
    from copy import deepcopy

    def opt(spec: Spec) -> None:
        for key in list(spec):
            del spec[key]  # type: ignore[misc]  # whichever it is
        spec.update(deepcopy(whole))

    return opt


def with_version(spec: Spec) -> None:
    """Set ``ociVersion``."""
    spec["ociVersion"] = OCI_VERSION


def with_root(path: str) -> SpecOpt:
    """Set ``root.path``."""

    def opt(spec: Spec) -> None:
        spec.setdefault("root", {})["path"] = path

    return opt


def with_readonly_root(spec: Spec) -> None:
    """Make the root file system read-only (config.md#root)."""
    spec.setdefault("root", {})["readonly"] = True


def with_args(args: Iterable[str]) -> SpecOpt:
    """Replace ``process.args``."""
    value = list(args)
    for arg in value:
        _refuse_nul("argument", arg)

    def opt(spec: Spec) -> None:
        spec.setdefault("process", {})["args"] = list(value)

    return opt


def with_cwd(path: str) -> SpecOpt:
    """Replace ``process.cwd``; it must be absolute (config.md#process)."""
    _refuse_nul("working directory", path)
    if not path.startswith("/") and not path[1:3] == ":\\":
        raise InvalidArgument(f"working directory {path!r} is not an absolute path")

    def opt(spec: Spec) -> None:
        spec.setdefault("process", {})["cwd"] = path

    return opt


def with_env(variables: Iterable[str]) -> SpecOpt:
    """Set each ``KEY=value`` in ``process.env``, in place where the key is there; a bare ``KEY`` removes it."""
    changes = [entry.partition("=") for entry in variables]
    for key, _, value in changes:
        if not key:
            raise InvalidArgument(f"environment entry {'=' + value!r} has no name")
        _refuse_nul("environment variable", key + value)

    def opt(spec: Spec) -> None:
        process = spec.setdefault("process", {})
        env = dict(entry.partition("=")[::2] for entry in process.get("env", []))
        for key, has_value, value in changes:
            if has_value:
                env[key] = value
            else:
                env.pop(key, None)
        process["env"] = [f"{key}={value}" for key, value in env.items()]

    return opt


def with_default_env(variables: Iterable[str]) -> SpecOpt:
    """Put each ``KEY=value`` before the others in ``process.env`` unless the key is there."""
    defaults = list(variables)

    def opt(spec: Spec) -> None:
        process = spec.setdefault("process", {})
        env = process.get("env", [])
        keys = {entry.partition("=")[0] for entry in env}
        process["env"] = [entry for entry in defaults if entry.partition("=")[0] not in keys] + env

    return opt


def with_terminal(spec: Spec) -> None:
    """Give the process a terminal (config.md#process)."""
    spec.setdefault("process", {})["terminal"] = True


def with_hostname(name: str) -> SpecOpt:
    """Replace ``hostname`` (config.md#hostname)."""
    if len(name) > 64 or any(not (c.isascii() and (c.isalnum() or c in ".-_")) for c in name):
        raise InvalidArgument(
            f"hostname {name!r} is not usable", hint="at most 64 of letters, digits, '.', '-' and '_'"
        )

    def opt(spec: Spec) -> None:
        spec["hostname"] = name

    return opt


def with_annotations(annotations: Mapping[str, str]) -> SpecOpt:
    """Add to ``annotations``, replacing those of the same key (config.md#annotations)."""
    value = dict(annotations)
    if "" in value:
        raise InvalidArgument("an annotation needs a name")

    def opt(spec: Spec) -> None:
        spec.setdefault("annotations", {}).update(value)

    return opt


def with_mounts(mounts: Iterable[Mount]) -> SpecOpt:
    """Add to ``mounts``, in order; what is mounted first must not hide what is mounted after it (config.md#mounts).

    One for a destination that is already there takes its place; a new one comes before the first that it would hide.
    Who brings a ``/dev`` brings all of it: what was there below an older one is left out, as docker does.
    """
    value: list[MountEntry] = []
    for mount in mounts:
        _refuse_nul("mount", mount.destination + mount.source)
        entry: MountEntry = {"destination": mount.destination, "type": mount.type, "source": mount.source}
        if mount.options:
            entry["options"] = list(mount.options)
        value.append(entry)

    def opt(spec: Spec) -> None:
        entries = spec.get("mounts", [])
        for entry in value:
            entries = _with_mount(entries, entry)
        spec["mounts"] = entries

    return opt


def _with_mount(entries: list[MountEntry], entry: MountEntry) -> list[MountEntry]:
    path = _clean(entry["destination"])
    below = path.rstrip("/") + "/"
    paths = [_clean(each["destination"]) for each in entries]
    if path in paths:
        at = paths.index(path)
        after = entries[at + 1 :]
        if path == "/dev":
            after = [each for each in after if not _clean(each["destination"]).startswith(below)]
        return [*entries[:at], entry, *after]
    at = next((index for index, each in enumerate(paths) if each.startswith(below)), len(entries))
    return [*entries[:at], entry, *entries[at:]]


def _clean(path: str) -> str:
    return "/" + normpath(path).lstrip("/")


def _refuse_nul(what: str, value: str) -> None:
    if "\0" in value:
        raise InvalidArgument(f"{what} {value!r} contains a NUL byte")
