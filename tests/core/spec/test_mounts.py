from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prun.spec import apply, with_mounts
from prun.spec.linux import DEFAULT_MOUNTS
from prun.types import Mount


def places(*mounts: Mount) -> list[str]:
    spec = apply({}, [with_mounts(mounts)])
    return [f"{entry['type']} {entry['destination']}" for entry in spec["mounts"]]


def bind(path: str) -> Mount:
    return Mount(path, "bind", "/src")


def test_a_mount_for_a_destination_that_is_there_takes_its_place() -> None:
    assert places(Mount("/a", "tmpfs"), Mount("/b", "tmpfs"), bind("/a/")) == ["bind /a/", "tmpfs /b"]


def test_a_mount_comes_before_those_that_it_would_hide() -> None:
    host_files = [bind("/etc/hosts"), bind("/etc/resolv.conf")]
    assert places(bind("/x"), *host_files, bind("/etc")) == [
        "bind /x", "bind /etc", "bind /etc/hosts", "bind /etc/resolv.conf",
    ]  # fmt: skip
    assert places(Mount("/sys", "sysfs"), Mount("/sys/fs/cgroup", "cgroup"), bind("/sys/fs")) == [
        "sysfs /sys", "bind /sys/fs", "cgroup /sys/fs/cgroup",
    ]  # fmt: skip


def test_a_name_that_only_begins_alike_is_not_below() -> None:
    assert places(bind("/etc2"), bind("/etc")) == ["bind /etc2", "bind /etc"]


def test_who_brings_dev_brings_all_of_it() -> None:
    found = places(*DEFAULT_MOUNTS, bind("/dev"), bind("/dev/shm"))
    assert [place for place in found if "/dev" in place] == ["bind /dev", "bind /dev/shm"]
    assert "sysfs /sys" in found


def test_a_second_application_goes_by_the_same_rules() -> None:
    spec = apply({}, [with_mounts([bind("/a/b")]), with_mounts([bind("/a")])])
    assert [entry["destination"] for entry in spec["mounts"]] == ["/a", "/a/b"]


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))))
def test_nothing_is_hidden_and_nothing_is_lost(paths: list[str]) -> None:
    spec = apply({}, [with_mounts(bind(path) for path in paths)])
    found = [entry["destination"] for entry in spec["mounts"]]
    assert sorted(found) == sorted(set(paths))
    for index, path in enumerate(found):
        assert not any(earlier.startswith(path + "/") for earlier in found[:index])
