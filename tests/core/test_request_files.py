from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import FailedPrecondition, InvalidArgument
from prun.request import fields_of, files
from prun.request.files import SecretRequest, host_line, secret, timezone

if TYPE_CHECKING:
    import ipaddress
    from pathlib import Path


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("db:192.0.2.7", "192.0.2.7 db"),
        ("db=192.0.2.7", "192.0.2.7 db"),
        ("db:2001:db8::7", "2001:db8::7 db"),
        ("db:[2001:db8::7]", "2001:db8::7 db"),
        ("db=[::1]", "::1 db"),
        ("db:::1", "::1 db"),
        ("a.b-c_d:127.0.0.1", "127.0.0.1 a.b-c_d"),
    ],
)
def test_a_host_has_a_name_and_an_address(word: str, line: str) -> None:
    assert host_line(word) == line


@pytest.mark.parametrize(
    "word",
    ["", "db", "db:", ":192.0.2.7", "=192.0.2.7", "db:192.0.2", "db:nope", "d b:192.0.2.7", "#:192.0.2.7",
     "db:[192.0.2.7", "db:192.0.2.7 evil", "db\n:192.0.2.7", "db:192.0.2.7\n1.1.1.1 x", "-x:192.0.2.7"],
)  # fmt: skip
def test_what_is_no_line_of_hosts_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--add-host"):
        host_line(word)


def test_there_is_no_gateway_to_the_host_and_the_reason_is_said() -> None:
    with pytest.raises(FailedPrecondition, match="no gateway") as caught:
        host_line("db:host-gateway")
    assert "localhost" in caught.value.hint


@given(st.from_regex(r"[a-z][a-z0-9.]{0,20}", fullmatch=True), st.ip_addresses(), st.booleans(), st.booleans())
def test_every_address_is_found_again(
    name: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address, equals: bool, brackets: bool
) -> None:
    text = f"[{address}]" if brackets else str(address)
    assert host_line(f"{name}{'=' if equals else ':'}{text}") == f"{address} {name}"


@given(st.text())
def test_any_other_text_makes_one_line_or_is_refused(word: str) -> None:
    try:
        line = host_line(word)
    except (InvalidArgument, FailedPrecondition):
        return
    assert line.isascii()
    assert len(line.split()) == 2


def test_name_servers_are_addresses_and_may_stand_in_one_word() -> None:
    made = fields_of({"dns": ("192.0.2.1,2001:db8::1", "192.0.2.2")})
    assert made["dns"] == ("192.0.2.1", "2001:db8::1", "192.0.2.2")
    made = fields_of({"dns_search": ("a.example,b.example.", "c"), "dns_option": ("ndots:2", "rotate,timeout:1")})
    assert made["dns_search"] == ("a.example", "b.example.", "c")
    assert made["dns_options"] == ("ndots:2", "rotate", "timeout:1")
    assert fields_of({"dns_search": (".",)})["dns_search"] == (".",)
    assert fields_of({"dns": ("none",)})["dns"] == ("none",)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("dns", ("nope",)), ("dns", ("",)), ("dns", ("192.0.2.1,",)), ("dns", ("192.0.2.1\nsearch x",)),
        ("dns", ("none", "192.0.2.1")), ("dns_search", ("a b",)), ("dns_search", ("",)), ("dns_search", ("-a",)),
        ("dns_search", ("1.2",)), ("dns_search", (".", "a")), ("dns_search", ("a\nnameserver 1.1.1.1",)),
        ("dns_option", ("",)), ("dns_option", ("a b",)), ("dns_option", ("a\nnameserver 1.1.1.1",)),
    ],
)  # fmt: skip
def test_what_resolv_conf_cannot_hold_is_refused_by_the_options_name(option: str, values: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument, match="--" + option.replace("_", "-")):
        fields_of({option: values})


def test_dns_none_leaves_nothing_to_change() -> None:
    with pytest.raises(InvalidArgument, match="--dns none"):
        fields_of({"dns": ("none",), "dns_search": ("a",)})


@pytest.fixture
def zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "zoneinfo" / "Europe").mkdir(parents=True)
    (tmp_path / "zoneinfo" / "Europe" / "Berlin").write_bytes(b"TZif2 and so on")
    (tmp_path / "zoneinfo" / "GMT+1").write_bytes(b"TZif2")
    (tmp_path / "zoneinfo" / "Link").symlink_to("Europe/Berlin")
    (tmp_path / "zoneinfo" / "tzdata.zi").write_text("# version")
    (tmp_path / "zoneinfo" / "Out").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_bytes(b"TZif2")
    monkeypatch.setattr(files, "ZONEINFO", str(tmp_path / "zoneinfo"))
    monkeypatch.setattr(files, "LOCALTIME", str(tmp_path / "localtime"))
    return tmp_path


@pytest.mark.parametrize("zone", ["", "Europe/Berlin", "GMT+1", "Link"])
def test_a_time_zone_is_one_of_the_hosts(zones: Path, zone: str) -> None:
    assert timezone(zone) == zone


@pytest.mark.parametrize(
    "zone",
    ["Nope", "Europe", "tzdata.zi", "Out", "../outside", "Europe/../../outside", "/etc/passwd", ".", "..", "a\0b",
     "Europe//Berlin", "Europe/"],
)  # fmt: skip
def test_what_is_no_time_zone_is_refused(zones: Path, zone: str) -> None:
    with pytest.raises(InvalidArgument, match="--tz"):
        timezone(zone)


def test_the_hosts_own_zone_must_be_there(zones: Path) -> None:
    with pytest.raises(InvalidArgument, match="--tz local"):
        timezone("local")
    (zones / "localtime").write_bytes(b"TZif2")
    assert timezone("local") == "local"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("s", SecretRequest("s", "/run/secrets/s")),
        ("source=s", SecretRequest("s", "/run/secrets/s")),
        ("s,target=t", SecretRequest("s", "/run/secrets/t")),
        ("s,target=/etc/key.pem", SecretRequest("s", "/etc/key.pem")),
        ("type=mount,src=s,uid=7,gid=8,mode=0400", SecretRequest("s", "/run/secrets/s", "mount", 7, 8, 0o400)),
        ("s,type=env", SecretRequest("s", "s", "env")),
        ("s,type=env,target=TOKEN", SecretRequest("s", "TOKEN", "env")),
    ],
)
def test_a_secret_has_a_place(word: str, expected: SecretRequest) -> None:
    assert secret(word) == expected


@pytest.mark.parametrize(
    "word",
    ["", ",", "s,", "type=mount", "s,t", "s,foo=1", "s,type=foo", "s,uid=x", "s,uid=-1", "s,uid=2147483648", "s,mode=9",
     "s,mode=01777", "s,mode=0o400", "s,uid=", "s,source=t", "s,uid=1,uid=2", "s,type=env,uid=1",
     "s,type=env,mode=0400", "s,type=env,target=A=B", "s,target=../x", "s,target=/", "s,target=/proc/1/x",
     "s,target=/sys/x", "s,target=.", "s,target=x/", "s,target=//", "s,uid=" + "9" * 5000, "s,uid=٣"],
)  # fmt: skip
def test_a_secret_that_cannot_be_placed_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--secret"):
        secret(word)


@given(st.text(alphabet=st.sampled_from("s,=/.typemountarg0179env\0"), max_size=30))
def test_a_secrets_target_never_leaves_its_place(word: str) -> None:
    try:
        made = secret(word)
    except InvalidArgument:
        return
    if made.type == "mount":
        assert made.target.startswith("/")
        assert ".." not in made.target.split("/")
        assert made.mode <= 0o777
