from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import InvalidArgument
from prun.request import OPTIONS, TOPICS, fields_of, isolation
from prun.spec.linux import CAPABILITIES
from prun.types import RunRequest


def parsed(**asked: Any) -> RunRequest:
    return RunRequest("x", **fields_of(asked))  # type: ignore[arg-type]


def test_every_option_of_the_group_is_read() -> None:
    words: dict[str, Any] = {
        "cap_add": ("net_admin",), "cap_drop": ("chown",), "cgroupns": "host", "device": ("/dev/fuse",),
        "device_cgroup_rule": ("c 1:3 r",), "gidmap": ("0:1:1",), "gpus": "all", "group_add": ("audio",),
        "ipc": "host", "pid": "host", "privileged": True, "uidmap": ("0:1:1",), "umask": "077", "userns": "auto",
        "uts": "host",
    }  # fmt: skip
    assert set(words) == set(TOPICS["isolation"]) <= OPTIONS
    for name, word in words.items():
        assert parsed(**{name: word}) != RunRequest("x"), name


def test_words_that_say_the_default_make_the_default_request() -> None:
    words: dict[str, Any] = dict.fromkeys(("cgroupns", "ipc", "pid", "uts"), "private")
    assert parsed(**words, privileged=False, cap_add=(), gpus="", umask="", userns="") == RunRequest("x")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("NET_ADMIN",), ("CAP_NET_ADMIN",)),
        (("cap_net_admin",), ("CAP_NET_ADMIN",)),
        (("net_admin,Sys_Time", "CHOWN"), ("CAP_NET_ADMIN", "CAP_SYS_TIME", "CAP_CHOWN")),
        (("all",), ("ALL",)),
        (("All,chown",), ("ALL", "CAP_CHOWN")),
    ],
)
def test_capabilities_are_spelled_as_in_the_spec(words: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert parsed(cap_add=words).cap_add == expected
    assert parsed(cap_drop=words).cap_drop == expected


@pytest.mark.parametrize("name", ["", "NET_ADMlN", "CAP_ALL", "CAP_CAP_CHOWN", "chown,", "\u017fys_time", "chown drop"])
@pytest.mark.parametrize("option", ["cap_add", "cap_drop"])
def test_an_unknown_capability_is_refused_by_name(option: str, name: str) -> None:
    with pytest.raises(InvalidArgument, match=option.replace("_", "-")) as caught:
        parsed(**{option: (name,)})
    assert "capabilities(7)" in caught.value.hint


@pytest.mark.parametrize(("add", "drop"), [("chown", "CAP_CHOWN"), ("all", "ALL")])
def test_a_capability_is_not_added_and_dropped(add: str, drop: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be added and dropped"):
        parsed(cap_add=(add,), cap_drop=(drop,))


@given(st.sampled_from(CAPABILITIES), st.booleans(), st.booleans())
def test_every_capability_is_known_in_either_case_with_and_without_its_prefix(
    name: str, lower: bool, prefixed: bool
) -> None:
    word = name if prefixed else name.removeprefix("CAP_")
    assert parsed(cap_add=(word.lower() if lower else word,)).cap_add == (name,)


@pytest.mark.parametrize(
    ("option", "kind"), [("cgroupns", "cgroup"), ("ipc", "ipc"), ("pid", "pid"), ("userns", "user"), ("uts", "uts")]
)
def test_a_namespace_may_be_the_hosts_another_containers_or_one_that_is_bound_to_a_path(option: str, kind: str) -> None:
    for word in ("host", "container:web", "ns:/run/netns/x"):
        assert parsed(**{option: word}).namespaces == {kind: word}


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("ipc", "none"), ("ipc", "shareable"), ("userns", "private"), ("userns", "nomap"), ("userns", "auto"),
        ("userns", "auto:size=10,uidmapping=0:1:2"), ("userns", "keep-id"), ("userns", "keep-id:uid=5,gid=6"),
    ],
)  # fmt: skip
def test_some_namespaces_have_more_words(option: str, word: str) -> None:
    kind = {"ipc": "ipc", "userns": "user"}[option]
    assert parsed(**{option: word}).namespaces == {kind: word}


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("pid", "none"), ("pid", "shareable"), ("uts", "hosts"), ("pid", "container:"), ("pid", "container"),
        ("uts", "ns:"), ("uts", "ns:relative"), ("cgroupns", "Host"), ("userns", "auto:"), ("pid", "auto:x"),
        ("userns", "nomap:x"), ("pid", "pod"), ("ipc", "host "),
    ],
)  # fmt: skip
def test_any_other_word_for_a_namespace_is_refused_with_those_it_takes(option: str, word: str) -> None:
    with pytest.raises(InvalidArgument, match=f"--{option}") as caught:
        parsed(**{option: word})
    assert "host" in caught.value.hint


@pytest.mark.parametrize("words", [("0:100000:65536",), ("0:1",), ("0:@1000:1", "1:2:3"), ("0:0:1,1:1:1",)])
def test_id_maps_are_kept_as_given(words: tuple[str, ...]) -> None:
    request = parsed(uidmap=words, gidmap=words)
    assert request.uid_map == request.gid_map == tuple(",".join(words).split(","))


@pytest.mark.parametrize("word", ["", "0", "0:1:0", "a:1:2", "0:1:2:3", "-1:0:1", "0:4294967294:2", "0:1:", "٣:1:1"])
def test_an_id_map_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--uidmap"):
        parsed(uidmap=(word,))
    with pytest.raises(InvalidArgument, match="--gidmap"):
        parsed(gidmap=(word,))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("/dev/fuse", ("/dev/fuse", "/dev/fuse", "rwm")),
        ("/dev/fuse:rw", ("/dev/fuse", "/dev/fuse", "rw")),
        ("/dev/fuse:/dev/x", ("/dev/fuse", "/dev/x", "rwm")),
        ("/dev/fuse:/dev/x:m", ("/dev/fuse", "/dev/x", "m")),
    ],
)
def test_a_device_is_a_node_of_the_host_its_place_and_the_access(word: str, expected: tuple[str, ...]) -> None:
    assert isolation.host_device(word) == expected
    assert parsed(device=(word,)).devices == (word,)


@pytest.mark.parametrize(
    "word",
    ["", "fuse", "/dev/fuse:", "/dev/fuse:x", "/dev/a:/dev/b:", "/dev/a:/dev/b:rr", "/dev/a:/dev/b:rwx", "/a:/b:r:w",
     "/dev/a:b:rwm", "vendor.com/class=", "vendor.com/class=a b", "1vendor/class=x", "vendor.com/=x", "/dev/a\0:/b"],
)  # fmt: skip
def test_a_device_of_another_form_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--device"):
        parsed(device=(word,))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("vendor.com/class=name", ("vendor.com", "class", "name")),
        ("nvidia.com/gpu=GPU-1:0.2", ("nvidia.com", "gpu", "GPU-1:0.2")),
        ("v/c=0", ("v", "c", "0")),
        ("/dev/fuse", None),
        ("vendor.com/class=name.", None),
        ("vendor.com/cl.ass=name", ("vendor.com", "cl.ass", "name")),
        ("vendor.com-/class=name", None),
        ("vendor.com/class=n\n", None),
    ],
)
def test_cdi_names_are_those_of_its_specification(word: str, expected: object) -> None:
    assert isolation.cdi_name(word) == expected


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("all", ["all"]),
        ("-1", ["all"]),
        ("2", ["0", "1"]),
        ("count=1", ["0"]),
        ("device=GPU-3a23c669", ["GPU-3a23c669"]),
        ('"device=0,2"', ["0", "2"]),
        ('driver=nvidia,"device=1",capabilities=gpu', ["1"]),
        ("all,capabilities=gpu", ["all"]),
    ],
)
def test_gpus_are_cdi_devices(word: str, names: list[str]) -> None:
    assert parsed(gpus=word).devices == tuple(f"nvidia.com/gpu={name}" for name in names)


@pytest.mark.parametrize(
    "word",
    ["0", "-2", "x", "device=0,1", "device=", "count=1,device=0", "driver=amd", "all,capabilities=utility", "1,2",
     "all,options=x", "99999999", '"device=a b"', '"device=0,"', "²"],
)  # fmt: skip
def test_gpus_of_another_form_are_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--gpus"):
        parsed(gpus=word)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("c 1:3 rwm", ("c", 1, 3, "rwm")), ("b 8:* r", ("b", 8, None, "r")), ("a *:* rwm", ("a", None, None, "rwm"))],
)
def test_a_device_rule_has_a_type_two_numbers_and_an_access(word: str, expected: object) -> None:
    assert isolation.device_rule(word) == expected
    assert parsed(device_cgroup_rule=(word,)).device_rules == (word,)


@pytest.mark.parametrize(
    "word", ["", "c 1:3", "d 1:3 r", "c 1 r", "c 1:3 rr", "c  1:3 r", "c -1:3 r", "c 4294967296:0 r"]
)
def test_a_device_rule_of_another_form_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--device-cgroup-rule"):
        parsed(device_cgroup_rule=(word,))


@given(st.text(max_size=20))
def test_whatever_is_written_for_a_device_is_understood_or_refused(word: str) -> None:
    for option in ("device", "device_cgroup_rule", "uidmap", "group_add", "cap_add"):
        with suppress(InvalidArgument):
            parsed(**{option: (word,)})


@given(st.text(alphabet='devicount=all,0123"\n ', max_size=20))
def test_whatever_is_written_for_gpus_is_understood_or_refused(word: str) -> None:
    with suppress(InvalidArgument):
        assert all(map(isolation.cdi_name, parsed(gpus=word).devices))


def test_groups_are_kept_and_the_callers_are_not_taken() -> None:
    assert parsed(group_add=("audio", "5")).groups == ("audio", "5")
    for word in ("keep-groups", "", "a:b", "a\n"):
        with pytest.raises(InvalidArgument, match="--group-add"):
            parsed(group_add=(word,))


@pytest.mark.parametrize(("word", "expected"), [("0022", 0o22), ("77", 0o77), ("0", 0), ("0777", 0o777)])
def test_a_umask_is_octal(word: str, expected: int) -> None:
    assert parsed(umask=word).umask == expected


@pytest.mark.parametrize("word", ["8", "1000", "00022", "u=rwx", "-1", "0o22"])
def test_a_umask_of_another_form_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--umask"):
        parsed(umask=word)


@pytest.mark.parametrize("word", ["a 1:3 rwm", "a *:3 r", "c 4294967295:3 r", "c 1:4294967295 r"])
def test_a_rule_that_the_kernel_would_take_for_more_devices_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument):
        isolation.device_rule(word)
    assert isolation.device_rule("a *:* rwm") == ("a", None, None, "rwm")
