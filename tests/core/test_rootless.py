from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun import rootless, state
from prun.errors import FailedPrecondition, InvalidArgument
from prun.identity import start_time
from prun.pipeline import usable_runtime
from prun.plugins import Hooks
from prun.rootless import subordinate_ranges, user_maps
from prun.types import Mount, Platform, RunRequest, RuntimeInfo

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with subuid, subgid and both tools."""
    tools = [tmp_path / name for name in ("newuidmap", "newgidmap")]
    for tool in tools:
        tool.write_text("")
        tool.chmod(0o755)
    monkeypatch.setattr(rootless, "SUBORDINATE", (str(tmp_path / "subuid"), str(tmp_path / "subgid")))
    monkeypatch.setattr(rootless, "TOOLS", tuple(map(str, tools)))
    monkeypatch.setattr(rootless, "_name", lambda uid: "alice")
    (tmp_path / "subuid").write_text("bob:1:2\nalice:100000:65536\n1000:300000:10\n")
    (tmp_path / "subgid").write_text("alice:200000:65536\n")
    return tmp_path


def test_ranges_are_the_user_s_by_name_and_by_number(files: Path) -> None:
    assert subordinate_ranges(str(files / "subuid"), "alice", 1000) == [(100000, 65536), (300000, 10)]
    assert subordinate_ranges(str(files / "subuid"), "", 1) == []
    assert subordinate_ranges(str(files / "none"), "alice", 1000) == []


@given(st.lists(st.text(st.characters(blacklist_categories=("Cs",)), max_size=20), max_size=8))
def test_lines_that_are_no_ranges_are_skipped(lines: list[str]) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write("\n".join([*lines, "\nalice:7:3"]))
        file.flush()
        found = subordinate_ranges(file.name, "alice", 1000)
    assert (7, 3) in found
    assert all(count > 0 and first + count - 1 <= rootless.MAX_ID for first, count in found)


@pytest.mark.parametrize(
    "line", ["alice:1", "alice:-1:5", "alice:0x1:5", "alice:5:0", "alice:4294967290:9", "::", "alice:٣:5"]
)
def test_a_line_that_makes_no_map_gives_none(tmp_path: Path, line: str) -> None:
    (tmp_path / "subuid").write_text(line + "\n", encoding="utf-8")
    assert subordinate_ranges(str(tmp_path / "subuid"), "alice", 1000) == []


@pytest.mark.usefixtures("files")
def test_the_user_is_root_and_the_ranges_follow() -> None:
    maps = user_maps(1000, 1001)
    assert maps.uids == ((0, 1000, 1), (1, 100000, 65536), (65537, 300000, 10))
    assert maps.gids == ((0, 1001, 1), (1, 200000, 65536))
    assert rootless.subordinate_problem(1000) == ("", "")


@pytest.mark.parametrize("missing", ["subuid", "subgid", "newuidmap", "newgidmap"])
def test_without_one_of_the_four_there_is_one_id_and_the_remedy_is_known(files: Path, missing: str) -> None:
    (files / missing).unlink()
    assert user_maps(1000, 1001) == (((0, 1000, 1),), ((0, 1001, 1),))
    problem, remedy = rootless.subordinate_problem(1000)
    assert missing in problem
    assert remedy == (
        "apt install uidmap" if missing.startswith("new") else
        "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 alice"
    )  # fmt: skip


def test_a_machine_that_permits_none_says_which_switch_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = tmp_path / "max_user_namespaces"
    switch.write_text("0\n")
    monkeypatch.setattr(rootless, "_SWITCHES", ((str(switch), "0", "sysctl x=1"),))
    reason, remedy = rootless.why_not()
    assert str(switch) in reason
    assert "sysctl x=1" in remedy
    switch.write_text("100\n")
    assert rootless.why_not() == ("", "")


def test_the_mark_alone_makes_nobody_rootless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rootless.MARK, "1000")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(rootless, "_is_initial", lambda: True)
    assert not rootless.is_rootless()
    assert state.default_root() == "/var/lib/prun"
    monkeypatch.setattr(rootless, "_is_initial", lambda: False)
    assert rootless.is_rootless()


def test_rootless_directories_are_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rootless.MARK, "1000")
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(rootless, "_is_initial", lambda: False)
    assert (state.default_root(), state.default_state()) == ("/home/alice/.local/share/prun", "/run/user/1000/prun")


def test_a_library_of_an_ordinary_user_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Runtime:
        pass

    hooks = Hooks.of(runtime=Runtime())
    info = RuntimeInfo("linux", (Platform("linux", "amd64"),), needs_root=True)
    monkeypatch.setattr(Hooks, "describe_runtime", lambda self: info)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(FailedPrecondition) as caught:
        usable_runtime(RunRequest("c"), hooks)
    assert "prun unshare python" in caught.value.hint
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert usable_runtime(RunRequest("c"), hooks) is info


def test_others_may_go_through_the_state_directory_and_not_look(tmp_path: Path) -> None:
    for mode, passable, left in ((0o711, True, 0o711), (0o711, False, 0o700), (0o755, True, 0o700)):
        tmp_path.chmod(mode)
        state.make_private(str(tmp_path), passable=passable)
        assert tmp_path.stat().st_mode & 0o777 == left


def test_a_kernel_that_makes_no_user_namespace_is_an_error_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """With subordinate ids a process waits for the namespace, to map them: it must end when there will be none."""
    from prun.cli import namespace
    from prun.rootfs.idmap import IdMaps, IdRange

    def refuse(flags: int) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(namespace.syscalls, "unshare", refuse)
    signal.alarm(10)
    try:
        with pytest.raises(PermissionError):
            namespace._make(IdMaps(*((IdRange(0, 1000, 1), IdRange(1, 100000, 10)),) * 2))
    finally:
        signal.alarm(0)


def test_a_half_written_list_of_members_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    from prun.cli.namespace import _members

    own = start_time(os.getpid())
    (tmp_path / "userns").write_text(f"{os.getpid()} {own}\n123\nx y\n99")
    with _members(str(tmp_path)) as members:
        assert members == [os.getpid()]


@pytest.mark.parametrize("mark", ["", "me", "-1"])
def test_a_mark_that_is_no_uid_is_not_ours(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rootless.MARK, mark)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(rootless, "_is_initial", lambda: False)
    assert not rootless.is_rootless()
    monkeypatch.setenv(rootless.MARK, "1000")
    assert rootless.is_rootless()


@pytest.mark.parametrize(
    ("flags", "options", "expected"),
    [
        (0, ("rbind", "ro"), ("rbind", "ro")),
        (os.ST_NOSUID | os.ST_NODEV, ("rbind", "ro"), ("rbind", "ro", "nosuid", "nodev")),
        (os.ST_NOSUID, ("rbind", "nosuid"), ("rbind", "nosuid")),
        (os.ST_NOEXEC, ("rbind", "exec"), None),
    ],
)
def test_a_bind_mount_in_a_user_namespace_keeps_what_its_source_forbids(
    monkeypatch: pytest.MonkeyPatch, flags: int, options: tuple[str, ...], expected: tuple[str, ...] | None
) -> None:
    class Found:
        f_flag = flags

    monkeypatch.setattr(os, "statvfs", lambda path: Found)
    mount = Mount("/x", "bind", "/source", options)
    assert rootless.allowed(mount, RunRequest("x")) == mount
    request = RunRequest("x", uid_map=("0:100000:65536",))
    if expected is None:
        with pytest.raises(InvalidArgument, match="exec cannot be had"):
            rootless.allowed(mount, request)
    else:
        assert rootless.allowed(mount, request).options == expected
