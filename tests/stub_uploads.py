"""Uploads at the stub registry: sessions that remember what has come, and break where a test wants it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from images import descriptor

if TYPE_CHECKING:
    from stub_registry import Handler, Stub

_READ_BYTES = 1 << 16
_FEW_BYTES = 1000  # a config has no more


class Uploads:
    """Takes blobs and manifests for ``stub``; ``sessions`` has what has come, by the number in its path.

    ``breaks`` are numbers of bytes, one for each PUT of more than a few from the first on, after which the connection
    ends; a negative one is the status of an answer instead, when all has been read and kept.
    """

    def __init__(self, stub: Stub, breaks: tuple[int, ...] = ()) -> None:
        self.sessions: dict[str, bytearray] = {}
        self.breaks = list(breaks)
        self.received_bytes = 0
        self.ranges: list[str] = []
        self._stub = stub
        stub.lies.append(self)

    def __call__(self, asked: Handler) -> bool:
        path, name = urlsplit(asked.path).path, urlsplit(asked.path).path.rpartition("/")[2]
        if asked.command == "HEAD" and "/blobs/" in path:
            return asked.answer(200 if name in self._stub.blobs else 404)
        if asked.command == "PUT" and "/manifests/" in path:
            data = asked.rfile.read(int(asked.headers["Content-Length"]))
            self._stub.put(name, asked.headers["Content-Type"], data)
            return asked.answer(201)
        if "/blobs/uploads/" not in path:
            return False
        if asked.command == "POST":
            number = str(len(self.sessions) + 1)
            self.sessions[number] = bytearray()
            return asked.answer(202, b"", {"Location": f"{path}{number}?state=secret", "Range": "0-0"})
        if name not in self.sessions:
            return asked.answer(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
        return self._status(asked, name) if asked.command == "GET" else self._put(asked, name)

    def _status(self, asked: Handler, name: str) -> bool:
        headers = {"Location": asked.path, "Range": f"0-{max(len(self.sessions[name]) - 1, 0)}"}
        asked.send_response(204)
        for key, value in headers.items():
            asked.send_header(key, value)
        asked.end_headers()
        return True

    def _put(self, asked: Handler, name: str) -> bool:
        session, size = self.sessions[name], int(asked.headers["Content-Length"])
        stated = asked.headers.get("Content-Range", "")
        self.ranges.append(stated)
        if stated and stated != f"{len(session)}-{len(session) + size - 1}":
            return asked.answer(416)
        stop = self.breaks.pop(0) if self.breaks and size > _FEW_BYTES else None
        wanted = size if stop is None or stop < 0 else stop
        while wanted and (data := asked.rfile.read1(min(wanted, _READ_BYTES))):  # type: ignore[attr-defined]
            session += data
            self.received_bytes += len(data)
            wanted -= len(data)
        if stop is not None and stop >= 0:
            asked.close_connection = True
            return True
        if stop is not None:
            return asked.answer(-stop)
        digest = parse_qs(urlsplit(asked.path).query)["digest"][0]
        assert re.fullmatch("sha256:[0-9a-f]{64}", digest)
        data = bytes(self.sessions.pop(name))
        if descriptor("", data)["digest"] != digest:
            return asked.answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        self._stub.blobs[digest] = data
        return asked.answer(201)
