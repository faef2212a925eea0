from __future__ import annotations

import os
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import CommandNotFound, CommandNotInvocable, PrunError, Unavailable
from prun.rootfs import safepath
from prun.types import FileStat
from prun_linux.command import check_command
from prun_linux.elf import Header, elf_interpreter
from prun_linux.executable import script_line
from prun_linux.refused import failed

if TYPE_CHECKING:
    from prun.spec.document import Spec


def elf(machine: int = 62, kind: int = 2, interpreter: bytes = b"", *, at: int = 120) -> bytes:
    """A program of 64 bits for a machine (e_machine), with its loader's path at an offset."""
    header = struct.pack(
        "<4sBBB9xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, kind, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 3 if interpreter else 1, 4, at, 0, 0, len(interpreter) + 1, 0, 1)
    return (header + segment).ljust(at, b"\0") + interpreter + b"\0"


NATIVE = {"x86_64": 62, "aarch64": 183}.get(os.uname().machine, 62)
PROGRAM = elf(NATIVE)


class Root:
    """Files by path: mode and content; whatever else is asked for is not there."""

    path = "/nonexistent"  # where there are no links

    def __init__(self, **extra: tuple[int, bytes]) -> None:
        self.files = {
            "/bin": (stat.S_IFDIR | 0o755, b""),
            "/bin/sh": (stat.S_IFREG | 0o755, PROGRAM),
            "/bin/data": (stat.S_IFREG | 0o644, b""),
            "/bin/mine": (stat.S_IFREG | 0o700, PROGRAM),
            "/bin/device": (stat.S_IFCHR | 0o777, b""),
            "/bin/good": (stat.S_IFREG | 0o755, b"#! /bin/sh -e\nexit"),
            "/bin/bad": (stat.S_IFREG | 0o755, b"#!/no/such\nexit"),
            "/bin/noname": (stat.S_IFREG | 0o755, b"#! \n"),
            "/bin/empty": (stat.S_IFREG | 0o755, b""),
            "/bin/long": (stat.S_IFREG | 0o755, b"#!/" + b"x" * 300),
            "/bin/crlf": (stat.S_IFREG | 0o755, b"#!/bin/sh\r\n"),
            "/bin/env": (stat.S_IFREG | 0o755, PROGRAM),
            "/bin/viaenv": (stat.S_IFREG | 0o755, b"#!/bin/env sh\n"),
            "/bin/envcrlf": (stat.S_IFREG | 0o755, b"#!/bin/env sh\r\n"),
            "/bin/envwords": (stat.S_IFREG | 0o755, b"#!/bin/env sh -e\n"),
            "/bin/envsplit": (stat.S_IFREG | 0o755, b"#!/bin/env -S nosuch -e\n"),
            "/bin/relative": (stat.S_IFREG | 0o755, b"#!bin/sh\n"),
            "/bin/twice": (stat.S_IFREG | 0o755, b"#!/bin/bad\n"),
            "/bin/loop": (stat.S_IFREG | 0o755, b"#!/bin/loop\n"),
            "/bin/datascript": (stat.S_IFREG | 0o755, b"#!/bin/data\n"),
            "/bin/foreign": (stat.S_IFREG | 0o755, elf(8)),
            "/bin/object": (stat.S_IFREG | 0o755, elf(NATIVE, 1)),
            "/bin/cut": (stat.S_IFREG | 0o755, PROGRAM[:40]),
            "/bin/musl": (stat.S_IFREG | 0o755, elf(NATIVE, 3, b"/lib/ld-musl-x86_64.so.1")),
            "/bin/patched": (stat.S_IFREG | 0o755, elf(NATIVE, 3, b"/lib/ld-linux-x86-64.so.2", at=9000)),
            "/bin/straddling": (stat.S_IFREG | 0o755, elf(NATIVE, 3, b"/bin/sh", at=4092)),
            "/bin/other": (stat.S_IFREG | 0o755, elf(NATIVE, 3, b"/bin/data")),
            "/secret": (stat.S_IFDIR | 0o700, b""),
            "/secret/sh": (stat.S_IFREG | 0o755, PROGRAM),
            "/bin/listed": (stat.S_IFREG | 0o770, PROGRAM),
            "/bin/text": (stat.S_IFREG | 0o755, b"echo hi\n"),
            "/bin/proc": (stat.S_IFREG | 0o755, b"#!/proc/self/exe\n"),
            "/bin/large": (stat.S_IFREG | 0o755, b"#!/no/such\n" + b"x" * (1 << 17)),
            "/opt/only": (stat.S_IFREG | 0o755, PROGRAM),
        }

    def stat(self, path: str) -> FileStat | None:
        found = self.files.get(path)
        return FileStat(found[0], 5, 6, len(found[1])) if found else None

    def head(self, path: str, size_bytes: int, offset: int = 0) -> bytes:
        return self.files[path][1][offset : offset + size_bytes]

    def has_acl(self, path: str) -> bool:
        return path == "/bin/listed"


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
        spec("viaenv"),
        spec("envsplit"),
        spec("relative"),
        spec("relative", cwd="/bin/.."),
        spec("straddling"),
        spec("listed", uid=7),
        spec("/secret/sh", uid=5),
        spec("/secret/sh"),
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
        (spec("empty"), "exec format error"),
        (spec("noname"), "names no interpreter"),
        (spec("long"), "names no interpreter"),
        (spec("crlf"), "CR LF"),
        (spec("envcrlf"), "env would not find its interpreter 'sh.r': its first line ends in CR LF"),
        (spec("envwords"), "env gets all of it as one word"),
        (spec("relative", cwd="/bin"), "'bin/sh' is missing"),
        (spec("twice"), "its interpreter '/bin/bad': its interpreter '/no/such' is missing"),
        (spec("loop"), "too many in a row"),
        (spec("datascript"), "its interpreter '/bin/data': permission denied"),
        (spec("foreign"), "another architecture"),
        (spec("object"), "no program"),
        (spec("cut"), "no program"),
        (spec("musl"), "ld-musl-x86_64.so.1' is missing"),
        (spec("patched"), "ld-linux-x86-64.so.2' is missing"),
        (spec("other"), "its interpreter '/bin/data': permission denied"),
        (spec("/secret/sh", uid=7), "directory /secret"),
    ],
)
def test_a_command_that_cannot_work_says_why(the_spec: Spec, reason: str) -> None:
    with pytest.raises(CommandNotInvocable, match=reason):
        check(the_spec, Root())


@pytest.mark.parametrize("name", ["mine", "bad", "crlf", "foreign", "musl", "text"])
def test_each_refusal_has_its_evidence_and_its_remedy(name: str) -> None:
    with pytest.raises(CommandNotInvocable) as caught:
        check(spec(f"/bin/{name}", uid=7), Root())
    assert f"/bin/{name}" in caught.value.evidence
    assert "(E" in caught.value.evidence
    assert caught.value.hint


@pytest.mark.parametrize(
    ("word", "remedy"),
    [("echo hi", "sh -c 'echo hi'"), ("cd", "word of the shell"), ("data", "chmod"), ("./x", "working directory")],
)
def test_the_remedy_of_a_missing_command_is_that_of_the_mistake(word: str, remedy: str) -> None:
    with pytest.raises(CommandNotFound) as caught:
        check(spec(word), Root())
    assert remedy in caught.value.hint


def test_without_a_path_nothing_is_looked_for() -> None:
    with pytest.raises(CommandNotFound) as caught:
        check({"process": {"args": ["sh"]}}, Root())
    assert caught.value.evidence == "there is no PATH"


def test_a_user_namespace_shifts_the_owners_of_files() -> None:
    shifted: Any = {**spec("mine", uid=0x15), "linux": {"uidMappings": [{"containerID": 16, "hostID": 0, "size": 9}]}}
    check(shifted, Root())


def test_a_user_with_the_capability_needs_no_bit_of_its_own() -> None:
    able = spec("mine", uid=7)
    able["process"]["capabilities"] = {"effective": ["CAP_DAC_OVERRIDE"]}
    check(able, Root())


@pytest.mark.parametrize(
    ("entry", "works"),
    [
        ("enabled\ninterpreter /usr/bin/qemu\nflags: F\noffset 18\nmagic 0800\nmask ffff\n", True),
        ("enabled\ninterpreter /usr/bin/qemu\nflags: \noffset 18\nmagic 0800\nmask ffff\n", False),
        ("enabled\ninterpreter /bin/sh\nflags: \noffset 18\nmagic 0800\n", True),
        ("disabled\ninterpreter /usr/bin/qemu\nflags: F\noffset 18\nmagic 0800\nmask ffff\n", False),
        ("enabled\ninterpreter /usr/bin/qemu\nflags: F\noffset 18\nmagic b700\nmask ffff\n", False),
        ("enabled\ninterpreter /usr/bin/qemu\nflags: F\noffset 18\nmagic 0800\nmask 0000\n", True),
        ("enabled\ninterpreter /usr/bin/java\nflags: F\nextension foreign\n", True),
        ("enabled\nof a newer kernel\nflags: F\n", True),
    ],
)
def test_a_foreign_program_is_let_through_where_a_handler_takes_it(
    entry: str, works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = tmp_path / "handlers"
    handlers.mkdir()
    for name, text in (("status", "enabled\n"), ("register", ""), ("qemu-mips", entry)):
        (handlers / name).write_text(text)
    (tmp_path / "filesystems").write_text("nodev\tbinfmt_misc\n")
    monkeypatch.setattr("prun_linux.binfmt.DIRECTORY", str(handlers))
    monkeypatch.setattr("prun_linux.binfmt.FILE_SYSTEMS", str(tmp_path / "filesystems"))
    if works:
        check(spec("foreign"), Root())
        return
    with pytest.raises(CommandNotInvocable) as caught:
        check(spec("foreign"), Root())
    assert (
        "is not in the container (no flag F)" in caught.value.evidence or entry.startswith("disabled") or "b7" in entry
    )


def test_handlers_that_cannot_be_seen_leave_the_answer_to_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "filesystems").write_text("nodev\tbinfmt_misc\n")
    monkeypatch.setattr("prun_linux.binfmt.DIRECTORY", str(tmp_path))
    monkeypatch.setattr("prun_linux.binfmt.FILE_SYSTEMS", str(tmp_path / "filesystems"))
    (tmp_path / "uid_map").write_text("0 1000 1\n")
    monkeypatch.setattr("prun_linux.binfmt.UID_MAP", str(tmp_path / "uid_map"))
    check(spec("foreign"), Root())
    (tmp_path / "filesystems").write_text("nodev\tsysfs\n")
    with pytest.raises(CommandNotInvocable):
        check(spec("foreign"), Root())


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
        ('exec: "/bin/sh/x": stat /bin/sh/x: not a directory', CommandNotFound),
        ("exec /x: text file busy", CommandNotInvocable),
        ("exec /x: something new", CommandNotInvocable),
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


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_any_bytes_after_the_magic_are_no_trap(data: bytes, more: bytes) -> None:
    for word in (b"\x7fELF\x02\x01", b"\x7fELF\x01\x02", b"\x7fELF"):
        assert isinstance(elf_interpreter(word + data), str)
        assert isinstance(Header(word + data).interpreter(lambda _size, _offset: more), str)
    assert script_line(b"#!" + data) is None or b"\n" not in b"".join(script_line(b"#!" + data) or ())


@given(st.binary(max_size=300))
def test_any_file_is_looked_at_without_a_fault(data: bytes) -> None:
    for magic in (b"", b"#!", b"\x7fELF\x02\x01\x01" + bytes(9), PROGRAM[:60]):
        root = Root()
        root.files["/bin/any"] = (stat.S_IFREG | 0o755, magic + data)
        with suppress(PrunError):
            check(spec("any"), root)


def test_a_program_whose_loader_is_missing_is_not_invocable(tmp_path: Path) -> None:
    (tmp_path / "ls").write_bytes(Path("/bin/ls").read_bytes())
    (tmp_path / "ls").chmod(0o755)
    with (
        safepath.Root(str(tmp_path)) as root,
        pytest.raises(CommandNotInvocable, match=r"its interpreter '/lib.* is missing"),
    ):
        check({"process": {"args": ["/ls"]}}, root)
