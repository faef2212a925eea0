from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import InvalidArgument, NotFound, PrunError
from prun.spec.user import home_of, resolve_groups, resolve_user

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWD = b"""\
# the image's own
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534::/nonexistent:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/sh
app:x:1000:2000:an app:/home/app:/bin/sh
twice:x:1000:9:second entry of a uid:/elsewhere:/bin/sh
4294967296:x:0:0::/root:/bin/sh
0x0:x:0:0::/root:/bin/sh
junk
junk:x:zero:0::/:
+:::::
short:x:7:8
"""
GROUP = b"""\
root:x:0:root
wheel:x:10:root,app
app:x:2000:
video:x:44:app,www-data
audio:x:29:app
video2:x:44:app
bad:x:many:app
"""


def files(passwd: bytes | None = PASSWD, group: bytes | None = GROUP) -> Callable[[str], bytes | None]:
    return lambda path: {"/etc/passwd": passwd, "/etc/group": group}[path]


@pytest.mark.parametrize(
    ("user", "uid", "gid", "groups"),
    [
        ("", 0, 0, [0, 10]),
        ("0", 0, 0, [0, 10]),
        ("root", 0, 0, [0, 10]),
        ("0:0", 0, 0, []),
        ("app", 1000, 2000, [10, 44, 29]),
        ("1000", 1000, 2000, [10, 44, 29]),
        ("app:app", 1000, 2000, []),
        ("app:7", 1000, 7, []),
        ("1000:video", 1000, 44, []),
        ("4711", 4711, 0, []),
        ("4711:4712", 4711, 4712, []),
        ("www-data", 33, 33, [44]),
        ("2147483647:2147483647", 2147483647, 2147483647, []),
        ("short", 7, 8, []),
        ("007", 7, 8, []),
    ],
)
def test_a_user_is_found_in_the_images_own_files(user: str, uid: int, gid: int, groups: list[int]) -> None:
    found = resolve_user(user, files())
    assert (found["uid"], found["gid"], found.get("additionalGids", [])) == (uid, gid, groups)


@pytest.mark.parametrize("user", ["", "0", "1000", "1000:1000"])
def test_an_image_without_account_files_takes_numbers(user: str) -> None:
    found = resolve_user(user, files(None, None))
    assert found == {"uid": int(user.split(":")[0] or 0), "gid": 1000 if ":" in user else 0}


@pytest.mark.parametrize(
    "user",
    [
        "a:b:c",
        "1:2:3",
        "::",
        ":",
        ":0",
        "root:",
        "-1",
        "+0",
        "0:-1",
        "0x0",
        "2147483648",
        "4294967296",
        "5000000000",
        "0:4294967296",
        "99999999999999999999999999",
        "ro ot",
        "root\n",
        "root/",
        "٣",
        "²",
        "a\0",
    ],
)
def test_a_value_that_follows_no_form_is_refused(user: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid USER value"):
        resolve_user(user, files())


@pytest.mark.parametrize("user", ["missing", "missing:0", "root:missing", "0:missing", "junk"])
def test_a_name_that_the_image_does_not_know_is_an_error_that_says_so(user: str) -> None:
    with pytest.raises(NotFound, match=r"(missing|junk)'? is not in the image's /etc/(passwd|group)"):
        resolve_user(user, files())


def test_junk_in_a_number_never_makes_a_user_root() -> None:
    with pytest.raises(NotFound):
        resolve_user("evil", files(b"evil:x:zero:0::/:\nevil:x:-1:0::/:\nevil:x::::\nevil:x:99999999999:0::/:\n"))


def test_further_groups_are_numbers_or_names_of_the_image() -> None:
    read = {"/etc/group": b"audio:x:29:\n5:x:99:\n"}.get
    assert resolve_groups(["audio", "5", "0"], read) == [29, 5, 0]
    with pytest.raises(NotFound, match="'video'"):
        resolve_groups(["video"], read)
    for word in ("2147483648", "", "a b", "-1"):
        with pytest.raises(InvalidArgument, match="--group-add"):
            resolve_groups([word], read)


def test_the_hosts_accounts_are_not_asked() -> None:
    with pytest.raises(NotFound):
        resolve_user("daemon", files(b"", b""))


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home/app"), (33, "/var/www"), (4711, "/"), (7, "/")])
def test_home_is_the_accounts_or_the_root_directory(uid: int, home: str) -> None:
    assert home_of(uid, files()) == home


def test_a_home_that_is_no_absolute_path_is_not_taken() -> None:
    assert home_of(0, files(b"root:x:0:0::relative:/bin/sh")) == "/"


@pytest.mark.parametrize("data", [b"\0" * (1 << 20), b"x" * (1 << 22), b":" * (1 << 20), b"a:x:1:1\n" * (1 << 17)])
def test_a_hostile_file_costs_little_time(data: bytes) -> None:
    begin = time.monotonic()
    with pytest.raises(NotFound):
        resolve_user("nobody", files(data, data))
    assert time.monotonic() - begin < 2


@given(st.text(max_size=40), st.binary(max_size=200), st.binary(max_size=200))
def test_nothing_but_an_error_of_ours_comes_of_any_input(user: str, passwd: bytes, group: bytes) -> None:
    try:
        found = resolve_user(user, files(passwd, group))
    except PrunError:
        return
    assert all(0 <= number < 2**31 for number in (found["uid"], found["gid"], *found.get("additionalGids", ())))


def test_the_hosts_files_are_understood() -> None:
    def read(path: str) -> bytes | None:
        with open(path, "rb") as file:
            return file.read()

    assert resolve_user("root", read)["uid"] == 0
    assert home_of(os.geteuid(), read).startswith("/")
