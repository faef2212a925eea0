"""AppArmor, which not every kernel has: a loaded profile confines the container, another one is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from command import Prun
    from vm.guest.conftest import Run

SECURITY = Path("/sys/kernel/security")
PROFILE = """
profile prun-test flags=(attach_disconnected) {
  file, capability, network, mount, umount, pivot_root, signal, ptrace, unix,
  deny /etc/passwd r,
}
"""


@pytest.fixture(scope="module")
def profile() -> Iterator[str]:
    subprocess.run(["mount", "-t", "securityfs", "none", SECURITY], check=True)
    words = ["apparmor_parser", "--skip-cache"]
    subprocess.run([*words, "--replace"], input=PROFILE, text=True, check=True)
    yield "prun-test"
    subprocess.run([*words, "--remove"], input=PROFILE, text=True, check=True)
    subprocess.run(["umount", SECURITY], check=True)


def test_a_profile_confines_the_container(run: Run, profile: str):
    script = "cat /proc/self/attr/current; cat /etc/group | head -n1; cat /etc/passwd"
    done = run("--security-opt", f"apparmor={profile}", "busybox", "sh", "-c", script)
    assert done.stdout == f"{profile} (enforce)\nroot:x:0:\n", done.stderr
    assert "can't open '/etc/passwd': Permission denied" in done.stderr
    for words in ([], ["--security-opt", "apparmor=unconfined"]):
        assert run(*words, "busybox", "cat", "/proc/self/attr/current").stdout == "unconfined\n"


def test_a_profile_that_is_not_loaded_is_refused(store: Prun, profile: str):
    done = store("run", "--rm", "--security-opt", "apparmor=absent", "busybox", "true")
    assert done.returncode == 125
    assert "AppArmor profile 'absent' is not loaded" in done.stderr
