"""What the linux runtime decides for a container, said in spec options."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument, NotFound
from prun.spec import with_default_env, with_hostname
from prun.spec.linux import (
    DEFAULT_CAPABILITIES,
    DEFAULT_NAMESPACES,
    DEFAULT_PATH_ENV,
    MASKED_PATHS,
    READONLY_PATHS,
    with_added_groups,
    with_capabilities,
    with_cgroups_path,
    with_default_devices,
    with_masked_paths,
    with_namespaces,
    with_no_new_privileges,
    with_readonly_paths,
    with_rlimits,
    with_umask,
    with_user,
)
from prun.spec.user import FILE_LIMIT_BYTES, home_of, resolve_groups, resolve_user
from prun_linux import cgroups
from prun_linux.check import clamped

if TYPE_CHECKING:
    from collections.abc import Callable

    from prun.spec import SpecOpt
    from prun.types import Image, Rootfs, RunRequest

NETWORKS = ("none", "host")
CGROUP_PARENT = "/prun"
CGROUP = "/sys/fs/cgroup"
_X32_GETPID = 0x40000000 + 39  # __X32_SYSCALL_BIT, __NR_getpid
RLIMITS = {"RLIMIT_NOFILE": (1024, 1024)}


def reader(rootfs: Rootfs) -> Callable[[str], bytes | None]:
    """Return what reads a file of the root, each once; None is one that is not there."""

    @cache
    def read(path: str) -> bytes | None:
        try:
            return rootfs.read(path, FILE_LIMIT_BYTES)
        except NotFound:
            return None

    return read


def spec_opts(request: RunRequest, image: Image, rootfs: Rootfs) -> list[SpecOpt]:
    """Return the options that isolate the process.

    Raises:
        InvalidArgument: of the user, the network, a device or a word of ``--security-opt``.
        NotFound: the image knows no such user or group, or this machine no such device.
        FailedPrecondition: there is no default seccomp profile, or this machine cannot do what is asked for.
    """
    read = reader(rootfs)
    user = resolve_user(request.user or image.config.get("User", ""), read)
    hostname = os.uname().nodename if request.namespaces.get("uts") == "host" else default_hostname(request)
    env = [DEFAULT_PATH_ENV, f"HOSTNAME={hostname}", f"HOME={home_of(user['uid'], read)}"]
    if request.terminal:
        env.append("TERM=xterm")
    opts = [
        with_default_env(env),
        with_hostname(default_hostname(request)),
        # With its primary group among them: setgroups(2) must not drop what a file denies it (CVE-2022-36109).
        with_user(user["uid"], user["gid"], dict.fromkeys((user["gid"], *user.get("additionalGids", ())))),
        with_capabilities(DEFAULT_CAPABILITIES, is_root=user["uid"] == 0),
        with_no_new_privileges(True),
        with_rlimits(clamped(RLIMITS)),
        with_namespaces(namespace_kinds(request.network)),
        with_default_devices,
        with_cgroups_path(f"{CGROUP_PARENT}/{request.id}"),
        with_masked_paths(MASKED_PATHS + thermal_paths()),
        with_readonly_paths(READONLY_PATHS + cgroup_paths(request)),
    ]
    if request.groups:
        opts.append(with_added_groups(resolve_groups(request.groups, read)))
    if request.umask is not None:
        opts.append(with_umask(request.umask))
    profile = ""
    if request.security or request.privileged or request.cap_add or request.cap_drop:
        from prun_linux import security

        said = security.parse_security(request.security)
        opts += security.spec_opts(request, said, user["uid"])
        profile = security.seccomp_profile(request, said)
    if request.devices or request.device_rules or request.privileged:
        from prun_linux import devices

        opts += devices.spec_opts(request)
    if request.namespaces:
        from prun_linux import namespaces

        opts += namespaces.spec_opts(request)
    return [*opts, *seccomp_opts(profile)]  # after the capabilities, which it looks at


def has_limits(request: RunRequest) -> bool:
    """Tell whether ``prun_linux.resources`` has anything to do."""
    return bool(
        request.resources
        or request.ulimits
        or request.sysctls
        or request.cgroup_parent
        or request.oom_score_adj is not None
    )


def may_have_user_namespace(request: RunRequest) -> bool:
    """Tell whether ``prun_linux.userns`` has to look: it knows whether it has anything to do."""
    asked = request.uid_map or request.gid_map or request.namespaces.get("user", "host") != "host"
    return bool(asked) or "PRUN_ROOTLESS" in os.environ


def namespace_kinds(network: str) -> list[str]:
    """Return the kinds of namespaces; with ``host`` the process shares the host's network.

    ``none`` has a network namespace in which nothing is set up, not even the loopback interface.
    """
    if network not in NETWORKS:
        raise InvalidArgument(f"network {network!r} is not known to the linux runtime", hint="none or host")
    return [kind for kind in DEFAULT_NAMESPACES if network != "host" or kind != "network"]


def default_hostname(request: RunRequest) -> str:
    """Return the hostname asked for; else twelve digits of a generated id, as docker has it, or the id as given."""
    generated = len(request.id) == 64 and not request.id.strip("0123456789abcdef")
    return request.hostname or (request.id[:12] if generated else request.id)


def seccomp_opts(profile: str) -> list[SpecOpt]:
    """Return the option for the default profile, for the one in a file, or none for ``unconfined``."""
    if profile == "unconfined":
        return []
    from prun.image.platform import host_platform
    from prun.spec.seccomp import default_profile, load_profile, with_seccomp

    loaded = load_profile(profile) if profile else default_profile()
    return [with_seccomp(loaded, host_platform().architecture, kernel_version(), unused_architectures())]


def unused_architectures() -> list[str]:
    """Return what an amd64 profile names and this kernel cannot execute: mostly x32, sometimes all 32-bit code."""
    import ctypes
    import errno

    if os.uname().machine != "x86_64":
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    x32 = libc.syscall(ctypes.c_long(_X32_GETPID)) != -1 or ctypes.get_errno() != errno.ENOSYS
    x86 = os.path.exists("/proc/sys/abi/vsyscall32")  # there with CONFIG_IA32_EMULATION only
    return [name for name, used in (("SCMP_ARCH_X32", x32), ("SCMP_ARCH_X86", x86)) if not used]


def kernel_version() -> tuple[int, int]:
    """Return major and minor of the running kernel."""
    major, minor, *_ = os.uname().release.replace("-", ".").split(".")
    return int(major), int(minor)


def cgroup_paths(request: RunRequest) -> tuple[str, ...]:
    """Return the mount of control groups, unless the user mounts something else there.

    With cgroup v1 runc and crun mount the hierarchies read-only, and the tmpfs that they are in writable.
    """
    if cgroups.mode() == "v2":
        return ()
    mounted = {mount.destination for mount in request.mounts} | {mount.destination for mount in request.volumes}
    return () if CGROUP in mounted else (CGROUP,)


def thermal_paths() -> tuple[str, ...]:
    """Return the thermal counters of this machine's processors, a side channel that docker masks, too."""
    cpus = "/sys/devices/system/cpu"
    try:
        names = sorted(name for name in os.listdir(cpus) if name.startswith("cpu") and name[3:].isdigit())
    except FileNotFoundError:
        return ()
    paths = (f"{cpus}/{name}/thermal_throttle" for name in names)
    return tuple(path for path in paths if os.path.exists(path))
