"""``policy.json``: what an image has to fulfil, by where it comes from; the most specific scope counts.

    {"default": [{"type": "reject"}],
     "transports": {
        "docker": {"registry.example.com/team": [{"type": "sigstoreSigned", "keyPath": "/etc/pki/team.pub",
                                                  "signedIdentity": {"type": "matchRepository"}}]},
        "oci-archive": {"": [{"type": "insecureAcceptAnything"}]}}}

Read strictly: an unknown key anywhere makes all of it invalid.  What it may say and prun cannot check (``signedBy`` is
about GPG keys; ``fulcio``, ``pki``, ``rekor...``) refuses what it is asked of.

See containers-policy.json(5).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from prun.errors import InvalidArgument
from prun.image.fields import as_list, as_object, as_string, as_strings, load_object
from prun.image.signing.identity import SignedIdentity, parse_identity
from prun.image.signing.keys import Key, read_trusted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prun.image.reference import Reference

TYPES = ("insecureAcceptAnything", "reject", "signedBy", "sigstoreSigned")
_KEY_SOURCES = ("keyPath", "keyPaths", "keyData", "keyDatas")
_ROOTS = (*_KEY_SOURCES, "fulcio", "pki")
_REKOR = ("rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas")
_MAX_REQUIREMENTS = 100


class Requirement(NamedTuple):
    """One of a list, all of which an image has to fulfil; ``where`` it stands in the policy.

    ``unsupported`` is what it says and prun cannot do, empty for nothing.
    """

    where: str
    type: str
    keys: tuple[Key, ...] = ()
    identity: SignedIdentity = SignedIdentity()
    unsupported: str = ""


class Policy(NamedTuple):
    """``transports``: by name, then by scope, which is empty for all of a transport."""

    path: str
    default: tuple[Requirement, ...]
    transports: Mapping[str, Mapping[str, tuple[Requirement, ...]]]

    def requirements(self, transport: str, scopes: Iterable[str]) -> tuple[Requirement, ...]:
        """Return what is required of an image with these scopes, the most specific first."""
        known = self.transports.get(transport, {})
        return next((known[scope] for scope in scopes if scope in known), self.default)


def check_settings(table: Mapping[str, object]) -> None:
    """Raise InvalidArgument where ``[signatures]`` of a ``prun.toml`` names a policy by a path that is none."""
    policy = table.get("policy")
    if isinstance(policy, str) and policy and not os.path.isabs(policy):
        raise InvalidArgument(f"policy is {policy!r}", hint="an absolute path")


def read_policy(path: str) -> Policy:
    """Read a policy.

    Raises:
        NotFound, PermissionDenied: there is none, or others may change it.
        InvalidArgument: it is malformed; the message has the path of the key.
    """
    return parse_policy(read_trusted(path, "signature policy"), path)


def parse_policy(data: bytes, path: str) -> Policy:
    """Return the policy that the JSON ``data`` is, for messages called ``path``; raises as ``read_policy`` does."""
    what = f"signature policy {path}"
    document = load_object(data, what)
    _refuse_unknown(document, ("default", "transports"), what)
    if "default" not in document:
        raise InvalidArgument(f"{what} has no 'default'", hint='"default": [{"type": "reject"}] is the safe one')
    transports = as_object(document.get("transports", {}), f"{what}: transports")
    return Policy(
        path,
        _requirements(document["default"], f"{what}: default"),
        {
            name: {
                _scope(scope, f"{what}: transports.{name}"): _requirements(
                    listed, f'{what}: transports.{name}["{scope}"]'
                )
                for scope, listed in as_object(scopes, f"{what}: transports.{name}").items()
            }
            for name, scopes in transports.items()
        },
    )


def docker_scopes(reference: Reference) -> Iterator[str]:
    """Yield the scopes of an image of a registry, the most specific first."""
    name = f"{reference.domain}/{reference.path}"
    yield f"{name}@{reference.digest}" if reference.digest else f"{name}:{reference.tag}"
    while "/" in name:
        yield name
        name = name.rpartition("/")[0]
    yield name
    host = re.sub(":[0-9]+$", "", name)
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"
    yield ""


def path_scopes(path: str, tag: str = "") -> Iterator[str]:
    """Yield the scopes of an image in a file or a directory; ``path`` empty: standard input."""
    path = os.path.realpath(path) if path else ""
    if path and tag:
        yield f"{path}:{tag}"
    while path not in ("", "/"):
        yield path
        path = os.path.dirname(path)
    yield ""


def _scope(scope: str, where: str) -> str:
    if scope == "/" or ("*" in scope and not re.fullmatch(r"\*\.[^*]+", scope)):
        raise InvalidArgument(
            f"{where} has the scope {scope[:200]!r}", hint='"" is all of a transport, *.DOMAIN all below'
        )
    return scope


def _requirements(value: object, where: str) -> tuple[Requirement, ...]:
    listed = as_list(value, where, _MAX_REQUIREMENTS)
    if not listed:
        raise InvalidArgument(f"{where} is empty", hint='"insecureAcceptAnything" requires nothing')
    return tuple(_requirement(each, f"{where}[{number}]") for number, each in enumerate(listed))


def _requirement(value: object, where: str) -> Requirement:
    table = as_object(value, where)
    kind = as_string(table.get("type"), f"{where}.type")
    if kind not in TYPES:
        raise InvalidArgument(f"{where}.type is {kind[:100]!r}", hint=f"one of {', '.join(TYPES)}")
    if kind == "signedBy":
        return Requirement(where, kind, unsupported="signedBy (GPG keys)")
    if kind != "sigstoreSigned":
        _refuse_unknown(table, ("type",), where)
        return Requirement(where, kind)
    _refuse_unknown(table, ("type", "signedIdentity", *_ROOTS, *_REKOR), where)
    roots = [key for key in _ROOTS if key in table]
    if len(roots) != 1:
        raise InvalidArgument(f"{where} has {' and '.join(roots) or 'no key'}", hint=f"one of {', '.join(_ROOTS)}")
    identity = SignedIdentity()
    if "signedIdentity" in table:
        identity = parse_identity(table["signedIdentity"], f"{where}.signedIdentity")
    unsupported = next((key for key in ("fulcio", "pki", *_REKOR) if key in table), "")
    return Requirement(where, kind, _keys(table, roots[0], f"{where}.{roots[0]}"), identity, unsupported)


def _keys(table: dict[str, Any], root: str, where: str) -> tuple[Key, ...]:
    if root not in _KEY_SOURCES:
        return ()
    values = as_strings(table[root], where) if root.endswith("s") else [as_string(table[root], where)]
    if not values:
        raise InvalidArgument(f"{where} is empty")
    if root.startswith("keyPath"):
        for value in values:
            if not os.path.isabs(value):
                raise InvalidArgument(f"{where} is {value[:200]!r}", hint="an absolute path")
        return tuple(Key(value) for value in values)
    try:
        return tuple(Key("", base64.b64decode(value, validate=True)) for value in values)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(f"{where} is not base64", hint="base64 -w0 KEY.pub") from error


def _refuse_unknown(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise InvalidArgument(f"{where} has no key {key[:100]!r}", hint=f"it knows: {', '.join(known)}")
