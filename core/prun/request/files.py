"""Files that a container finds filled in: ``--add-host``, ``--dns``, ``--tz``, ``--secret``.

docker's rules where docker has the option, podman's for the time zone and for secrets.
"""

from __future__ import annotations

import os
import re
from posixpath import join, normpath
from typing import TYPE_CHECKING, Literal, NamedTuple

from prun.errors import FailedPrecondition, InvalidArgument
from prun.request import many, one

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prun.request import Asked

ZONEINFO = "/usr/share/zoneinfo"
LOCALTIME = "/etc/localtime"
SECRETS = "/run/secrets"
NO_DNS = "none"  # podman: the image's own /etc/resolv.conf stays

_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_SECRET_KEYS = frozenset(("type", "source", "target", "uid", "gid", "mode"))
_MAX_ID = 2**31 - 1


class SecretRequest(NamedTuple):
    """``--secret``: which secret, and where the container finds it.

    ``type`` mount: ``target`` is an absolute path, a file with this owner and mode.  ``type`` env: ``target`` is a
    variable's name.
    """

    name: str
    target: str
    type: Literal["mount", "env"] = "mount"
    uid: int = 0
    gid: int = 0
    mode: int = 0o444


def fields(asked: Asked) -> dict[str, object]:
    """Return ``hosts``, ``dns``, ``dns_search``, ``dns_options``, ``timezone`` and ``secrets``."""
    servers = _split(many(asked, "dns"))
    search = tuple(_domain(word) for word in _split(many(asked, "dns_search")))
    options = tuple(_resolver_option(word) for word in _split(many(asked, "dns_option")))
    if NO_DNS in servers and (len(servers) > 1 or search or options):
        raise InvalidArgument("--dns none leaves nothing for other --dns options to change", hint="give only one")
    if "." in search and len(search) > 1:
        raise InvalidArgument("--dns-search . is for no search domain", hint="leave out the others")
    return {
        "hosts": tuple(host_line(word) for word in many(asked, "add_host")),
        "dns": servers if servers == (NO_DNS,) else tuple(_address("--dns", word) for word in servers),
        "dns_search": search,
        "dns_options": options,
        "timezone": timezone(one(asked, "tz")),
        "secrets": tuple(secret(word) for word in many(asked, "secret")),
    }


def host_line(word: str) -> str:
    """Turn ``NAME:ADDRESS`` or ``NAME=ADDRESS`` into a line of hosts(5); IPv6 may stand in brackets."""
    equals, colon = word.find("="), word.find(":")
    at = equals if equals >= 0 and (colon < 0 or equals < colon) else colon
    name, address = word[:at], word[at + 1 :]
    if at <= 0 or not address:
        raise InvalidArgument(f"--add-host {word!r} is not NAME:ADDRESS", hint="as in db:192.0.2.7 or db=[2001:db8::7]")
    if not re.fullmatch(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]*[a-zA-Z0-9_.])?", name):
        raise InvalidArgument(f"--add-host {word!r}: {name!r} is no host name")
    if address == "host-gateway":
        raise FailedPrecondition(
            f"--add-host {word!r}: there is no gateway to the host with --network none or host",
            hint="with --network host, the host is localhost",
        )
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return f"{_address('--add-host', address)} {name}"


def timezone(zone: str) -> str:
    """Check a zone's name against the host's time zone database; ``local`` is the host's own, empty is none.

    Raises:
        InvalidArgument: there is no such zone.
    """
    if zone in ("", "local"):
        if zone and not os.path.isfile(LOCALTIME):
            raise InvalidArgument(f"--tz local: this host has no {LOCALTIME}", hint="name a zone")
        return zone
    if not re.fullmatch(r"[a-zA-Z0-9_+.-]+(/[a-zA-Z0-9_+.-]+)*", zone) or {".", ".."} & set(zone.split("/")):
        raise InvalidArgument(f"--tz {zone!r} is no name of a time zone", hint="as in Europe/Berlin, or local")
    path, directory = os.path.realpath(join(ZONEINFO, zone)), os.path.realpath(ZONEINFO)
    try:
        with open(path, "rb") as file:
            found = file.read(4) == b"TZif"
    except OSError:
        found = False
    if not found or not path.startswith(f"{directory}/"):
        raise InvalidArgument(
            f"--tz {zone!r}: {ZONEINFO} has no such zone", hint="apt install tzdata, or check the name"
        )
    return zone


def secret(word: str) -> SecretRequest:
    """Parse ``NAME[,type=mount|env][,target=][,uid=][,gid=][,mode=]``; ``source=NAME`` names it anywhere (podman)."""
    given: dict[str, str] = {}
    for number, part in enumerate(word.split(",")):
        key, equals, value = part.partition("=")
        key, value = (key, value) if equals else ("source", part)
        key = "source" if key == "src" else key
        if (not equals and number) or key not in _SECRET_KEYS or not value:
            known = ", ".join(sorted(_SECRET_KEYS))
            raise InvalidArgument(f"--secret {word!r}: {part!r} is not KEY=VALUE with one of {known}")
        if key in given:
            raise InvalidArgument(f"--secret {word!r} says {key} twice")
        given[key] = value
    if "source" not in given:
        raise InvalidArgument(f"--secret {word!r} names no secret", hint="NAME[,KEY=VALUE...]")
    name, kind = given["source"], given.get("type", "mount")
    if kind == "env":
        if unfit := sorted({"uid", "gid", "mode"} & given.keys()):
            raise InvalidArgument(f"--secret {word!r}: {unfit[0]} has no meaning with type=env")
        return SecretRequest(name, _variable(word, given.get("target", name)), "env")
    if kind != "mount":
        raise InvalidArgument(f"--secret {word!r}: type {kind!r} is neither mount nor env")
    return SecretRequest(
        name,
        _path(word, given.get("target", name)),
        "mount",
        _number(word, "uid", given, 10, _MAX_ID, 0),
        _number(word, "gid", given, 10, _MAX_ID, 0),
        _number(word, "mode", given, 8, 0o777, 0o444),
    )


def _split(values: Iterable[str]) -> tuple[str, ...]:
    """Split at commas, as podman does: none of these values can hold one."""
    return tuple(part for value in values for part in value.split(","))


def _address(option: str, word: str) -> str:
    import ipaddress

    try:
        ipaddress.ip_address(word)
    except ValueError as error:
        raise InvalidArgument(f"{option}: {word!r} is no IP address", hint="as in 192.0.2.7 or 2001:db8::7") from error
    return word


def _domain(word: str) -> str:
    name = word.strip(" ")
    if name != "." and (not _DOMAIN.fullmatch(name) or not re.search("[a-zA-Z]", name)):
        raise InvalidArgument(f"--dns-search {word!r} is no domain", hint="as in example.com; . for none")
    return name


def _resolver_option(word: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_-]+(:[a-zA-Z0-9_-]+)?", word):
        raise InvalidArgument(f"--dns-option {word!r} is no option of resolv.conf(5)", hint="as in ndots:2 or rotate")
    return word


def _variable(word: str, name: str) -> str:
    if "\0" in name or "=" in name:
        raise InvalidArgument(f"--secret {word!r}: {name!r} is no variable's name")
    return name


def _path(word: str, target: str) -> str:
    path = normpath(join(SECRETS, target))
    parts = target.split("/")
    if ".." in parts or target.endswith("/") or path in ("/", SECRETS) or path.split("/")[1] in ("", "proc", "sys"):
        raise InvalidArgument(
            f"--secret {word!r}: target {target!r} is no path of a file",
            hint=f"a name below {SECRETS} or an absolute path, without .. and not below /proc or /sys",
        )
    return path


def _number(word: str, key: str, given: dict[str, str], base: int, limit: int, default: int) -> int:
    text = given.get(key, "")
    if not text:
        return default
    digits = "01234567" if base == 8 else "0123456789"
    if text.strip(digits) or len(text) > 12 or int(text, base) > limit:
        kind = "an octal mode up to 0777" if base == 8 else f"a number from 0 to {limit}"
        raise InvalidArgument(f"--secret {word!r}: {key} {text!r} is not {kind}")
    return int(text, base)
