"""What the linux runtime decides for a container, said in spec options."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import InvalidArgument, NotFound
from prun.spec import with_default_env, with_hostname
from prun.spec.linux import (
    DEFAULT_CAPABILITIES,
    DEFAULT_NAMESPACES,
    DEFAULT_PATH_ENV,
    MASKED_PATHS,
    READONLY_PATHS,
    with_capabilities,
    with_cgroups_path,
    with_default_devices,
    with_masked_paths,
    with_namespaces,
    with_no_new_privileges,
    with_readonly_paths,
    with_rlimits,
    with_user,
)
from prun.spec.user import FILE_LIMIT_BYTES, home_of, resolve_user

if TYPE_CHECKING:
    from prun.spec import SpecOpt
    from prun.types import Image, Rootfs, RunRequest

NETWORKS = ("none", "host")
CGROUP_PARENT = "/prun"
_X32_GETPID = 0x40000000 + 39  # __X32_SYSCALL_BIT, __NR_getpid
RLIMITS = {"RLIMIT_NOFILE": (1024, 1024)}


class Security(NamedTuple):
    """What ``--security-opt`` says; ``seccomp`` is empty for the default profile."""

    no_new_privileges: bool = True
    seccomp: str = ""


def spec_opts(request: RunRequest, image: Image, rootfs: Rootfs) -> list[SpecOpt]:
    """Return the options that isolate the process.

    Raises:
        InvalidArgument: of the user, the network or a word of ``--security-opt``.
        NotFound: the image knows no such user or group.
        FailedPrecondition: there is no default seccomp profile.
    """

    @cache
    def read(path: str) -> bytes | None:
        try:
            return rootfs.read(path, FILE_LIMIT_BYTES)
        except NotFound:
            return None

    security = parse_security(request.security)
    user = resolve_user(request.user or image.config.get("User", ""), read)
    env = [DEFAULT_PATH_ENV, f"HOME={home_of(user['uid'], read)}"]
    if request.terminal:
        env.append("TERM=xterm")
    return [
        with_default_env(env),
        with_hostname(default_hostname(request)),
        with_user(user["uid"], user["gid"], user.get("additionalGids", ())),
        with_capabilities(DEFAULT_CAPABILITIES),
        with_no_new_privileges(security.no_new_privileges),
        with_rlimits(RLIMITS),
        with_namespaces(namespaces(request.network)),
        with_default_devices,
        with_cgroups_path(f"{CGROUP_PARENT}/{request.id}"),
        with_masked_paths(MASKED_PATHS + thermal_paths()),
        with_readonly_paths(READONLY_PATHS),
        *seccomp_opts(security.seccomp),
    ]


def namespaces(network: str) -> list[str]:
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


def parse_security(words: tuple[str, ...]) -> Security:
    """Understand ``no-new-privileges[=true|false]`` and ``seccomp=unconfined|FILE``; ``:`` is taken for ``=``.

    Raises:
        InvalidArgument: of any other word: a restriction that is not understood must not be dropped.
    """
    security = Security()
    for word in words:
        key, _, value = word.partition("=") if "=" in word else word.partition(":")
        if key == "no-new-privileges" and value in ("", "true", "false"):
            security = security._replace(no_new_privileges=value != "false")
        elif key == "seccomp" and value:
            security = security._replace(seccomp=value)
        else:
            raise InvalidArgument(
                f"security option {word!r} is not known to the linux runtime",
                hint="no-new-privileges[=true|false], seccomp=unconfined or seccomp=FILE",
            )
    return security


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


def thermal_paths() -> tuple[str, ...]:
    """Return the thermal counters of this machine's processors, a side channel that docker masks, too."""
    cpus = "/sys/devices/system/cpu"
    try:
        names = sorted(name for name in os.listdir(cpus) if name.startswith("cpu") and name[3:].isdigit())
    except FileNotFoundError:
        return ()
    paths = (f"{cpus}/{name}/thermal_throttle" for name in names)
    return tuple(path for path in paths if os.path.exists(path))
