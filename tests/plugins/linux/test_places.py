"""Where a path leads, with a root file system made by hand; the attacks are in tests/integration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prun.errors import FailedPrecondition
from prun.rootfs.safepath import Root
from prun_linux.places import check_places, place

if TYPE_CHECKING:
    from pathlib import Path

    from prun.spec.document import Spec

MOUNTED = ["/proc", "/dev", "/run"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("bin", "dev/pts", "etc", "proc/self", "usr/share", "var"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bin/tool").touch()
    for name, target in {
        "lib": "usr/share", "var/run": "/run", "etc/up": "../../../usr", "etc/fd": "/proc/self/fd", "self": "proc/self",
        "loop": "loop", "dev/out": "/etc", "run": "/etc", "a": "b", "b": "/var/../a2", "a2": "usr", "top": "/",
        "back": "/proc/self/../../etc",
    }.items():  # fmt: skip
        (tmp_path / name).symlink_to(target)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/", "/"), ("//bin/./tool", "/bin/tool"), ("/no/such", "/no/such"), ("/lib/x", "/usr/share/x"),
        ("/etc/up/share", "/usr/share"), ("/a/share", "/usr/share"), ("/top/bin", "/bin"),
        ("/bin/tool/x", "/bin/tool/x"),
        ("/var/run/lock", "/run/lock"),  # below a mount: the image's own link /run does not count
        ("/dev/out", "/dev/out"), ("/proc/self/cwd", "/proc/self/cwd"),
        ("/etc/fd/7", "/proc/self/fd/7"), ("/self/fd", "/proc/self/fd"), ("/back", "/proc/self/../../etc"),
    ],
)  # fmt: skip
def test_links_are_followed_inside_and_names_below_a_mount_are_kept(tree: Path, name: str, expected: str) -> None:
    assert place(str(tree), name, MOUNTED) == expected


def test_a_loop_ends(tree: Path) -> None:
    with pytest.raises(FailedPrecondition, match="too many links"):
        place(str(tree), "/loop/x", ())


@pytest.mark.parametrize(
    ("destination", "cwd", "words"),
    [
        ("/etc/fd/7", "/", "mount destination '/etc/fd/7' is a link to '/proc/self/fd/7'"),
        ("/top", "/", "is the root itself"),
        ("/bin", "/self", "working directory '/self' is a link to '/proc/self'"),
        ("/bin", "/usr/../lib/../../bin/tool", None),
        ("/usr", "/bin/tool", "working directory '/bin/tool' is no directory"),
        ("/dev/out", "/var", None),
        ("/var/run/x", "/new", None),
    ],
)
def test_places_that_lead_astray_are_refused(tree: Path, destination: str, cwd: str, words: str | None) -> None:
    mounts = [{"destination": name} for name in ("/proc", "/dev", destination)]
    with Root(str(tree)) as root:
        if words is None:
            check_places({"process": {"cwd": cwd}, "mounts": mounts}, str(tree), root)  # type: ignore[typeddict-item]
            return
        with pytest.raises(FailedPrecondition, match=words):
            check_places({"process": {"cwd": cwd}, "mounts": mounts}, str(tree), root)  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("where", "what"), [("/bin/tool", "a file"), ("/usr", "a directory"), ("/bin/tool/x", "a file")]
)
def test_a_device_takes_the_place_of_nothing(tree: Path, where: str, what: str) -> None:
    spec: Spec = {"linux": {"devices": [{"path": where, "type": "c", "major": 1, "minor": 3}]}}
    with Root(str(tree)) as root, pytest.raises(FailedPrecondition, match=f"the image has {what} there"):
        check_places(spec, str(tree), root)
    spec["linux"]["devices"][0]["path"] = "/usr/null"
    with Root(str(tree)) as root:
        assert check_places(spec, str(tree), root) == []


def test_a_device_is_not_led_below_proc(tree: Path) -> None:
    spec: Spec = {"linux": {"devices": [{"path": "/self/null", "type": "c", "major": 1, "minor": 3}]}}
    with Root(str(tree)) as root, pytest.raises(FailedPrecondition, match="is a link to '/proc/self/null'"):
        check_places(spec, str(tree), root)


def test_a_working_directory_below_a_file_is_refused(tree: Path) -> None:
    with Root(str(tree)) as root, pytest.raises(FailedPrecondition, match="/bin/tool is no directory"):
        check_places({"process": {"cwd": "/bin/tool/x"}}, str(tree), root)
