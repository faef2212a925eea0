"""Options for a Linux container: what the platform needs, whoever runs it.

Here are the values that docker and containerd agree on and the options that put them into a spec.  Which of them a
container gets is the decision of a runtime plugin (``prun_linux``, a virtual machine's, a third party's).

Spec: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun.errors import InvalidArgument
from prun.types import NOTHING, Mount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prun.spec import SpecOpt
    from prun.spec.document import Device, DeviceRule, Namespace, Rlimit, Spec, User

DEFAULT_PATH_ENV = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# capabilities(7), in the order of their numbers.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)

# docker's and containerd's fourteen.
DEFAULT_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

NAMESPACES = ("pid", "ipc", "uts", "mount", "network", "cgroup", "user", "time")
DEFAULT_NAMESPACES = ("pid", "ipc", "uts", "mount", "network", "cgroup")

DEFAULT_MOUNTS = (
    Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    Mount("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),  # noqa: S108
    Mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    Mount("/run", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
)

# docker's list: they tell about the host, or let the container change it.  The runtime skips what does not exist.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# Character devices by (major, minor); None is any minor.
DEFAULT_DEVICES = (
    (1, 3),  # null
    (1, 5),  # zero
    (1, 7),  # full
    (1, 8),  # random
    (1, 9),  # urandom
    (5, 0),  # tty
    (5, 1),  # console
    (5, 2),  # ptmx
    (136, None),  # pts/*
)

RLIMITS = (
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
)
MAX_ID = 2**31 - 1


def require_capability(name: str) -> str:
    """Return ``name`` in the spec's spelling; ``chown`` and ``CAP_CHOWN`` are the same.

    Raises:
        InvalidArgument: Linux has no such capability.
    """
    upper = name.upper() if name.isascii() else name  # "ſ" (U+017F) has "S" for its capital
    spelled = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if spelled not in CAPABILITIES:
        raise InvalidArgument(f"capability {name!r} is not known", hint="see capabilities(7)")
    return spelled


def with_capabilities(names: Iterable[str], *, is_root: bool = True) -> SpecOpt:
    """Replace the bounding, effective and permitted sets; inheritable and ambient are emptied (CVE-2022-24769).

    Who is not root has none but in the bounding set: until the execve takes them away (capabilities(7)) they would
    open files that are root's, the command's own among them.
    """
    value = [require_capability(name) for name in names]
    held = value if is_root else []

    def opt(spec: Spec) -> None:
        spec.setdefault("process", {})["capabilities"] = {
            "bounding": list(value),
            "effective": list(held),
            "permitted": list(held),
        }

    return opt


def with_ambient_capabilities(names: Iterable[str]) -> SpecOpt:
    """Replace every set but the bounding one: a process that is not root has these after an execve, and no others.

    Permitted and effective alone are lost with the execve of the command (capabilities(7)).
    """
    value = [require_capability(name) for name in names]

    def opt(spec: Spec) -> None:
        sets = spec.setdefault("process", {}).setdefault("capabilities", {})
        for kind in ("effective", "permitted", "inheritable", "ambient"):
            sets[kind] = list(value)

    return opt


def with_namespaces(kinds: Iterable[str], paths: Mapping[str, str] = NOTHING) -> SpecOpt:
    """Replace ``linux.namespaces`` with these kinds: new ones, or those that ``paths`` leads to.

    Spec: config-linux.md#namespaces
    """
    value: list[Namespace] = [
        {"type": kind, "path": paths[kind]} if kind in paths else {"type": kind} for kind in dict.fromkeys(kinds)
    ]
    for namespace in value:
        if namespace["type"] not in NAMESPACES:
            raise InvalidArgument(f"namespace {namespace['type']!r} is not one of {', '.join(NAMESPACES)}")

    def opt(spec: Spec) -> None:
        spec.setdefault("linux", {})["namespaces"] = [namespace.copy() for namespace in value]

    return opt


def with_rlimits(limits: Mapping[str, tuple[int, int]]) -> SpecOpt:
    """Set each ``RLIMIT_*`` to (soft, hard), replacing those of the same type (config.md#posix-process)."""
    value: dict[str, Rlimit] = {}
    for name, (soft, hard) in limits.items():
        if name not in RLIMITS:
            raise InvalidArgument(f"resource limit {name!r} is not known", hint="see getrlimit(2), RLIMIT_NOFILE")
        if not 0 <= soft <= hard < 2**64:
            raise InvalidArgument(f"{name} {soft}:{hard} must be 0 <= soft <= hard")
        value[name] = {"type": name, "soft": soft, "hard": hard}

    def opt(spec: Spec) -> None:
        process = spec.setdefault("process", {})
        there = {limit["type"]: limit for limit in process.get("rlimits", [])}
        process["rlimits"] = list({**there, **value}.values())

    return opt


def with_no_new_privileges(value: bool) -> SpecOpt:
    """Say whether an execve may add privileges, as a setuid program does (config.md#linux-process)."""

    def opt(spec: Spec) -> None:
        spec.setdefault("process", {})["noNewPrivileges"] = value

    return opt


def with_user(uid: int, gid: int, additional_gids: Iterable[int] = ()) -> SpecOpt:
    """Replace ``process.user`` (config.md#posix-platform-user); ids are 0 to 2147483647."""
    user: User = {"uid": uid, "gid": gid}
    if groups := list(additional_gids):
        user["additionalGids"] = groups
    for number in (uid, gid, *groups):
        if not 0 <= number <= MAX_ID:
            raise InvalidArgument(f"user or group id {number} is not between 0 and {MAX_ID}")

    def opt(spec: Spec) -> None:
        spec.setdefault("process", {})["user"] = user.copy()

    return opt


def with_added_groups(gids: Iterable[int]) -> SpecOpt:
    """Add to ``process.user.additionalGids`` those that are not there (config.md#posix-platform-user)."""
    value = list(gids)
    for number in value:
        if not 0 <= number <= MAX_ID:
            raise InvalidArgument(f"group id {number} is not between 0 and {MAX_ID}")

    def opt(spec: Spec) -> None:
        user = spec.setdefault("process", {}).setdefault("user", {})
        user["additionalGids"] = list(dict.fromkeys((*user.get("additionalGids", ()), *value)))

    return opt


def with_umask(umask: int) -> SpecOpt:
    """Replace ``process.user.umask`` (config.md#posix-platform-user)."""
    if not 0 <= umask <= 0o777:
        raise InvalidArgument(f"umask {umask:o} is not between 0 and 777")

    def opt(spec: Spec) -> None:
        spec.setdefault("process", {}).setdefault("user", {})["umask"] = umask

    return opt


def with_apparmor_profile(name: str) -> SpecOpt:
    """Replace ``process.apparmorProfile`` (config.md#linux-process)."""

    def opt(spec: Spec) -> None:
        spec.setdefault("process", {})["apparmorProfile"] = name

    return opt


def with_added_hooks(hooks: Iterable[tuple[str, Mapping[str, object]]]) -> SpecOpt:
    """Append hooks, each to those of its name (config.md#posix-platform-hooks)."""
    value = [(name, dict(hook)) for name, hook in hooks]

    def opt(spec: Spec) -> None:
        for name, hook in value:
            spec.setdefault("hooks", {}).setdefault(name, []).append(dict(hook))

    return opt


def with_shared_root(spec: Spec) -> None:
    """Let mounts that the container makes in a shared mount reach the host (config-linux.md#rootfs-mount-propagation).

    Otherwise the OCI runtimes turn every mount into a slave before they look at its own propagation.
    """
    spec.setdefault("linux", {})["rootfsPropagation"] = "shared"


def with_cgroups_path(path: str) -> SpecOpt:
    """Replace ``linux.cgroupsPath``; an absolute path starts at the cgroup mount (config-linux.md#cgroups-path)."""
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise InvalidArgument(f"cgroups path {path!r} is not an absolute path without '..'")

    def opt(spec: Spec) -> None:
        spec.setdefault("linux", {})["cgroupsPath"] = path

    return opt


def with_default_devices(spec: Spec) -> None:
    """Replace the device rules: deny all, then allow what ``/dev`` needs (config-linux.md#allowed-device-list)."""
    rules: list[DeviceRule] = [{"allow": False, "access": "rwm"}]
    for major, minor in DEFAULT_DEVICES:
        rule: DeviceRule = {"allow": True, "type": "c", "major": major, "access": "rwm"}
        if minor is not None:
            rule["minor"] = minor
        rules.append(rule)
    spec.setdefault("linux", {}).setdefault("resources", {})["devices"] = rules


def with_added_devices(nodes: Iterable[Device], rules: Iterable[DeviceRule]) -> SpecOpt:
    """Append device nodes, each in the place of one of the same path, and rules that allow devices.

    Spec: config-linux.md#devices, config-linux.md#allowed-device-list
    """
    added, allowed = {node["path"]: node for node in nodes}, list(rules)

    def opt(spec: Spec) -> None:
        linux = spec.setdefault("linux", {})
        there = {node["path"]: node for node in linux.get("devices", [])}
        if devices := [node.copy() for node in {**there, **added}.values()]:
            linux["devices"] = devices
        linux.setdefault("resources", {}).setdefault("devices", []).extend(rule.copy() for rule in allowed)

    return opt


def with_masked_paths(paths: Iterable[str]) -> SpecOpt:
    """Replace ``linux.maskedPaths`` (config-linux.md#masked-paths)."""
    value = _absolute("masked path", paths)

    def opt(spec: Spec) -> None:
        spec.setdefault("linux", {})["maskedPaths"] = list(value)

    return opt


def with_readonly_paths(paths: Iterable[str]) -> SpecOpt:
    """Replace ``linux.readonlyPaths`` (config-linux.md#readonly-paths)."""
    value = _absolute("read-only path", paths)

    def opt(spec: Spec) -> None:
        spec.setdefault("linux", {})["readonlyPaths"] = list(value)

    return opt


def with_added_masked_paths(paths: Iterable[str]) -> SpecOpt:
    """Append to ``linux.maskedPaths`` those that are not there."""
    value = _absolute("masked path", paths)

    def opt(spec: Spec) -> None:
        linux = spec.setdefault("linux", {})
        linux["maskedPaths"] = list(dict.fromkeys((*linux.get("maskedPaths", ()), *value)))

    return opt


def without_hidden_paths(patterns: Iterable[str]) -> SpecOpt:
    """Take what a pattern matches from ``maskedPaths`` and ``readonlyPaths``; ``*`` does not match a slash."""
    value = _absolute("unmasked path", patterns)

    def opt(spec: Spec) -> None:
        linux = spec.setdefault("linux", {})
        for paths in (linux.setdefault("maskedPaths", []), linux.setdefault("readonlyPaths", [])):
            paths[:] = [path for path in paths if not any(_matches(path, pattern) for pattern in value)]

    return opt


def _matches(path: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    parts, patterns = path.split("/"), pattern.rstrip("/").split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _absolute(what: str, paths: Iterable[str]) -> list[str]:
    value = list(paths)
    for path in value:
        if not path.startswith("/") or "\0" in path:
            raise InvalidArgument(f"{what} {path!r} is not an absolute path")
    return value
