from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from prun.spec.linux import CAPABILITIES
from prun_linux import doctor
from prun_linux.holes import holes

if TYPE_CHECKING:
    from pathlib import Path


def test_doctor_reports_every_line_with_a_remedy_where_something_is_missing() -> None:
    findings = doctor.report()
    names = [name for name, _, _, _ in findings]
    for name in ("OCI runtime", "cgroups", "namespaces", "overlayfs", "seccomp", "seccomp profile", "conmon"):
        assert name in names
    assert all(found for _, _, found, _ in findings)
    assert all(remedy for _, ok, _, remedy in findings if not ok)


@pytest.mark.parametrize(
    ("name", "version", "known"),
    [
        ("runc", (1, 1, 5), ["45310", "31133", "52565", "52881", "41579"]),
        ("runc", (1, 1, 14), ["31133", "52565", "52881", "41579"]),
        ("runc", (1, 2, 8), ["41579"]),
        ("runc", (1, 3, 5), ["41579"]),
        ("runc", (1, 3, 6), []),
        ("runc", (1, 4, 2), ["41579"]),
        ("runc", (1, 4, 3), []),
        ("runc", (1, 5, 0), []),
        ("crun", (1, 8, 1), ["directory", "47766"]),
        ("crun", (1, 15, 0), ["47766"]),
        ("crun", (1, 19, 0), ["30892", "47766"]),
        ("crun", (1, 27, 0), ["47766"]),
        ("crun", (1, 28, 0), []),
        ("youki", (0, 1, 0), []),
    ],
)
def test_versions_with_known_holes_are_told_from_sound_ones(
    name: str, version: tuple[int, ...], known: list[str]
) -> None:
    found = holes(name, version)
    assert len(found) == len(known)
    assert all(words.endswith(end) for words, end in zip(found, known, strict=True))


def test_a_runtime_with_holes_is_named_with_them_and_with_the_versions_to_use(tmp_path: Path) -> None:
    binary = tmp_path / "runc"
    binary.write_text("#!/bin/sh\necho runc version 1.3.5\n")
    binary.chmod(0o755)
    name, works, found, remedy = doctor._runtime(str(binary))
    assert (name, works) == ("runc", True)
    assert found.endswith("has known holes: CVE-2026-41579")
    assert "1.3.6 or 1.4.3" in remedy
    binary.write_text("#!/bin/sh\necho runc version 1.4.3\n")
    assert doctor._runtime(str(binary)) == ("runc", True, f"{binary}: runc version 1.4.3", "")


def test_a_capability_that_prun_has_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        doctor, "own_capabilities", lambda: [name for name in CAPABILITIES if name != "CAP_SYS_RESOURCE"]
    )
    assert doctor._capabilities()[2] == "all but SYS_RESOURCE"
    monkeypatch.setattr(doctor, "own_capabilities", lambda: list(CAPABILITIES))
    assert doctor._capabilities()[2] == "all"
