"""The options of docker and podman: from the words of a command line to the fields of a request.

Each module has one group of options and a function ``fields``, which takes those that were given, as words, and
returns the fields of ``prun.types.RunRequest`` that they make.  A module is imported only when one of its options is.
The library and config files use the same names and the same words.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    # A flag, the last value, or all values of an option that may be repeated.
    Words = bool | str | tuple[str, ...]
    Asked = Mapping[str, Words]

TOPICS = {
    "mounts": ("mount", "tmpfs", "volume", "volumes_from"),
    "resources": (
        *("blkio_weight", "blkio_weight_device", "cgroup_parent", "cpu_period", "cpu_quota", "cpu_shares", "cpus"),
        *("cpuset_cpus", "cpuset_mems", "device_read_bps", "device_read_iops", "device_write_bps"),
        *("device_write_iops", "memory", "memory_reservation", "memory_swap", "memory_swappiness"),
        *("oom_kill_disable", "oom_score_adj", "pids_limit", "shm_size", "sysctl", "ulimit"),
    ),
    "isolation": (
        *("cap_add", "cap_drop", "cgroupns", "device", "device_cgroup_rule", "gidmap", "gpus", "group_add", "ipc"),
        *("pid", "privileged", "uidmap", "umask", "userns", "uts"),
    ),
    "files": ("add_host", "dns", "dns_option", "dns_search", "secret", "tz"),
    "lifecycle": (
        *("attach", "cidfile", "detach_keys", "init", "pidfile", "precheck", "preserve_fds", "pull", "quiet"),
        *("sig_proxy", "signature_policy", "stop_signal", "timeout"),
    ),
    "health": (
        *("health_cmd", "health_interval", "health_on_failure", "health_retries", "health_start_interval"),
        *("health_start_period", "health_timeout", "no_healthcheck"),
    ),
    "altering": ("hook", "patch"),
    "observation": ("events_fd", "lock", "timing", "trace"),
    "supervision": ("detach", "log_driver", "log_opt", "restart", "stop_timeout"),
}
OPTIONS = frozenset(name for names in TOPICS.values() for name in names)


def fields_of(asked: Asked) -> dict[str, object]:
    """Return the fields of a request that the given options make; options of no topic are left to the caller.

    Raises:
        InvalidArgument: a value cannot be used; the message names the option and the remedy.
    """
    fields: dict[str, object] = {}
    if OPTIONS.isdisjoint(asked):
        return fields
    for topic, names in TOPICS.items():
        if given := {name: asked[name] for name in names if name in asked}:
            fields |= importlib.import_module(f"prun.request.{topic}").fields(given)
    return fields


def words_of(option: str, value: object) -> Words:
    """Return a value of the library in the words of the command line: numbers as text, lists and mappings as tuples.

    Raises:
        InvalidArgument: it is none of these.
    """
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return tuple(f"{key}={text}" for key, text in value.items())
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise InvalidArgument(f"{option}={value!r} is neither text, a number, a list of words nor a mapping")


def many(asked: Asked, option: str) -> tuple[str, ...]:
    """Return all values of an option that may be repeated, none when it was not given."""
    value = asked.get(option, ())
    if not isinstance(value, tuple):
        raise InvalidArgument(f"{option}={value!r} is not a list", hint="a list of words, one each")
    return value


def one(asked: Asked, option: str) -> str:
    """Return the value of an option that takes one, empty when it was not given."""
    value = asked.get(option, "")
    if not isinstance(value, str):
        raise InvalidArgument(f"{option}={value!r} is not one word")
    return value


def flag(asked: Asked, option: str) -> bool:
    """Return the value of a flag, False when it was not given."""
    value = asked.get(option, False)
    if not isinstance(value, bool):
        raise InvalidArgument(f"{option}={value!r} is neither True nor False")
    return value
