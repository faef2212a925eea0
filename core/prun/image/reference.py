"""References: the names by which images are known.

Grammar and defaults are docker's: https://github.com/distribution/reference/blob/v0.6.0/reference.go
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument
from prun.image.digest import parse_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
MAX_PATH_LENGTH = 255

_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}"


class Reference(NamedTuple):
    """A complete image name; it has a tag, a digest or both, and the missing one is empty."""

    domain: str
    path: str
    tag: str
    digest: str

    @property
    def familiar(self) -> str:
        """The shortest spelling that means the same: ``busybox:latest``."""
        if self.domain != DEFAULT_DOMAIN:
            return str(self)
        first, _, rest = self.path.partition("/")
        if first == "library" and rest and "/" not in rest:
            return f"{rest}{self._suffix}"
        # docker.io/example.com/x must keep its domain: without it, example.com would be the domain.
        return str(self) if not rest or _is_domain(first) else f"{self.path}{self._suffix}"

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return f"{self.domain}/{self.path}{self._suffix}"


def parse_reference(text: str, aliases: Mapping[str, str] | None = None) -> Reference:
    """Return the reference that ``text`` names, with docker's defaults filled in.

    ``busybox`` is ``docker.io/library/busybox:latest``, unless ``aliases`` say what the short name stands for; the tag
    defaults only where there is no digest either.

    Raises:
        InvalidArgument: it is no reference; the hint says what would be.
    """
    if re.fullmatch("[a-f0-9]{64}", text):
        raise InvalidArgument(
            f"image reference {text!r} is a bare identifier, not a name", hint=f"for a digest, write NAME@sha256:{text}"
        )
    name, at, digest = text.partition("@")
    name, tag = _split_tag(name)
    name = aliases.get(name, name) if aliases else name
    domain, path = _split_domain(name)
    _check_name(text, domain, path)
    if tag is not None and not re.fullmatch(_TAG, tag):
        raise InvalidArgument(
            f"image reference {text[:300]!r} has the invalid tag {tag[:200]!r}",
            hint="a tag is at most 128 of letters, digits, '_', '.' and '-', and does not start with '.' or '-'",
        )
    if at:
        return Reference(domain, path, tag or "", parse_digest(digest))
    return Reference(domain, path, tag or DEFAULT_TAG, "")


def is_tag(text: str) -> bool:
    """Tell whether ``text`` can be a tag."""
    return re.fullmatch(_TAG, text) is not None


def _split_tag(name: str) -> tuple[str, str | None]:
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag or (name.startswith("[") and "/" not in name):
        return name, None  # the colon is that of a port, or of an IPv6 address
    return head, tag


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not _is_domain(first):
        domain, path = DEFAULT_DOMAIN, name
    else:
        domain, path = first, rest
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and path and "/" not in path:
        path = f"library/{path}"
    return domain, path


def _is_domain(first: str) -> bool:
    """Tell whether the part before the first slash is meant as a domain.

    docker takes ``a_b.c/x``, whose first part looks like a domain and is none, for a name without any domain; here it
    is refused, for nothing could be pulled by it.
    """
    return "." in first or ":" in first or first == "localhost" or first.lower() != first


def _check_name(text: str, domain: str, path: str) -> None:
    shown = repr(text[:300])
    if not path:
        raise InvalidArgument(
            f"image reference {shown} has no repository name", hint="a name looks like busybox:latest"
        )
    if not re.fullmatch(DOMAIN, domain):
        raise InvalidArgument(f"image reference {shown} has the invalid domain {domain[:200]!r}")
    if len(path) > MAX_PATH_LENGTH:
        raise InvalidArgument(f"image reference {shown} has a name of more than {MAX_PATH_LENGTH} characters")
    if not re.fullmatch(PATH, path):
        lower = path.lower().removeprefix("library/")
        upper_only = path != path.lower() and re.fullmatch(PATH, path.lower())
        raise InvalidArgument(
            f"image reference {shown} has an invalid repository name"
            + (": it must be lower case" if path != path.lower() else ""),
            hint=f"did you mean {lower!r}?"
            if upper_only
            else "it consists of lower-case letters, digits, '.', '_', '-', '/'",
        )
