"""Digests: the names of blobs.

Spec: https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol, cast

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_SMALL_BYTES = 64 << 10
_DIGEST = r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"


class Hasher(Protocol):
    """What ``hashlib`` returns."""

    def update(self, data: Buffer, /) -> None: ...
    def hexdigest(self) -> str: ...


def parse_digest(text: str) -> str:
    """Return ``text`` if it is a sha256 or sha512 digest; to be called before a digest becomes a path or a URL.

    Raises:
        InvalidArgument: it is anything else, other algorithms included (CVE-2024-3727).
    """
    if not re.fullmatch(_DIGEST, text):
        raise InvalidArgument(f"digest {text[:200]!r} is not sha256 or sha512 in lower-case hexadecimal")
    return text


def new_hasher(digest: str) -> Hasher:
    """Return a hash object of the algorithm that ``digest`` names: OpenSSL's, for anything large."""
    import hashlib

    return hashlib.new(digest.partition(":")[0])


def digest_of(data: bytes) -> str:
    """Return the sha256 digest of ``data``."""
    return f"sha256:{_hasher_for(data, 'sha256').hexdigest()}"


def matches(data: bytes, digest: str) -> bool:
    """Tell whether ``data`` is what ``digest`` names."""
    algorithm, _, expected = digest.partition(":")
    return _hasher_for(data, algorithm).hexdigest() == expected


def _hasher_for(data: bytes, algorithm: str) -> Hasher:
    if algorithm == "sha256" and len(data) <= _SMALL_BYTES:
        # hashlib loads OpenSSL: 2 ms of every run, for a few kilobytes.  The interpreter has a sha256 of its own.
        for module in ("_sha256", "_sha2"):  # until 3.11, from 3.12
            try:
                return cast("Hasher", __import__(module).sha256(data))
            except ImportError:
                continue
    hasher = new_hasher(algorithm)
    hasher.update(data)
    return hasher
