from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun import userns
from prun.errors import FailedPrecondition, InvalidArgument
from prun.rootfs.idmap import IdMaps, IdRange, _child, host_id, map_lines, read_ranges
from prun.rootless import MAX_ID
from prun.types import RunRequest

if TYPE_CHECKING:
    from pathlib import Path

IDS = st.integers(0, MAX_ID)
WHOLE = IdMaps((IdRange(0, 0, 2**32 - 1),), (IdRange(0, 0, 2**32 - 1),))
ORDINARY = IdMaps((IdRange(0, 1000, 1), IdRange(1, 100000, 65536)), (IdRange(0, 1000, 1), IdRange(1, 100000, 65536)))
ALONE = IdMaps((IdRange(0, 1000, 1),), (IdRange(0, 1000, 1),))
ROOT = IdRange(0, 100000, 65536)


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userns, "_own", lambda: WHOLE)
    monkeypatch.setattr(userns, "is_rootless", lambda: False)
    monkeypatch.setattr(userns, "subordinate_ranges", lambda path, name, uid: [])


def rootless(monkeypatch: pytest.MonkeyPatch, own: IdMaps = ORDINARY) -> None:
    monkeypatch.setattr(userns, "_own", lambda: own)
    monkeypatch.setattr(userns, "is_rootless", lambda: True)


def request(mode: str = "", uids: tuple[str, ...] = (), gids: tuple[str, ...] = (), state: str = "/s") -> RunRequest:
    return RunRequest("c", namespaces={"user": mode} if mode else {}, uid_map=uids, gid_map=gids, state=state)


@given(IDS, IDS, st.integers(1, MAX_ID))
def test_a_range_is_what_it_says_or_refused(container: int, host: int, size: int) -> None:
    word = f"{container}:{host}:{size}"
    if max(container, host) + size - 1 > MAX_ID:
        with pytest.raises(InvalidArgument, match="CONTAINER:HOST"):
            userns.parse_range("--uidmap", word)
    else:
        assert userns.parse_range("--uidmap", word) == (container, host, size)


@given(st.text(max_size=30))
def test_any_other_words_are_refused(word: str) -> None:
    try:
        parsed = userns.parse_range("--uidmap", word)
    except InvalidArgument:
        return
    assert word.split(":")[:2] == [word.split(":")[0], word.split(":")[1]]
    assert int(word.split(":")[0]) == parsed.container


def test_a_range_without_a_size_is_one_id() -> None:
    assert userns.parse_range("--uidmap", "5:6") == (5, 6, 1)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(1, 100)), max_size=6))
def test_ranges_are_refused_exactly_when_an_id_is_in_two(numbers: list[tuple[int, int, int]]) -> None:
    ranges = [IdRange(*each) for each in numbers]
    inside = [number for each in ranges for number in range(each.container, each.container + each.size)]
    outside = [number for each in ranges for number in range(each.host, each.host + each.size)]
    unique = len(set(inside)) == len(inside) and len(set(outside)) == len(outside)
    if unique:
        assert userns.checked("--uidmap", ranges) == tuple(ranges)
    else:
        with pytest.raises(InvalidArgument, match="overlap"):
            userns.checked("--uidmap", ranges)


def test_more_ranges_than_the_kernel_takes_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="340"):
        userns.checked("--uidmap", [IdRange(n, n, 1) for n in range(341)])


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200)), min_size=1, max_size=3),
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 60)), max_size=8),
)
def test_a_free_range_is_in_the_pool_and_nobody_s_and_found_if_there_is_one(
    pool: list[tuple[int, int]], size: int, taken: list[tuple[int, int]]
) -> None:
    blocked = {number for first, count in taken for number in range(first, first + count)}
    free = [
        at
        for first, count in pool
        for at in range(first, first + count - size + 1)
        if blocked.isdisjoint(range(at, at + size))
    ]
    assert userns.free_range(pool, size, taken) == (free[0] if free else None)


@pytest.mark.usefixtures("as_root")
def test_the_missing_map_is_as_the_other() -> None:
    assert userns.resolve(request(uids=("0:100000:65536",))).maps == IdMaps((ROOT,), (ROOT,))
    assert userns.resolve(request(gids=("0:100000:65536",))).maps == IdMaps((ROOT,), (ROOT,))
    assert userns.resolve(request("private", ("0:@5:6",), ("0:7:8",))).maps == (((0, 5, 6),), ((0, 7, 8),))


@pytest.mark.usefixtures("as_root")
def test_auto_keeps_away_from_others() -> None:
    first = userns.resolve(request("auto")).maps
    assert first.uids == first.gids == ((0, 1 << 30, 65536),)
    assert userns.resolve(request("auto:size=10"), [first]).maps.uids == ((0, (1 << 30) + 65536, 10),)


@pytest.mark.usefixtures("as_root")
def test_auto_puts_a_mapping_in_its_place() -> None:
    maps = userns.resolve(request("auto:size=100,uidmapping=10:7:2")).maps
    assert maps.uids == ((0, 1 << 30, 10), (10, 7, 2), (12, (1 << 30) + 10, 88))
    assert maps.gids == ((0, 1 << 30, 100),)


def test_auto_takes_an_id_of_the_machine_and_no_other_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    rootless(monkeypatch)
    maps = userns.resolve(request("auto:size=10,uidmapping=1:@100000:1,gidmapping=5:@100001:2")).maps
    assert maps.uids == ((0, 2, 1), (1, 1, 1), (2, 3, 8))
    assert maps.gids == ((0, 4, 5), (5, 2, 2), (7, 9, 3))
    with pytest.raises(FailedPrecondition, match="id 99999 is not yours"):
        userns.resolve(request("auto:uidmapping=1:@99999:1"))


def test_keep_id_keeps_the_number_and_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    rootless(monkeypatch)
    for mode, inside in (("keep-id", 1000), ("keep-id:uid=5,gid=5", 5), ("keep-id:uid=0,gid=0", 0)):
        maps = userns.resolve(request(mode)).maps
        assert host_id(maps.uids, inside) == 0
        assert sum(each.size for each in maps.uids) == 65537
        assert userns.checked("--userns", maps.uids) == maps.uids
        assert host_id(maps.gids, 0) is not None


def test_keep_id_and_nomap_need_subordinate_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    rootless(monkeypatch, ALONE)
    for mode in ("keep-id", "nomap"):
        with pytest.raises(FailedPrecondition, match=r" ids?"):
            userns.resolve(request(mode))


def test_ids_of_others_are_refused_to_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    rootless(monkeypatch)
    assert userns.resolve(request(uids=("0:1:65536",))).maps.uids == ((0, 1, 65536),)
    assert userns.resolve(request(uids=("0:@100010:5",))).maps.uids == ((0, 11, 5),)
    with pytest.raises(FailedPrecondition, match="no host id 65537"):
        userns.resolve(request(uids=("0:1:65537",)))
    with pytest.raises(FailedPrecondition, match="99999 is not yours"):
        userns.resolve(request(uids=("0:@99999:5",)))


def test_what_is_recorded_is_found_again_and_not_taken_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rootless(monkeypatch)
    for name in ("a", "b"):
        (tmp_path / "bundles" / name).mkdir(parents=True)
    one = request("auto:size=50", state=str(tmp_path))._replace(id="a")
    first = userns.record(one, str(tmp_path / "bundles" / "a"))
    second = userns.record(one._replace(id="b"), str(tmp_path / "bundles" / "b"))
    assert first is not None
    assert second is not None
    assert (first.maps.uids, second.maps.uids) == (((0, 1, 50),), ((0, 51, 50),))
    assert userns.found(one) == first
    assert os.stat(tmp_path / "bundles" / "a" / "userns.json").st_mode & 0o777 == 0o600


def test_a_request_of_none_has_none() -> None:
    assert userns.found(request()) is None
    assert userns.found(request("host")) is None


def test_a_map_is_read_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "uid_map").write_text(map_lines(ORDINARY.uids))
    assert read_ranges(str(tmp_path / "uid_map")) == ORDINARY.uids


def test_a_signal_does_not_make_the_other_process_undo_what_is_ours() -> None:
    """Ctrl-C reaches both, and our handlers raise."""

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    undone = []
    try:
        with _child(interrupt) as pid:
            os.kill(pid, signal.SIGTERM)
    finally:
        undone.append(os.getpid())  # in the child too, if it came so far
    assert undone == [os.getpid()]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
