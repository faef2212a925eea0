"""``--change``: instructions of a Dockerfile that change an image's config, without building anything.

Reference: https://docs.docker.com/reference/cli/docker/image/import/ and
https://docs.docker.com/reference/dockerfile/ (shell and exec form, ENV, LABEL).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prun.image.document import ImageConfig

_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_MAX_PORT = 65535
_MAX_PORTS = 1000


def with_changes(config: ImageConfig, changes: Sequence[str]) -> ImageConfig:
    """Return ``config`` changed by instructions, in their order.

    Raises:
        InvalidArgument: an instruction is none of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and
            WORKDIR, or has a value that is of no use.
    """
    changed: dict[str, Any] = {**config}
    for change in changes:
        name, _, value = change.strip().partition(" ")
        value = value.strip()
        instruction = _INSTRUCTIONS.get(name.upper())
        if instruction is None:
            raise InvalidArgument(f"instruction {name[:100]!r} is not known", hint=", ".join(_INSTRUCTIONS))
        if not value:
            raise InvalidArgument(f"instruction {name.upper()} has no value")
        instruction(changed, value)
    return changed  # type: ignore[return-value]  # its keys are those of ImageConfig


def _cmd(config: dict[str, Any], value: str) -> None:
    config["Cmd"] = _command(value)


def _entrypoint(config: dict[str, Any], value: str) -> None:
    config["Entrypoint"] = _command(value)


def _command(value: str) -> list[str]:
    """Return the words of the exec form, or a shell and its text."""
    return _array(value) or ([] if value == "[]" else ["/bin/sh", "-c", value])


def _array(value: str) -> list[str]:
    """Return a JSON array of strings, nothing for what is none (docker takes that for text)."""
    try:
        words = json.loads(value) if value.startswith("[") else None
    except ValueError:
        words = None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else []


def _env(config: dict[str, Any], value: str) -> None:
    found = dict(entry.split("=", 1) for entry in config.get("Env", ()))
    config["Env"] = [f"{key}={text}" for key, text in {**found, **_pairs("ENV", value)}.items()]


def _label(config: dict[str, Any], value: str) -> None:
    config["Labels"] = {**config.get("Labels", {}), **_pairs("LABEL", value)}


def _pairs(name: str, value: str) -> dict[str, str]:
    """Parse ``KEY=VALUE ...`` with quotes as a shell's, or ``KEY VALUE`` of old, where the value is the rest."""
    words = _words(name, value)
    if "=" not in words[0]:
        key, _, text = value.partition(" ")
        if not text.strip():
            raise InvalidArgument(f"{name} {value[:200]!r} is not KEY=VALUE")
        return {key: text.strip()}
    pairs = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise InvalidArgument(f"{name} {value[:200]!r} is not KEY=VALUE: {word[:200]!r}")
        pairs[key] = text
    return pairs


def _words(name: str, value: str) -> list[str]:
    import shlex

    try:
        return shlex.split(value) or [""]
    except ValueError as error:
        raise InvalidArgument(f"{name} {value[:200]!r} has a quote without an end") from error


def _expose(config: dict[str, Any], value: str) -> None:
    ports = dict(config.get("ExposedPorts", {}))
    for word in value.split():
        match = _PORT.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not match or not 0 < first <= last <= _MAX_PORT or last - first >= _MAX_PORTS:
            raise InvalidArgument(f"EXPOSE {word[:100]!r} is no port", hint="PORT[-PORT][/tcp|udp|sctp]")
        ports.update({f"{port}/{(match[3] or 'tcp').lower()}": {} for port in range(first, last + 1)})
    config["ExposedPorts"] = ports


def _volume(config: dict[str, Any], value: str) -> None:
    paths = _array(value) or value.split()
    config["Volumes"] = {**config.get("Volumes", {}), **{path: {} for path in paths}}


def _workdir(config: dict[str, Any], value: str) -> None:
    from posixpath import join, normpath

    config["WorkingDir"] = normpath(join(config.get("WorkingDir") or "/", _words("WORKDIR", value)[0]))


def _user(config: dict[str, Any], value: str) -> None:
    config["User"] = value


def _stop_signal(config: dict[str, Any], value: str) -> None:
    if not re.fullmatch("[A-Za-z0-9+-]{1,20}", value):
        raise InvalidArgument(f"STOPSIGNAL {value[:100]!r} is no signal")
    config["StopSignal"] = value


_INSTRUCTIONS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
