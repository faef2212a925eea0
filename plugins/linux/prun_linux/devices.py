"""Devices of the host in a container: ``--device``, ``--device-cgroup-rule``, and all of them with ``--privileged``.

Spec: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#devices
"""

from __future__ import annotations

import os
import re
import stat
from posixpath import normpath
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument, NotFound
from prun.request.isolation import cdi_name, device_rule, host_device
from prun.rootless import is_rootless
from prun.spec.linux import with_added_devices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.spec import SpecOpt
    from prun.spec.document import Device, DeviceRule
    from prun.types import RunRequest

DEV = "/dev"
# The container has its own of these, or they are no devices; docker leaves out the same.
_NOT_OF_THE_HOST = ("pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev")
_KERNEL = ("/proc", "/sys")
# What the OCI runtimes make themselves, so that another device there would be left out without a word.
_OWN = tuple(f"{DEV}/{name}" for name in ("console", "fd", "ptmx", "pts", "stderr", "stdin", "stdout"))
_TYPES = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}


def spec_opts(request: RunRequest) -> list[SpecOpt]:
    """Return the options for the devices that are asked for, CDI devices included.

    Raises:
        InvalidArgument: a path of the host is no device.
        NotFound: there is nothing at a path of the host, or no such CDI device.
    """
    nodes: list[Device] = []
    rules: list[DeviceRule] = []
    if request.privileged:
        nodes += host_nodes()
        rules.append({"allow": True, "access": "rwm"})
    for word in request.devices:
        if not cdi_name(word):
            host, container, access = host_device(word)
            found = list(nodes_at(host, container))
            nodes += found
            rules += [rule_for(node, access) for node in found]
    rules += [_asked(word) for word in request.device_rules]
    opts = [with_added_devices(nodes, rules)]
    if any(map(cdi_name, request.devices)):
        from prun_linux import cdi

        opts += cdi.spec_opts(request)
    return opts


def nodes_at(host: str, container: str) -> Iterator[Device]:
    """Yield the device ``host``, links followed, as ``container``; of a directory, all devices below it.

    Raises:
        InvalidArgument: there is none, or ``container`` is where no device can be.
        NotFound: there is nothing at ``host``.
    """
    target = "/" + normpath(container).lstrip("/")
    if target in ("/", DEV) or any(target == path or target.startswith(f"{path}/") for path in (*_KERNEL, *_OWN)):
        raise InvalidArgument(f"device {host}: the container's {target!r} cannot be a device", hint="as in /dev/NAME")
    path = os.path.realpath(host)
    try:
        info = os.stat(path)
    except OSError as error:
        raise NotFound(f"device {host!r} of the host: {error.strerror}") from error
    if stat.S_ISDIR(info.st_mode):
        found = [node for name in walk(path) if (node := node_of(name, target + name.removeprefix(path)))]
    else:
        found = [node] if (node := node_of(path, target)) else []
    if not found:
        what = "has no device in it" if stat.S_ISDIR(info.st_mode) else "is no device"
        raise InvalidArgument(
            f"{host!r} of the host {what}", hint="a character or block device, or a directory of them"
        )
    yield from found


def host_nodes() -> list[Device]:
    """Return every device of the host's ``/dev``, but those that a container has of its own.

    Without root, the machine's terminals are left out too, as podman does: they are somebody else's.
    """
    nodes = [node for path in walk(DEV) if (node := node_of(path, path))]
    if not is_rootless():
        return nodes
    return [node for node in nodes if not re.fullmatch("/dev/tty[0-9]+", node["path"])]


def walk(directory: str) -> Iterator[str]:
    """Yield the paths of all that is no directory and no link; what a container has of its own is left out."""
    try:
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return  # gone, or not for an ordinary user to look into
    for entry in entries:
        if entry.name in _NOT_OF_THE_HOST or entry.is_symlink():
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)
        else:
            yield entry.path


def node_of(host: str, container: str) -> Device | None:
    """Return the device ``host`` of this machine as a node at ``container``; None when it is none, or none any more."""
    try:
        info = os.lstat(host)
    except OSError:
        return None
    kind = _TYPES.get(stat.S_IFMT(info.st_mode))
    if kind is None:
        return None
    return {
        "path": container,
        "type": kind,
        "major": os.major(info.st_rdev),
        "minor": os.minor(info.st_rdev),
        "fileMode": stat.S_IMODE(info.st_mode),
        "uid": info.st_uid,
        "gid": info.st_gid,
    }


def rule_for(node: Device, access: str) -> DeviceRule:
    """Return the rule that allows a device to the container's cgroup."""
    return {"allow": True, "type": node["type"], "major": node["major"], "minor": node["minor"], "access": access}


def _asked(word: str) -> DeviceRule:
    kind, major, minor, access = device_rule(word)
    rule: DeviceRule = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule
