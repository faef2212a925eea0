"""``--init``: a small program of the host as the container's first process, which passes on signals and reaps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, InvalidArgument
from prun.types import Mount
from prun_linux.command import INIT
from prun_linux.elf import elf_interpreter

if TYPE_CHECKING:
    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import RunRequest

# By absolute path, in order: podman's, tini as Debian and docker ship it.
PROGRAMS = (
    "/usr/bin/catatonit",
    "/usr/libexec/podman/catatonit",
    "/usr/libexec/catatonit/catatonit",
    "/usr/bin/tini-static",
    "/usr/bin/docker-init",
    "/usr/libexec/docker/docker-init",
    "/usr/bin/tini",
    "/sbin/tini",
)
HEAD_BYTES = 4096


def find_init() -> str:
    """Return the path of an init that needs nothing of the container's root file system.

    Raises:
        FailedPrecondition: there is none.
    """
    for path in PROGRAMS:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            with open(path, "rb") as file:
                if not elf_interpreter(file.read(HEAD_BYTES)):
                    return os.path.realpath(path)
    raise FailedPrecondition("--init: there is no statically linked init here", hint="apt install catatonit, or tini")


def mount() -> Mount:
    """Return the mount of the init."""
    return Mount(INIT, "bind", find_init(), ("bind", "rprivate", "ro", "nosuid", "nodev"))


def spec_opts(request: RunRequest) -> list[SpecOpt]:
    """Return the option that puts the init before the command.

    Raises:
        InvalidArgument: the container has not a PID namespace of its own, so the init could not be process 1.
    """
    if request.namespaces.get("pid", "private") != "private":
        raise InvalidArgument("--init needs a PID namespace of the container's own", hint="leave out --pid")
    return [with_init]


def with_init(spec: Spec) -> None:
    """Put the init before ``process.args``; where these are empty there is nothing to start."""
    process = spec.setdefault("process", {})
    if args := process.get("args"):
        process["args"] = [INIT, "--", *args]
