"""What a user of docker's has set for every run: ``proxies`` and ``detachKeys`` of docker's own config file.

It is another program's file, so what is wrong with it is a warning and no reason not to run.  Passwords in it are the
business of ``prun.image.registry.credentials``.

Source: https://docs.docker.com/reference/cli/docker/#docker-cli-configuration-file-configjson-properties
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_FILE_BYTES = 4 << 20
# docker/cli, cli/config/configfile: each sets two variables.
_PROXIES = {
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "ftpProxy": "FTP_PROXY",
    "noProxy": "NO_PROXY",
    "allProxy": "ALL_PROXY",
}


class DockerConfig(NamedTuple):
    """``env`` are entries ``KEY=value`` that any other entry goes over; ``detach_keys`` None where nothing is said."""

    env: tuple[str, ...] = ()
    detach_keys: str | None = None


def docker_config(warn: Callable[[str], None]) -> DockerConfig:
    """Return what the file says, nothing where there is none; ``warn`` is told why it cannot be used."""
    path = os.path.join(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"), "config.json")
    if not os.path.isfile(path):
        return DockerConfig()
    try:
        document = _load(path)
        return DockerConfig(_env(document), _detach_keys(document))
    except (InvalidArgument, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        warn(f"docker's {path} is not used: {reason}")
        return DockerConfig()


def _load(path: str) -> dict[str, object]:
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        info = os.fstat(file.fileno())
        if info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022:
            raise InvalidArgument("others may change it")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise InvalidArgument(f"it is longer than {MAX_FILE_BYTES} bytes")
    try:
        document = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("it is not JSON") from error
    if not isinstance(document, dict):
        raise InvalidArgument("it is no JSON object")
    return document


def _env(document: dict[str, object]) -> tuple[str, ...]:
    proxies = document.get("proxies") or {}
    default = proxies.get("default") or {} if isinstance(proxies, dict) else None
    if not isinstance(default, dict):
        raise InvalidArgument("proxies is no object of objects")
    found = []
    for key, variable in _PROXIES.items():
        value = default.get(key) or ""
        if not isinstance(value, str) or "\0" in value:
            raise InvalidArgument(f"proxies.default.{key} is no text")
        if value:
            found += [f"{variable}={value}", f"{variable.lower()}={value}"]
    return tuple(found)


def _detach_keys(document: dict[str, object]) -> str | None:
    from prun.request.lifecycle import key_codes

    keys = document.get("detachKeys") or ""
    if not isinstance(keys, str):
        raise InvalidArgument("detachKeys is no text")
    key_codes(keys)
    return keys or None
