from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import InvalidArgument
from prun.spec import apply
from prun.spec.resources import (
    cpuset_numbers,
    require_cpuset,
    sysctl_namespace,
    with_block_io_throttle,
    with_block_io_weight,
    with_cpu,
    with_memory,
    with_oom_score_adj,
    with_pids_limit,
    with_sysctls,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from prun.spec.document import Spec


def test_only_what_is_given_is_set_and_the_rest_stays() -> None:
    spec: Spec = {"linux": {"resources": {"devices": [], "memory": {"limit": 1, "kernel": 2}}}}
    apply(spec, [with_memory(limit_bytes=3), with_cpu(shares=512), with_pids_limit(7)])
    assert spec["linux"]["resources"] == {
        "devices": [],
        "memory": {"limit": 3, "kernel": 2},
        "cpu": {"shares": 512},
        "pids": {"limit": 7},
    }


def test_nothing_given_leaves_nothing() -> None:
    assert apply({}, [with_memory(), with_cpu(), with_block_io_weight(0)])["linux"]["resources"] == {}


def test_a_swappiness_of_zero_is_given() -> None:
    assert apply({}, [with_memory(swappiness=0)])["linux"]["resources"] == {"memory": {"swappiness": 0}}


def test_unlimited_takes_away_a_limit_that_is_there() -> None:
    spec = apply(
        {}, [with_pids_limit(5), with_cpu(quota_us=2000, shares=2), with_pids_limit(-1), with_cpu(quota_us=-1)]
    )
    assert spec["linux"]["resources"] == {"cpu": {"shares": 2}}


def test_sysctls_are_added_and_replaced() -> None:
    spec: Spec = {"linux": {"sysctl": {"net.a": "1", "net.b": "2"}}}
    with_sysctls({"net.b": "3"})(spec)
    assert spec["linux"]["sysctl"] == {"net.a": "1", "net.b": "3"}


def test_block_io_has_weights_and_rates_by_device_number() -> None:
    weight = with_block_io_weight(500, [(8, 0, 100)])
    spec = apply({}, [weight, with_block_io_throttle("throttleReadBpsDevice", [(8, 16, 1024)])])
    assert spec["linux"]["resources"]["blockIO"] == {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 100}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 1024}],
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_memory(limit_bytes=-2),
        lambda: with_memory(swappiness=101),
        lambda: with_cpu(shares=1),
        lambda: with_cpu(period_us=999),
        lambda: with_cpu(quota_us=-2),
        lambda: with_cpu(cpus="0,"),
        lambda: with_pids_limit(0),
        lambda: with_block_io_weight(9),
        lambda: with_block_io_weight(0, [(8, 0, 1001)]),
        lambda: with_block_io_throttle("throttleReadBpsDevice", [(8, 0, -1)]),
        lambda: with_sysctls({"kernel.core_pattern": "x"}),
        lambda: with_oom_score_adj(-1001),
    ],
)
def test_a_bad_value_is_refused_when_the_option_is_made(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgument):
        make()


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 100)), min_size=1, max_size=5))
def test_a_cpuset_stands_for_the_numbers_in_its_ranges(ranges: list[tuple[int, int]]) -> None:
    word = ",".join(f"{first}-{first + more}" if more else str(first) for first, more in ranges)
    expected = {number for first, more in ranges for number in range(first, first + more + 1)}
    assert cpuset_numbers(require_cpuset("--cpuset-cpus", word)) == expected


@given(st.text(alphabet="0123456789,- ab\n"))
def test_any_word_is_a_cpuset_or_is_refused(word: str) -> None:
    try:
        require_cpuset("--cpuset-cpus", word)
    except InvalidArgument:
        return
    assert set(word) <= set("0123456789,-")


def test_each_parameter_belongs_to_one_kind_of_namespace() -> None:
    keys = (
        "net.core.somaxconn",
        "kernel.shmmax",
        "kernel.sem",
        "fs.mqueue.msg_max",
        "kernel.domainname",
        "fs.file-max",
    )
    assert [sysctl_namespace(key) for key in keys] == ["network", "ipc", "ipc", "ipc", "uts", ""]
