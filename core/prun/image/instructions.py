"""Instructions of a Dockerfile that change an image's config (``commit --change``, ``import --change``).

``NAME VALUE``, and podman's ``NAME=VALUE``.  Nothing is expanded.

Source: https://docs.docker.com/reference/cli/docker/container/commit/ and the Dockerfile reference.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from typing import TYPE_CHECKING, Any, cast

from prun.errors import InvalidArgument
from prun.request.lifecycle import signal_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prun.image.document import ImageConfig

_SHELL = ["/bin/sh", "-c"]


def applied(config: ImageConfig, instructions: Iterable[str]) -> ImageConfig:
    """Return a config with the instructions applied, in their order.

    Raises:
        InvalidArgument: one is not known, or its value makes no sense; the message has it.
    """
    changed = cast("dict[str, Any]", json.loads(json.dumps(config)))
    has_command = False
    for instruction in instructions:
        name, value = _split(instruction)
        if name not in _INSTRUCTIONS or not value:
            raise InvalidArgument(
                f'did not understand change instruction "{instruction}"', hint=f"one of {', '.join(_INSTRUCTIONS)}"
            )
        try:
            _INSTRUCTIONS[name](changed, value)
        except ValueError as error:
            raise InvalidArgument(f'change instruction "{instruction}": {error}') from error
        has_command = has_command or name == "CMD"
        if name == "ENTRYPOINT" and not has_command:
            changed.pop("Cmd", None)  # docker's: it was meant for another entrypoint
    return cast("ImageConfig", changed)


def _split(instruction: str) -> tuple[str, str]:
    found = re.fullmatch(r"\s*([A-Za-z]+)(?:\s+|=)(.*)", instruction, re.DOTALL)
    return (found[1].upper(), found[2].strip()) if found else ("", "")


def _words(value: str) -> list[str] | None:
    """Return the strings of a JSON array, None where it is none."""
    if not value.startswith("["):
        return None
    try:
        words = json.loads(value)
    except ValueError:
        return None  # docker takes it for a shell's words then
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _pairs(value: str) -> dict[str, str]:
    """Return ``KEY=VALUE`` words, or ``KEY VALUE`` with the rest of the line as value."""
    words = shlex.split(value)
    if words and "=" not in words[0]:
        key, _, rest = value.partition(" ")
        if not rest.strip():
            raise ValueError(f"{key} has no value")
        return {key: rest.strip()}
    pairs = {key: rest for key, _, rest in (word.partition("=") for word in words)}
    if "" in pairs:
        raise ValueError("a name is missing")
    return pairs


def _command(key: str) -> Callable[[dict[str, Any], str], None]:
    def change(config: dict[str, Any], value: str) -> None:
        words = _words(value)
        config[key] = [*_SHELL, value] if words is None else words

    return change


def _environment(config: dict[str, Any], value: str) -> None:
    variables = dict(entry.split("=", 1) for entry in config.get("Env", []))
    config["Env"] = [f"{key}={word}" for key, word in {**variables, **_pairs(value)}.items()]


def _labels(config: dict[str, Any], value: str) -> None:
    config["Labels"] = {**config.get("Labels", {}), **_pairs(value)}


def _ports(config: dict[str, Any], value: str) -> None:
    ports = config.setdefault("ExposedPorts", {})
    for word in value.split():
        found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", word.lower())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if found is None or not 0 < first <= last < 1 << 16:
            raise ValueError(f"{word} is no port")
        ports.update({f"{port}/{found[3] or 'tcp'}": {} for port in range(first, last + 1)})


def _volumes(config: dict[str, Any], value: str) -> None:
    paths = _words(value) or shlex.split(value)
    if not all(path.strip() for path in paths):
        raise ValueError("a path is empty")
    config["Volumes"] = {**config.get("Volumes", {}), **{path: {} for path in paths}}


def _work_directory(config: dict[str, Any], value: str) -> None:
    config["WorkingDir"] = posixpath.normpath(posixpath.join("/", config.get("WorkingDir", ""), value))


def _user(config: dict[str, Any], value: str) -> None:
    if len(value.split()) != 1:
        raise ValueError("it takes one word")
    config["User"] = value


def _stop_signal(config: dict[str, Any], value: str) -> None:
    config["StopSignal"] = signal_name(value)


def _on_build(config: dict[str, Any], value: str) -> None:
    config["OnBuild"] = [*config.get("OnBuild", []), value]


_INSTRUCTIONS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "CMD": _command("Cmd"),
    "ENTRYPOINT": _command("Entrypoint"),
    "ENV": _environment,
    "EXPOSE": _ports,
    "LABEL": _labels,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volumes,
    "WORKDIR": _work_directory,
}
