"""The process of ``prun exec``: the container's own, with what was asked for instead.

The container's files are read from outside, through ``/proc/PID/root``; nothing in it is followed out of it, and
nothing of it is executed here.

Spec: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#process
"""

from __future__ import annotations

import json
import os
import stat
from functools import cache
from typing import TYPE_CHECKING, cast

from prun.errors import CommandNotInvocable, DataLoss, InvalidArgument, NotFound
from prun.rootfs.idmap import host_id, read_ranges
from prun.rootfs.safepath import Root
from prun.spec import with_env
from prun.spec.user import FILE_LIMIT_BYTES, home_of, resolve_user
from prun_linux.command import check_command
from prun_linux.places import KERNEL, is_below, place

if TYPE_CHECKING:
    from prun.live import ExecRequest
    from prun.spec.document import Capabilities, Process, Spec, User
    from prun.spec.user import Read


def process_of(request: ExecRequest, bundle: str, pid: int) -> Process:
    """Return the process to be executed beside the process ``pid`` of a container.

    Raises:
        CommandNotFound, CommandNotInvocable: the command, or the working directory, is not there or cannot be used.
        InvalidArgument, NotFound: of the user or the working directory.
        DataLoss: the container's ``config.json`` is none.
    """
    spec = _spec_of(bundle)
    base = spec["process"]
    with Root(f"/proc/{pid}/root") as root:

        @cache
        def read(path: str) -> bytes | None:
            try:
                return root.read(path, FILE_LIMIT_BYTES)
            except NotFound:
                return None

        process = cast("Process", {**base, "args": list(request.args), "terminal": request.terminal})
        process.pop("consoleSize", None)
        process["user"] = _user(request.user, base["user"], read) if request.user else base["user"]
        process["env"] = _env(request, base, process["user"], read)
        process["cwd"] = request.workdir or base.get("cwd", "/")
        process["capabilities"] = _capabilities(request, base, process["user"])
        _check_directory(process["cwd"], root)
        check_command({"process": {**process, "user": _seen_from_here(process["user"], pid)}}, root, ())
    if request.terminal and (size := _own_size()):
        process["consoleSize"] = {"height": size[0], "width": size[1]}
    return process


def _spec_of(bundle: str) -> Spec:
    """Return what the container was made from; its ``process`` has an ``args`` and a ``user``."""
    path = os.path.join(bundle, "config.json")
    try:
        with open(path, encoding="utf-8") as file:
            spec = json.load(file)
        return cast("Spec", {**spec, "process": {"user": {"uid": 0, "gid": 0}, **spec["process"]}})
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataLoss(f"{path} cannot be read: {error}", hint="start the container anew") from error


def _user(word: str, base: User, read: Read) -> User:
    """Return another user, who has the groups that were added for the container (``--group-add``) too, as in docker.

    They are those of the container's process that its ``/etc/group`` does not explain.
    """
    user = resolve_user(word, read)
    own = resolve_user(str(base["uid"]), read).get("additionalGids", ())
    added = [gid for gid in base.get("additionalGids", ()) if gid != base["gid"] and gid not in own]
    groups = dict.fromkeys((user["gid"], *user.get("additionalGids", ()), *added))
    result: User = {"uid": user["uid"], "gid": user["gid"], "additionalGids": list(groups)}
    if "umask" in base:
        result["umask"] = base["umask"]
    return result


def _env(request: ExecRequest, base: Process, user: User, read: Read) -> list[str]:
    """Return the container's environment with the request's over it; another user has a HOME of his own.

    Unless the container's was set by whoever made it.
    """
    usual = {f"HOME={home_of(base['user']['uid'], read)}", "HOME=/"}
    other = [f"HOME={home_of(user['uid'], read)}"] if user["uid"] != base["user"]["uid"] else []
    env = [each for entry in base.get("env", ()) for each in (other if other and entry in usual else [entry])]
    if request.terminal and not any(entry.startswith("TERM=") for entry in env):
        env.append("TERM=xterm")
    spec: Spec = {"process": {"env": env}}
    with_env(request.env)(spec)
    return spec["process"]["env"]


def _capabilities(request: ExecRequest, base: Process, user: User) -> Capabilities:
    """Return the container's, and with ``--privileged`` all that prun has; only root has any in effect.

    None is inherited or ambient: those would outlive the execve of any program (CVE-2022-24769, CVE-2022-29162).
    """
    bounding = base.get("capabilities", {}).get("bounding", [])
    if request.privileged:
        from prun_linux.security import own_capabilities

        bounding = own_capabilities()
    effective = list(bounding) if user["uid"] == 0 else []
    return {
        "bounding": list(bounding), "effective": effective, "permitted": list(effective), "inheritable": [],
        "ambient": [],
    }  # fmt: skip


def _check_directory(cwd: str, root: Root) -> None:
    """Refuse a working directory that is none, or that leads below ``/proc`` (CVE-2024-21626, CVE-2024-45310)."""
    if not cwd.startswith("/") or "\0" in cwd:
        raise InvalidArgument(f"the working directory {cwd!r} is invalid, it needs to be an absolute path")
    where = place(root.path, cwd, ())
    if is_below(where, KERNEL[:1]):
        raise InvalidArgument(f"working directory {cwd!r} is in /proc", hint="choose another with -w")
    found = root.stat(cwd)
    if found is None or not stat.S_ISDIR(found.mode):
        reason = "it is no directory" if found else "no such file or directory"
        raise CommandNotInvocable(f"working directory {cwd!r} of the container: {reason}", hint="choose one with -w")


def _seen_from_here(user: User, pid: int) -> User:
    """Return the ids of the owners of files that are the user's; root, who may do more, stays root."""
    uids, gids = (read_ranges(f"/proc/{pid}/{name}") for name in ("uid_map", "gid_map"))

    def translated(gid: int) -> int:
        found = host_id(gids, gid)
        return gid if found is None else found

    uid = host_id(uids, user["uid"]) if user["uid"] else 0
    groups = [translated(gid) for gid in user.get("additionalGids", ())]
    return {"uid": user["uid"] if uid is None else uid, "gid": translated(user["gid"]), "additionalGids": groups}


def _own_size() -> tuple[int, int] | None:
    """Return rows and columns of our terminal, so that the new one has them before anything runs in it."""
    import termios

    terminal = next((fd for fd in (1, 0, 2) if os.isatty(fd)), None)
    try:
        rows, columns = (0, 0) if terminal is None else termios.tcgetwinsize(terminal)
    except termios.error:
        return None
    return (rows, columns) if rows and columns else None
