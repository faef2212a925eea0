"""What ``--security-opt``, ``--cap-add``, ``--cap-drop`` and ``--privileged`` change in the defaults.

Spec: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import FailedPrecondition, InvalidArgument
from prun.rootless import is_pretended
from prun.spec.linux import (
    CAPABILITIES,
    DEFAULT_CAPABILITIES,
    with_added_masked_paths,
    with_ambient_capabilities,
    with_apparmor_profile,
    with_capabilities,
    with_masked_paths,
    with_no_new_privileges,
    with_readonly_paths,
    without_hidden_paths,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prun.spec import SpecOpt
    from prun.types import RunRequest

ALL = "ALL"
UNCONFINED = "unconfined"
DEFAULT_PROFILES = ("builtin", "default")
APPARMOR = "/sys/kernel/security/apparmor/profiles"
# strconv.ParseBool, which docker and podman ask.
_TRUE, _FALSE = ("", "1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
# proc(5), mount options; what docker and prun always set stays set.
_PROC_OPTION = (
    "hidepid=([0124]|off|noaccess|invisible|ptraceable)|gid=[0-9]{1,9}|subset=pid"
    "|r[ow]|nosuid|nodev|noexec|relatime|noatime"
)
_NEVER_MASKED = ("", "/dev", "/proc", "/proc/self", "/proc/thread-self")
_KNOWN = "no-new-privileges, seccomp=, apparmor=, mask=, unmask=, systempaths=unconfined, proc-opts=, label=disable"


class Security(NamedTuple):
    """What ``--security-opt`` says; empty or None where it says nothing.

    ``seccomp`` is ``unconfined``, ``default`` or a file; ``unmask`` are patterns or ``ALL``.
    """

    no_new_privileges: bool | None = None
    seccomp: str = ""
    apparmor: str = ""
    mask: tuple[str, ...] = ()
    unmask: tuple[str, ...] = ()
    proc_options: tuple[str, ...] = ()

    @property
    def shows_all(self) -> bool:
        """Whether nothing of ``/proc`` and ``/sys`` is masked or read-only by default."""
        return ALL in self.unmask


def parse_security(words: Iterable[str]) -> Security:
    """Understand docker's and podman's words; ``key:value`` is taken for ``key=value`` where there is no ``=``.

    Raises:
        InvalidArgument: of any other word: a restriction that is not understood must not be dropped.
        FailedPrecondition: of one that only SELinux could fulfil.
    """
    security = Security()
    for word in words:
        key, _, value = word.partition("=") if "=" in word else word.partition(":")
        if key == "no-new-privileges" and value in _TRUE + _FALSE:
            security = security._replace(no_new_privileges=value in _TRUE)
        elif key == "seccomp" and value:
            security = security._replace(seccomp="default" if value in DEFAULT_PROFILES else value)
        elif key == "apparmor" and value:
            security = security._replace(apparmor=value)
        elif key == "mask" and value:
            security = security._replace(mask=(*security.mask, *_paths(word, value)))
        elif key == "unmask" and value:
            paths = (ALL,) if value.upper() == ALL else _paths(word, value)
            security = security._replace(unmask=(*security.unmask, *paths))
        elif (key, value) == ("systempaths", UNCONFINED):
            security = security._replace(unmask=(*security.unmask, ALL))
        elif key == "proc-opts" and value:
            security = security._replace(proc_options=(*security.proc_options, *_proc_options(word, value)))
        elif key == "label" and value:
            _check_label(word, value)
        else:
            raise InvalidArgument(f"security option {word!r} is not known to the linux runtime", hint=_KNOWN)
    return security


def spec_opts(request: RunRequest, security: Security, uid: int) -> list[SpecOpt]:
    """Return what the request changes, to be applied over the defaults.

    Raises:
        FailedPrecondition: this process has not a capability that is asked for, or the kernel no such profile.
    """
    opts: list[SpecOpt] = []
    if request.privileged or request.cap_add or request.cap_drop:
        opts += capability_opts(request, uid)
    if request.privileged or security.no_new_privileges is not None:
        opts.append(with_no_new_privileges(bool(security.no_new_privileges)))
    if request.privileged or security.shows_all:
        opts += [with_masked_paths(()), with_readonly_paths(())]
    elif security.unmask:
        opts.append(without_hidden_paths(security.unmask))
    if security.mask:
        opts.append(with_added_masked_paths(security.mask))
    if security.apparmor and security.apparmor != UNCONFINED:
        _check_apparmor(security.apparmor)
        opts.append(with_apparmor_profile(security.apparmor))
    return opts


def capability_opts(request: RunRequest, uid: int) -> list[SpecOpt]:
    """Return the options for the capabilities, which a user other than root keeps only if they were added by name.

    That is podman's rule; docker lets such a user have none.
    """
    own = own_capabilities()
    for name in request.cap_add:
        if name != ALL and name not in own:
            raise FailedPrecondition(
                f"--cap-add {name}: prun itself does not have this capability", hint="prun doctor shows what is missing"
            )
    opts = [with_capabilities(capabilities(request, own), is_root=uid == 0)]
    if uid != 0 and request.cap_add:
        opts.append(with_ambient_capabilities(own if ALL in request.cap_add else request.cap_add))
    return opts


def capabilities(request: RunRequest, own: Iterable[str]) -> list[str]:
    """Return the bounding set: the defaults or all of ``own``, less what is dropped, and what is added.

    docker's order: ``ALL`` is added before anything is dropped, and dropped before anything is added.
    """
    if request.privileged or ALL in request.cap_add:
        start = list(own)
    elif ALL in request.cap_drop:
        start = []
    else:
        start = list(DEFAULT_CAPABILITIES)
    if request.privileged and ALL in request.cap_drop:
        start = []
    kept = [name for name in start if name not in request.cap_drop]
    return list(dict.fromkeys((*kept, *(name for name in request.cap_add if name != ALL))))


def own_capabilities() -> list[str]:
    """Return what this process could give to another: its permitted set, as far as its bounding set allows."""
    masks = {}
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key in ("CapPrm", "CapBnd"):
                masks[key] = int(value, 16)
    # Who plans for the user namespace that prun would enter has everything there.
    own = masks["CapBnd"] & (masks["CapPrm"] if not is_pretended() else -1)
    return [name for number, name in enumerate(CAPABILITIES) if own >> number & 1]


def seccomp_profile(request: RunRequest, security: Security) -> str:
    """Return ``unconfined``, a file, or an empty string for the default profile."""
    if not security.seccomp:
        return UNCONFINED if request.privileged else ""
    return "" if security.seccomp == "default" else security.seccomp


def _paths(word: str, value: str) -> tuple[str, ...]:
    paths = tuple(value.split(":"))
    for path in paths:
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            raise InvalidArgument(f"security option {word!r}: {path!r} is not an absolute path", hint="mask=/a:/b")
        if word.startswith("mask") and path.rstrip("/") in _NEVER_MASKED:
            raise InvalidArgument(f"security option {word!r}: no OCI runtime starts anything without {path}")
    return paths


def _proc_options(word: str, value: str) -> tuple[str, ...]:
    options = tuple(value.split(","))
    for option in options:
        if not re.fullmatch(_PROC_OPTION, option):
            raise InvalidArgument(
                f"security option {word!r}: {option!r} is no option of proc",
                hint="see proc(5), as in hidepid=invisible",
            )
    return options


def _check_label(word: str, value: str) -> None:
    """Refuse what only SELinux can do: prun sets no labels, so ``disable`` is what it does anyway."""
    if value == "disable":
        return
    if value.partition(":")[0] not in ("user", "role", "type", "level", "filetype", "nested"):
        raise InvalidArgument(f"security option {word!r} is not known to the linux runtime", hint="label=disable")
    there = os.path.exists("/sys/fs/selinux/enforce")
    reason = "prun sets no SELinux labels" if there else "SELinux is not enabled on this machine"
    raise FailedPrecondition(f"security option {word!r}: {reason}", hint="leave it out, or label=disable")


def _check_apparmor(name: str) -> None:
    try:
        with open(APPARMOR, encoding="utf-8", errors="replace") as file:
            profiles = [line.rpartition(" (")[0] for line in file]
    except OSError as error:
        raise FailedPrecondition(
            f"AppArmor profile {name!r}: AppArmor is not enabled on this machine",
            hint="leave it out, or apparmor=unconfined",
        ) from error
    if name not in profiles:
        raise FailedPrecondition(f"AppArmor profile {name!r} is not loaded", hint="apparmor_parser -r FILE loads it")
