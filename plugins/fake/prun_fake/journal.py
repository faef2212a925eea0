"""The record of what a fake runtime was asked: one JSON object a line, in the order of the calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument
from prun.types import Container, Event, Image, Platform, RunRequest
from prun_fake.scenario import Scenario, parse

if TYPE_CHECKING:
    from prun.types import Stage

# Which file a container's calls go to: events name a container, but carry no request that could tell.
_files: dict[str, str] = {}


def enter(stage: Stage | None, hook: str, request: RunRequest, **arguments: object) -> Scenario:
    """Record a hook call, fail there if the request's scenario says so, and return the scenario.

    Raises:
        InvalidArgument: the scenario cannot be used.
        Unavailable, RuntimeError: as the scenario says.
    """
    scenario = parse(request.options)
    if scenario.record:
        _files[request.id] = scenario.record
    else:
        _files.pop(request.id, None)  # an earlier container of that name may have failed before it was deleted
    note(request.id, hook, request=request, **arguments)
    if stage is not None:
        scenario.reach(stage)
    return scenario


def note(container_id: str, call: str, **arguments: object) -> None:
    """Append one call, if the container's calls are recorded.

    Raises:
        InvalidArgument: the file cannot be written.
    """
    path = _files.get(container_id)
    if path is None:
        return
    line = {"call": call, "id": container_id, **{name: _brief(value) for name, value in arguments.items()}}
    try:
        # One write of one line to a file opened for appending: lines of several processes do not mix.
        with open(path, "ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")
    except OSError as error:
        raise InvalidArgument(f"record {path} cannot be written: {error.strerror}") from error
    if line.get("event") == "deleted":
        del _files[container_id]


def _brief(value: object) -> object:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case RunRequest():
            return {"image": value.image, "args": list(value.args)}
        case Image() | Container():
            return value[0]
        case Event():
            return value.kind
        case Platform():
            return str(value)
        case _:
            return type(value).__name__
