"""Namespaces that a container shares: with the host, with another container, or with whatever is bound to a path.

The user namespace is left out here: with it come the id maps.

Spec: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#namespaces
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, InvalidArgument
from prun.spec.linux import with_namespaces
from prun_linux.isolation import namespace_kinds

if TYPE_CHECKING:
    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import RunRequest

NS_GET_NSTYPE = 0xB703  # ioctl_nsfs(2)
CLONE_NEW = {  # clone(2)
    "cgroup": 0x02000000,
    "ipc": 0x08000000,
    "network": 0x40000000,
    "pid": 0x20000000,
    "user": 0x10000000,
    "uts": 0x04000000,
}


def spec_opts(request: RunRequest) -> list[SpecOpt]:
    """Return the options that replace ``linux.namespaces``.

    Raises:
        InvalidArgument: a host name is asked for that another uts namespace would get.
        FailedPrecondition: there is no such namespace at a path.
    """
    words = {kind: word for kind, word in request.namespaces.items() if kind != "user"}
    paths = {kind: word.removeprefix("ns:") for kind, word in words.items() if word.startswith("ns:")}
    for kind, path in paths.items():
        check_namespace(kind, path)
    kinds = [kind for kind in namespace_kinds(request.network) if words.get(kind) != "host"]
    opts = [with_namespaces(kinds, paths)]
    if "uts" in words:
        if request.hostname:
            raise InvalidArgument(
                f"--hostname {request.hostname!r} cannot be used with --uts: it would rename others too",
                hint="leave one of the two out",
            )
        opts.append(_without_hostname)
    return opts


def check_namespace(kind: str, path: str) -> None:
    """Check that ``path`` leads to a namespace of this kind.

    Raises:
        FailedPrecondition: it does not, or not any more.
    """
    import fcntl

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FailedPrecondition(f"{kind} namespace {path} cannot be joined: {error.strerror}") from error
    try:
        found = fcntl.ioctl(fd, NS_GET_NSTYPE)
    except OSError:
        found = 0
    finally:
        os.close(fd)
    if found != CLONE_NEW[kind]:
        raise FailedPrecondition(f"{path} is no {kind} namespace", hint="as in ns:/proc/PID/ns/" + kind)


def _without_hostname(spec: Spec) -> None:
    spec.pop("hostname", None)
