"""``-v``, ``--mount`` and ``--tmpfs``: what the user wants to see where, in docker's words and podman's.

Grammar: https://docs.docker.com/reference/cli/docker/container/run/ and podman-run(1), ``--mount`` and ``--volume``.
"""

from __future__ import annotations

import os
import re
from posixpath import normpath
from typing import TYPE_CHECKING, Literal, NamedTuple

from prun.errors import FailedPrecondition, InvalidArgument
from prun.request import many
from prun.request.mount_options import (
    BIND_WORDS,
    GROUPS,
    NOT_DONE,
    bind_options,
    can_be_readonly_recursively,
    grouped,
    tmpfs_options,
)
from prun.types import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypedDict

    from prun.request import Asked

    class OwnerFields(TypedDict):
        """Fields of ``MountRequest``."""

        owners: Literal["", "U", "idmap"]
        overlay: bool


MountKind = Literal["bind", "volume", "tmpfs", "image"]

VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_KINDS_NOT_DONE = ("artifact", "cluster", "devpts", "glob", "npipe", "ramfs")
# Keys of --mount without a value, and what they are when they are true.
_FLAGS = {"readonly": "readonly", "ro": "readonly", "rw": "rw", "nocopy": "volume-nocopy"} | {
    name: name
    for name in (
        *("volume-nocopy", "bind-nonrecursive", "bind-create-src", "tmpcopyup", "notmpcopyup"),
        *("exec", "noexec", "dev", "nodev", "suid", "nosuid", "idmap"),
    )
}
_FLAGS |= {"u": "U", "chown": "U"}
# What a flag says when it is false, where that is not just its absence.
_OPPOSITES = {"rw": "readonly", "exec": "noexec", "dev": "nodev", "suid": "nosuid"}
_OPPOSITES |= {opposite: name for name, opposite in _OPPOSITES.items() if name != "rw"}
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "subpath": "volume-subpath"}
_KEYS = frozenset(
    (
        *("type", "source", "target", "consistency", "relabel", "bind-propagation", "bind-recursive"),
        *("volume-subpath", "volume-label", "volume-driver", "volume-opt", "image-subpath"),
        *("tmpfs-size", "tmpfs-mode"),
    )
)
_REPEATED = ("volume-label", "volume-opt")


class MountRequest(NamedTuple):
    """One mount that was asked for; ``destination`` is absolute in the container, without ``.`` and ``..``.

    ``source`` is an absolute path of the host (bind), a volume's name or empty for an anonymous one, an image's
    reference, or empty (tmpfs).  ``subpath`` is what to mount of a volume or an image, relative to its root.
    ``options`` are those of the spec's mount.  ``create``: a source that does not exist is made.  ``copy``: an empty
    volume first gets what the image has at ``destination``.  ``owners``: ``U`` gives the source to the container's
    user, ``idmap`` shows it with the owners of the container's user namespace.  ``overlay``: the source stays as it is,
    what is written goes with the container.  ``driver`` and what follows it are of the volume, if it is new.
    """

    type: MountKind
    source: str
    destination: str
    options: tuple[str, ...] = ()
    subpath: str = ""
    create: bool = False
    copy: bool = True
    owners: Literal["", "U", "idmap"] = ""
    overlay: bool = False
    driver: str = "local"
    driver_options: Mapping[str, str] = NOTHING
    labels: Mapping[str, str] = NOTHING


def fields(asked: Asked) -> dict[str, object]:
    """Return ``volumes`` and ``volumes_from``.

    Raises:
        InvalidArgument: a word does not follow the grammar, two mounts have the same destination, or an option is one
            that prun does not have.
        FailedPrecondition: this kernel cannot do it.
    """
    mounts = [
        *(parse_volume(word) for word in many(asked, "volume")),
        *(parse_mount(word) for word in many(asked, "mount")),
        *(parse_tmpfs(word) for word in many(asked, "tmpfs")),
    ]
    seen: set[str] = set()
    for mount in mounts:
        if mount.destination in seen:
            raise InvalidArgument(f"duplicate mount point: {mount.destination}", hint="mount one thing there")
        seen.add(mount.destination)
    volumes_from = many(asked, "volumes_from")
    for word in volumes_from:
        parse_volumes_from(word)
    return {"volumes": tuple(mounts), "volumes_from": volumes_from}


def parse_volume(word: str) -> MountRequest:
    """Parse ``-v [SOURCE:]DESTINATION[:OPTION,...]``: a source that begins with ``/``, ``.`` or ``~`` is a path."""
    what = f"-v {word!r}"
    parts = word.split(":")
    if "" in parts or len(parts) > 3:
        raise InvalidArgument(f"{what} is not [SOURCE:]PATH[:OPTIONS]", hint="a path with ':' needs --mount")
    if len(parts) == 1:
        return MountRequest("volume", "", _destination(what, word), bind_options({}), create=True)
    source, destination, *options = parts
    kind: MountKind = "bind" if source[0] in "/.~" else "volume"
    words = grouped(what, options[0].split(",") if options else (), BIND_WORDS)
    if kind == "bind" and "copy" in words:
        raise InvalidArgument(f"{what}: option {words['copy']!r} is for volumes", hint="leave it out")
    source = _host_path(what, source) if kind == "bind" else volume_name(source)
    return MountRequest(
        kind,
        source,
        _destination(what, destination),
        bind_options(words),
        create="create" not in words,
        copy=words.get("copy") != "nocopy",
        **_owners(what, words),
    )


def parse_tmpfs(word: str) -> MountRequest:
    """Parse ``--tmpfs DESTINATION[:OPTION,...]``, options as in tmpfs(5)."""
    destination, _, options = word.partition(":")
    what = f"--tmpfs {word!r}"
    return MountRequest("tmpfs", "", _destination(what, destination), tmpfs_options(what, options.split(",")))


def parse_mount(word: str) -> MountRequest:
    """Parse ``--mount``, one record of comma-separated ``KEY=VALUE``; see RFC 4180 for quotes."""
    what = f"--mount {word!r}"
    given = _keys(what, word)
    kind = given.pop("type", ["volume"])[0].lower()
    source = given.pop("source", [""])[0]
    if "target" not in given:
        raise InvalidArgument(f"{what}: target is required", hint="add target=PATH")
    destination = _destination(what, given.pop("target")[0])
    if kind in _KINDS_NOT_DONE:
        raise InvalidArgument(f"{what}: mounts of type {kind!r} are not supported", hint="bind, volume, tmpfs or image")
    builders = {"bind": _bind, "volume": _volume, "tmpfs": _tmpfs, "image": _image}
    if kind not in builders:
        raise InvalidArgument(f"{what}: type {kind!r} is not known", hint="bind, volume, tmpfs or image")
    for key in given:
        prefix = key.partition("-")[0]
        if prefix in builders and prefix != kind and not (key == "volume-subpath" and kind == "image"):
            raise InvalidArgument(f"{what}: {key} does not go with type={kind}", hint="leave it out")
    return builders[kind](what, source, destination, given)


def parse_volumes_from(word: str) -> tuple[str, bool]:
    """Parse ``CONTAINER[:OPTION,...]`` into the container and whether its mounts become read-only."""
    container, _, options = word.partition(":")
    what = f"--volumes-from {word!r}"
    words = grouped(what, options.split(",") if options else (), BIND_WORDS)
    if not container or (":" in word and not options) or words.keys() - {"access", "label"}:
        raise InvalidArgument(f"{what} is not CONTAINER[:ro|rw]")
    return container, words.get("access") == "ro"


def volume_name(name: str) -> str:
    """Return a volume's name if it can be one: docker's rule.

    Raises:
        InvalidArgument: it cannot.
    """
    if not VOLUME_NAME.fullmatch(name) or len(name) > 255:
        raise InvalidArgument(
            f"volume name {name!r} is not usable",
            hint="two or more of [a-zA-Z0-9_.-], a letter or digit first; a directory of the host as an absolute path",
        )
    return name


def as_subpath(what: str, path: str) -> str:
    """Return a path below a volume's or an image's root, which must be relative and stay there."""
    if not path or path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise InvalidArgument(f"{what}: subpath {path!r} is not a relative path without '..'")
    return normpath(path)


def _bind(what: str, source: str, destination: str, given: Mapping[str, list[str]]) -> MountRequest:
    if not source:
        raise InvalidArgument(f"{what}: source is required", hint="add source=PATH")
    words = _mode(what, given)
    if "bind-propagation" in given:
        words |= grouped(what, given["bind-propagation"], dict.fromkeys(GROUPS["propagation"], "propagation"))
    recursive = given.get("bind-recursive", ["enabled"])[0]
    _check_recursion(what, recursive, words)
    if recursive == "disabled" or "bind-nonrecursive" in given:
        words["recursion"] = "bind"
    options = bind_options(words, recursive=recursive != "writable")
    source, create = _host_path(what, source), "bind-create-src" in given
    return MountRequest("bind", source, destination, options, create=create, **_owners(what, words))


def _check_recursion(what: str, recursive: str, words: Mapping[str, str]) -> None:
    if recursive not in ("enabled", "disabled", "writable", "readonly"):
        raise InvalidArgument(
            f"{what}: bind-recursive={recursive!r} is not known", hint="enabled, disabled, writable or readonly"
        )
    if recursive in ("writable", "readonly") and words.get("access") != "ro":
        raise InvalidArgument(f"{what}: bind-recursive={recursive} needs readonly too", hint="add readonly")
    if recursive != "readonly":
        return
    if words.get("propagation", "rprivate") != "rprivate":
        raise InvalidArgument(f"{what}: bind-recursive=readonly needs bind-propagation=rprivate", hint="change it")
    if not can_be_readonly_recursively():
        raise FailedPrecondition(f"{what}: bind-recursive=readonly needs Linux 5.12", hint="leave it out")


def _volume(what: str, source: str, destination: str, given: Mapping[str, list[str]]) -> MountRequest:
    words = _mode(what, given)
    driver = given.get("volume-driver", ["local"])[0] or "local"
    if driver != "local":
        raise InvalidArgument(f"{what}: volume driver {driver!r} is not known", hint="local")
    return MountRequest(
        "volume",
        volume_name(source) if source else "",
        destination,
        bind_options(words),
        subpath=as_subpath(what, given["volume-subpath"][0]) if "volume-subpath" in given else "",
        create=True,
        copy="volume-nocopy" not in given,
        **_owners(what, words),
        driver=driver,
        driver_options=key_values(f"{what}: volume-opt", given.get("volume-opt", ()), need_value=True),
        labels=key_values(f"{what}: volume-label", given.get("volume-label", ())),
    )


def _image(what: str, source: str, destination: str, given: Mapping[str, list[str]]) -> MountRequest:
    if not source:
        raise InvalidArgument(f"{what}: source is required", hint="add source=IMAGE")
    words = {"access": "ro", **_mode(what, given)}
    if "owner" in words:
        raise InvalidArgument(f"{what}: {words['owner']} does not go with type=image", hint="leave it out")
    paths = [*given.get("image-subpath", ()), *given.get("volume-subpath", ())]
    if len(paths) > 1:
        raise InvalidArgument(f"{what} names two subpaths")
    subpath = as_subpath(what, paths[0]) if paths else ""
    return MountRequest("image", source, destination, bind_options(words), subpath=subpath)


def _tmpfs(what: str, source: str, destination: str, given: Mapping[str, list[str]]) -> MountRequest:
    if source not in ("", "tmpfs"):
        raise InvalidArgument(f"{what}: a tmpfs has no source", hint="leave source out")
    words = [*_mode(what, given).values()]
    words += [word for word in ("tmpcopyup", "notmpcopyup") if word in given]
    if "tmpfs-size" in given:
        from prun.request.sizes import size_of

        words.append(f"size={size_of('tmpfs-size', given['tmpfs-size'][0])}")
    if "tmpfs-mode" in given:
        words.append(f"mode={given['tmpfs-mode'][0]}")
    return MountRequest("tmpfs", "", destination, tmpfs_options(what, words))


def _owners(what: str, words: Mapping[str, str]) -> OwnerFields:
    """Return the fields for podman's ``U``, ``idmap`` and ``O``, which need a mount that is the container's alone."""
    owners: Literal["", "U", "idmap"] = "U" if words.get("owner") == "U" else "idmap" if "owner" in words else ""
    named = ["O"] if "overlay" in words else []
    named += ["idmap"] if owners == "idmap" else []
    if words.get("propagation", "rprivate").removeprefix("r") != "private":
        named.append(words["propagation"])
    if len(named) > 1:
        raise InvalidArgument(f"{what}: {named[0]} and {named[1]} cannot be used together", hint="leave one out")
    return {"owners": owners, "overlay": "overlay" in words}


def _mode(what: str, given: Mapping[str, list[str]]) -> dict[str, str]:
    """Return the words that ``--mount`` shares with ``-v``."""
    words = ["ro"] if "readonly" in given else []
    words += [word for word in given if word in BIND_WORDS]
    mode = grouped(what, words, BIND_WORDS)
    if "consistency" in given:
        grouped(what, given["consistency"], dict.fromkeys(GROUPS["consistency"], "consistency"))
    if "relabel" in given:
        grouped(what, [{"shared": "z", "private": "Z"}.get(word, word) for word in given["relabel"]], BIND_WORDS)
    return mode


def _keys(what: str, word: str) -> dict[str, list[str]]:
    """Return the values of each key; a flag that is false is its opposite, or left out."""
    given: dict[str, list[str]] = {}
    for field in _csv(what, word):
        name, equals, value = field.partition("=")
        name = name.strip().lower()
        key = _FLAGS.get(name) or _ALIASES.get(name, name)
        if name in _FLAGS:
            if not _boolean(what, name, value if equals else "true"):
                if key not in _OPPOSITES:
                    continue
                key = _OPPOSITES[key]
        elif name + equals in NOT_DONE:
            raise InvalidArgument(f"{what}: option {name!r} is not supported", hint="leave it out")
        elif key not in _KEYS:
            raise InvalidArgument(f"{what}: unexpected key {name!r}", hint="type, source, target, readonly, ...")
        elif not equals:
            raise InvalidArgument(f"{what}: invalid field {field!r} must be a key=value pair")
        if key in given and key not in _REPEATED:
            raise InvalidArgument(f"{what}: {name} is given twice")
        given.setdefault(key, []).append(value)
    return given


def _csv(what: str, word: str) -> list[str]:
    """Take one record apart: a field may be quoted, ``""`` in it is a quote."""
    fields, at = [], 0
    while True:
        if word[at : at + 1] == '"':
            found = re.compile(r'"((?:[^"]|"")*)"(?=,|$)').match(word, at)
            value = found[1].replace('""', '"') if found else '"'
        else:
            found = re.compile(r"[^,]*").match(word, at)
            value = found[0] if found else '"'
            if '"' in value:
                found = None
        if found is None:
            raise InvalidArgument(f"{what}: a quote is not at the beginning and the end of a field")
        fields.append(value)
        at = found.end() + 1
        if at > len(word):
            return fields


def _destination(what: str, path: str) -> str:
    clean = "/" + normpath(path).lstrip("/")
    if not path.startswith("/") or any(c in path for c in "\0\n"):
        raise InvalidArgument(f"{what}: mount path {path!r} must be absolute", hint="a path in the container, from /")
    if clean == "/":
        raise InvalidArgument(f"{what}: the destination cannot be '/'", hint="--rootfs uses a directory as the root")
    return clean


def _host_path(what: str, path: str) -> str:
    if any(c in path for c in "\0\n"):
        raise InvalidArgument(f"{what}: the source contains a NUL or a line break")
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise InvalidArgument(f"{what}: there is no home directory for {path.partition('/')[0]!r}")
    return os.path.abspath(expanded)


def key_values(what: str, entries: Iterable[str], *, need_value: bool = False) -> dict[str, str]:
    """Return ``KEY[=VALUE]`` entries as a mapping."""
    found = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not key or (need_value and not equals):
            raise InvalidArgument(f"{what} {entry!r} is not KEY=VALUE")
        found[key] = value
    return found


def _boolean(what: str, name: str, value: str) -> bool:
    if value not in ("", "1", "true", "0", "false"):
        raise InvalidArgument(f"{what}: invalid value for {name}: {value!r}", hint="true or false")
    return value in ("1", "true")
