"""Public keys of a policy, and whether a signature is of one of them.

ECDSA on NIST's curves and RSA (PKCS #1 v1.5, 2048 bits or more) over SHA-256, and Ed25519: what cosign makes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument, NotFound, PermissionDenied, ResourceExhausted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

MAX_FILE_BYTES = 1 << 20
_LEAST_RSA_BITS = 2048


class Key(NamedTuple):
    """A public key: the file that it is in, or, without one, its PEM."""

    path: str
    pem: bytes = b""

    def __str__(self) -> str:
        return f"key {self.path}" if self.path else "key of keyData"


def read_trusted(path: str, what: str) -> bytes:
    """Return the content of a file that decides what is trusted.

    Raises:
        NotFound, InvalidArgument, ResourceExhausted: there is none, it is no file, or longer than a mebibyte.
        PermissionDenied: it may not be read, or somebody else may change it.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            info = os.fstat(file.fileno())
            if info.st_uid not in _owners(path) or info.st_mode & 0o022:
                raise PermissionDenied(
                    f"{what} {path} may be changed by others (uid {info.st_uid}, mode {info.st_mode & 0o777:o})",
                    hint=f"chown it to yourself or root, and chmod go-w {path}",
                )
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{what} {path} does not exist") from error
    except PermissionError as error:
        raise PermissionDenied(f"{what} {path} may not be read") from error
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{what} {path!r} cannot be read: {error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ResourceExhausted(f"{what} {path} is longer than {MAX_FILE_BYTES} bytes")
    return data


def _owners(path: str) -> tuple[int, ...]:
    """Return who may own such a file: in an ordinary user's namespace the system's root has no id."""
    nobody = (65534,) if "PRUN_ROOTLESS" in os.environ and path.startswith("/etc/") else ()
    return (0, os.geteuid(), *nobody)


def load_key(key: Key) -> PublicKeyTypes:
    """Read a key.

    Raises:
        NotFound, PermissionDenied: its file is not there, or may be changed by others.
        InvalidArgument: it is no public key that signatures here can be of.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = read_trusted(key.path, "key") if key.path else key.pem
    try:
        found = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(f"{key} is no public key in PEM", hint="cosign public-key prints one") from error
    if isinstance(found, rsa.RSAPublicKey) and found.key_size < _LEAST_RSA_BITS:
        raise InvalidArgument(f"{key} is an RSA key of {found.key_size} bits, fewer than {_LEAST_RSA_BITS}")
    if not isinstance(found, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise InvalidArgument(f"{key} is of an unknown kind", hint="ECDSA, RSA or Ed25519")
    return found


def is_signed_by(key: PublicKeyTypes, signature: bytes, data: bytes) -> bool:
    """Tell whether ``signature`` is one of ``key`` over ``data``."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), SHA256())
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        else:
            return False
    except InvalidSignature:
        return False
    return True
