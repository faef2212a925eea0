"""One HTTP exchange after another, over connections that are kept: redirects, limits, and what errors mean.

A registry says where to go next, and may lie.  What it can make us do is bounded here: at most ten redirects, never
from https to http, never to this machine or its link-local neighbours, and never with the credentials of another
scheme, host or port (CVE-2020-15157).  Messages have hosts and paths; no header, no query string, no secret.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from prun import __version__
from prun.errors import DataLoss, NotFound, PermissionDenied, PrunError, ResourceExhausted, Unavailable
from prun.image.registry.faults import Transient, connection_failure, reason_of, retry_after
from prun.image.registry.trust import is_loopback, is_own_network, proxy_for, tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping
    from typing import IO

MAX_REDIRECTS = 10
MAX_CONNECTIONS = 8  # to one host
MAX_ERROR_BYTES = 64 << 10
CHUNK_BYTES = 256 << 10
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_AGAIN = frozenset((408, 429, 500, 502, 503, 504))


class Patience(NamedTuple):
    """How long to put up with a registry, in seconds; ``attempts`` count from the last one that brought something.

    A body that brings less than ``slow_bytes`` in ``slow_s`` is as good as a broken one.
    """

    attempts: int = 6
    first_delay_s: float = 0.5
    longest_delay_s: float = 60.0
    connect_s: float = 15.0
    silence_s: float = 60.0
    slow_bytes: int = 32 << 10
    slow_s: float = 60.0


class Origin(NamedTuple):
    """Whom credentials are for."""

    scheme: str
    host: str
    port: int


def origin_of(url: str) -> Origin:
    """Return the origin of a URL.

    Raises:
        PermissionDenied: it is no URL of HTTP.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise PermissionDenied("a registry sends us to what is no URL") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise PermissionDenied(f"a registry sends us to {parts.scheme[:20]}://..., which is none of its business")
    return Origin(parts.scheme, parts.hostname.lower(), port)


def shown(url: str) -> str:
    """Return a URL without its query, which may be as good as a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:300]


class Answer:
    """What came back, its body unread; ``url`` is where it came from in the end."""

    def __init__(self, transport: Transport, response: urllib3.BaseHTTPResponse, url: str) -> None:
        self.status = response.status
        self.headers = response.headers
        self.url = url
        self._transport = transport
        self._response = response

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes.

        Raises:
            Transient: it ended too early, or came to a halt.
        """
        patience = self._transport.patience
        since, brought = time.monotonic(), 0
        try:
            while chunk := self._response.read1(CHUNK_BYTES, decode_content=False):
                yield chunk
                brought += len(chunk)
                if (now := time.monotonic()) - since > patience.slow_s:
                    if brought < patience.slow_bytes:
                        raise Transient(f"{shown(self.url)} sent {brought} bytes in {now - since:.0f} seconds")
                    since, brought = now, 0
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            # ValueError, AttributeError: ``abort`` closed it under our feet
            raise Transient(f"{shown(self.url)} broke off: {reason_of(error)}") from None
        finally:
            self._transport.forget(self._response)

    def read(self, limit_bytes: int, what: str) -> bytes:
        """Return the whole of a small body.

        Raises:
            ResourceExhausted: it is longer than ``limit_bytes``.
        """
        data = bytearray()
        stated = self.headers.get("Content-Length", "")
        too_long = stated.isascii() and stated.isdigit() and int(stated[:20]) > limit_bytes
        for chunk in () if too_long else self.chunks():
            data += chunk
            if too_long := len(data) > limit_bytes:
                break
        if too_long:
            self.close()
            raise ResourceExhausted(f"{what} is longer than {limit_bytes} bytes: more than is believed of it")
        return bytes(data)

    def close(self) -> None:
        """Let go of the connection; one whose body was not read is not used again."""
        self._transport.forget(self._response)
        self._response.close()

    def discard(self) -> None:
        """Read what is left, if it is little, so that the connection can be used again."""
        try:
            self.read(MAX_ERROR_BYTES, "answer")
        except PrunError:
            self.close()

    def failure(self, what: str, login_at: str = "") -> PrunError:
        """Return the error that this answer is, with the registry's own words; read it no more.

        ``login_at`` is the registry, where something else answers for it.
        """
        reason = self._transport.redacted(self._words())
        host = urlsplit(self.url).netloc
        message = f"{what}: {host} answers {self.status}" + (f", {reason}" if reason else "")
        if self.status in (401, 403):
            return PermissionDenied(message, hint=f"prun login {login_at or host}, as somebody who may")
        if self.status == 404:
            return NotFound(message)
        if self.status in _AGAIN:
            error = Transient(message)
            error.after_s = retry_after(self.headers.get("Retry-After", ""))
            return error
        return Unavailable(message)

    def _words(self) -> str:
        try:
            document = json.loads(self.read(MAX_ERROR_BYTES, "answer"))
            words = [f"{error['code']}: {error.get('message', '')}" for error in document["errors"][:3]]
        except (PrunError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.close()
            return ""
        return "; ".join(words)[:500]


class Transport:
    """Connections to whoever has to be asked; may be used from several threads.

    ``cert_dir`` comes instead of the usual directories for certificates.  ``insecure`` hosts need no valid
    certificate, and may speak plain HTTP; so may this machine.  ``secrets`` never appear in a message.
    """

    def __init__(self, *, cert_dir: str = "", patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.insecure: set[str] = set()
        self.cancelled = threading.Event()
        self._cert_dir = cert_dir
        self._secrets: set[str] = set()
        self._reached: set[Origin] = set()
        self._pools: dict[tuple[str, str, str], urllib3.PoolManager] = {}
        self._open: set[urllib3.BaseHTTPResponse] = set()
        self._lock = threading.Lock()
        _keep_queries_out_of_logs()

    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        authorization: str = "",
        body: bytes | IO[bytes] | None = None,
    ) -> Answer:
        """Send a request and return the answer, whatever its status; redirects of GET and HEAD are followed.

        Raises:
            Transient: there was none, and there may be one next time.
            Unavailable: there cannot be one, so as things are.
            PermissionDenied: we are sent to where we do not go.
        """
        first = origin_of(url)
        for _ in range(MAX_REDIRECTS + 1):
            sent = dict(headers or {})
            if origin_of(url) != first:
                authorization = ""  # for good: whoever we were sent to must not send us back with it either
            if authorization:
                sent["Authorization"] = authorization
            response = self._send(method, url, sent, body)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or method not in ("GET", "HEAD") or not location:
                return Answer(self, response, url)
            self.forget(response)
            response.drain_conn() if method == "HEAD" else response.close()
            url = self.led_to(url, location)
        raise Unavailable(f"{shown(url)} redirects more than {MAX_REDIRECTS} times")

    def led_to(self, url: str, location: str) -> str:
        """Return where a ``Location`` leads from ``url``.

        Raises:
            PermissionDenied: we do not go there.
        """
        try:
            target = urljoin(url, location)
        except ValueError as error:
            raise PermissionDenied(f"{shown(url)} redirects to what is no URL") from error
        before, after = origin_of(url), origin_of(target)
        if before == after:
            return target
        if after.scheme == "http" and (before.scheme == "https" or not self.may_be_plain(after)):
            raise PermissionDenied(f"{shown(url)} redirects to {shown(target)}, which is not encrypted")
        if not is_loopback(before.host) and not proxy_for(target) and is_own_network(after.host):
            raise PermissionDenied(f"{shown(url)} redirects to {after.host}, which is this machine's own business")
        return target

    def may_be_plain(self, origin: Origin) -> bool:
        """Tell whether plain HTTP will do for a host."""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        netlocs = {f"{host}:{origin.port}", host if origin.port in (80, 443) else ""}
        return is_loopback(origin.host) or not self.insecure.isdisjoint(netlocs)

    def keep_secret(self, *words: str) -> None:
        """Let these appear in no message."""
        self._secrets.update(word for word in words if word)

    def redacted(self, text: str) -> str:
        """Return ``text`` without the secrets that we know."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def abort(self) -> None:
        """Make every exchange end soon, in whichever thread."""
        self.cancelled.set()
        with self._lock:
            responses = list(self._open)
        for response in responses:
            try:
                response.shutdown()
            except (ValueError, RuntimeError, OSError, AttributeError):
                continue  # it has ended by itself

    def forget(self, response: urllib3.BaseHTTPResponse) -> None:
        """An answer has been read, or is given up."""
        with self._lock:
            self._open.discard(response)

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None
    ) -> urllib3.BaseHTTPResponse:
        if self.cancelled.is_set():
            raise Unavailable(f"{shown(url)} is not asked: the work was given up")
        try:
            response = self._pool(url).request(
                method,
                url,
                headers={"User-Agent": f"prun/{__version__}", "Accept-Encoding": "identity", **headers},
                body=body,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=self.patience.connect_s, read=self.patience.silence_s),
            )
        except (HTTPError, OSError, ValueError) as error:
            # None: what urllib3 says has the whole URL in it, and --debug would print it.
            reached = origin_of(url) in self._reached
            reason = self.redacted(reason_of(error))
            raise connection_failure(urlsplit(url).netloc, error, reason, reached=reached) from None
        self._reached.add(origin_of(url))
        with self._lock:
            self._open.add(response)
        return response

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Return the connections to the host of ``url``: each has its own certificates to believe."""
        scheme, netloc, proxy = urlsplit(url).scheme, urlsplit(url).netloc, proxy_for(url)
        with self._lock:
            key = (scheme, netloc, proxy)
            if key not in self._pools:
                verify = netloc not in self.insecure
                context = tls_context(netloc, self._cert_dir, verify=verify) if scheme == "https" else None
                if proxy:
                    self._pools[key] = self._proxy_pool(proxy, context)
                else:
                    self._pools[key] = urllib3.PoolManager(
                        maxsize=MAX_CONNECTIONS, blocksize=CHUNK_BYTES, ssl_context=context
                    )
            return self._pools[key]

    def _proxy_pool(self, proxy: str, context: ssl.SSLContext | None) -> urllib3.PoolManager:
        from urllib.parse import unquote

        parts = urlsplit(proxy)
        login = ""
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.keep_secret(parts.password or "", unquote(parts.password or ""))
        return _pool(context, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", login)


def _pool(context: ssl.SSLContext | None, proxy: str = "", login: str = "") -> urllib3.PoolManager:
    if not proxy:
        return urllib3.PoolManager(maxsize=MAX_CONNECTIONS, blocksize=CHUNK_BYTES, ssl_context=context)
    headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
    return urllib3.ProxyManager(
        proxy, maxsize=MAX_CONNECTIONS, blocksize=CHUNK_BYTES, ssl_context=context, proxy_headers=headers
    )


class _NoQueries(logging.Filter):
    """urllib3 logs paths with their queries, in which storage behind registries has its signatures."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(arg.partition("?")[0] if isinstance(arg, str) else arg for arg in record.args)
        return True


_no_queries = _NoQueries()


def _keep_queries_out_of_logs() -> None:
    logging.getLogger("urllib3.connectionpool").addFilter(_no_queries)


def check_length(answer: Answer, size: int, what: str) -> None:
    """Raise DataLoss where an answer announces another length than ``size``."""
    stated = answer.headers.get("Content-Length", "")
    if stated and stated != str(size):
        answer.close()
        raise DataLoss(f"{what} has {stated[:20]} bytes at {urlsplit(answer.url).netloc}, and should have {size}")
