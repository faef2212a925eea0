"""A request as text, for the record of a container that is started again later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from prun.errors import DataLoss
from prun.types import Mount, Origin, Platform, RunRequest

# What belongs to one run of the container only, or is kept elsewhere.
NOT_STORED = frozenset(
    (
        *("capture", "view_only", "stdin", "preserve_fds", "cid_file", "exit_command", "monitored"),
        *("again", "digest", "dry_run", "loosens", "observation", "progress"),
    )
)


def dumped(request: RunRequest) -> str:
    """Return a request as JSON; fields that have their defaults are left out."""
    defaults = RunRequest._field_defaults
    fields = request._asdict()
    return json.dumps(
        {
            name: _plain(value)
            for name, value in fields.items()
            if name not in NOT_STORED and (name not in defaults or value != defaults[name])
        }
    )


def loaded(text: str) -> RunRequest:
    """Return the request that ``dumped`` was given.

    Raises:
        DataLoss: it is none, or of a newer prun.
    """
    try:
        return RunRequest(**{name: _value(value) for name, value in json.loads(text).items()})
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise DataLoss(
            f"the record of a container cannot be read: {error}", hint="remove the container and make it again"
        ) from error


def _plain(value: object) -> object:
    """Return a value in JSON's types; a value of ours says of which class it is."""
    if hasattr(value, "_asdict"):
        return {"$": type(value).__name__, **{name: _plain(each) for name, each in value._asdict().items()}}
    if isinstance(value, Mapping):
        return {"$": "", **{key: _plain(each) for key, each in value.items()}}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(each) for each in value)
    if not isinstance(value, dict):
        return value
    fields = {key: _value(each) for key, each in value.items() if key != "$"}
    return _class(value["$"])(**fields) if value["$"] else fields


def _class(name: str) -> Any:
    from prun.request.altering import Patch
    from prun.request.files import SecretRequest
    from prun.request.health import HealthRequest
    from prun.request.mounts import MountRequest
    from prun.request.resources import Resources
    from prun.request.supervision import LogRequest

    ours = (HealthRequest, LogRequest, Mount, MountRequest, Origin, Patch, Platform, Resources, SecretRequest)
    return {each.__name__: each for each in ours}[name]
