"""CDI devices: ``vendor.com/class=name``, described by files that vendors put into ``/etc/cdi`` and ``/var/run/cdi``.

A file says what to change in a container's spec: device nodes, mounts, environment, hooks, groups.  It is trusted, so
it and its directory must belong to root and be writable by nobody else.

Spec: https://github.com/cncf-tags/container-device-interface/blob/v0.8.0/SPEC.md
"""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from prun.errors import FailedPrecondition, InvalidArgument, NotFound
from prun.request.isolation import cdi_name, is_access
from prun.rootless import is_rootless
from prun.spec import with_env
from prun.spec.linux import with_added_devices, with_added_groups, with_added_hooks
from prun.types import Mount
from prun_linux.devices import node_of, rule_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prun.spec import SpecOpt
    from prun.spec.document import Device, DeviceRule, Spec
    from prun.types import RunRequest

    JsonObject = Mapping[str, Any]

DIRECTORIES = ("/etc/cdi", "/var/run/cdi")  # the later has priority
OPTION = "cdi-dir"
FILE_LIMIT_BYTES = 4 << 20
_NOBODY = 65534
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# Every key of the specification: one that is not known could be a restriction, so it makes the file unusable.
_KEYS = {
    "spec": {"cdiVersion", "kind", "annotations", "devices", "containerEdits"},
    "device": {"name", "annotations", "containerEdits"},
    "edits": {"env", "deviceNodes", "mounts", "hooks", "additionalGids", "intelRdt", "netDevices"},
    "node": {"path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"},
    "mount": {"hostPath", "containerPath", "type", "options"},
    "hook": {"hookName", "path", "args", "env", "timeout"},
}
_NVIDIA_HINT = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml writes it"


class Edits(NamedTuple):
    """What the devices of one container change in its spec, in the order in which they were asked for."""

    nodes: tuple[JsonObject, ...] = ()
    mounts: tuple[JsonObject, ...] = ()
    env: tuple[str, ...] = ()
    hooks: tuple[JsonObject, ...] = ()
    groups: tuple[int, ...] = ()


class _Found(NamedTuple):
    """A device in a file; a higher ``priority`` hides a lower one."""

    priority: int
    path: str
    spec: JsonObject
    device: JsonObject


def spec_opts(request: RunRequest) -> list[SpecOpt]:
    """Return the options for the CDI devices of the request; their mounts are those of ``mounts``.

    Raises:
        NotFound: no usable file describes a device, or the host has not the node that one names.
        FailedPrecondition: two files of the same directory describe it, or it needs what prun does not do.
    """
    edits = _edits_of(request)
    nodes = [(node, edit.get("permissions") or "rwm") for edit in edits.nodes for node in [_node(edit)]]
    opts: list[SpecOpt] = [
        _with_owned_devices(nodes),
        with_env(edits.env),
        with_added_hooks((hook["hookName"], _hook(hook)) for hook in edits.hooks),
    ]
    return [*opts, with_added_groups(edits.groups)] if edits.groups else opts


def mounts(request: RunRequest) -> list[Mount]:
    """Return the mounts of the request's CDI devices, parents before children."""
    if not any(map(cdi_name, request.devices)):
        return []
    found = [_mount(edit) for edit in _edits_of(request).mounts]
    return sorted(found, key=lambda mount: mount.destination.rstrip("/").count("/"))


def _edits_of(request: RunRequest) -> Edits:
    asked = request.options.get(OPTION, "")
    directories = tuple(asked.split(":")) if asked else DIRECTORIES
    return edits(filter(cdi_name, request.devices), directories)


def edits(names: Iterable[str], directories: Iterable[str]) -> Edits:
    """Return what the named devices change: a file's own edits once, and before those of its devices.

    Raises:
        NotFound: no usable file describes a device; the message says which files could not be used, and why.
        FailedPrecondition: two files of the same directory describe it.
    """
    catalogue: dict[str, list[_Found]] = {}
    unusable: list[str] = []
    for priority, directory in enumerate(directories):
        for path, spec in _specs(directory, unusable):
            for device in spec["devices"]:
                name = f"{spec['kind']}={device['name']}"
                catalogue.setdefault(name, []).append(_Found(priority, path, spec, device))
    result, seen = Edits(), set[str]()
    for name in dict.fromkeys(names):
        found = _choose(name, catalogue.get(name, []), directories, unusable)
        if found.path not in seen:
            seen.add(found.path)
            result = _joined(result, found.spec.get("containerEdits") or {}, name)
        result = _joined(result, found.device.get("containerEdits") or {}, name)
    return result


def _choose(name: str, found: list[_Found], directories: Iterable[str], unusable: list[str]) -> _Found:
    best = [each for each in found if each.priority == max(other.priority for other in found)]
    if len(best) > 1:
        files = " and ".join(each.path for each in best)
        raise FailedPrecondition(f"CDI device {name!r} is described twice: {files}", hint="remove one of them")
    if not best:
        why = f"; {'; '.join(unusable)}" if unusable else ""
        hint = _NVIDIA_HINT if name.startswith("nvidia.com/") else "the vendor of the device has a tool that writes it"
        raise NotFound(f"CDI device {name!r} is in no file of {', '.join(directories)}{why}", hint=hint)
    return best[0]


def _joined(edits: Edits, more: JsonObject, name: str) -> Edits:
    for key in ("intelRdt", "netDevices"):
        if more.get(key):
            raise FailedPrecondition(f"CDI device {name!r} needs {key}, which prun does not support")
    nodes, mounts, env, hooks = (more.get(key) or () for key in ("deviceNodes", "mounts", "env", "hooks"))
    groups = (gid for gid in more.get("additionalGids") or () if gid > 0)
    return Edits(
        (*edits.nodes, *nodes),
        (*edits.mounts, *mounts),
        (*edits.env, *env),
        (*edits.hooks, *hooks),
        (*edits.groups, *groups),
    )


# The files


def _specs(directory: str, unusable: list[str]) -> Iterator[tuple[str, JsonObject]]:
    """Yield path and content of every file of a directory that can be used; note why others cannot."""
    try:
        names = sorted(os.listdir(directory))
        writable = _unsafe(os.stat(directory))
    except FileNotFoundError:
        return
    except OSError as error:
        unusable.append(f"{directory} cannot be read: {error.strerror}")
        return
    if writable:
        unusable.append(f"{directory} {writable}")
        return
    for name in names:
        if os.path.splitext(name)[1] in (".json", ".yaml"):
            path = os.path.join(directory, name)
            try:
                yield path, _checked(_parse(path, _read(path)))
            except InvalidArgument as error:
                unusable.append(f"{path} {error}")


def _unsafe(info: os.stat_result) -> str:
    # The machine's root has no id in a user namespace of an ordinary user's.
    if info.st_uid not in (0, os.geteuid(), *((_NOBODY,) if is_rootless() else ())):
        return f"belongs to uid {info.st_uid} and not to root"
    return "can be written by others than its owner" if info.st_mode & 0o022 else ""


def _read(path: str) -> bytes:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise InvalidArgument("is no regular file")
            if why := _unsafe(info):
                raise InvalidArgument(why)
            data = file.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise InvalidArgument(f"cannot be read: {error.strerror}") from error
    if len(data) > FILE_LIMIT_BYTES:
        raise InvalidArgument(f"is longer than {FILE_LIMIT_BYTES} bytes")
    return data


def _parse(path: str, data: bytes) -> object:
    if path.endswith(".json"):
        try:
            return json.loads(data)
        except ValueError as error:
            raise InvalidArgument(f"is not JSON: {error}") from error
    import yaml

    try:
        return yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are safe
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidArgument(f"is not YAML: {' '.join(str(error).split())}") from error


def _checked(spec: object) -> JsonObject:
    """Return the content of a file once all of it has the shape that the specification says.

    Raises:
        InvalidArgument: it has not.
    """
    try:
        content = _object(spec, "spec")
        if content["cdiVersion"] not in VERSIONS:
            raise InvalidArgument(f"has the unknown cdiVersion {content['cdiVersion']!r}")
        if not cdi_name(f"{content['kind']}=x"):
            raise InvalidArgument(f"has the kind {content['kind']!r}, which is not vendor/class")
        names = [_object(device, "device")["name"] for device in content["devices"]]
        if not names or len(set(names)) < len(names):
            raise InvalidArgument("has no device, or one twice")
        for name in names:
            if not isinstance(name, str) or not cdi_name(f"v/c={name}"):
                raise InvalidArgument(f"has a device of the name {name!r}")
        every = [each.get("containerEdits") or {} for each in (content, *content["devices"])]
        for each in every:
            _check_edits(_object(each, "edits"))
        if _version(content["cdiVersion"]) < (needed := _needed(content, every)):
            words = ".".join(map(str, needed))
            raise InvalidArgument(f"has cdiVersion {content['cdiVersion']} and uses what is new in {words}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidArgument(f"is malformed: {error!r}") from error
    return content


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgument(f"has a {what} that is no object")
    if unknown := sorted(map(str, set(value) - _KEYS[what])):
        raise InvalidArgument(f"has a {what} with the unknown key {unknown[0]!r}")
    return value


def _check_edits(edits: JsonObject) -> None:
    for node in edits.get("deviceNodes") or ():
        path, access = _object(node, "node")["path"], node.get("permissions") or "rwm"
        numbers = [node.get(key, 0) for key in ("major", "minor", "fileMode", "uid", "gid")]
        if not _is_path(path) or not is_access(access) or node.get("type", "") not in ("", "b", "c", "u", "p"):
            raise InvalidArgument(f"has the unusable device node {path!r}")
        if not all(isinstance(number, int) and 0 <= number < 2**32 for number in numbers):
            raise InvalidArgument(f"has a device node {path!r} with an unusable number")
    for mount in edits.get("mounts") or ():
        if not _is_path(_object(mount, "mount")["containerPath"]) or not mount["hostPath"]:
            raise InvalidArgument(f"has the unusable mount {mount['containerPath']!r}")
        _check_words(mount.get("options"))
    for hook in edits.get("hooks") or ():
        if _object(hook, "hook")["hookName"] not in HOOKS or not _is_path(hook["path"]):
            raise InvalidArgument(f"has the unusable hook {hook['hookName']!r}")
        _check_words(hook.get("args"))
        _check_words(hook.get("env"), assignments=True)
    _check_words(edits.get("env"), assignments=True)
    if not all(isinstance(gid, int) and 0 <= gid < 2**31 for gid in edits.get("additionalGids") or ()):
        raise InvalidArgument("has an unusable additionalGids")


def _is_path(path: object) -> bool:
    return isinstance(path, str) and path.startswith("/") and "\0" not in path


def _check_words(words: object, *, assignments: bool = False) -> None:
    for word in words if isinstance(words, list) else [words] if words else ():
        if not isinstance(word, str) or "\0" in word or (assignments and not word.partition("=")[1]):
            raise InvalidArgument(f"has the unusable word {word!r}")


def _needed(spec: JsonObject, edits: list[JsonObject]) -> tuple[int, ...]:
    """Return the version that first had everything that a file uses (SPEC.md#released-versions)."""
    version = (0, 3, 0)
    devices, every = spec["devices"], [edit for each in edits for edit in each.get("mounts") or ()]
    if any(mount.get("type") for mount in every):
        version = (0, 4, 0)
    nodes = [node for each in edits for node in each.get("deviceNodes") or ()]
    if any(node.get("hostPath") for node in nodes) or any(device["name"][0].isdigit() for device in devices):
        version = (0, 5, 0)
    if "." in spec["kind"].partition("/")[2] or any(each.get("annotations") for each in (spec, *devices)):
        version = (0, 6, 0)
    if any(each.get("intelRdt") or each.get("additionalGids") for each in edits):
        version = (0, 7, 0)
    return (1, 1, 0) if any(each.get("netDevices") for each in edits) else version


def _version(text: str) -> tuple[int, ...]:
    return max((0, 3, 0), tuple(map(int, text.split("."))))  # before 0.3.0, versions meant nothing


# What they change


def _node(edit: JsonObject) -> Device:
    """Return a device node; what the file leaves out is taken from the host's node."""
    node: Device = {"path": edit["path"]}
    kind = edit.get("type", "")
    if not kind or (kind != "p" and (not edit.get("major") and not edit.get("minor"))):
        host = edit.get("hostPath") or edit["path"]
        there = node_of(host, edit["path"])
        if there is None or kind not in ("", there["type"], "u"):
            raise NotFound(f"CDI device node {host!r} is no device of this machine", hint="is its driver loaded?")
        node |= {"type": there["type"], "major": there["major"], "minor": there["minor"]}
        if "fileMode" not in edit:
            node["fileMode"] = there["fileMode"]
    for key in ("type", "major", "minor", "fileMode", "uid", "gid"):
        if key in edit and key not in node:
            node[key] = edit[key]
    return node


def _with_owned_devices(nodes: list[tuple[Device, str]]) -> SpecOpt:
    """Add device nodes; one without an owner belongs to the container's user, so that it can be used."""
    rules: list[DeviceRule] = [rule_for(node, access) for node, access in nodes if node["type"] in "bc"]

    def opt(spec: Spec) -> None:
        user = spec.get("process", {}).get("user", {})
        owner: Device = {"uid": user.get("uid", 0), "gid": user.get("gid", 0)}
        with_added_devices([{**owner, **node} for node, _ in nodes], rules)(spec)

    return opt


def _mount(edit: JsonObject) -> Mount:
    kind, options = edit.get("type") or "bind", tuple(edit.get("options") or ())
    if kind == "bind" and not {"bind", "rbind"}.intersection(options):
        options = ("rbind", *options)
    return Mount(edit["containerPath"], kind, edit["hostPath"], options)


def _hook(edit: JsonObject) -> dict[str, object]:
    return {key: value for key, value in edit.items() if key != "hookName" and value}
