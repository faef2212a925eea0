"""From a registry's challenge to an ``Authorization`` header: basic, or a bearer token of the realm it names.

Credentials go to the registry itself, and to a realm over https; over plain HTTP only where the registry is asked so
too, and the realm is on its host or on this machine.

Spec: https://distribution.github.io/distribution/spec/auth/token/ and RFC 9110 section 11.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode, urlsplit

from prun.errors import InvalidArgument, PermissionDenied
from prun.image.fields import load_object
from prun.image.registry.transport import origin_of, shown
from prun.image.registry.trust import is_loopback, is_own_network, proxy_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prun.image.registry.transport import Origin, Transport

MAX_TOKEN_BYTES = 1 << 20
MAX_CHALLENGE = 8 << 10
_CLIENT = "prun"
# A token that lasts less is taken to last so long (the spec's minimum), and none is used in its last seconds.
_LEAST_S = 60
_MARGIN_S = 10
_PARAMETER = re.compile(r"""\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))\s*(?:,|$)""")
_SCHEME = re.compile(r"\s*([A-Za-z][\w-]*)(?:\s+|$)")


class Login(NamedTuple):
    """Who we are to a registry; all empty is anonymous.

    ``identity_token`` is for getting tokens, ``registry_token`` is one already.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Login({self.username!r}, ***)"  # whoever prints one shall not print its secrets

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.password, self.identity_token, self.registry_token, self.basic

    @property
    def basic(self) -> str:
        """What RFC 7617 makes of name and password, empty where there are none."""
        if not self.username and not self.password:
            return ""
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


ANONYMOUS = Login()


class Challenge(NamedTuple):
    """A scheme in lower case, and its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(text: str) -> list[Challenge]:
    """Return the challenges of a ``WWW-Authenticate`` header; what cannot be read is left out."""
    found: list[Challenge] = []
    position, text = 0, text[:MAX_CHALLENGE]
    while match := _SCHEME.match(text, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(text, position):
            position = parameter.end()
            value = parameter[3] if parameter[2] is None else re.sub(r"\\(.)", r"\1", parameter[2])
            parameters.setdefault(parameter[1].lower(), value)
        found.append(Challenge(match[1].lower(), parameters))
    return found


class _Token(NamedTuple):
    header: str
    until: float


class Authorizer:
    """The headers that one registry wants from us; may be used from several threads."""

    def __init__(self, transport: Transport, login: Login, host: str) -> None:
        self._transport = transport
        self._login = login
        self._host = host
        self._bearer: Challenge | None = None
        self._tokens: dict[str, _Token] = {}
        self._basic = ""
        self._lock = threading.Lock()
        transport.keep_secret(*login.secrets)

    def header(self, scope: str) -> str:
        """Return what to send without being asked: what the registry has wanted before; empty for nothing."""
        with self._lock:
            token = self._tokens.get(scope)
            if token and token.until > time.monotonic():
                return token.header
            return self._basic

    def answer(self, header: str, scope: str, registry: Origin, refused: str) -> str:
        """Return the header that answers a challenge of ``registry``; ``refused`` is what was sent before.

        Raises:
            PermissionDenied: there is none, or what it took is not given away.
        """
        with self._lock:
            challenges = {challenge.scheme: challenge for challenge in reversed(parse_challenges(header))}
            known = self._tokens.get(scope)
            if known and known.header != refused and known.until > time.monotonic():
                return known.header  # another thread was quicker
            if bearer := challenges.get("bearer"):
                self._tokens[scope] = self._token(bearer, scope, registry)
                if self._tokens[scope].header == refused:
                    raise self._refused()
                return self._tokens[scope].header
            if "basic" in challenges and self._login.basic:
                self._basic = f"Basic {self._login.basic}"
                if self._basic == refused:
                    raise self._refused()
                return self._basic
            if "basic" in challenges:
                raise PermissionDenied(f"{self._host} wants to know who you are", hint=f"prun login {self._host}")
            raise PermissionDenied(f"{self._host} asks for credentials in a way that prun does not know")

    def _refused(self) -> PermissionDenied:
        who = self._login.username or "what it was given"
        return PermissionDenied(f"{self._host} does not accept {who}", hint=f"prun login {self._host}")

    def _token(self, challenge: Challenge, scope: str, registry: Origin) -> _Token:
        if self._login.registry_token:
            return _Token(f"Bearer {self._login.registry_token}", float("inf"))
        realm = challenge.parameters.get("realm", "")
        self._check_realm(realm, registry)
        scopes = _scopes(scope, challenge.parameters.get("scope", ""))
        service = challenge.parameters.get("service", "")
        asked_at = time.monotonic()
        if self._login.identity_token:
            document = self._refresh(realm, service, scopes)
        else:
            document = self._ask(realm, service, scopes)
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise PermissionDenied(f"{shown(realm)} gives no token that could be used")
        self._transport.keep_secret(token)
        lasts = document.get("expires_in")
        lasts_s = max(lasts, _LEAST_S) if isinstance(lasts, int) and not isinstance(lasts, bool) else _LEAST_S
        return _Token(f"Bearer {token}", asked_at + lasts_s - _MARGIN_S)

    def _ask(self, realm: str, service: str, scopes: Iterable[str]) -> Mapping[str, object]:
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        if self._login.username:
            query.append(("account", self._login.username))
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}"
        basic = f"Basic {self._login.basic}" if self._login.basic else ""
        answer = self._transport.exchange("GET", url, authorization=basic)
        if answer.status != 200:
            raise answer.failure(f"no token for {self._host}", self._host)
        return load_object(answer.read(MAX_TOKEN_BYTES, f"token of {shown(realm)}"), f"token of {shown(realm)}")

    def _refresh(self, realm: str, service: str, scopes: Iterable[str]) -> Mapping[str, object]:
        body = urlencode(
            {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": _CLIENT,
                "scope": " ".join(scopes),
                "refresh_token": self._login.identity_token,
            }
        ).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._transport.exchange("POST", realm, headers=headers, body=body)
        if answer.status != 200:
            raise answer.failure(f"no token for {self._host}", self._host)
        return load_object(answer.read(MAX_TOKEN_BYTES, f"token of {shown(realm)}"), f"token of {shown(realm)}")

    def _check_realm(self, realm: str, registry: Origin) -> None:
        """Refuse a realm that must not see a password, or is none of the registry's business."""
        where = origin_of(realm)
        if where[:2] == registry[:2]:
            return
        if where.scheme == "http" and not (
            registry.scheme == "http" and (where.host == registry.host or self._transport.may_be_plain(where))
        ):
            raise PermissionDenied(
                f"{self._host} wants us to log in at {shown(realm)}, which is not encrypted: nothing was sent there"
            )
        if not is_loopback(registry.host) and not proxy_for(realm) and is_own_network(where.host):
            raise PermissionDenied(
                f"{self._host} wants us to log in at {where.host}, which is this machine's own business"
            )


def _scopes(wanted: str, offered: str) -> list[str]:
    """Return what to ask a token for: what we want, and where that is nothing, what the registry names."""
    return wanted.split() if wanted else offered.split()[:10]


def decode_basic(text: str) -> tuple[str, str]:
    """Return name and password of what ``Login.basic`` makes.

    Raises:
        InvalidArgument: it is not that.
    """
    try:
        name, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        name, colon, password = "", "", ""
    if not colon:
        raise InvalidArgument("its auth is not the base64 of NAME:PASSWORD")
    return name, password.rstrip("\0")


def encode_json(document: object) -> bytes:
    """Return a document for an auth file."""
    return json.dumps(document, indent="\t").encode() + b"\n"
