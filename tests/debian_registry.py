"""Debian's docker-registry on loopback, as a test wants it: over TLS, with passwords, with a token server of its own.

The token server signs what the registry's documentation describes, with the openssl command: it gives out whatever is
asked for to those who know a password, and remembers what it was asked.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD = "me", "s3cret-word"
ISSUER, SERVICE = "tests", "registry-of-tests"


class Certificate(NamedTuple):
    """``authority`` signed ``public``, whose key is ``key``; it is for 127.0.0.1 and localhost."""

    authority: Path
    public: Path
    key: Path


def make_certificate(directory: Path) -> Certificate:
    """Make an authority and a certificate of it."""
    directory.mkdir(parents=True, exist_ok=True)
    ca, ca_key, public, key = (directory / name for name in ("ca.crt", "ca.key", "server.crt", "server.key"))
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-keyout", ca_key, "-out", ca,
            "-subj", "/CN=tests", "-addext", "basicConstraints=critical,CA:TRUE")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", directory / "csr", "-subj", "/CN=localhost")
    (directory / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", directory / "csr", "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "30",
            "-out", public, "-extfile", directory / "names")  # fmt: skip
    return Certificate(ca, public, key)


def make_client_certificate(directory: Path, signer: Certificate) -> None:
    """Write ``client.cert`` and ``client.key``, as certs.d wants them, signed by the authority of ``signer``."""
    public, key, request = (directory / name for name in ("client.cert", "client.key", "csr"))
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=client")
    openssl("x509", "-req", "-in", request, "-CA", signer.authority, "-CAkey", signer.authority.with_suffix(".key"),
            "-CAcreateserial", "-days", "30", "-out", public)  # fmt: skip
    request.unlink()


def openssl(*words: str | Path, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *map(str, words)], input=stdin, capture_output=True, check=True).stdout


class DebianRegistry:
    """The registry, running or not; ``netloc`` stays the same."""

    def __init__(self, directory: Path, http: dict[str, Any], auth: dict[str, Any]) -> None:
        self.data = directory / "data"
        self.port = free_port()
        self.netloc = f"127.0.0.1:{self.port}"
        self._config = directory / "config.yml"
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        document = {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.data)}, "delete": {"enabled": True}},
            "http": {"addr": self.netloc, "secret": "tests", **http},
            **({"auth": auth} if auth else {}),
        }
        self._config.write_text(json.dumps(document))  # YAML is a superset

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(self._config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._log.read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("docker-registry does not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def requests(self, method: str) -> list[str]:
        """The paths that were asked for with a method, from the access log."""
        lines = (line.partition(f'"{method} /v2/') for line in self._log.read_text().splitlines())
        return ["/v2/" + rest.split()[0] for _, found, rest in lines if found]

    def forget(self) -> None:
        """Start an empty log."""
        self._log.write_text("")


def skopeo(source: str, target: str, *words: str) -> None:
    """Copy an image as it is, all of its platforms."""
    command = ["skopeo", "copy", "--all", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run([*command, *words, source, target], check=True, capture_output=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def debian_registry(
    directory: Path,
    *,
    certificate: Certificate | None = None,
    auth: str = "",
    tokens: TokenServer | None = None,
    clients: Path | None = None,
) -> Iterator[DebianRegistry]:
    """Run a registry; ``auth`` is ``basic`` or, with ``tokens``, ``token``.

    ``clients``: it speaks only to who has a certificate of this authority.
    """
    directory.mkdir(parents=True, exist_ok=True)
    http: dict[str, Any] = {}
    if certificate:
        http["tls"] = {"certificate": str(certificate.public), "key": str(certificate.key)}
        if clients:
            http["tls"]["clientcas"] = [str(clients)]
    rules: dict[str, Any] = {}
    if auth == "basic":
        words = subprocess.check_output(["htpasswd", "-Bbn", USER, PASSWORD])
        (directory / "htpasswd").write_bytes(words)
        rules = {"htpasswd": {"realm": "tests", "path": str(directory / "htpasswd")}}
    elif tokens:
        rules = {"token": {"realm": tokens.realm, "service": SERVICE, "issuer": ISSUER,
                           "rootcertbundle": str(tokens.certificate.authority)}}  # fmt: skip
    registry = DebianRegistry(directory, http, rules)
    registry.start()
    try:
        yield registry
    finally:
        registry.kill()


class TokenServer:
    """Gives tokens; ``asked`` are the queries and forms, ``headers`` the Authorization headers that came."""

    def __init__(self, certificate: Certificate) -> None:
        self.certificate = certificate
        self.realm = ""
        self.asked: list[dict[str, list[str]]] = []
        self.headers: list[str] = []

    def token(self, scopes: list[str]) -> str:
        """Return a JSON Web Token for what the scopes say, as the registry wants it."""
        access = []
        for scope in " ".join(scopes).split():
            kind, name, actions = scope.split(":", 2) if scope.count(":") == 2 else ("", "", "")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        der = openssl("x509", "-in", self.certificate.public, "-outform", "DER")
        now = int(time.time())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        body = {"iss": ISSUER, "sub": USER, "aud": SERVICE, "exp": now + 300, "nbf": now - 10, "iat": now,
                "jti": os.urandom(8).hex(), "access": access}  # fmt: skip
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, body))
        return f"{signed}.{_encoded(openssl('dgst', '-sha256', '-sign', self.certificate.key, stdin=signed.encode()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def token_server(certificate: Certificate, *, anonymous: bool = False) -> Iterator[TokenServer]:
    """Run a token server; ``anonymous``: whoever has no password may pull all the same."""
    made = TokenServer(certificate)
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            made.asked.append(query)
            given = self.headers.get("Authorization", "")
            made.headers.append(given)
            scopes = query.get("scope", [])
            if given != expected and not (anonymous and not given):
                self._answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]})
            else:
                scopes = scopes if given else [scope.replace("pull,push", "pull") for scope in scopes]
                self._answer(200, {"token": made.token(scopes), "expires_in": 300})

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            made.asked.append(form)
            if form.get("refresh_token") != ["identity-" + PASSWORD]:
                self._answer(401, {})
            else:
                self._answer(200, {"access_token": made.token(form.get("scope", []))})

        def _answer(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ExitStack() as stack:
        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        made.realm = f"http://127.0.0.1:{server.server_address[1]}/token"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield made
