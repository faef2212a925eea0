"""The options of a mount: which words there are, which contradict each other, and what the spec says for them.

``z`` and ``Z`` (SELinux labels) have nothing to do where the kernel has no SELinux, as in docker, and are refused where
it has, because prun does not label.  ``consistent`` and its like ask for less than what every mount here gives.

Source: mount(8), tmpfs(5), and https://docs.docker.com/reference/cli/docker/container/run/#volume
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_RECURSIVE_READONLY = (5, 12)  # mount_setattr(2)
_SELINUX = "/sys/fs/selinux/enforce"
# Words of a bind mount, by what they are about: two about the same thing contradict each other.
GROUPS = {
    "access": ("ro", "rw"),
    "propagation": ("private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"),
    "exec": ("exec", "noexec"),
    "dev": ("dev", "nodev"),
    "suid": ("suid", "nosuid"),
    "recursion": ("bind", "rbind"),
    "label": ("z", "Z"),
    "consistency": ("consistent", "cached", "delegated", "default"),
    "copy": ("copy", "nocopy"),
    "create": ("nocreate",),
    "owner": ("U", "idmap"),  # podman's: change the owners on disk, or only show others
    "overlay": ("O",),  # podman's: what is written is thrown away
}
BIND_WORDS = {word: group for group, words in GROUPS.items() for word in words}
_TMPFS_GROUPS = {
    "access": ("ro", "rw"),
    "exec": ("exec", "noexec"),
    "dev": ("dev", "nodev"),
    "suid": ("suid", "nosuid"),
    "sync": ("sync", "async"),
    "dirsync": ("dirsync",),
    "atime": ("atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime"),
    "diratime": ("diratime", "nodiratime"),
    "copy": ("tmpcopyup", "notmpcopyup"),
    **{group: GROUPS[group] for group in ("propagation",)},
}
_TMPFS_GROUP_OF = {word: group for group, words in _TMPFS_GROUPS.items() for word in words}
_TMPFS_VALUES = {
    "size": r"\d+([kmgtpe]|%)?",
    "nr_blocks": r"\d+[kmgtpe]?",
    "nr_inodes": r"\d+[kmgtpe]?",
    "mode": r"[0-7]{1,4}",
    "uid": r"\d{1,10}",
    "gid": r"\d{1,10}",
    "mpol": r"(default|local|prefer(=(static|relative))?:\d+|(bind|interleave)(=(static|relative))?:[\d,-]+)",
}
_MAX_ID = 2**32 - 2
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")  # docker's
# What docker or podman know and prun does not do; anything else is no option at all.
NOT_DONE = {
    "idmap=": "a mapping that is not the container's",
    "upperdir=": "an upper directory of one's own",
    "workdir=": "a work directory of one's own",
    "no-dereference": "a symbolic link as source",
}


def grouped(what: str, words: Iterable[str], groups: Mapping[str, str]) -> dict[str, str]:
    """Return the word of each group.

    Raises:
        InvalidArgument: a word is not known or not supported, or two are about the same thing.
    """
    found: dict[str, str] = {}
    for word in words:
        if (name := "".join(word.partition("=")[:2])) in NOT_DONE:
            raise InvalidArgument(f"{what}: option {word!r} ({NOT_DONE[name]}) is not supported", hint="leave it out")
        group = groups.get(word)
        if group is None:
            raise InvalidArgument(f"{what}: invalid option {word!r}", hint=f"one of {', '.join(sorted(groups))}")
        if group in found:
            raise InvalidArgument(f"{what}: {found[group]} and {word} contradict each other", hint="leave one out")
        if group == "label" and os.path.exists(_SELINUX):
            raise InvalidArgument(f"{what}: option {word!r} (an SELinux label) is not supported", hint="chcon(1)")
        found[group] = word
    return found


def bind_options(words: Mapping[str, str], *, recursive: bool = True) -> tuple[str, ...]:
    """Return a bind mount's options; ``recursive``: read-only holds below it too, where the kernel can (moby 25)."""
    options = [words.get("recursion", "rbind"), words.get("propagation", "rprivate")]
    options += [words[group] for group in ("exec", "dev", "suid") if group in words]
    options.append(words.get("access", "rw"))
    if options[-1] == "ro" and recursive and options[0] == "rbind" and can_be_readonly_recursively():
        options.append("rro")
    return tuple(options)


def read_only(options: Iterable[str]) -> tuple[str, ...]:
    """Return a bind mount's options, read-only now."""
    kept = [word for word in options if word not in ("rw", "ro", "rro")]
    recursive = "rbind" in kept and can_be_readonly_recursively()
    return (*kept, "ro", "rro") if recursive else (*kept, "ro")


def tmpfs_options(what: str, words: Iterable[str]) -> tuple[str, ...]:
    """Return docker's defaults and the words given, which take precedence."""
    found: dict[str, str] = {}
    for word in filter(None, words):
        name, equals, value = word.partition("=")
        if equals and name in _TMPFS_VALUES:
            if not re.fullmatch(_TMPFS_VALUES[name], value, re.IGNORECASE | re.ASCII):
                raise InvalidArgument(f"{what}: {name}={value!r} is not usable", hint="see tmpfs(5)")
            if name in ("uid", "gid") and int(value) > _MAX_ID:
                raise InvalidArgument(f"{what}: {name}={value} is no id", hint=f"0 to {_MAX_ID}")
            found[name] = word  # the last one counts, as in the kernel
            continue
        if word not in _TMPFS_GROUP_OF:
            known = ", ".join(sorted([*_TMPFS_GROUP_OF, *(f"{key}=" for key in _TMPFS_VALUES)]))
            raise InvalidArgument(f"{what}: invalid tmpfs option {word!r}", hint=f"one of {known}")
        found[_TMPFS_GROUP_OF[word]] = word
    defaults = {_TMPFS_GROUP_OF[word]: word for word in _TMPFS_DEFAULTS}
    chosen = {**defaults, "access": "rw", **found}
    return tuple(word for word in chosen.values() if word != "notmpcopyup")


def can_be_readonly_recursively() -> bool:
    """Tell whether a read-only bind mount may be so with all that is mounted below it."""
    if os.name != "posix":
        return False
    major, minor, *_ = os.uname().release.replace("-", ".").split(".")
    return (int(major), int(minor)) >= _RECURSIVE_READONLY
