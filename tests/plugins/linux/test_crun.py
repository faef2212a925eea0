"""crun passes the same tests as runc."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# crun does not work where the v2 tree of a hybrid machine has controllers, so it gets a machine without that tree.
PREPARE = """
if mountpoint -q /sys/fs/cgroup/unified; then
    umount /sys/fs/cgroup/unified && mount -t tmpfs -o size=1m none /sys/fs/cgroup/unified
fi
exec "$@"
"""


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("module", ["test_task.py", "test_loaded.py", "test_monitored.py", "test_session.py"])
def test_crun_passes_what_runc_passes(module: str) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / module)]
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", PREPARE, "sh", *words],
        env={**os.environ, "PRUN_TEST_OCI_RUNTIME": "crun"},
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
