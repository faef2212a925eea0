"""A user namespace around the container: one of its own, or the one that prun itself is root of (``prun.rootless``)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun import userns
from prun.errors import FailedPrecondition, InvalidArgument
from prun.rootfs.idmap import IdMaps, host_id
from prun.rootless import MARK, current_maps, is_rootless, locked_options, restriction, subordinate_problem, why_not
from prun.spec import with_env
from prun.spec.linux import with_added_groups, with_umask, with_user
from prun.spec.user import resolve_groups
from prun.types import Mount
from prun_linux import cgroups
from prun_linux.isolation import reader

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from prun.rootfs.idmap import IdRange
    from prun.spec import SpecOpt
    from prun.spec.document import Namespace, Spec
    from prun.types import Image, Rootfs, RunRequest
    from prun.userns import UserNamespace
    from prun_linux.doctor import Finding

DEVPTS_GID = 5
_NOBODY = 65534  # whoever our own user namespace does not know
_SUBUID_HINT = "give yourself subordinate ids, see prun doctor"


def prepare(request: RunRequest, bundle: str) -> None:
    """Decide on the container's user namespace, and let its root go through to the bundle, and nobody else into it.

    Raises:
        InvalidArgument, FailedPrecondition: as ``prun.userns.resolve``; or its root cannot reach the bundle.
    """
    namespace = userns.record(request, bundle)
    if namespace is None:
        return
    uid, gid = host_id(namespace.maps.uids, 0), host_id(namespace.maps.gids, 0)
    for path in (os.path.dirname(os.path.dirname(bundle)), os.path.dirname(bundle)):
        os.chmod(path, 0o711)  # noqa: S103  names only: what is in there is private
    os.chown(bundle, -1, gid or 0)
    os.chmod(bundle, 0o710)  # noqa: S103  its group is the container's root
    blocked = _blocked(os.path.dirname(bundle), namespace, uid or 0, gid or 0)
    if blocked:
        raise FailedPrecondition(
            f"the container's root (uid {uid}) cannot reach its files: {blocked} is private to another",
            hint="choose a directory that everybody may go through with --state",
        )


def spec_opts(request: RunRequest, image: Image, rootfs: Rootfs) -> list[SpecOpt]:
    """Return the options for the container's own user namespace, and for what prun cannot do without root.

    They come after all others of the runtime: they look at the user and the cgroup that those have chosen.

    Raises:
        FailedPrecondition: limits without a cgroup of the user's to put them on.
    """
    opts: list[SpecOpt] = []
    namespace = userns.found(request)
    if namespace:
        opts.append(_with_user_namespace(namespace))
        if keeps_id(request) and not request.user and not image.config.get("User"):
            opts += _as_oneself(namespace, request, image, rootfs)
    maps = namespace.maps if namespace else own_maps()
    opts.append(_with_checked_ids(maps))
    if request.devices:
        opts.append(_without_devices(_bound_devices(request)))
    if is_rootless():
        refuse_limits(request)
        opts.append(_with_delegated_cgroup(request.id))
    return opts


def keeps_id(request: RunRequest) -> bool:
    """Tell whether the user is to have the own number inside."""
    return request.namespaces.get("user", "").partition(":")[0] == "keep-id"


def own_maps() -> IdMaps:
    """Return the maps of prun's own user namespace."""
    return current_maps()


def adapted(mounts: Iterable[Mount], request: RunRequest) -> list[Mount]:
    """Change the kernel's mounts to what root of a user namespace may mount.

    A sysfs needs a network namespace of its own, a proc a PID namespace, an mqueue an IPC namespace, and devpts gid 5
    to be there; a bind mount may allow no more than the mount that it shows.
    """
    namespace = userns.found(request)
    maps = namespace.maps if namespace else own_maps()
    result = []
    for mount in mounts:
        new = mount
        if mount.type == "bind":  # of the bundle, say, which is below $XDG_RUNTIME_DIR: nosuid and nodev
            new = mount._replace(options=tuple(dict.fromkeys((*mount.options, *locked_options(mount.source)))))
        elif mount.type == "sysfs" and request.network == "host":
            new = mount._replace(type="bind", source="/sys", options=("rbind", "nosuid", "noexec", "nodev", "ro"))
        elif mount.type == "proc" and request.namespaces.get("pid") == "host":
            new = mount._replace(type="bind", source="/proc", options=("rbind", "nosuid", "noexec", "nodev"))
        elif mount.type == "mqueue" and request.namespaces.get("ipc") == "host":
            if not os.path.isdir("/dev/mqueue"):
                continue
            new = mount._replace(type="bind", source="/dev/mqueue", options=("rbind", "nosuid", "noexec", "nodev"))
        elif mount.type == "devpts" and host_id(maps.gids, DEVPTS_GID) is None:
            new = mount._replace(options=tuple(word for word in mount.options if word != f"gid={DEVPTS_GID}"))
        result.append(new)
    return [
        *result,
        *(Mount(path, "bind", host, ("rbind", "rprivate")) for path, host in _bound_devices(request).items()),
    ]


def refuse_limits(request: RunRequest) -> None:
    """Refuse what needs a cgroup where there is none that the user may write.

    Raises:
        FailedPrecondition: the message names the options.
    """
    names = ["--cgroup-parent"] if request.cgroup_parent else []
    names += [f"--{field.replace('_', '-')}" for field in _limits(request)]
    if request.device_rules:
        raise FailedPrecondition(
            "--device-cgroup-rule: without root there are no rules for devices, and no device nodes are made",
            hint="leave it out, name the device with --device, or use sudo",
        )
    user = f"user {os.environ[MARK]}"
    if names and not delegated_cgroup():
        raise FailedPrecondition(
            f"{', '.join(names)}: {user} may write no cgroup here",
            hint="leave it out or use sudo; with cgroup v2 and systemd, systemd-run --user --scope prun run ...",
        )
    if request.cgroup_parent:
        raise FailedPrecondition(f"--cgroup-parent: {user} may write no other cgroup than {delegated_cgroup()}")
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        own = int(file.read())
    if request.oom_score_adj is not None and request.oom_score_adj < own:
        raise FailedPrecondition(
            f"--oom-score-adj {request.oom_score_adj}: {user} may not go below {own}, prun's own", hint="use sudo"
        )


def delegated_cgroup(mount: str = cgroups.MOUNT, membership: str = "/proc/self/cgroup") -> str:
    """Return the cgroup (v2) below which this user may make others, a path from the mount; empty where there is none.

    Processes are in leaves only (the kernel's "no internal processes"), so it is the parent of our own, if delegated.
    See https://docs.kernel.org/admin-guide/cgroup-v2.html#delegation.
    """
    if not os.path.exists(f"{mount}/cgroup.controllers"):
        return ""
    with open(membership, encoding="utf-8", errors="surrogateescape") as file:
        own = next((line.strip()[len("0::") :] for line in file if line.startswith("0::/")), "")
    parent = os.path.dirname(own)
    files = (parent, f"{parent}/cgroup.procs", f"{parent}/cgroup.subtree_control")
    return parent if own not in ("", "/") and all(os.access(mount + path, os.W_OK) for path in files) else ""


def report() -> list[Finding]:
    """Return what ``prun doctor`` tells an ordinary user, or of ordinary users."""
    reason, remedy = why_not()
    if reason:
        return [("rootless", False, reason, remedy)]
    found: list[Finding] = []
    if (answer := restriction())[0]:
        found.append(("rootless", True, *answer))
    if os.geteuid() == 0 and not is_rootless():
        return found or [("rootless", True, "ordinary users can make user namespaces", "")]
    uid = int(os.environ[MARK]) if is_rootless() else os.geteuid()
    problem, remedy = subordinate_problem(uid)
    if problem:
        found.append(("rootless ids", False, f"one id only: {problem}", remedy))
    else:
        found.append(("rootless ids", True, "subordinate ids and newuidmap", ""))
    cgroup = delegated_cgroup()
    advice = "" if cgroup else "limits (--memory, --cpus, --pids-limit) need root, or a delegated cgroup v2"
    found.append(("rootless cgroup", True, cgroup or "none that this user may write", advice))
    return found


def _blocked(path: str, namespace: UserNamespace, uid: int, gid: int) -> str:
    """Return the first directory above ``path`` that the container's root may not go through, empty for none.

    It may go through all that belongs to ids that the namespace has (capabilities(7), privileged_wrt_inode_uidgid).
    """
    hosts = [[range(each.host, each.host + each.size) for each in ranges] for ranges in namespace.maps]
    at = "/"
    for part in path.strip("/").split("/"):
        at = os.path.join(at, part)
        found = os.stat(at)
        owners = zip((found.st_uid, found.st_gid), hosts, strict=True)
        if all(owner != _NOBODY and any(owner in each for each in ranges) for owner, ranges in owners):
            continue
        bit = 0o100 if found.st_uid == uid else 0o010 if found.st_gid == gid else 0o001
        if not found.st_mode & bit:
            return at
    return ""


def _with_user_namespace(namespace: UserNamespace) -> SpecOpt:
    """Add the user namespace and its mappings (config-linux.md#user-namespace-mappings)."""

    def opt(spec: Spec) -> None:
        linux = spec.setdefault("linux", {})
        kept = [each for each in linux.get("namespaces", []) if each["type"] != "user"]
        own: Namespace = {"type": "user", "path": namespace.path} if namespace.path else {"type": "user"}
        linux["namespaces"] = [*kept, own]
        linux["uidMappings"] = _mappings(namespace.maps.uids)
        linux["gidMappings"] = _mappings(namespace.maps.gids)

    return opt


def _as_oneself(namespace: UserNamespace, request: RunRequest, image: Image, rootfs: Rootfs) -> list[SpecOpt]:
    """Run the process as the user whose number was kept, as podman does; its home is the root.

    What was asked for that user goes with it: groups and umask.
    """
    uid, gid = (next(each.container for each in ranges if each.host == 0) for ranges in namespace.maps)
    has_home = any(entry.startswith("HOME=") for entry in image.config.get("Env", ()))
    opts = [with_user(uid, gid, [gid])]
    if request.groups:
        opts.append(with_added_groups(resolve_groups(request.groups, reader(rootfs))))
    if request.umask is not None:
        opts.append(with_umask(request.umask))
    return opts if has_home or uid == 0 else [*opts, with_env(["HOME=/"])]


def _with_checked_ids(maps: IdMaps) -> SpecOpt:
    """Refuse a process whose user or group has no id in the user namespace."""

    def opt(spec: Spec) -> None:
        user = spec.get("process", {}).get("user")
        if user is None:
            return
        checks = [("user", user["uid"], maps.uids), ("group", user["gid"], maps.gids)]
        checks += [("group", gid, maps.gids) for gid in user.get("additionalGids", [])]
        for kind, number, ranges in checks:
            if host_id(ranges, number) is None:
                raise InvalidArgument(
                    f"{kind} {number} of the container is not mapped in its user namespace",
                    hint=_SUBUID_HINT if is_rootless() else "map more ids, or choose another user with -u",
                )

    return opt


def _bound_devices(request: RunRequest) -> dict[str, str]:
    """Return the host's path of each device that is elsewhere in the container, by its path there.

    Root of a user namespace makes no devices, so the OCI runtimes bind the host's, of the same path only.
    """
    from prun.request.isolation import cdi_name, host_device

    paths = [host_device(word)[:2] for word in request.devices if not cdi_name(word)]
    return {container: host for host, container in paths if host != container and not os.path.isdir(host)}


def _without_devices(paths: Collection[str]) -> SpecOpt:
    """Leave devices out of ``linux.devices`` that are mounted instead; their rules stay."""

    def opt(spec: Spec) -> None:
        linux = spec.setdefault("linux", {})
        if "devices" in linux:
            linux["devices"] = [device for device in linux["devices"] if device["path"] not in paths]

    return opt


def _with_delegated_cgroup(container_id: str) -> SpecOpt:
    """Put the container into a cgroup of the user's, or leave it in prun's own where there is none."""

    def opt(spec: Spec) -> None:
        linux = spec.setdefault("linux", {})
        if parent := delegated_cgroup():
            linux["cgroupsPath"] = f"{parent}/prun-{container_id}"
            return
        linux.pop("cgroupsPath", None)
        devices = linux.get("resources", {}).get("devices", [])
        linux["resources"] = {"devices": devices}

    return opt


def _limits(request: RunRequest) -> list[str]:
    """Return the names of the resources that were asked for."""
    if request.resources is None:
        return []
    defaults = type(request.resources)()
    asked = [name for name, value in request.resources._asdict().items() if value != getattr(defaults, name)]
    return [name.removesuffix("_bytes").removesuffix("_us") for name in asked]


def _mappings(ranges: Iterable[IdRange]) -> list[dict[str, int]]:
    return [{"containerID": each.container, "hostID": each.host, "size": each.size} for each in ranges]
