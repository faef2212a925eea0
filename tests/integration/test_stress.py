"""``make stress``, scaled down: many runs and many containers at once leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STRESS = Path(__file__).resolve().parents[2] / "bench" / "stress.py"


@pytest.mark.alone
@pytest.mark.slow
def test_many_runs_and_many_that_live_leave_nothing() -> None:
    done = subprocess.run([sys.executable, str(STRESS), "100", "24"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["left: nothing"]), done.stderr
