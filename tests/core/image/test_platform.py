from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import InvalidArgument
from prun.image.platform import host_platform, normalize, parse_platform, rank
from prun.types import Platform


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/x86_64", Platform("linux", "amd64")),
        ("Linux/AMD64/v1", Platform("linux", "amd64")),
        ("linux/amd64/v3", Platform("linux", "amd64", "v3")),
        ("linux/aarch64", Platform("linux", "arm64")),
        ("linux/arm64/v8", Platform("linux", "arm64")),
        ("linux/arm64/8", Platform("linux", "arm64")),
        ("linux/arm64/v9.0", Platform("linux", "arm64", "v9")),
        ("linux/arm", Platform("linux", "arm", "v7")),
        ("linux/arm/6", Platform("linux", "arm", "v6")),
        ("linux/armhf", Platform("linux", "arm", "v7")),
        ("linux/armel", Platform("linux", "arm", "v6")),
        ("linux/i386", Platform("linux", "386")),
        ("macos/arm64", Platform("darwin", "arm64")),
        ("arm64", Platform("linux", "arm64")),
        ("s390x", Platform("linux", "s390x")),
        ("windows(10.0.17763)/amd64", Platform("windows", "amd64", "", "10.0.17763")),
        ("sunway/sw64", Platform("sunway", "sw64")),
    ],
)
def test_a_platform_is_normalised(text, platform):
    assert parse_platform(text) == platform
    assert normalize(platform) == platform


def test_an_operating_system_alone_is_on_this_architecture():
    assert parse_platform("linux") == host_platform()._replace(os="linux")


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "/amd64", "linux/amd64/v2/x", "a b", "linux/amd64\n", "nonsense", "linux/é"]
)
def test_what_is_no_platform_is_refused(text):
    with pytest.raises(InvalidArgument):
        parse_platform(text)


@pytest.mark.parametrize(
    ("machine", "platform"),
    [
        ("x86_64", Platform("linux", "amd64")),
        ("aarch64", Platform("linux", "arm64")),
        ("armv7l", Platform("linux", "arm", "v7")),
        ("armv6l", Platform("linux", "arm", "v6")),
        ("i686", Platform("linux", "386")),
        ("riscv64", Platform("linux", "riscv64")),
        ("ppc64le", Platform("linux", "ppc64le")),
    ],
)
def test_the_host_is_what_uname_says(monkeypatch, machine, platform):
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(sysname="Linux", machine=machine))
    assert host_platform() == platform


@pytest.mark.parametrize(
    ("wanted", "accepted"),
    [
        ("linux/amd64", ["linux/amd64", "linux/386"]),
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]),
        ("linux/arm/v7", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm/v6", ["linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm/v5", ["linux/arm/v5"]),
        ("linux/arm64", ["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64/v8.1", ["linux/arm64/v8.1", "linux/arm64", "linux/arm/v8", "linux/arm/v7"]),
        ("linux/arm64/v9", ["linux/arm64/v9", "linux/arm64/v8.5", "linux/arm64/v8.4", "linux/arm64", "linux/arm/v8"]),
        ("linux/riscv64", ["linux/riscv64"]),
    ],
)
def test_a_machine_takes_its_own_variant_first_then_lower_ones_in_order(wanted, accepted):
    ranks = [rank(parse_platform(wanted), parse_platform(text)) for text in accepted]
    assert ranks[0] == 0
    assert None not in ranks
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [
        ("linux/amd64", "linux/amd64/v2"),
        ("linux/amd64", "linux/arm64"),
        ("linux/arm/v6", "linux/arm/v7"),
        ("linux/arm", "linux/arm64"),
        ("linux/arm64", "linux/arm64/v9"),
        ("linux/386", "linux/amd64"),
        ("linux/amd64", "windows/amd64"),
        ("windows(10.0.17763)/amd64", "windows(10.0.20348.1)/amd64"),
        ("linux/amd64", "unknown/unknown"),
    ],
)
def test_a_machine_refuses_what_it_cannot_run(wanted, offered):
    assert rank(parse_platform(wanted), parse_platform(offered)) is None


def test_a_windows_build_matches_whatever_its_revision():
    wanted = parse_platform("windows(10.0.17763.1)/amd64")
    assert rank(wanted, parse_platform("windows(10.0.17763.4000)/amd64")) == 0
    assert rank(wanted, parse_platform("windows/amd64")) == 0


words = st.text(alphabet=st.sampled_from("linuxARMarm64dv0123456789._-x"), min_size=1, max_size=8)


@given(words, words, st.one_of(st.just(""), words))
def test_normalising_twice_changes_nothing_and_everything_fits_itself(system, architecture, variant):
    platform = normalize(Platform(system, architecture, variant))
    assert normalize(platform) == platform
    assert rank(platform, platform) == 0


@given(st.text(max_size=30))
def test_any_text_is_a_platform_or_is_refused(text):
    try:
        platform = parse_platform(text)
    except InvalidArgument:
        return
    assert parse_platform(str(platform)) == platform._replace(os_version="")
