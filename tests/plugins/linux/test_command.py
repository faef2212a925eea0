from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import CommandNotFound, CommandNotInvocable, PrunError, Unavailable
from prun.rootfs import safepath
from prun.types import FileStat
from prun_linux.command import check_command, elf_interpreter, failed, script_interpreter

if TYPE_CHECKING:
    from prun.spec.document import Spec


class Root:
    """Files by path: mode and content; whatever else is asked for is not there."""

    path = "/nonexistent"  # where there are no links

    def __init__(self, **extra: tuple[int, bytes]) -> None:
        self.files = {
            "/bin": (stat.S_IFDIR | 0o755, b""),
            "/bin/sh": (stat.S_IFREG | 0o755, b"\x7fELF"),
            "/bin/data": (stat.S_IFREG | 0o644, b""),
            "/bin/mine": (stat.S_IFREG | 0o700, b"\x7fELF"),
            "/bin/device": (stat.S_IFCHR | 0o777, b""),
            "/bin/good": (stat.S_IFREG | 0o755, b"#! /bin/sh -e\nexit"),
            "/bin/bad": (stat.S_IFREG | 0o755, b"#!/no/such\nexit"),
            "/bin/empty": (stat.S_IFREG | 0o755, b"#!\n"),
            "/bin/text": (stat.S_IFREG | 0o755, b"echo hi\n"),
            "/bin/proc": (stat.S_IFREG | 0o755, b"#!/proc/self/exe\n"),
            "/bin/large": (stat.S_IFREG | 0o755, b"#!/no/such\n" + b"x" * (1 << 17)),
            "/opt/only": (stat.S_IFREG | 0o755, b"\x7fELF"),
        }

    def stat(self, path: str) -> FileStat | None:
        found = self.files.get(path)
        return FileStat(found[0], 5, 6, len(found[1])) if found else None

    def head(self, path: str, size_bytes: int) -> bytes:
        return self.files[path][1][:size_bytes]


def spec(command: str, *, path: str = "/sbin:/bin", cwd: str = "/", mounts: Any = (), **user: Any) -> Spec:
    process = {"args": [command], "env": [f"PATH={path}"], "cwd": cwd, "user": user}
    entries = [{"destination": "/proc", "type": "proc"}, {"destination": "/etc/hosts", "type": "bind"}, *mounts]
    return {"process": process, "mounts": entries}  # type: ignore[typeddict-item]


def check(the_spec: Spec, root: Any) -> None:
    check_command(the_spec, root, [mount["destination"] for mount in the_spec.get("mounts", [])])


def test_a_link_into_a_mount_leaves_the_answer_to_the_runtime(tmp_path: Path) -> None:
    (tmp_path / "bin").symlink_to("data/bin")
    with safepath.Root(str(tmp_path)) as root:
        check(spec("nosuch", path="/bin", mounts=[DATA]), root)
        with pytest.raises(CommandNotFound):
            check(spec("nosuch", path="/bin"), root)


DATA = {"destination": "/data", "type": "bind"}


@pytest.mark.parametrize(
    "the_spec",
    [
        spec("sh"),
        spec("/bin/sh"),
        spec("bin/sh"),
        spec("./sh", cwd="/bin"),
        spec("../bin/sh", cwd="/usr"),
        spec("only", path=".", cwd="/opt"),
        spec("only", path="", cwd="/opt"),
        spec("good"),
        spec("empty"),
        spec("proc"),
        spec("mine", uid=0),
        spec("mine", uid=5),
        spec("/proc/self/exe"),
        spec("/data/nosuch", mounts=[DATA]),
        spec("nosuch", path="/data/bin:/bin", mounts=[DATA]),
    ],
)
def test_a_command_that_may_work_is_let_through(the_spec: Spec) -> None:
    check(the_spec, Root())


@pytest.mark.parametrize(
    "the_spec",
    [
        spec("nosuch"),
        spec("/bin/nosuch"),
        spec("sh", path="/sbin"),
        spec("nosuch", mounts=[DATA]),
        spec("sh/", path="/bin"),
        spec("data"),  # docker: not found, although there is a file of that name in PATH
        spec("sh", mounts=[{"destination": "/dev", "type": "tmpfs"}], path="/usr"),
    ],
)
def test_a_missing_command_is_not_found(the_spec: Spec) -> None:
    with pytest.raises(CommandNotFound):
        check(the_spec, Root())


@pytest.mark.parametrize(
    ("the_spec", "reason"),
    [
        (spec("/bin"), "directory"),
        (spec("large"), "'/no/such' is missing"),
        (spec("/bin/data"), "permission denied"),
        (spec("/bin/mine", uid=7, gid=6), "permission denied"),
        (spec("/bin/device"), "no regular file"),
        (spec("bad"), "'/no/such' is missing"),
        (spec("/bin/bad"), "'/no/such' is missing"),
        (spec("text"), "exec format error"),
    ],
)
def test_a_command_that_cannot_work_says_why(the_spec: Spec, reason: str) -> None:
    with pytest.raises(CommandNotInvocable, match=reason):
        check(the_spec, Root())


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ('exec: "x": executable file not found in $PATH', CommandNotFound),
        ('exec: "/x": stat /x: no such file or directory', CommandNotFound),
        ("executable file `x` not found in $PATH: No such file or directory", CommandNotFound),
        ('exec: "/x": permission denied', CommandNotInvocable),
        ("exec /vol/x: permission denied", CommandNotInvocable),
        ("open executable: Permission denied", CommandNotInvocable),
        ("exec container process `/x`: Exec format error", CommandNotInvocable),
        ("exec container process (missing dynamic library?) `/x`: No such file or directory", CommandNotInvocable),
        ("error mounting: no such file or directory", Unavailable),
        ("", Unavailable),
    ],
)
def test_the_words_of_runc_and_crun_are_understood(words: str, kind: type[PrunError]) -> None:
    assert type(failed(words, "x", "runc")) is kind


def test_the_loader_of_a_dynamic_program_is_found_and_a_static_one_has_none() -> None:
    with open("/bin/ls", "rb") as file:
        assert elf_interpreter(file.read(4096)).startswith("/lib")
    with open("/bin/busybox", "rb") as file:
        assert elf_interpreter(file.read(4096)) == ""


@given(st.binary(max_size=200))
def test_any_bytes_after_the_magic_are_no_trap(data: bytes) -> None:
    for word in (b"\x7fELF\x02\x01", b"\x7fELF\x01\x02", b"#!", b""):
        assert isinstance(elf_interpreter(word + data) + script_interpreter(word + data), str)


def test_a_program_whose_loader_is_missing_is_not_invocable(tmp_path: Path) -> None:
    (tmp_path / "ls").write_bytes(Path("/bin/ls").read_bytes())
    (tmp_path / "ls").chmod(0o755)
    with (
        safepath.Root(str(tmp_path)) as root,
        pytest.raises(CommandNotInvocable, match=r"its interpreter '/lib.* is missing"),
    ):
        check({"process": {"args": ["/ls"]}}, root)
