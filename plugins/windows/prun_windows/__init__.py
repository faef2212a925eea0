"""Windows containers: so far, a truthful answer to whether they can run here."""

from __future__ import annotations

import sys

from prun import hookimpl
from prun.types import Platform, RuntimeInfo


@hookimpl
def prun_describe_runtime() -> RuntimeInfo:
    """Say why not: containerd's runhcs shim runs them, and only on Windows."""
    if sys.platform == "win32":
        unavailable = "it runs containers through the containerd engine, which this version of prun does not have"
        remedy = "use ctr or nerdctl, or prun's fake runtime to try a command line"
    else:
        unavailable = f"needs Windows or a containerd engine on Windows, this is {sys.platform}"
        remedy = "run it on a Windows machine; --runtime linux runs Linux containers"
    return RuntimeInfo(
        "windows",
        (Platform("windows", "amd64"),),
        unavailable=unavailable,
        remedy=remedy,
        shim="io.containerd.runhcs.v1",
    )
