"""``[registries]`` and ``[aliases]`` of ``prun.toml``, with the meaning that they have in registries.conf.

    [registries."docker.io"]              # a host, a host and a path, or *.example.com; the longest that fits counts
    location = "hub.internal/docker"      # what the prefix is replaced by
    insecure = false                      # true: no certificate is checked, and plain HTTP will do
    blocked = false                       # true: nothing is pulled from there
    mirrors = ["mirror.internal", {location = "other.internal/hub", insecure = true, pull_from_mirror = "digest-only"}]

    [aliases]
    debian = "registry.internal/debian"   # a short name, without tag and digest

See containers-registries.conf(5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from prun.errors import InvalidArgument
from prun.image.reference import DOMAIN, PATH, parse_reference

if TYPE_CHECKING:
    from collections.abc import Mapping

RULE_KEYS = ("location", "insecure", "blocked", "mirrors")
MIRROR_KEYS = ("location", "insecure", "pull_from_mirror")
PULL_FROM_MIRROR = ("all", "digest-only", "tag-only")


class Mirror(NamedTuple):
    """Where to ask first; ``pull_from_mirror`` says for which references."""

    location: str
    insecure: bool = False
    pull_from_mirror: str = "all"


class Rule(NamedTuple):
    """What is said of the references that begin with ``prefix``."""

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()


def parse_rules(table: Mapping[str, Any]) -> dict[str, Rule]:
    """Return the rules of a file's ``[registries]``, by their prefix.

    Raises:
        InvalidArgument: an unknown key, or a value that cannot be used; the message says where.
    """
    return {prefix: _rule(prefix, value, f"[registries.{prefix!r}]") for prefix, value in table.items()}


def parse_aliases(table: Mapping[str, Any]) -> dict[str, str]:
    """Return the short names of a file's ``[aliases]``, each with the full name that it stands for.

    Raises:
        InvalidArgument: a name or what it stands for is not one, or has a tag or a digest.
    """
    aliases = {}
    for short, full in table.items():
        where = f"[aliases] {short!r}"
        if not re.fullmatch(PATH, short) or parse_reference(short).domain != "docker.io":
            raise InvalidArgument(f"{where} is no short name", hint="a name without a host, a tag or a digest")
        if not isinstance(full, str) or not _is_location(full) or "/" not in full:
            raise InvalidArgument(f"{where} stands for {full!r}", hint="HOST/NAME, without a tag or a digest")
        aliases[short] = full
    return aliases


def _rule(prefix: str, value: object, where: str) -> Rule:
    if not _is_location(prefix.removeprefix("*.")):
        raise InvalidArgument(f"{where}: that is no prefix of a reference", hint="HOST[:PORT][/PATH], or *.DOMAIN")
    table = _checked(value, RULE_KEYS, where)
    if prefix.startswith("*.") and ("location" in table or "/" in prefix):
        raise InvalidArgument(f"{where}: a prefix with * is a domain, and has no location of its own")
    mirrors = table.get("mirrors", [])
    if not isinstance(mirrors, list):
        raise InvalidArgument(f"{where}: mirrors is no list")
    return Rule(
        prefix,
        _location(table, where) if "location" in table else "",
        _flag(table, "insecure", where),
        _flag(table, "blocked", where),
        tuple(_mirror(mirror, where) for mirror in mirrors),
    )


def _mirror(value: object, where: str) -> Mirror:
    table = _checked({"location": value} if isinstance(value, str) else value, MIRROR_KEYS, f"{where}: mirror")
    pulled = table.get("pull_from_mirror", "all")
    if pulled not in PULL_FROM_MIRROR:
        raise InvalidArgument(f"{where}: pull_from_mirror is {pulled!r}", hint=f"one of {', '.join(PULL_FROM_MIRROR)}")
    return Mirror(_location(table, where), _flag(table, "insecure", where), pulled)


def _checked(value: object, known: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgument(f"{where} is no table")
    for key in value:
        if key not in known:
            raise InvalidArgument(f"{where} has no key {key!r}", hint=f"it knows: {', '.join(known)}")
    return value


def _location(table: Mapping[str, Any], where: str) -> str:
    location = table.get("location")
    if not isinstance(location, str) or not _is_location(location):
        raise InvalidArgument(f"{where}: location is {location!r}", hint="HOST[:PORT][/PATH], without a scheme")
    return location


def _flag(table: Mapping[str, Any], key: str, where: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise InvalidArgument(f"{where}: {key} is {value!r}", hint="true or false")
    return value


def _is_location(text: str) -> bool:
    return re.fullmatch(f"{DOMAIN}(?:/{PATH})?", text) is not None
