"""``prun run`` and ``prun spec``: the words of the command line become a request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.api import Runner, checked_name, new_id
from prun.cli.grammar import parse
from prun.cli.options import RUN
from prun.errors import InvalidArgument, NotFound
from prun.image.platform import parse_platform
from prun.plugins import names_of
from prun.types import RunRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prun.cli.grammar import Parsed


def run(words: Sequence[str], settings: Mapping[str, str]) -> int:
    """Run a container in the foreground and return its exit code."""
    from prun.signals import ForwardedSignals

    runner, request = asked("run", words, settings)
    with ForwardedSignals() as signals:
        return runner.execute(request, signals).exit_code


def spec(words: Sequence[str], settings: Mapping[str, str]) -> int:
    """Print the finished config.json of such a run; nothing is executed."""
    import json

    runner, request = asked("spec", words, settings)
    print(json.dumps(runner.plan(request), indent=2))
    return 0


def asked(command: str, words: Sequence[str], settings: Mapping[str, str]) -> tuple[Runner, RunRequest]:
    """Parse ``[OPTIONS] IMAGE [COMMAND] [ARG...]`` into a runner and its request."""
    parsed = parse(words, RUN, command)
    runner = runner_of(settings, runtime=parsed.values["runtime"], engine=parsed.values["engine"])
    return runner, request_of(parsed, runner)


def runner_of(settings: Mapping[str, str], *, runtime: str = "", engine: str = "") -> Runner:
    """Make a runner from the global options."""
    return Runner(
        runtime=runtime,
        engine=engine or "embedded",
        plugins=names_of(settings.get("plugins")),
        root=settings.get("root", ""),
        state=settings.get("state", ""),
        config=settings.get("config", ""),
        warn=_warn,
    )


def _warn(message: str) -> None:
    from prun.cli.output import warn

    warn(message)


def request_of(parsed: Parsed, runner: Runner) -> RunRequest:
    """Turn parsed options into a request.

    Raises:
        InvalidArgument: IMAGE is missing, or a value cannot be used.
    """
    flags, values, lists = parsed.flags, parsed.values, parsed.lists
    words = parsed.rest
    if not values["rootfs"] and not words:
        raise InvalidArgument("IMAGE is missing", hint="prun run [OPTIONS] IMAGE [COMMAND] [ARG...]")
    container_id = checked_name(values["id"])
    entrypoint = None
    if "entrypoint" in parsed.given:
        entrypoint = (values["entrypoint"],) if values["entrypoint"] else ()
    return RunRequest(
        id=container_id or new_id(),
        image="" if values["rootfs"] else words[0],
        args=words if values["rootfs"] else words[1:],
        name=checked_name(values["name"]) or container_id,
        runtime=runner.runtime,
        entrypoint=entrypoint,
        env=(*from_files(lists["env_file"]), *from_host(lists["env"])),
        user=values["user"],
        workdir=values["workdir"],
        hostname=values["hostname"],
        network=values["network"] or "none",
        readonly=flags["read_only"],
        terminal=flags["tty"],
        interactive=flags["interactive"],
        remove=flags["rm"],
        labels=pairs("label", lists["label"]),
        annotations=pairs("annotation", lists["annotation"]),
        security=lists["security_opt"],
        platform=parse_platform(values["platform"]) if values["platform"] else None,
        rootfs=os.path.abspath(values["rootfs"]) if values["rootfs"] else "",
        options={**runner.settings.options(runner.runtime), **pairs("opt", lists["opt"], need_value=True)},
        root=runner.root,
        state=runner.state,
    )


def from_host(entries: Iterable[str]) -> list[str]:
    """Give a bare ``KEY`` the host's value; leave it out when the host has none (docker's rule)."""
    result = []
    for entry in entries:
        key, equals, _ = entry.partition("=")
        if not key:
            raise InvalidArgument(f"--env {entry!r} has no name", hint="KEY=VALUE, or KEY to take the host's value")
        if equals:
            result.append(entry)
        elif key in os.environ:
            result.append(f"{key}={os.environ[key]}")
    return result


def from_files(paths: Iterable[str]) -> list[str]:
    """Read ``--env-file``: docker's format, without quotes, interpolation or trimming at the end.

    Raises:
        NotFound: there is no such file.
        InvalidArgument: a line has no usable name; the message says which.
    """
    result = []
    for path in paths:
        try:
            with open(path, encoding="utf-8-sig") as file:
                lines = file.read().splitlines()
        except OSError as error:
            raise NotFound(f"env file {path!r} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InvalidArgument(f"env file {path!r} is not UTF-8") from error
        for number, line in enumerate(lines, 1):
            entry = line.lstrip()
            if not entry or entry.startswith("#"):
                continue
            key = entry.partition("=")[0]
            if not key or any(c.isspace() for c in key):
                raise InvalidArgument(f"env file {path}:{number}: {key!r} is no variable's name")
            result += from_host([entry])
    return result


def pairs(option: str, entries: Iterable[str], *, need_value: bool = False) -> dict[str, str]:
    """Split ``KEY=VALUE`` entries; a later one wins."""
    result = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not key or (need_value and not equals):
            raise InvalidArgument(f"--{option} {entry!r} is not KEY=VALUE")
        result[key] = value
    return result
