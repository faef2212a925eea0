"""Kernel parameters of a finished spec: whether they are the container's own, and whether the kernel takes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument
from prun.rootless import is_rootless
from prun.spec.resources import require_sysctl, sysctl_namespace
from prun.types import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prun.spec.document import Spec

# Kind of the spec: its name below /proc/PID/ns, its flag of unshare(2), the option that says whose it is.
_KINDS = {
    "network": ("net", 0x40000000, "--network"),
    "ipc": ("ipc", 0x08000000, "--ipc"),
    "uts": ("uts", 0x04000000, "--uts"),
}


def problems(spec: Spec) -> Iterator[Problem]:
    """Yield what is wrong with ``linux.sysctl``."""
    linux = spec.get("linux", {})
    own = {
        entry["type"] for entry in linux.get("namespaces", []) if not _is_hosts(entry["type"], entry.get("path", ""))
    }
    usable = {}
    in_proc = not any("subset=pid" in mount.get("options", []) for mount in spec.get("mounts", []))
    for key, value in linux.get("sysctl", {}).items():
        try:
            require_sysctl(key, value)
        except InvalidArgument as error:
            yield Problem(f"/linux/sysctl/{key}", str(error), error.hint)
            continue
        kind = sysctl_namespace(key)
        if kind not in own:
            reason = f"it would change the host's, because of {_KINDS[kind][2]} host"
        elif not in_proc:
            reason = "it cannot be set with --security-opt proc-opts=subset=pid"
        elif kind == "uts" and (
            "user" in own or is_rootless()
        ):  # its file belongs to the machine's root, whoever has the namespace
            reason = "it cannot be set in a user namespace"
        else:
            usable[key] = value
            continue
        yield Problem(f"/linux/sysctl/{key}", f"--sysctl {key}: {reason}", "leave one of them out")
    for key, words in refused(usable).items():
        yield Problem(f"/linux/sysctl/{key}", f"--sysctl {key}={usable[key]}: the kernel refuses it: {words}")


def refused(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return those that the kernel refuses, with its words: they are tried, in namespaces that nobody else has.

    One thread leaves ours for them, and both end here.  Nothing is tried, and nothing found, where that is forbidden.
    """
    import ctypes
    from threading import Thread

    words: dict[str, str] = {}
    flags = sum(_KINDS[kind][1] for kind in {sysctl_namespace(key) for key in parameters})

    def attempt() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
            return
        for key, value in parameters.items():
            try:
                with open(f"/proc/sys/{key.replace('.', '/')}", "wb", buffering=0) as file:
                    file.write(value.encode())
            except OSError as error:
                words[key] = os.strerror(error.errno or 0)

    if flags:
        thread = Thread(target=attempt)
        thread.start()
        thread.join()
    return words


def _is_hosts(kind: str, path: str) -> bool:
    """Tell whether a namespace to join is the one we are in."""
    try:
        return bool(path) and kind in _KINDS and os.path.samefile(path, f"/proc/self/ns/{_KINDS[kind][0]}")
    except OSError:
        return False
