"""What this machine offers to the linux runtime; the only module of it that executes things just to look."""

from __future__ import annotations

import os
import re
import subprocess

from prun.errors import PrunError
from prun.spec.linux import CAPABILITIES
from prun.spec.seccomp import TEMPLATES
from prun_linux import cgroups, limits
from prun_linux.holes import holes, sound_versions
from prun_linux.oci import BINARIES, DIRECTORIES, ENVIRONMENT, find_binary
from prun_linux.security import own_capabilities

# Name, whether it works, what was found, remedy: of what does not work, or advice where it does.
Finding = tuple[str, bool, str, str]

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def report() -> list[Finding]:
    """Return everything that ``prun doctor`` tells about Linux containers."""
    from prun_linux import userns

    return [
        *_runtimes(),
        *userns.report(),
        _capabilities(),
        _cgroups(),
        _namespaces(),
        _overlay(),
        _seccomp_kernel(),
        _seccomp_profile(),
        _conmon(),
    ]


def _runtimes() -> list[Finding]:
    findings = [_runtime(path) for name in BINARIES if (path := _find(name))]
    try:
        chosen = find_binary("")
        return [("OCI runtime", True, chosen, ""), *findings]
    except PrunError as error:
        return [("OCI runtime", False, str(error), error.hint), *findings]


def _runtime(path: str) -> Finding:
    name = os.path.basename(path)
    answer = subprocess.run(
        [path, "--version"], env=ENVIRONMENT, capture_output=True, check=False, text=True, timeout=10
    )
    words = answer.stdout.split("\n", 1)[0].strip() or "does not tell its version"
    found = f"{path}: {words}"
    try:
        find_binary(path)
    except PrunError as error:
        return name, False, f"{found}; {error}", error.hint
    version = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", words)
    if version and (known := holes(name, tuple(int(part or 0) for part in version.groups()))):
        remedy = (
            f"untrusted images: use {name} {sound_versions(name)} or later, or one that your distribution has fixed"
        )
        return name, True, f"{found}; has known holes: {', '.join(known)}", remedy
    return name, True, found, ""


def _capabilities() -> Finding:
    own = own_capabilities()
    missing = [name.removeprefix("CAP_") for name in CAPABILITIES if name not in own]
    if os.geteuid() != 0 or not missing:
        return "capabilities", True, "all" if not missing else "those of an ordinary user", ""
    advice = "no container can have these, --privileged or not"
    return "capabilities", True, f"all but {', '.join(missing)}", advice


def _cgroups() -> Finding:
    mode = cgroups.mode()
    if not mode:
        return "cgroups", False, "none is mounted", f"mount -t cgroup2 none {cgroups.MOUNT}"
    controllers = " (its v2 tree has controllers: crun refuses)" if cgroups.split_controllers() else ""
    missing = f"; cannot give {', '.join(limits.missing())}" if limits.missing() else ""
    return "cgroups", True, mode + controllers + missing, ""


def _namespaces() -> Finding:
    missing = [kind for kind in NAMESPACES if not os.path.exists(f"/proc/self/ns/{kind}")]
    found = ", ".join(kind for kind in NAMESPACES if kind not in missing)
    remedy = f"use a kernel with {', '.join(missing)} namespaces" if missing else ""
    return "namespaces", not missing, found, remedy


def _overlay() -> Finding:
    with open("/proc/filesystems", encoding="ascii") as file:
        there = "overlay" in file.read().split()
    remedy = "" if there else "modprobe overlay; without it, root file systems are copied"
    return "overlayfs", there, "in the kernel" if there else "not loaded", remedy


def _seccomp_kernel() -> Finding:
    there = os.path.exists("/proc/sys/kernel/seccomp/actions_avail")
    return (
        "seccomp",
        there,
        "in the kernel" if there else "missing",
        "" if there else "use a kernel with CONFIG_SECCOMP",
    )


def _seccomp_profile() -> Finding:
    path = next((path for path in TEMPLATES if os.path.isfile(path)), "")
    remedy = "" if path else "apt install golang-github-containers-common, or --security-opt seccomp=unconfined"
    return "seccomp profile", bool(path), path or f"none of {', '.join(TEMPLATES)}", remedy


def _conmon() -> Finding:
    path = _find("conmon")
    return "conmon", bool(path), path or "missing", "" if path else "apt install conmon (for detached containers)"


def _find(name: str) -> str:
    paths = (f"{directory}/{name}" for directory in DIRECTORIES)
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), "")
