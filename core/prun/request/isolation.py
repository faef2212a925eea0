"""What the process may do and see: capabilities, devices, namespaces, groups.

Words are checked for their form here; what they name (a device, a container, a group of the image) is looked up later.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument
from prun.request import flag, many, one
from prun.spec.linux import require_capability

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prun.request import Asked

ALL = "ALL"
MAX_MAPPED_ID = 2**32 - 2  # the last number that is no "no id" (user_namespaces(7))

# Of the options that choose a namespace: the kind in the spec (config-linux.md#namespaces), and the words it takes
# besides container:NAME and ns:PATH.
_NAMESPACES = {
    "cgroupns": ("cgroup", ("private", "host")),
    "ipc": ("ipc", ("private", "shareable", "none", "host")),
    "pid": ("pid", ("private", "host")),
    "userns": ("user", ("host", "private", "auto", "keep-id", "nomap")),
    "uts": ("uts", ("private", "host")),
}
_USERNS_WITH_OPTIONS = ("auto", "keep-id")

# https://github.com/cncf-tags/container-device-interface/blob/v0.8.0/SPEC.md#kind
_KIND_PART = r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]|[A-Za-z]"
_CDI_NAME = rf"({_KIND_PART})/({_KIND_PART})=([A-Za-z0-9][A-Za-z0-9_.:-]*[A-Za-z0-9]|[A-Za-z0-9])"
_DEVICE_RULE = r"([abc]) ([0-9]{1,10}|\*):([0-9]{1,10}|\*) ([rwm]{1,3})"
_ID_MAP = r"([0-9]{1,10}):@?([0-9]{1,10})(?::([0-9]{1,10}))?"
_GPU = "nvidia.com/gpu"


def fields(asked: Asked) -> dict[str, object]:
    """Return ``namespaces``, ``cap_add``, ``cap_drop``, ``privileged``, ``devices`` and the rest of the group."""
    cap_add = tuple(_capabilities("cap-add", many(asked, "cap_add")))
    cap_drop = tuple(_capabilities("cap-drop", many(asked, "cap_drop")))
    for name in cap_add:
        if name in cap_drop:
            raise InvalidArgument(f"capability {name} cannot be added and dropped", hint="leave one of the two out")
    return {
        "namespaces": dict(_namespaces(asked)),
        "uid_map": tuple(_id_map("uidmap", many(asked, "uidmap"))),
        "gid_map": tuple(_id_map("gidmap", many(asked, "gidmap"))),
        "cap_add": cap_add,
        "cap_drop": cap_drop,
        "privileged": flag(asked, "privileged"),
        "devices": (*map(_device, many(asked, "device")), *gpus(one(asked, "gpus"))),
        "device_rules": tuple(map(_device_rule, many(asked, "device_cgroup_rule"))),
        "groups": tuple(map(_group, many(asked, "group_add"))),
        "umask": _umask(one(asked, "umask")),
    }


def cdi_name(word: str) -> tuple[str, str, str] | None:
    """Return vendor, class and name of a CDI device, ``vendor.com/class=name``; None of any other word."""
    parts = re.fullmatch(_CDI_NAME, word)
    return (parts[1], parts[2], parts[3]) if parts else None


def host_device(word: str) -> tuple[str, str, str]:
    """Split ``HOST[:CONTAINER][:rwm]`` into the two paths and the access; docker's rules, also for ``HOST:rw``.

    Raises:
        InvalidArgument: a path is not absolute, or the access is not made of r, w and m.
    """
    host, *rest = word.split(":")
    access = rest.pop() if rest and (len(rest) == 2 or is_access(rest[-1])) else "rwm"
    container = rest.pop() if rest else host
    absolute = host.startswith("/") and container.startswith("/") and "\0" not in word
    if rest or not absolute or not is_access(access):
        raise InvalidArgument(
            f"--device {word!r} is neither HOST[:CONTAINER][:rwm] nor a CDI name",
            hint="absolute paths, as in /dev/fuse:/dev/fuse:rw, or vendor.com/class=name",
        )
    return host, container, access


def device_rule(word: str) -> tuple[str, int | None, int | None, str]:
    """Split ``c 1:3 rwm`` into type, major, minor and access; ``*`` is any number, None.

    Raises:
        InvalidArgument: it has another form.
    """
    parts = re.fullmatch(_DEVICE_RULE, word)
    if not parts or not is_access(parts[4]):
        raise InvalidArgument(
            f"--device-cgroup-rule {word!r} is no rule", hint="TYPE MAJOR:MINOR ACCESS, as in 'c 1:3 rwm' or 'b 8:* r'"
        )
    major, minor = (None if number == "*" else int(number) for number in parts.group(2, 3))
    if max(major or 0, minor or 0) >= 2**32 - 1:  # which is the kernel's word for any
        raise InvalidArgument(f"--device-cgroup-rule {word!r}: a device number has 32 bits")
    if parts[1] == "a" and (major, minor) != (None, None):  # the kernel takes that for all devices
        raise InvalidArgument(f"--device-cgroup-rule {word!r}: type a is for *:* only", hint="c or b")
    return parts[1], major, minor, parts[4]


def is_access(word: str) -> bool:
    """Tell whether a word is r, w and m, each at most once."""
    return 0 < len(word) == len(set(word)) and set(word) <= set("rwm")


def gpus(word: str) -> list[str]:
    """Return the CDI names for docker's ``all``, a count, or a CSV record with ``device=``, ``count=``, ``driver=``.

    Raises:
        InvalidArgument: it has another form, or asks for what a CDI device cannot give.
    """
    if not word:
        return []
    import csv

    asked: dict[str, str] = {}
    try:
        record = next(csv.reader([word], strict=True))
    except csv.Error as error:
        raise _bad_gpus(word, f"it is no CSV record: {error}") from error
    for field in record:
        key, equals, value = field.strip().partition("=")
        key, value = (key.lower(), value) if equals else ("count", key)
        if key in asked or key not in ("count", "device", "driver", "capabilities") or not value:
            raise _bad_gpus(word, "all, a number, or '\"device=0,1\"', quotes included")
        asked[key] = value
    if asked.get("driver", "nvidia") != "nvidia" or asked.get("capabilities", "gpu") != "gpu":
        raise _bad_gpus(word, "a CDI device is all of a GPU of nvidia's: leave out driver= and capabilities=")
    if ("device" in asked) == ("count" in asked):
        raise _bad_gpus(word, "one of a count and device=; device=0,1 needs quotes inside: '\"device=0,1\"'")
    if "device" in asked:
        names = asked["device"].split(",")
    elif asked["count"] in ("all", "-1"):
        names = ["all"]
    elif asked["count"].isascii() and asked["count"].isdigit() and 0 < int(asked["count"]) <= 1024:
        names = [str(number) for number in range(int(asked["count"]))]
    else:
        raise _bad_gpus(word, "a number of GPUs from 1 to 1024, or all")
    result = [f"{_GPU}={name}" for name in names]
    if not all(map(cdi_name, result)):
        raise _bad_gpus(word, "devices are numbers or UUIDs")
    return result


def _bad_gpus(word: str, hint: str) -> InvalidArgument:
    return InvalidArgument(f"--gpus {word!r} cannot be used", hint=hint)


def _capabilities(option: str, values: Iterable[str]) -> Iterator[str]:
    for name in ",".join(values).split(",") if values else ():
        if name.isascii() and name.upper() == ALL:
            yield ALL
            continue
        try:
            yield require_capability(name)
        except InvalidArgument as error:
            raise InvalidArgument(f"--{option}: {error}", hint=f"{ALL}, or a name of capabilities(7)") from error


def _namespaces(asked: Asked) -> Iterator[tuple[str, str]]:
    for option, (kind, words) in _NAMESPACES.items():
        word = one(asked, option)
        if not word or (word == "private" and kind != "user"):  # what a container has anyway
            continue
        before, colon, value = word.partition(":")
        if colon and before in _USERNS_WITH_OPTIONS and kind == "user":
            known = bool(value)
        elif colon:
            known = (before == "container" and bool(value)) or (before == "ns" and value.startswith("/"))
        else:
            known = word in words
        if not known:
            raise InvalidArgument(
                f"--{option} {word!r} is not known", hint=f"{', '.join(words)}, container:NAME or ns:/PATH"
            )
        yield kind, word


def _id_map(option: str, values: Iterable[str]) -> Iterator[str]:
    for word in ",".join(values).split(",") if values else ():
        parts = re.fullmatch(_ID_MAP, word)
        inside, outside, size = (int(part or 1) for part in parts.groups()) if parts else (0, 0, 0)
        if not size or max(inside, outside) + size - 1 > MAX_MAPPED_ID:
            raise InvalidArgument(
                f"--{option} {word!r} is not CONTAINER:HOST[:SIZE]",
                hint=f"ids from 0 to {MAX_MAPPED_ID}: 0:100000:65536",
            )
        yield word


def _device(word: str) -> str:
    if not cdi_name(word):
        host_device(word)
    return word


def _device_rule(word: str) -> str:
    device_rule(word)
    return word


def _group(word: str) -> str:
    if word == "keep-groups":
        raise InvalidArgument(
            "--group-add keep-groups is not supported: no group of the caller gets into a container",
            hint="name the groups, by the image's /etc/group or by number",
        )
    if not word or not all(c.isprintable() and c not in ":," for c in word):
        raise InvalidArgument(f"--group-add {word!r} is no group", hint="a name of the image's /etc/group, or a number")
    return word


def _umask(word: str) -> int | None:
    if not word:
        return None
    if not re.fullmatch("0?[0-7]{1,3}", word):
        raise InvalidArgument(f"--umask {word!r} is not an octal number up to 0777", hint="as in 0022 or 077")
    return int(word, 8)
