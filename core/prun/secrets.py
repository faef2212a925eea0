"""Secrets, kept below ROOT for containers that ask for them (``--secret``); podman's names, limits and fields.

    ROOT/secrets/             0700
      NAME                    0600, one JSON document: record and data, so that neither is ever without the other
      .lock                   held by who writes

They are not encrypted: what protects them is that only their owner can read the store.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_BYTES = 512_000
_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,62}[a-zA-Z0-9])?")
_TEMPORARY = ".new"


class Secret(NamedTuple):
    """One secret; times are seconds since the epoch.  Its ``repr`` does not show the data."""

    id: str
    name: str
    created_at: float
    data: bytes

    def __repr__(self) -> str:
        return f"Secret({self.id!r}, {self.name!r})"


class Secrets:
    """The secrets below the directory ``root``."""

    def __init__(self, root: str) -> None:
        self._directory = os.path.join(root, "secrets")

    def create(self, name: str, data: bytes) -> Secret:
        """Keep ``data`` under a new name.

        Raises:
            InvalidArgument: of the name, or the data is empty or has more than 512 kB.
            AlreadyExists: the name is in use.
        """
        if not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"secret name {name!r} is not usable",
                hint="at most 64 of [a-zA-Z0-9_.-], a letter or digit first and last",
            )
        if not 0 < len(data) < LIMIT_BYTES:
            raise InvalidArgument(f"secret {name!r} must have more than 0 and less than {LIMIT_BYTES} bytes")
        secret = Secret(os.urandom(13).hex()[:25], name, time.time(), data)
        with self._writing():
            if os.path.lexists(self._path(name)):
                raise AlreadyExists(f"secret {name!r} is there already", hint=f"prun secret rm {name}")
            temporary = self._path(_TEMPORARY)  # what a killed process left there, this one overwrites
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(fd, "w", encoding="ascii") as file:
                json.dump(_document(secret), file)
                file.flush()
                os.fsync(fd)
            os.replace(temporary, self._path(name))
            self._sync()
        return secret

    def find(self, words: str) -> Secret:
        """Find a secret by its name, its id, or the beginning of its id.

        Raises:
            NotFound: there is none.
            InvalidArgument: several ids begin like that.
            DataLoss: its file is damaged.
        """
        if _NAME.fullmatch(words) and os.path.lexists(self._path(words)):
            return self._read(words)
        near = [secret for secret in self.all() if words and secret.id.startswith(words)]
        if len(near) > 1:
            raise InvalidArgument(f"{words!r} is the beginning of {len(near)} secrets' ids", hint="use more digits")
        if not near:
            raise NotFound(f"no such secret: {words}", hint="prun secret ls lists them")
        return near[0]

    def all(self) -> list[Secret]:
        """Return all secrets, by name."""
        try:
            names = sorted(name for name in os.listdir(self._directory) if _NAME.fullmatch(name))
        except FileNotFoundError:
            return []
        except PermissionError as error:
            raise PermissionDenied(f"{self._directory} may not be read", hint="run prun as its owner") from error
        return [self._read(name) for name in names]

    def remove(self, secret: Secret) -> None:
        """Forget a secret; one that is gone already is no error."""
        with self._writing():
            try:
                os.unlink(self._path(secret.name))
            except FileNotFoundError:
                return
            self._sync()

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _read(self, name: str) -> Secret:
        path = self._path(name)
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                found = json.loads(file.read())
            data = base64.b64decode(found["data"], validate=True)
            return Secret(str(found["id"]), name, float(found["createdAt"]), data)
        except FileNotFoundError as error:
            raise NotFound(f"no such secret: {name}", hint="prun secret ls lists them") from error
        except PermissionError as error:
            raise PermissionDenied(f"secret {name!r} may not be read", hint="run prun as its owner") from error
        except (OSError, ValueError, KeyError, TypeError):
            # Without the cause: its words may hold a part of the data.
            raise DataLoss(f"secret file {path} is damaged", hint="remove the file, and create it again") from None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        from prun.rootfs.claims import locked

        try:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            os.chmod(self._directory, 0o700)
            with locked(self._path(".lock")):
                yield
        except PermissionError as error:
            raise PermissionDenied(f"{self._directory} cannot be written to", hint="run prun as its owner") from error

    def _sync(self) -> None:
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _document(secret: Secret) -> dict[str, object]:
    return {"id": secret.id, "createdAt": secret.created_at, "data": base64.b64encode(secret.data).decode("ascii")}
