"""A registry that says what a test wants it to, and remembers what it was asked."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

from images import (
    CONFIG,
    INDEX,
    MANIFEST,
    compressed,
    config_document,
    descriptor,
    directory,
    document,
    file,
    layer_tar,
)
from images import LAYER as LAYER_TYPES

from prun.image.registry.transport import Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    # Answers a request and returns True, or leaves it to the next one.
    Answer = Callable[["Handler"], bool]


QUICK = Patience(
    attempts=3, first_delay_s=0.01, longest_delay_s=2, connect_s=5, silence_s=0.5, slow_bytes=1000, slow_s=0.3
)
LAYER = layer_tar([directory("etc"), file("etc/motd", b"hello\n" * 10_000)])
OTHER = layer_tar([file("other", bytes(range(256)) * 4000)])


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]


class Stub:
    """What the registry holds; ``lies`` are asked first, in their order."""

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.lies: list[Answer] = []
        self.asked: list[Asked] = []
        self.netloc = ""

    def put(self, name: str, media_type: str, data: bytes) -> dict[str, Any]:
        """Store a manifest under a tag and its digest."""
        found = descriptor(media_type, data)
        self.manifests[name] = self.manifests[found["digest"]] = (media_type, data)
        return found

    def put_image(
        self, tag: str, layers: Sequence[bytes], platform: dict[str, str] | None = None, compression: Any = "gzip"
    ) -> dict[str, Any]:
        """Store an image of uncompressed layer tars and return the descriptor of its manifest."""
        blobs = [compressed(layer, compression) for layer in layers]
        config = document(config_document(layers, {"Cmd": ["true"]}, platform))
        for blob in (*blobs, config):
            self.blobs[descriptor("", blob)["digest"]] = blob
        described = [descriptor(LAYER_TYPES[compression], blob) for blob in blobs]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config),
            "layers": described,
        }
        return self.put(tag, MANIFEST, document(manifest))

    def put_index(self, tag: str, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return self.put(tag, INDEX, document({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}))

    def paths(self, method: str = "GET") -> list[str]:
        return [asked.path for asked in self.asked if asked.method == method]

    def headers(self, name: str) -> list[str]:
        """Every value of a header that was sent to us."""
        return [asked.headers[name] for asked in self.asked if name in asked.headers]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: Stub

    def do_GET(self) -> None:
        self.stub.asked.append(
            Asked(self.command, self.path, {key.title(): value for key, value in self.headers.items()})
        )
        if not any(lie(self) for lie in list(self.stub.lies)):
            self._serve()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_CONNECT = do_GET  # noqa: N815  http.server looks for these names

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> bool:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return True

    def break_off(self, status: int, body: bytes, announced: int, headers: dict[str, str] | None = None) -> bool:
        """Announce more than is sent, and hang up."""
        self.answer(status, body, {"Content-Length": str(announced), **(headers or {})})
        self.close_connection = True
        return True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _serve(self) -> None:
        kind, _, name = self.path.partition("?")[0].rpartition("/")
        if kind.endswith("/manifests") and name in self.stub.manifests:
            media_type, data = self.stub.manifests[name]
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            self.answer(200, data, {"Content-Type": media_type, "Docker-Content-Digest": digest})
        elif kind.endswith("/blobs") and name in self.stub.blobs:
            self._serve_blob(self.stub.blobs[name])
        elif self.path == "/v2/":
            self.answer(200, b"{}")
        else:
            self.answer(404, json.dumps({"errors": [{"code": "UNKNOWN", "message": "nothing of that name"}]}).encode())

    def _serve_blob(self, data: bytes) -> None:
        start = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        if start:
            stated = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.answer(206, data[int(start) :], {"Content-Range": stated})
        else:
            self.answer(200, data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up is what tests are about


@contextmanager
def stub_registry(certificate: tuple[Path, Path] | None = None) -> Iterator[Stub]:
    """Run a stub on a free port of loopback, over TLS where there is a certificate and its key."""
    stub = Stub()
    handler = type("_Handler", (Handler,), {"stub": stub})
    with _Server(("127.0.0.1", 0), handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        stub.netloc = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()


def once(part: str, lie: Answer) -> Answer:
    """Tell a lie about the first path that has ``part`` in it, and then no more."""
    told = threading.Event()

    def tell(handler: Handler) -> bool:
        if told.is_set() or part not in handler.path:
            return False
        told.set()  # before: the client may be back before the lie is told to its end
        return lie(handler)

    return tell


def about(part: str, lie: Answer) -> Answer:
    """Tell a lie about paths that have ``part`` in them."""
    return lambda handler: part in handler.path and lie(handler)
