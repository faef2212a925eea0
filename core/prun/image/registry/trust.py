"""Whom to believe on the other side of a connection, and which way to go there.

Certificates are checked against the system's, and against those that podman and docker keep for single registries:

    <directory>/HOST[:PORT]/*.crt               certificates to believe, beside the system's
    <directory>/HOST[:PORT]/NAME.cert, NAME.key  our own certificate, and its key

See containers-certs.d(5).
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prun.errors import InvalidArgument, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYSTEM = ("/etc/containers/certs.d", "/etc/docker/certs.d")


def tls_context(host: str, directory: str = "", *, verify: bool = True) -> ssl.SSLContext:
    """Return how to speak TLS with ``host``; ``directory`` comes instead of the usual places for certificates.

    Raises:
        InvalidArgument: a certificate cannot be used, or lacks its key.
        PermissionDenied: somebody else may change one.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for found in [directory] if directory else _directories(host):
        _load(context, found)
    return context


def _directories(host: str) -> Iterator[str]:
    if host.startswith(".") or "/" in host:
        return
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    for above in (os.path.join(home, "containers", "certs.d"), *_SYSTEM):
        directory = os.path.join(above, host)
        if os.path.isdir(directory):
            yield directory


def _load(context: ssl.SSLContext, directory: str) -> None:
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise InvalidArgument(f"certificates in {directory!r} cannot be read: {error.strerror}") from error
    for name in names:
        path = os.path.join(directory, name)
        try:
            if name.endswith(".crt"):
                context.load_verify_locations(_trusted(path))
            elif name.endswith(".cert"):
                key = path.removesuffix(".cert") + ".key"
                if not os.path.exists(key):
                    raise InvalidArgument(f"certificate {path} has no key", hint=f"put it at {key}")
                context.load_cert_chain(_trusted(path), _trusted(key), password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise InvalidArgument(f"certificate {path} cannot be used: {error}") from error


def _trusted(path: str) -> str:
    """Return ``path`` if nobody else may change the file."""
    info = os.stat(path)
    nobody = (65534,) if "PRUN_ROOTLESS" in os.environ and path.startswith("/etc/") else ()
    if info.st_uid not in (0, os.geteuid(), *nobody) or info.st_mode & 0o022:
        raise PermissionDenied(
            f"certificate {path} may be changed by others (uid {info.st_uid}, mode {info.st_mode & 0o777:o})",
            hint="chown it to yourself or root, and chmod go-w it",
        )
    return path


def _no_password() -> str:
    """Keep OpenSSL from asking on the terminal."""
    raise ValueError("its key is encrypted")


def is_loopback(host: str) -> bool:
    """Tell whether a host of a URL is this machine, by its name alone."""
    import ipaddress

    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_own_network(host: str) -> bool:
    """Tell whether a host is one that only this machine can mean: loopback, link-local, unspecified, multicast.

    A name is looked up.  No registry has a reason to send us there: metadata services and local daemons are there.
    """
    import ipaddress
    import socket

    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False  # then there is no way to it either
    for *_, address in found:
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast:
            return True
    return False


def proxy_for(url: str) -> str:
    """Return the proxy that the environment names for ``url``, empty for none; this machine needs none.

    ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in upper or lower case.  As everywhere,
    ``NO_PROXY`` is a list of hosts, domains and, as in Go, of networks.

    Raises:
        InvalidArgument: it is no HTTP proxy.
    """
    from urllib.request import getproxies_environment

    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all", "")
    if not proxy or is_loopback(host) or _needs_none(host, parts.netloc, proxies.get("no", "")):
        return ""
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise InvalidArgument(
            f"proxy {urlsplit(proxy).scheme}://... of the environment is no HTTP proxy",
            hint="set HTTPS_PROXY to http://HOST:PORT, or NO_PROXY for this host",
        )
    return proxy


def _needs_none(host: str, netloc: str, words: str) -> bool:
    """Tell whether ``NO_PROXY`` names a host: itself, a domain that it is in, or a network."""
    import ipaddress

    for word in filter(None, (word.strip().lower() for word in words.split(","))):
        domain = word.removeprefix("*").removeprefix(".")
        if word == "*" or domain in (host, netloc) or host.endswith(f".{domain}"):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(word, strict=False):
                return True
        except ValueError:
            continue
    return False
