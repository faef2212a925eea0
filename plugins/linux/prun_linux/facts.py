"""What this machine is and can, as far as it makes a difference to a container: for the lock of a run."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from prun.errors import PrunError
from prun_linux import cgroups
from prun_linux.oci import ENVIRONMENT, find_binary

if TYPE_CHECKING:
    from prun.types import RunRequest

TIMEOUT_S = 10.0
_FILES = {
    "seccomp actions": "/proc/sys/kernel/seccomp/actions_avail",
    "security modules": "/sys/kernel/security/lsm",
    "user namespaces": "/proc/sys/user/max_user_namespaces",
}


def facts(request: RunRequest) -> dict[str, str]:
    """Return the OCI runtime and its version, and the features of the kernel that containers have to do with."""
    found = {"cgroups": cgroups.mode(), "namespaces": " ".join(sorted(os.listdir("/proc/self/ns")))}
    for name, path in _FILES.items():
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                found[name] = file.read(4096).strip()
        except OSError:
            found[name] = ""
    try:
        binary = find_binary(request.options.get("binary", ""))
    except PrunError:
        return found  # of a run that could not be
    answer = subprocess.run(
        [binary, "--version"], env=ENVIRONMENT, cwd="/", capture_output=True, check=False, timeout=TIMEOUT_S
    )
    version = answer.stdout.decode(errors="replace").strip().replace("\n", "; ")
    return {**found, "oci runtime": binary, "oci runtime version": version}
