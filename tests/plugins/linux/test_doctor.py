from __future__ import annotations

import pytest

from prun_linux import doctor


def test_doctor_reports_every_line_with_a_remedy_where_something_is_missing() -> None:
    findings = doctor.report()
    names = [name for name, _, _, _ in findings]
    for name in ("OCI runtime", "cgroups", "namespaces", "overlayfs", "seccomp", "seccomp profile", "conmon"):
        assert name in names
    assert all(found for _, _, found, _ in findings)
    assert all(remedy for _, ok, _, remedy in findings if not ok)


@pytest.mark.parametrize(
    ("name", "version", "sound"),
    [
        ("runc", (1, 1, 5), False),
        ("runc", (1, 3, 5), False),
        ("runc", (1, 3, 6), True),
        ("runc", (1, 4, 2), False),
        ("runc", (1, 4, 3), True),
        ("runc", (1, 5, 0), True),
        ("crun", (1, 8, 1), False),
        ("crun", (1, 28, 0), True),
        ("youki", (0, 1, 0), True),
    ],
)
def test_versions_with_known_holes_are_told_from_sound_ones(name: str, version: tuple[int, ...], sound: bool) -> None:
    assert doctor.is_sound(name, version) == sound
