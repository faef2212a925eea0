"""Each line of the image-spec's changeset rules, on overlayfs and without it."""

from __future__ import annotations

import os
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest
from images import MTIME, directory, entry, file, hardlink, layer_tar, symlink
from unpacking import paths_below

from prun.errors import DataLoss, InvalidArgument, PrunError, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Unpack = Callable[..., Path]

pytestmark = pytest.mark.root

OPAQUE = ".wh..wh..opq"
CAPABILITY = "SCHILY.xattr.security.capability"
# VFS_CAP_REVISION_2, effective, cap_net_raw permitted (linux/capability.h)
NET_RAW = b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"


def tree(root: Path) -> list[str]:
    return [os.fsdecode(path) for path in paths_below(root)]


def whiteout(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return file(name)


# --- the two traps ---------------------------------------------------------------------------------------------------


def test_an_opaque_root_hides_everything_of_the_lower_layers(unpack: Unpack) -> None:
    root = unpack([directory("a"), file("a/x"), file("b")], [whiteout(OPAQUE), file("c")])
    assert tree(root) == ["c"]


def test_a_directory_that_is_hidden_and_made_anew_has_no_old_children(unpack: Unpack) -> None:
    lower = [directory("d"), file("d/old")]
    root = unpack(lower, [whiteout(".wh.d"), directory("d", mode=0o700), file("d/new")])
    assert tree(root) == ["d", "d/new"]
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o700


def test_a_directory_made_anew_before_its_whiteout_has_no_old_children(unpack: Unpack) -> None:
    root = unpack([directory("d"), file("d/old")], [directory("d"), file("d/new"), whiteout(".wh.d")])
    assert tree(root) == ["d", "d/new"]


# --- symlinked parents -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["/real", "real", "../../../real", "./real/.", "/../real", "/sub/../real"],
)
@pytest.mark.parametrize("split", [False, True])
def test_a_file_below_a_symlink_lands_in_the_directory_it_leads_to(unpack: Unpack, target: str, split: bool) -> None:
    lower = [directory("real"), directory("sub"), symlink("link", target)]
    upper = [file("link/x", b"1")]
    root = unpack(lower, upper) if split else unpack([*lower, *upper])
    assert (root / "real" / "x").read_bytes() == b"1"
    assert (root / "link").is_symlink()


def test_a_chain_of_symlinks_is_followed(unpack: Unpack) -> None:
    links = [symlink(f"l{n}", f"l{n + 1}") for n in range(20)]
    root = unpack([directory("real"), *links, symlink("l20", "/real")], [file("l0/x")])
    assert "real/x" in tree(root)


def test_a_file_below_a_dangling_symlink_makes_the_missing_directory_inside_the_root(unpack: Unpack) -> None:
    root = unpack([symlink("link", "/missing/dir"), file("link/x")])
    assert tree(root) == ["link", "missing", "missing/dir", "missing/dir/x"]


def test_a_symlink_to_the_root_leads_to_the_root_of_the_image(unpack: Unpack) -> None:
    assert "x" in tree(unpack([symlink("link", "/"), file("link/x")]))


@pytest.mark.parametrize("split", [False, True])
def test_a_file_below_a_symlink_to_a_host_directory_stays_inside(unpack: Unpack, outside: Path, split: bool) -> None:
    link, below = symlink("link", str(outside)), file("link/marker", b"evil")
    root = unpack([link], [below]) if split else unpack([link, below])
    assert (root / str(outside)[1:] / "marker").read_bytes() == b"evil"


def test_a_symlink_to_a_mark_makes_no_directory_of_that_name(unpack: Unpack) -> None:
    """Who writes the tree as a layer again would hide what is below."""
    with pytest.raises(InvalidArgument, match="a mark that is no directory"):
        unpack([symlink("a", ".wh..wh..opq"), file("a/b")])


@pytest.mark.parametrize("name", [".wh.marker", OPAQUE])
def test_a_whiteout_below_a_symlink_to_a_host_directory_removes_nothing_there(
    unpack: Unpack, outside: Path, name: str
) -> None:
    unpack([symlink("link", str(outside))], [whiteout(f"link/{name}")])
    assert (outside / "marker").exists()


@pytest.mark.parametrize("name", ["loop/x", "a/x"])
def test_a_loop_of_symlinks_is_refused(unpack: Unpack, name: str) -> None:
    with pytest.raises(InvalidArgument, match="links"):
        unpack([symlink("loop", "loop"), symlink("a", "b"), symlink("b", "a"), file(name)])


def test_a_chain_of_symlinks_beyond_path_max_does_not_lead_out(unpack: Unpack, outside: Path) -> None:
    """CVE-2025-4517: a path that the kernel finds too long was taken as resolved."""
    long, entries = "d" * 247, []
    here = ""
    for letter in "abcdefghijklmnop":
        entries += [directory(here + long), symlink(here + letter, long)]
        here += long + "/"
    chain = "/".join("abcdefghijklmnop")
    entries += [symlink(f"{chain}/escape", "../" * 16), symlink("out", f"{chain}/escape/../../..{outside}")]
    root = unpack([*entries, file("out/marker", b"evil")])
    assert f"{outside}/marker"[1:] in tree(root)


@pytest.mark.parametrize("name", [".", "./", "/"])
@pytest.mark.parametrize("lower", [True, False])
def test_a_root_that_is_no_directory_is_refused(unpack: Unpack, outside: Path, name: str, lower: bool) -> None:
    """umoci CVE-2021-29136."""
    layers = [[symlink(name, str(outside)), file("marker", b"evil")]]
    with pytest.raises(InvalidArgument, match="root"):
        unpack(*([[file("x")]] if lower else []), *layers)


def test_a_symlink_gives_way_to_a_file_and_its_target_stays(unpack: Unpack) -> None:
    root = unpack([file("target", b"1"), symlink("x", "target")], [file("x", b"2")])
    assert (root / "target").read_bytes() == b"1"
    assert (root / "x").read_bytes() == b"2"
    assert not (root / "x").is_symlink()


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../outside/x", "/../../../outside/x", "a/../../../outside/x", "./.././outside/x"])
def test_a_name_with_dots_stays_inside(unpack: Unpack, name: str) -> None:
    assert "outside/x" in tree(unpack([file(name)]))


def test_a_name_of_dots_alone_is_the_root(unpack: Unpack) -> None:
    assert tree(unpack([directory(".."), file("x")])) == ["x"]


def test_a_file_in_place_of_the_root_is_refused(unpack: Unpack) -> None:
    with pytest.raises(InvalidArgument, match="root"):
        unpack([file("..")])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("/etc/x", "etc/x"), ("./etc/x", "etc/x"), ("etc//x", "etc/x"), ("..name", "..name"), ("...", "...")],
)
def test_a_harmless_name_is_taken(unpack: Unpack, name: str, expected: str) -> None:
    assert expected in tree(unpack([file(name)]))


def test_a_name_that_is_not_utf8_is_kept_byte_for_byte(unpack: Unpack) -> None:
    root = unpack(layer_tar([file("caf\udce9", b"1")], tarfile.GNU_FORMAT))
    assert paths_below(root) == [b"caf\xe9"]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_name_of_three_hundred_bytes_is_taken(unpack: Unpack, format: int) -> None:  # noqa: A002
    name = "a" * 150 + "/" + "b" * 149
    root = unpack([file(name), symlink("s", name), hardlink("h", name)], format=format)
    assert name in tree(root)
    assert os.readlink(root / "s") == name
    assert (root / "h").samefile(root / name)


def test_a_component_that_is_too_long_for_the_file_system_is_refused(unpack: Unpack) -> None:
    with pytest.raises(InvalidArgument):
        unpack([file("a" * 300)])


def test_a_tree_that_is_too_deep_is_refused(unpack: Unpack) -> None:
    with pytest.raises(InvalidArgument, match="levels deep"):
        unpack([file("d/" * 500 + "x")])


# --- hard links ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["a/x", "/a/x", "./a/../a/x", "link/x", "../../a/x"])
def test_a_hard_link_is_the_same_file_as_its_target(unpack: Unpack, target: str) -> None:
    root = unpack([directory("a"), file("a/x", b"1"), symlink("link", "a"), hardlink("h", target)])
    assert (root / "h").stat().st_ino == (root / "a" / "x").stat().st_ino


def test_a_hard_link_to_a_symlink_is_the_symlink(unpack: Unpack, outside: Path) -> None:
    root = unpack([symlink("s", str(outside / "marker")), hardlink("h", "s", mode=0o777)])
    assert os.readlink(root / "h") == str(outside / "marker")
    assert os.lstat(root / "h").st_ino == os.lstat(root / "s").st_ino


@pytest.mark.parametrize("target", ["missing", "a/missing", "missing/x"])
def test_a_hard_link_to_nothing_is_refused(unpack: Unpack, target: str) -> None:
    with pytest.raises(InvalidArgument, match="missing"):
        unpack([directory("a"), hardlink("h", target)])


@pytest.mark.parametrize("way", ["../../outside/marker", "absolute", "link/marker"])
def test_a_hard_link_does_not_reach_a_file_of_the_host(unpack: Unpack, outside: Path, way: str) -> None:
    target = str(outside / "marker") if way == "absolute" else way
    with pytest.raises(InvalidArgument, match="missing"):
        unpack([symlink("link", str(outside)), hardlink("h", target), file("h", b"evil")])


def test_a_hard_link_to_a_file_of_a_lower_layer_is_the_same_file(unpack: Unpack) -> None:
    root = unpack([directory("a", mode=0o710), file("a/x", b"1", uid=7, mtime=5)], [hardlink("h", "a/x")])
    found = (root / "h").stat()
    assert (root / "h").read_bytes() == b"1"
    assert (found.st_uid, found.st_mtime, found.st_nlink) == (7, 5, 2)
    assert found.st_ino == (root / "a" / "x").stat().st_ino
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o710


def test_a_file_can_be_renamed_by_a_layer_with_a_hard_link_and_a_whiteout(unpack: Unpack) -> None:
    root = unpack([file("old", b"1")], [hardlink("new", "old"), whiteout(".wh.old")])
    assert tree(root) == ["new"]
    assert (root / "new").read_bytes() == b"1"


def test_a_hard_link_to_itself_changes_nothing(unpack: Unpack) -> None:
    root = unpack([file("x", b"1"), hardlink("x", "x"), hardlink("y", "x"), hardlink("y", "./x")])
    assert (root / "x").read_bytes() == b"1"
    assert (root / "x").stat().st_nlink == 2


def test_a_hard_link_to_a_directory_is_refused(unpack: Unpack) -> None:
    with pytest.raises(InvalidArgument, match="directory"):
        unpack([directory("d"), hardlink("h", "d")])


def test_a_hard_link_in_place_of_the_directory_of_its_target_is_refused(unpack: Unpack) -> None:
    with pytest.raises(InvalidArgument, match="its own target"):
        unpack([directory("d"), file("d/x"), hardlink("d", "d/x")])


def test_the_mode_of_a_hard_link_entry_does_not_follow_a_symlink(unpack: Unpack, outside: Path) -> None:
    """containerd CVE-2021-32760."""
    unpack([symlink("s", str(outside / "marker")), hardlink("h", "s", mode=0o4777)])
    assert stat.S_IMODE((outside / "marker").stat().st_mode) != 0o4777


# --- type changes ----------------------------------------------------------------------------------------------------

KINDS = {
    "file": lambda: [file("x", b"1")],
    "directory": lambda: [directory("x"), file("x/child")],
    "symlink": lambda: [symlink("x", "y")],
    "fifo": lambda: [entry("x", tarfile.FIFOTYPE)],
    "device": lambda: [entry("x", tarfile.CHRTYPE, devmajor=1, devminor=3)],
}
CHECKS = {
    "file": stat.S_ISREG,
    "directory": stat.S_ISDIR,
    "symlink": stat.S_ISLNK,
    "fifo": stat.S_ISFIFO,
    "device": stat.S_ISCHR,
}


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
def test_the_later_entry_of_a_name_wins(unpack: Unpack, old: str, new: str, split: bool) -> None:
    first, second = KINDS[old](), KINDS[new]()
    root = unpack(first, second) if split else unpack([*first, *second])
    assert CHECKS[new](os.lstat(root / "x").st_mode)
    if new == "directory":
        assert tree(root) == ["x", "x/child"]


def test_a_directory_over_a_directory_keeps_its_children_and_takes_the_new_mode(unpack: Unpack) -> None:
    lower = [directory("d", uid=1), file("d/x", b"1")]
    root = unpack(lower, [directory("d", mode=0o1777, uid=2, mtime=9)])
    found = (root / "d").stat()
    assert (root / "d" / "x").read_bytes() == b"1"
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_mtime) == (0o1777, 2, 9)


def test_a_directory_that_gives_way_and_comes_back_has_no_old_children(unpack: Unpack) -> None:
    root = unpack([directory("d"), file("d/x")], [file("d"), directory("d"), file("d/y")])
    assert tree(root) == ["d", "d/y"]


@pytest.mark.parametrize("split", [False, True])
def test_a_symlink_that_becomes_a_directory_receives_the_files_that_follow(unpack: Unpack, split: bool) -> None:
    first = [directory("real"), symlink("link", "real"), file("link/x")]
    second = [directory("link"), file("link/y")]
    root = unpack(first, second) if split else unpack([*first, *second])
    assert tree(root) == ["link", "link/y", "real", "real/x"]


@pytest.mark.parametrize("split", [False, True])
def test_a_file_as_a_parent_is_refused(unpack: Unpack, split: bool) -> None:
    first, second = [file("f", b"1")], [file("f/x")]
    with pytest.raises(InvalidArgument, match="no directory"):
        unpack(first, second) if split else unpack([*first, *second])


# --- whiteouts -------------------------------------------------------------------------------------------------------


def test_a_whiteout_removes_only_what_it_names(unpack: Unpack) -> None:
    lower = [directory("d"), file("d/x"), file("d/xy"), directory("d/e"), file("d/e/f"), file("x")]
    assert tree(unpack(lower, [whiteout("d/.wh.x"), whiteout("d/.wh.e")])) == ["d", "d/xy", "x"]


def test_a_whiteout_of_a_symlink_leaves_its_target(unpack: Unpack) -> None:
    root = unpack([directory("real"), file("real/x"), symlink("link", "real")], [whiteout(".wh.link")])
    assert tree(root) == ["real", "real/x"]


@pytest.mark.parametrize("name", [".wh.missing", "missing/.wh.x", "f/.wh.x", f"missing/{OPAQUE}", f"f/{OPAQUE}"])
def test_a_whiteout_of_nothing_does_nothing(unpack: Unpack, name: str) -> None:
    assert tree(unpack([file("f")], [whiteout(name)])) == ["f"]


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh...", "d/.wh."])
def test_a_whiteout_without_a_name_is_refused(unpack: Unpack, name: str) -> None:
    with pytest.raises(InvalidArgument, match="whiteout"):
        unpack([directory("d"), file("x")], [whiteout(name)])


def test_a_whiteout_spares_what_its_own_layer_has_written(unpack: Unpack) -> None:
    lower = [file("f", b"old"), directory("d"), file("d/old"), file("d/f", b"old")]
    upper = [file("f", b"new"), whiteout(".wh.f"), file("d/f", b"new"), whiteout(".wh.d")]
    root = unpack(lower, upper)
    assert tree(root) == ["d", "d/f", "f"]
    assert (root / "f").read_bytes() == (root / "d" / "f").read_bytes() == b"new"


@pytest.mark.parametrize("mark_first", [True, False])
@pytest.mark.parametrize("with_entry", [True, False])
def test_an_opaque_directory_has_the_children_of_its_own_layer_only(
    unpack: Unpack, mark_first: bool, with_entry: bool
) -> None:
    lower = [directory("d"), file("d/old"), directory("d/sub"), file("d/sub/old"), file("stays")]
    new = [file("d/new"), directory("d/sub"), file("d/sub/new")]
    marked = [whiteout(f"d/{OPAQUE}"), *new] if mark_first else [*new, whiteout(f"d/{OPAQUE}")]
    root = unpack(lower, [*([directory("d")] if with_entry else []), *marked])
    assert tree(root) == ["d", "d/new", "d/sub", "d/sub/new", "stays"]


def test_an_opaque_mark_over_a_file_is_harmless_when_a_directory_replaces_it(unpack: Unpack) -> None:
    root = unpack([file("d")], [directory("d"), whiteout(f"d/{OPAQUE}"), file("d/x")])
    assert tree(root) == ["d", "d/x"]


def test_opaque_marks_may_be_nested(unpack: Unpack) -> None:
    lower = [directory("a"), directory("a/b"), file("a/b/old"), file("a/old")]
    upper = [whiteout(f"a/{OPAQUE}"), directory("a/b"), whiteout(f"a/b/{OPAQUE}"), file("a/b/new")]
    assert tree(unpack(lower, upper)) == ["a", "a/b", "a/b/new"]


def test_what_a_layer_hides_comes_back_with_a_later_layer_only(unpack: Unpack) -> None:
    root = unpack([directory("d"), file("d/x", b"1")], [whiteout(".wh.d")], [directory("d"), file("d/y")])
    assert tree(root) == ["d", "d/y"]


def test_aufs_files_are_left_out(unpack: Unpack) -> None:
    marks = [file(".wh..wh.aufs"), directory(".wh..wh.orph"), directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2")]
    assert tree(unpack([*marks, file("x")])) == ["x"]


def test_a_directory_with_the_prefix_inside_its_name_is_a_name(unpack: Unpack) -> None:
    assert tree(unpack([directory("a.wh.b"), file("a.wh.b/x")])) == ["a.wh.b", "a.wh.b/x"]


def test_a_whiteout_in_the_lowest_layer_is_never_visible(unpack: Unpack) -> None:
    assert tree(unpack([file("x"), whiteout(".wh.x"), whiteout(OPAQUE)])) == ["x"]


# --- metadata --------------------------------------------------------------------------------------------------------


def test_implied_parents_have_mode_755_and_explicit_modes_are_kept_whatever_the_umask(unpack: Unpack) -> None:
    old = os.umask(0o077)
    try:
        root = unpack(
            [
                file("a/b/x", mode=0o666),
                directory("d", mode=0o777),
                entry("p", tarfile.FIFOTYPE, mode=0o666),
                directory(".", mode=0o755),
            ]
        )
    finally:
        os.umask(old)
    modes = {name: stat.S_IMODE(os.lstat(root / name).st_mode) for name in ("a", "a/b", "a/b/x", "d", "p")}
    assert modes == {"a": 0o755, "a/b": 0o755, "a/b/x": 0o666, "d": 0o777, "p": 0o666}
    assert stat.S_IMODE(root.stat().st_mode) == 0o755


def test_a_parent_that_only_a_lower_layer_has_keeps_its_metadata(unpack: Unpack) -> None:
    lower = [directory("d", mode=0o750, uid=5, gid=6, mtime=7, pax_headers={"SCHILY.xattr.user.k": "v"})]
    root = unpack(lower, [file("d/x")], [whiteout("d/.wh.x")])
    found = (root / "d").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime) == (0o750, 5, 6, 7)
    assert os.getxattr(root / "d", "user.k") == b"v"


def test_the_root_has_the_metadata_of_its_entry_in_every_later_layer(unpack: Unpack) -> None:
    root = unpack([directory(".", mode=0o711, uid=3, mtime=4)], [file("x")])
    found = root.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_mtime) == (0o711, 3, 4)


def test_setuid_setgid_and_sticky_bits_survive_a_change_of_owner(unpack: Unpack) -> None:
    root = unpack([file("s", b"1", mode=0o6755, uid=1000, gid=1000), directory("d", mode=0o3777, uid=1000)])
    assert stat.S_IMODE((root / "s").stat().st_mode) == 0o6755
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o3777


def test_owners_of_every_kind_of_file_are_kept(unpack: Unpack) -> None:
    owner = {"uid": 3_000_000, "gid": 2_147_483_647}
    root = unpack(
        [
            file("f", **owner),
            directory("d", **owner),
            symlink("s", "f", **owner),
            entry("p", tarfile.FIFOTYPE, **owner),
            entry("c", tarfile.CHRTYPE, devmajor=1, devminor=3, **owner),
        ]
    )
    for name in "fdspc":
        found = os.lstat(root / name)
        assert (found.st_uid, found.st_gid) == (3_000_000, 2_147_483_647), name


@pytest.mark.parametrize("field", ["uid", "gid"])
@pytest.mark.parametrize("value", [2**31, 2**32, 2**54, -1])
def test_an_owner_out_of_range_is_refused(unpack: Unpack, field: str, value: int) -> None:
    with pytest.raises(InvalidArgument):
        unpack([file("x", **{field: value})], format=tarfile.GNU_FORMAT)


def test_devices_keep_their_numbers(unpack: Unpack) -> None:
    root = unpack(
        [
            entry("b", tarfile.BLKTYPE, devmajor=8, devminor=17, mode=0o660),
            entry("c", tarfile.CHRTYPE, devmajor=4095, devminor=1048575, mode=0o620),
        ],
        format=tarfile.GNU_FORMAT,
    )
    block, char = os.lstat(root / "b"), os.lstat(root / "c")
    assert stat.S_ISBLK(block.st_mode)
    assert (os.major(block.st_rdev), os.minor(block.st_rdev)) == (8, 17)
    assert (os.major(char.st_rdev), os.minor(char.st_rdev)) == (4095, 1048575)
    assert stat.S_IMODE(char.st_mode) == 0o620


@pytest.mark.parametrize(("major", "minor"), [(-1, 0), (0, -1), (4096, 0), (1, 1 << 20), (2**33, 1)])
def test_device_numbers_out_of_range_are_refused(unpack: Unpack, major: int, minor: int) -> None:
    with pytest.raises(InvalidArgument, match="device"):
        unpack([entry("c", tarfile.CHRTYPE, devmajor=major, devminor=minor)], format=tarfile.GNU_FORMAT)


@pytest.mark.parametrize("split", [False, True])
def test_the_device_that_overlayfs_takes_for_a_whiteout_is_refused(unpack: Unpack, split: bool) -> None:
    device = [entry("x", tarfile.CHRTYPE, devmajor=0, devminor=0)]
    with pytest.raises(InvalidArgument, match="0:0"):
        unpack([file("x")], device) if split else unpack(device)


def test_user_attributes_and_file_capabilities_are_kept(unpack: Unpack) -> None:
    headers = {"SCHILY.xattr.user.note": "hello", CAPABILITY: NET_RAW.decode("latin-1")}
    tar = layer_tar([file("x", b"1", uid=9, mode=0o755, pax_headers=headers), directory("d", pax_headers=headers)])
    root = unpack(tar, [hardlink("y", "x")])
    for name in "xyd":
        assert os.getxattr(root / name, "user.note") == b"hello", name
    assert os.getxattr(root / "x", "security.capability") == NET_RAW


@pytest.mark.parametrize(
    "name",
    ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque", "security.selinux", "trusted.x"],
)
def test_attributes_of_overlayfs_and_of_the_host_are_left_out(unpack: Unpack, tmp_path: Path, name: str) -> None:
    headers = {f"SCHILY.xattr.{name}": "y"}
    root = unpack(
        [directory("d"), file("d/old")], [directory("d", pax_headers=headers), file("x", pax_headers=headers)]
    )
    assert (root / "d" / "old").exists()
    for directory_path, _, files in os.walk(tmp_path / "store" / "snapshots"):
        for path in (directory_path, *(os.path.join(directory_path, child) for child in files)):
            assert name not in os.listxattr(path, follow_symlinks=False)


def test_an_attribute_that_a_later_layer_does_not_have_is_gone(unpack: Unpack) -> None:
    root = unpack([directory("d", pax_headers={"SCHILY.xattr.user.a": "1"})], [directory("d")])
    assert os.listxattr(root / "d") == []


def test_times_of_directories_are_those_of_their_entries(unpack: Unpack) -> None:
    root = unpack(
        [directory(".", mtime=1), directory("d", mtime=2), directory("d/e", mtime=3), file("d/e/x"), file("d/y")],
        [file("d/e/z"), whiteout("d/.wh.y")],
    )
    assert [int((root / name).stat().st_mtime) for name in (".", "d", "d/e")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1700000000.123456789", 1_700_000_000_123_456_789), ("0.5", 500_000_000), ("-1.25", -1_250_000_000)],
)
def test_times_below_a_second_and_before_1970_are_kept(unpack: Unpack, text: str, expected: int) -> None:
    headers = {"mtime": text}
    root = unpack(
        [file("f", pax_headers=headers), directory("d", pax_headers=headers), symlink("s", "f", pax_headers=headers)]
    )
    assert {os.lstat(root / name).st_mtime_ns for name in "fds"} == {expected}


# --- dialects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_gives_the_same_tree(unpack: Unpack, format: int) -> None:  # noqa: A002
    root = unpack([directory("d"), file("d/" + "x" * 90, b"1"), file("e/" * 40 + "y" * 60, b"2")], format=format)
    assert (root / ("d/" + "x" * 90)).read_bytes() == b"1"
    assert (root / ("e/" * 40 + "y" * 60)).read_bytes() == b"2"


def test_a_sparse_file_has_its_holes_and_its_size(unpack: Unpack) -> None:
    headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "big",
        "GNU.sparse.realsize": str(1 << 30),
    }
    data = b"2\n0\n4\n1048576\n3\n".ljust(512, b"\0") + b"headmid"
    root = unpack([file("GNUSparseFile.0/big", data, pax_headers=headers)])
    found = (root / "big").stat()
    assert found.st_size == 1 << 30
    assert found.st_blocks * 512 < 1 << 20
    with open(root / "big", "rb") as stream:
        assert stream.read(4) == b"head"
        stream.seek(1 << 20)
        assert stream.read(4) == b"mid\0"


def test_bytes_behind_the_end_of_the_archive_count_in_the_diff_id(unpack: Unpack) -> None:
    assert tree(unpack(layer_tar([file("x")]) + b"behind the end" * 5000)) == ["x"]


def test_an_archive_that_ends_with_its_last_file_is_accepted(unpack: Unpack) -> None:
    """As `umoci insert` writes it: no padding, no end-of-archive blocks."""
    root = unpack(layer_tar([file("x", b"123")], tarfile.GNU_FORMAT)[:515])
    assert (root / "x").read_bytes() == b"123"


def test_an_empty_layer_is_accepted(unpack: Unpack) -> None:
    assert tree(unpack([file("x")], [], b"")) == ["x"]


def test_no_layers_make_an_empty_root(unpack: Unpack) -> None:
    assert tree(unpack()) == []


# --- broken ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tar", "error"),
    [
        (b"junk" * 1000, InvalidArgument),
        (layer_tar([file("x", b"1" * 5000)])[:2000], DataLoss),
        (layer_tar([file("x", b"1")])[:100], DataLoss),
    ],
    ids=["junk", "cut in a file", "cut in a header"],
)
def test_a_broken_tar_is_refused_and_nothing_is_kept(
    unpack: Unpack, tmp_path: Path, tar: bytes, error: type[PrunError]
) -> None:
    with pytest.raises(error):
        unpack(tar)
    assert sorted(os.listdir(tmp_path / "store" / "snapshots")) in (["active", "locks"], ["active", "driver", "locks"])


def test_a_file_that_claims_two_to_the_sixty_bytes_is_refused_at_once(unpack: Unpack) -> None:
    header = entry("x", tarfile.REGTYPE, size=1 << 60).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(ResourceExhausted):
        unpack(header + b"1" * 512 + bytes(1024))


@pytest.mark.parametrize("kind", [b"9", b"V", b"M", b"D", b"Z"])
def test_an_unknown_type_of_entry_is_refused(unpack: Unpack, kind: bytes) -> None:
    with pytest.raises(InvalidArgument, match="unknown type"):
        unpack([entry("x", kind)])


def test_times_of_files_are_kept(unpack: Unpack) -> None:
    assert (unpack([file("x")]) / "x").stat().st_mtime == MTIME
