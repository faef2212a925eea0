"""The image config: what an image says of itself, of which nothing is believed before it is checked.

Spec: https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from prun.errors import InvalidArgument
from prun.image.digest import parse_digest
from prun.image.fields import as_object, as_size, as_string, as_string_map, as_strings, load_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from prun.image.document import ConfigDocument


def as_healthcheck(value: object, what: str) -> dict[str, Any]:
    """Return docker's ``Healthcheck`` if ``value`` is one: a command, durations in nanoseconds, a number of retries.

    https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
    """
    check = as_object(value, what)
    as_strings(check.get("Test", []), f"{what}'s Test")
    for key in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"):
        as_size(check.get(key, 0), f"{what}'s {key}")
    return check


_CONFIG_FIELDS: dict[str, Callable[[object, str], object]] = {
    "User": as_string,
    "Env": as_strings,
    "Entrypoint": as_strings,
    "Cmd": as_strings,
    "WorkingDir": as_string,
    "Labels": as_string_map,
    "StopSignal": as_string,
    "Volumes": as_object,
    "ExposedPorts": as_object,
    "Healthcheck": as_healthcheck,
}


def parse_config(data: bytes, layer_count: int) -> ConfigDocument:
    """Return the config document of an image whose manifest has ``layer_count`` layers.

    The fields that a run relies on have the types of the spec, members that were null are absent, ``Env`` has
    ``NAME=value`` entries only, ``config`` and ``rootfs.diff_ids`` exist.  Everything else is as it was.

    Raises:
        InvalidArgument: it is not such a document.
    """
    document = load_object(data, "image config")
    for key in ("os", "architecture", "variant"):
        as_string(document.setdefault(key, ""), f"image config's {key}")
    config = as_object(document.setdefault("config", {}), "image config's config")
    for key, check in _CONFIG_FIELDS.items():
        if key in config:
            config[key] = check(config[key], f"image config's {key}")
    if "Env" in config:
        # CVE-2026-57231: a name without "=" must never be completed from the host's environment.
        config["Env"] = [entry for entry in config["Env"] if re.match("[^=]+=", entry)]
    _check_diff_ids(document, layer_count)
    return cast("ConfigDocument", document)


def _check_diff_ids(document: dict[str, Any], layer_count: int) -> None:
    rootfs = as_object(document.setdefault("rootfs", {}), "image config's rootfs")
    diff_ids = as_strings(rootfs.setdefault("diff_ids", []), "image config's diff_ids")
    for diff_id in diff_ids:
        parse_digest(diff_id)
    if len(diff_ids) != layer_count:
        raise InvalidArgument(f"image config names {len(diff_ids)} diff IDs, the manifest has {layer_count} layers")
