"""What a change of a spec follows from: options of the request, and fields of the image's config.

An option of ``prun.spec`` does not know why it was made; the table says which options of ``prun run`` can be the
reason for it.  Only those that were given (``RunRequest.origins``) are named, with where each was said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.spec.provenance import Said

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prun.spec.provenance import Change
    from prun.types import Image, RunRequest

# By the spec option's name: ``[PART:]OPTION[ WORD]``.  PART is what below the changed place it is about (``Said``); of
# --security-opt only what begins with WORD.
_ENV = ("env", "env_file", "unsetenv")
_OPTIONS: dict[str, tuple[str, ...]] = {
    "with_args": ("entrypoint", "command"),
    "with_root": ("rootfs",),
    "with_readonly_root": ("read_only",),
    "with_terminal": ("tty",),
    "with_annotations": ("annotation",),
    "with_hostname": ("hostname", "id"),
    "_without_hostname": ("uts",),
    "with_shared_root": ("volume", "mount"),
    "with_user": ("user", "userns"),
    "with_added_groups": ("group_add",),
    "with_umask": ("umask",),
    "with_ambient_capabilities": ("cap_add",),
    "with_seccomp": ("security_opt seccomp", "privileged", "cap_add", "cap_drop"),
    "without_hidden_paths": ("security_opt unmask", "security_opt systempaths"),
    "with_added_masked_paths": ("security_opt mask",),
    "with_apparmor_profile": ("security_opt apparmor",),
    "with_added_devices": ("device", "device_cgroup_rule", "privileged"),
    "_with_owned_devices": ("device", "gpus"),
    "with_added_hooks": ("device", "gpus"),
    "with_pids_limit": ("pids_limit",),
    "with_sysctls": ("sysctl",),
    "with_oom_score_adj": ("oom_score_adj",),
    "with_init": ("init",),
    "with_memory": ("limit:memory", "reservation:memory_reservation", "swap:memory_swap", "swap:memory",
                    "swappiness:memory_swappiness", "disableOOMKiller:oom_kill_disable"),
    "with_cpu": ("shares:cpu_shares", "quota:cpus", "quota:cpu_quota", "period:cpus", "period:cpu_period",
                 "cpus:cpuset_cpus", "mems:cpuset_mems"),
    "with_block_io_weight": ("weight:blkio_weight", "weightDevice:blkio_weight_device"),
    "with_block_io_throttle": ("throttleReadBpsDevice:device_read_bps", "throttleWriteBpsDevice:device_write_bps",
                               "throttleReadIOPSDevice:device_read_iops", "throttleWriteIOPSDevice:device_write_iops"),
    "with_default_env": ("HOSTNAME:hostname", "HOSTNAME:id", "HOSTNAME:uts", "HOME:user", "TERM:tty"),
    "_with_user_namespace": ("userns", "uidmap", "gidmap"),
    "_without_devices": ("userns", "uidmap", "gidmap"),
}  # fmt: skip
# A runtime says first what is the default, and again what was asked for: the first is nobody's wish.
_AGAIN: dict[str, tuple[str, ...]] = {
    "with_capabilities": ("cap_add", "cap_drop", "privileged"),
    "with_no_new_privileges": ("security_opt no-new-privileges", "privileged"),
    "with_masked_paths": ("privileged", "security_opt unmask", "security_opt systempaths"),
    "with_readonly_paths": ("privileged", "security_opt unmask", "security_opt systempaths"),
    "with_namespaces": ("pid", "ipc", "uts", "cgroupns", "network"),
    "with_rlimits": ("ulimit",),
    "with_cgroups_path": ("cgroup_parent",),
}
_MOUNTS: dict[str, tuple[str, ...]] = {
    "/dev/shm": ("shm_size", "ipc"),  # noqa: S108  the container's
    "/dev/mqueue": ("ipc",),
    "/proc": ("security_opt proc-opts", "pid"),
    "/sys": ("network", "privileged"),
    "/sys/fs/cgroup": ("security_opt unmask", "security_opt systempaths", "privileged", "cgroupns"),
    "/etc/hosts": ("add_host", "read_only"),
    "/etc/hostname": ("uts", "read_only"),
    "/etc/resolv.conf": ("dns", "dns_option", "dns_search", "read_only"),
    "/etc/localtime": ("tz",),
    "/etc/timezone": ("tz",),
}


def origins_of(change: Change, request: RunRequest, image: Image, *, again: bool) -> tuple[Said, ...]:
    """Return what a change follows from; ``again``: an option of the same name has changed something before."""
    if change.author.tier in ("patch", "hook"):
        return tuple(_said((change.author.tier,), request))
    option, destination = change.author.option, ""
    if option.startswith("mount "):
        option, destination = "mount", option.partition(" ")[2]
    if option == "mount":
        return tuple(_said(_mount_options(destination, request), request)) + _image_mount(destination, image)
    if option in _AGAIN:
        return tuple(_said(_AGAIN[option], request)) if again else tuple(_said(_first(option), request))
    if option == "with_env":
        return _env(change, request, image)
    said = tuple(_said(_OPTIONS.get(option, ()), request))
    if option == "with_args":
        return (*said, *_image_args(request, image))
    if option == "with_cwd":
        flagged = change.author.tier != "default"
        has = not flagged and bool(image.config.get("WorkingDir"))
        return tuple(_said(("workdir",), request)) if flagged else (Said("image: WorkingDir"),) if has else ()
    if option == "with_user" and not request.user and image.config.get("User"):
        return (*said, Said("image: User"))
    return said


def _first(option: str) -> tuple[str, ...]:
    """Return what a runtime's first word of it depends on, nevertheless."""
    return {"with_namespaces": ("network",), "with_capabilities": ("effective:user", "permitted:user")}.get(option, ())


def _said(options: Iterable[str], request: RunRequest) -> Iterator[Said]:
    for each in options:
        part, _, words = each.rpartition(":")
        option, _, word = words.partition(" ")
        if word and not any(said.startswith(word) for said in request.security):
            continue
        for origin in request.origins.get(option, ()):
            yield Said(str(origin), part)


def _env(change: Change, request: RunRequest, image: Image) -> tuple[Said, ...]:
    """Name who has set variables: the image each of its own, the host, options, secrets."""
    if change.author.tier == "flag":
        return tuple(_said(_ENV, request))
    if change.author.tier != "default":
        return tuple(_said(("secret", "device", "gpus", "userns"), request))
    names = [entry.partition("=")[0] for entry in image.config.get("Env") or ()]
    host = [entry.partition("=")[0] for entry in request.host_env]
    said = [Said(each.words, name) for name in host for each in _said(("env_host",), request) if name not in names]
    return (*said, *(Said("image: Env", name) for name in dict.fromkeys(names)))


def _image_args(request: RunRequest, image: Image) -> list[Said]:
    """Name the fields of the image's config that ``prun.builtin.defaults.process_args`` takes."""
    if request.entrypoint is not None:
        return []
    said = [Said("image: Entrypoint")] if image.config.get("Entrypoint") else []
    if request.args:
        return [*said, *([] if "command" in request.origins else [Said("COMMAND")])]
    return [*said, *([Said("image: Cmd")] if image.config.get("Cmd") else [])]


def _mount_options(destination: str, request: RunRequest) -> tuple[str, ...]:
    """Return the options that can have asked for a mount there."""
    for mount in request.volumes:
        if mount.destination == destination:
            return ("tmpfs", "mount") if mount.type == "tmpfs" else ("volume", "mount")
    if any(mount.destination == destination for mount in request.mounts):
        return ("mounts",)
    if destination in _MOUNTS:
        return _MOUNTS[destination]
    if destination.startswith("/run/secrets/") or any(each.target == destination for each in request.secrets):
        return ("secret",)
    return ("init",) if destination == "/run/prun-init" else ("volumes_from", "device", "gpus")


def _image_mount(destination: str, image: Image) -> tuple[Said, ...]:
    return (Said("image: Volumes"),) if destination in (image.config.get("Volumes") or {}) else ()
