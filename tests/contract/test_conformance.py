"""The linux runtime keeps the contract of tasks, with the OCI runtime that it chooses here, both ways of starting.

The fake runtime's turn is in tests/plugins/fake.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import prun_linux
from prun.testing import RULES, Subject
from prun.types import RunRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A root file system of Debian's static busybox and the commands that the rules need."""
    root = tmp_path / "rootfs"
    for name in ("bin", "dev", "proc", "sys"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    for name in ("cat", "sh", "sleep"):
        (root / "bin" / name).symlink_to("busybox")
    return root


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("two_step", [False, True], ids=["one-step", "two-step"])
def test_the_linux_runtime_keeps_the_contract_of_tasks(
    rule: Callable[[Subject], None], two_step: bool, rootfs: Path, tmp_path: Path
) -> None:
    request = RunRequest(
        "conformance",
        rootfs=str(rootfs),
        two_step=two_step,
        root=str(tmp_path / "root"),
        state=str(tmp_path / "state"),
    )
    rule(Subject(prun_linux, request))
