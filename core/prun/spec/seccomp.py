"""The seccomp profile: from a template that names capabilities and architectures to what the OCI spec knows.

containers/common (podman, Debian's golang-github-containers-common) and docker share one template form: rules that
hold only with or without a capability, on an architecture, or from a kernel on.  A profile that is OCI form already
goes through unchanged.

Spec: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#seccomp
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from prun.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from prun.spec import SpecOpt
    from prun.spec.document import Spec

# The administrator's before the distribution's, as containers/common has it.
TEMPLATES = ("/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json")
PROFILE_LIMIT_BYTES = 1 << 20

# GOARCH (what a platform says) to libseccomp's name in rules and the OCI name in lists; others are the same word.
_RULE_ARCH = {"386": "x86", "mips64le": "mipsel64", "mipsle": "mipsel"}
_OCI_ARCH = {"amd64": "X86_64", "386": "X86", "arm64": "AARCH64", "mips64le": "MIPSEL64", "loong64": "LOONGARCH64"}

ACTIONS = frozenset(
    f"SCMP_ACT_{name}"
    for name in ("KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY")
)
OPERATORS = frozenset(f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
_MAX_ARGUMENTS, _MAX_ERRNO = 6, 4095
# Of both forms.  A key that is not known could be a restriction, so it makes the profile unusable.
_KEYS = {
    "profile": frozenset(
        (
            *("defaultAction", "defaultErrno", "defaultErrnoRet", "architectures", "archMap", "syscalls", "comment"),
            *("flags", "listenerPath", "listenerMetadata"),
        )
    ),
    "rule": frozenset(
        ("names", "name", "action", "errno", "errnoRet", "args", "comment", "includes", "excludes"),
    ),
    "condition": frozenset(("caps", "arches", "minKernel")),
    "argument": frozenset(("index", "value", "valueTwo", "op")),
}


def load_profile(path: str) -> dict[str, Any]:
    """Read the profile in the file ``path``, in either form.

    Raises:
        InvalidArgument: the file cannot be read, or is no profile.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(PROFILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise InvalidArgument(f"seccomp profile {path!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidArgument(f"seccomp profile {path!r} is no path of a file") from error
    try:
        profile = json.loads(data) if len(data) <= PROFILE_LIMIT_BYTES else None
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"seccomp profile {path!r} is not JSON: {error}") from error
    if not isinstance(profile, dict) or not isinstance(profile.get("defaultAction"), str):
        raise InvalidArgument(f"seccomp profile {path!r} has no defaultAction")
    return profile


def default_profile(paths: Sequence[str] = ()) -> dict[str, Any]:
    """Read the first of ``paths`` (by default ``TEMPLATES``) that exists.

    Raises:
        FailedPrecondition: there is none; a container without a filter must be asked for in so many words.
    """
    paths = paths or TEMPLATES
    for path in paths:
        if os.path.exists(path):
            return load_profile(path)
    raise FailedPrecondition(
        f"there is no default seccomp profile: none of {', '.join(paths)} exists",
        hint="install golang-github-containers-common (Debian, Ubuntu) or containers-common,"
        " or give up the filter with --security-opt seccomp=unconfined",
    )


def with_seccomp(
    profile: Mapping[str, Any], architecture: str, kernel: tuple[int, int], unused: Collection[str] = ()
) -> SpecOpt:
    """Replace ``linux.seccomp`` with ``profile``, resolved for the bounding set that the spec has at that point.

    It belongs after the options that set capabilities: with ``CAP_SYS_ADMIN`` a container needs bpf(2), too.
    """
    resolve(profile, architecture, (), kernel, unused)  # a profile that cannot be resolved fails here

    def opt(spec: Spec) -> None:
        capabilities = spec.get("process", {}).get("capabilities", {}).get("bounding", [])
        spec.setdefault("linux", {})["seccomp"] = resolve(profile, architecture, capabilities, kernel, unused)

    return opt


def resolve(
    profile: Mapping[str, Any],
    architecture: str,
    capabilities: Collection[str],
    kernel: tuple[int, int],
    unused: Collection[str] = (),
) -> dict[str, Any]:
    """Return ``profile`` in OCI form for one architecture (GOARCH), a set of capabilities and a kernel version.

    ``unused`` are architectures of the template's map that this kernel cannot execute.  Leaving one out saves 10 ms
    of every start (libseccomp's time grows with rules times architectures); its system calls then are fatal.

    Raises:
        InvalidArgument: a rule has not the shape of one, or both or none of two exclusive keys, or there is a key or
            a word that is not known.
    """
    try:
        _known("profile", profile)
        result: dict[str, Any] = {"defaultAction": _one_of(ACTIONS, profile["defaultAction"])}
        _set_errno(result, "defaultErrnoRet", profile.get("defaultErrno"), profile.get("defaultErrnoRet"))
        if architectures := _architectures(profile, architecture, unused):
            result["architectures"] = architectures
        for key in ("flags", "listenerPath", "listenerMetadata"):
            if key in profile:
                result[key] = profile[key]
        holds = _condition(_RULE_ARCH.get(architecture, architecture), capabilities, kernel)
        rules = profile.get("syscalls") or []
        result["syscalls"] = [_rule(rule) for rule in rules if holds(rule)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidArgument(f"seccomp profile is malformed: {error!r}") from error
    return result


def _architectures(profile: Mapping[str, Any], architecture: str, unused: Collection[str]) -> list[str]:
    """Return what the filter covers besides the native architecture; an empty list is the native one alone."""
    listed, mapped = profile.get("architectures") or [], profile.get("archMap") or []
    if listed and mapped:
        raise InvalidArgument("seccomp profile has both 'architectures' and 'archMap'")
    native = f"SCMP_ARCH_{_OCI_ARCH.get(architecture, architecture.upper())}"
    for entry in mapped:
        if entry["architecture"] == native:
            return [native, *(name for name in entry.get("subArchitectures") or [] if name not in unused)]
    return list(listed)


def _condition(
    architecture: str, capabilities: Collection[str], kernel: tuple[int, int]
) -> Callable[[Mapping[str, Any]], bool]:
    """Return whether a rule is in force: all of ``includes`` hold, none of ``excludes`` does."""

    def holds(rule: Mapping[str, Any]) -> bool:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        _known("condition", {**includes, **excludes})
        arches = includes.get("arches")
        return (
            all(name in capabilities for name in includes.get("caps") or ())
            and not any(name in capabilities for name in excludes.get("caps") or ())
            and (not arches or architecture in arches)
            and architecture not in (excludes.get("arches") or ())
            and ("minKernel" not in includes or kernel >= _version(includes["minKernel"]))
            and ("minKernel" not in excludes or kernel < _version(excludes["minKernel"]))
        )

    return holds


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    _known("rule", rule)
    names, name = rule.get("names") or [], rule.get("name")
    if bool(names) == bool(name):
        raise InvalidArgument("seccomp rule needs either 'name' or 'names'")
    result: dict[str, Any] = {"names": list(names) or [name], "action": _one_of(ACTIONS, rule["action"])}
    if not all(isinstance(each, str) and each for each in result["names"]):
        raise InvalidArgument(f"seccomp rule has the names {result['names']!r}")
    _set_errno(result, "errnoRet", rule.get("errno"), rule.get("errnoRet"))
    if args := rule.get("args"):
        result["args"] = [_arg(arg) for arg in args]
    return result


def _arg(arg: Mapping[str, Any]) -> dict[str, Any]:
    _known("argument", arg)
    result = {"index": arg["index"], "value": arg["value"], "op": _one_of(OPERATORS, arg["op"])}
    if arg["index"] not in range(_MAX_ARGUMENTS) or not all(
        isinstance(each, int) and 0 <= each < 2**64 for each in (arg["value"], arg.get("valueTwo") or 0)
    ):
        raise InvalidArgument(f"seccomp rule has the argument {dict(arg)!r}: index 0 to 5, values of 64 bits")
    if arg.get("valueTwo"):
        result["valueTwo"] = arg["valueTwo"]
    return result


def _set_errno(target: dict[str, Any], key: str, name: str | None, number: int | None) -> None:
    """Set ``key``; the name wins over the number, which is not the same on every architecture."""
    if name:
        import errno

        number = next((code for code, word in errno.errorcode.items() if word == name), None)
        if number is None:
            raise InvalidArgument(f"seccomp profile names an unknown errno {name!r}")
    if number is not None:
        if number not in range(_MAX_ERRNO + 1):
            raise InvalidArgument(f"seccomp profile has the errno {number!r}, not a number up to {_MAX_ERRNO}")
        target[key] = number


def _known(what: str, found: Mapping[str, Any]) -> None:
    if unknown := sorted(found.keys() - _KEYS[what]):
        raise InvalidArgument(f"seccomp profile has the unknown key {unknown[0]!r} in its {what}")


def _one_of(words: Collection[str], word: str) -> str:
    if word not in words:
        raise InvalidArgument(f"seccomp profile has the unknown word {word!r}", hint=", ".join(sorted(words)))
    return word


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)
