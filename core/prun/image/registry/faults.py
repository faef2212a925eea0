"""What goes wrong between us and a registry, in words without a URL's query; and whether to try again."""

from __future__ import annotations

import ssl
import time

from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from prun.errors import PermissionDenied, PrunError, Unavailable

# What OpenSSL says when the other side does not speak TLS at all.
_NO_TLS = ("WRONG_VERSION_NUMBER", "wrong version number", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")

# What the other side says of our certificate, or that there is none (RFC 8446 section 6.2).
_NOT_US = (
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_REQUIRED",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_UNKNOWN_CA",
    "ALERT_UNSUPPORTED_CERTIFICATE",
)


class Transient(Unavailable):
    """Something that may work when tried again; ``after_s``: the registry asks for so much time."""

    after_s: float = 0.0


class NoTls(Unavailable):
    """The other side does not speak TLS."""


def connection_failure(host: str, error: Exception, reason: str, *, reached: bool) -> PrunError:
    """Return what an exchange that got no answer means; ``reached``: there has been one from there before."""
    if isinstance(error, ProxyError):
        return Transient(f"{host} cannot be reached through the proxy: {reason}")
    if isinstance(error, SSLError | ssl.SSLError):
        if any(word in str(error) for word in _NO_TLS):
            return NoTls(
                f"{host} does not speak TLS",
                hint="to use it all the same: --tls-verify=false, or insecure = true in [registries] of prun.toml",
            )
        if any(word in str(error) for word in _NOT_US):
            return PermissionDenied(
                f"{host} wants a certificate of ours that it trusts",
                hint=f"put it at /etc/containers/certs.d/{host}/client.cert, and its key at client.key",
            )
        return Unavailable(f"{host}: {reason}", hint=f"its CA belongs into /etc/containers/certs.d/{host}/ca.crt")
    if isinstance(error, NameResolutionError):
        return Unavailable(f"{host} is not known: {reason}", hint="is the name right, and the network there?")
    if isinstance(error, NewConnectionError) and not reached:
        return Unavailable(f"{host} cannot be reached: {reason}")
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError):
        return Transient(f"{host} does not answer: {reason}")
    return Transient(f"{host} broke off: {reason}")


def reason_of(error: BaseException) -> str:
    """Return the innermost reason of an error in a few words, without a URL."""
    while isinstance(inner := getattr(error, "reason", None) or (error.args or [None])[-1], BaseException):
        error = inner
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError | TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error.args[0]) if error.args else ""
    return text if text and "/" not in text and len(text) < 200 else type(error).__name__


def retry_after(text: str) -> float:
    """Return how many seconds ``Retry-After`` asks for: a number, or a date (RFC 9110 section 10.2.3)."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0
