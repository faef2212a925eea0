"""prun as an ordinary user: which ids the user has, and whether the machine lets us make use of them.

prun's process becomes root of a user namespace, and has a mount namespace for itself (``prun.cli.namespace``).

In the namespace uid 0 is the user.  Further ids are the user's subordinate ones (subuid(5)), which newuidmap(1) maps;
where there are none, the namespace has the one id, and images whose files belong to others cannot be unpacked.

See user_namespaces(7).
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument
from prun.rootfs.idmap import IdMaps, IdRange, host_id, read_ranges

if TYPE_CHECKING:
    from prun.types import Mount, RunRequest

MARK = "PRUN_ROOTLESS"
SUBORDINATE = ("/etc/subuid", "/etc/subgid")
# Not $PATH: these are setuid programs of the system.
TOOLS = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")
MAX_ID = 2**32 - 2
_SWITCHES = (
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
)
_APPARMOR = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"


_pretended = False


def pretend(uid: int) -> None:
    """From now on say what would be if this ordinary user's process had entered its user namespace, for a dry run."""
    global _pretended  # noqa: PLW0603  as PRUN_ROOTLESS, it is the process's
    os.environ[MARK] = str(uid)
    _pretended = True


def is_pretended() -> bool:
    """Tell whether ``pretend`` was called."""
    return _pretended


def current_maps() -> IdMaps:
    """Return the maps of the user namespace that we are in, or would be."""
    if _pretended:
        return user_maps(os.getuid(), os.getgid())
    return IdMaps(read_ranges("/proc/self/uid_map"), read_ranges("/proc/self/gid_map"))


def is_rootless() -> bool:
    """Tell whether this process is root of a user namespace that ``enter`` made, its own or an ancestor's."""
    if _pretended:
        return True
    marked = is_number(os.environ.get(MARK, ""))
    return marked and sys.platform == "linux" and os.geteuid() == 0 and not _is_initial()


def why_not() -> tuple[str, str]:
    """Say why ``enter`` cannot work on this machine, and the remedy; empty strings where nothing speaks against it."""
    if not os.path.exists("/proc/self/ns/user"):
        return "the kernel has no user namespaces", "use a kernel with CONFIG_USER_NS, or sudo"
    for path, off, remedy in _SWITCHES:
        if word_in(path) == off:
            return f"ordinary users may make no user namespaces ({path} is {off})", f"{remedy}, or use sudo"
    return "", ""


def restriction() -> tuple[str, str]:
    """Say what may keep ``enter`` from working, beside ``why_not``: a policy whose answer is known when asked."""
    if word_in(_APPARMOR) == "1":
        remedy = (
            "give prun's Python an AppArmor profile with userns, sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
        return "AppArmor restricts user namespaces", f"{remedy}, or use sudo"
    return "", ""


def user_maps(uid: int, gid: int) -> IdMaps:
    """Return the maps for a user: the user is root, subordinate ids follow; without those, the user only."""
    name = _name(uid)
    uids, gids = (subordinate_ranges(path, name, uid) for path in SUBORDINATE)
    if not (uids and gids and all(os.access(tool, os.X_OK) for tool in TOOLS)):
        return IdMaps((IdRange(0, uid, 1),), (IdRange(0, gid, 1),))
    return IdMaps(_with_root(uid, uids), _with_root(gid, gids))


def subordinate_ranges(path: str, name: str, uid: int) -> list[tuple[int, int]]:
    """Return first id and number of each range that ``/etc/subuid`` or ``/etc/subgid`` gives a user.

    A line is ``NAME:FIRST:COUNT`` or ``UID:FIRST:COUNT`` (subuid(5)); lines that are nothing of the kind are skipped,
    as newuidmap does.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.strip().split(":") for line in file]
    except OSError:
        return []
    ranges = []
    for line in lines:
        if len(line) == 3 and line[0] in (name, str(uid)) and line[0] and all(is_number(w) for w in line[1:]):
            first, count = int(line[1]), int(line[2])
            if count and first + count - 1 <= MAX_ID:
                ranges.append((first, count))
    return ranges


def subordinate_problem(uid: int) -> tuple[str, str]:
    """Say why a user has one id only, and the remedy; empty strings where there are subordinate ids."""
    name = _name(uid) or str(uid)
    for path in SUBORDINATE:
        if not subordinate_ranges(path, name, uid):
            ids = "--add-subuids 100000-165535 --add-subgids 100000-165535"
            return f"{path} has no entry for {name}", f"usermod {ids} {name}"
    if not all(os.access(tool, os.X_OK) for tool in TOOLS):
        return f"there is no {' and no '.join(TOOLS)}", "apt install uidmap"
    return "", ""


def lacks_ids(uid: int, gid: int) -> str:
    """Return the remedy where our user namespace has no such user or no such group, an empty string where it has."""
    maps = current_maps()
    if host_id(maps.uids, uid) is not None and host_id(maps.gids, gid) is not None:
        return ""
    remedy = subordinate_problem(int(os.environ[MARK]))[1]
    return remedy or f"a larger range in {' and '.join(SUBORDINATE)}, or sudo"


def locked_options(path: str) -> tuple[str, ...]:
    """Return what the mount of ``path`` forbids, in mount options; nothing where there is no such path.

    In a user namespace a bind mount must go on forbidding it: who changes other options has to say these, too.
    crun does so by itself, runc 1.1 does not.  See mount_namespaces(7), "Restrictions on mount namespaces".
    """
    try:
        flags = os.statvfs(path).f_flag
    except OSError:
        return ()
    words = {"nosuid": os.ST_NOSUID, "nodev": os.ST_NODEV, "noexec": os.ST_NOEXEC}
    return tuple(word for word, flag in words.items() if flags & flag)


def allowed(mount: Mount, request: RunRequest) -> Mount:
    """Return a bind mount with the options that it must have in a user namespace (``locked_options``).

    Raises:
        InvalidArgument: it says the opposite of one.
    """
    if mount.type != "bind" or not (MARK in os.environ or request.uid_map or "user" in request.namespaces):
        return mount
    locked = locked_options(mount.source)
    for option in locked:
        if option.removeprefix("no") in mount.options:
            raise InvalidArgument(
                f"mount of {mount.source}: {option.removeprefix('no')} cannot be had in a user namespace:"
                f" the file system that it is on is mounted {option}",
                hint="leave it out, or mount something else",
            )
    return mount._replace(options=tuple(dict.fromkeys((*mount.options, *locked))))


def _with_root(own: int, ranges: list[tuple[int, int]]) -> tuple[IdRange, ...]:
    found, at = [IdRange(0, own, 1)], 1
    for first, count in ranges:
        found.append(IdRange(at, first, count))
        at += count
    return tuple(found)


def _is_initial() -> bool:
    return read_ranges("/proc/self/uid_map") == (IdRange(0, 0, 2**32 - 1),)


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def is_number(word: str) -> bool:
    """Tell whether a word can be an id or a pid."""
    return word.isascii() and word.isdigit() and len(word) <= 10


def word_in(path: str) -> str:
    """Return the content of a small file, an empty string where it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(64).strip()
    except OSError:
        return ""


def home_of_user(uid: int) -> str:
    """Return a user's home directory, the root where the system knows none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return "/"
