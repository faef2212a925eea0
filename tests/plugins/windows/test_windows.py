"""The windows runtime says the truth about itself: it cannot run yet, and why."""

from __future__ import annotations

import sys

import pytest

import prun_windows
from prun.errors import FailedPrecondition, InvalidArgument
from prun.pipeline import usable_runtime
from prun.testing import hooks_with
from prun.types import Platform, RunRequest


def test_it_is_for_windows_images_and_containerds_shim() -> None:
    info = prun_windows.prun_describe_runtime()
    assert (info.name, info.platforms, info.shim) == (
        "windows",
        (Platform("windows", "amd64"),),
        "io.containerd.runhcs.v1",
    )


@pytest.mark.parametrize(
    ("system", "reason"),
    [("linux", "needs Windows or a containerd engine on Windows, this is linux"), ("win32", "containerd engine")],
)
def test_a_run_is_refused_with_the_reason_and_a_remedy(
    system: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(FailedPrecondition, match=reason) as caught:
        usable_runtime(RunRequest("c1", "scratch"), hooks_with(prun_windows))
    assert caught.value.hint


def test_no_option_is_accepted_and_ignored() -> None:
    with pytest.raises(InvalidArgument, match="has no option 'isolation'"):
        usable_runtime(RunRequest("c1", "scratch", options={"isolation": "hyperv"}), hooks_with(prun_windows))
