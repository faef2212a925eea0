"""The shape of the OCI runtime spec: a JSON object, whose unknown keys survive.

Spec: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md
"""

from __future__ import annotations

from typing import Any, TypedDict


class User(TypedDict, total=False):
    """config.md#user."""

    uid: int
    gid: int
    umask: int
    additionalGids: list[int]
    username: str


class Capabilities(TypedDict, total=False):
    """config.md#linux-process, the five sets."""

    bounding: list[str]
    effective: list[str]
    inheritable: list[str]
    permitted: list[str]
    ambient: list[str]


class Rlimit(TypedDict):
    """config.md#posix-process."""

    type: str
    soft: int
    hard: int


class ConsoleSize(TypedDict):
    """config.md#process, in characters."""

    height: int
    width: int


class Process(TypedDict, total=False):
    """config.md#process."""

    terminal: bool
    consoleSize: ConsoleSize
    user: User
    args: list[str]
    commandLine: str
    env: list[str]
    cwd: str
    capabilities: Capabilities
    rlimits: list[Rlimit]
    noNewPrivileges: bool
    apparmorProfile: str
    oomScoreAdj: int
    selinuxLabel: str


class Root(TypedDict, total=False):
    """config.md#root."""

    path: str
    readonly: bool


class MountEntry(TypedDict, total=False):
    """config.md#mounts."""

    destination: str
    type: str
    source: str
    options: list[str]


class Namespace(TypedDict, total=False):
    """config-linux.md#namespaces."""

    type: str
    path: str


class DeviceRule(TypedDict, total=False):
    """config-linux.md#allowed-device-list."""

    allow: bool
    type: str
    major: int
    minor: int
    access: str


class Device(TypedDict, total=False):
    """config-linux.md#devices."""

    path: str
    type: str
    major: int
    minor: int
    fileMode: int
    uid: int
    gid: int


class Resources(TypedDict, total=False):
    """config-linux.md#control-groups."""

    devices: list[DeviceRule]
    memory: dict[str, Any]
    cpu: dict[str, Any]
    pids: dict[str, Any]
    blockIO: dict[str, Any]
    unified: dict[str, str]


class Linux(TypedDict, total=False):
    """config-linux.md."""

    namespaces: list[Namespace]
    cgroupsPath: str
    resources: Resources
    devices: list[Device]
    maskedPaths: list[str]
    readonlyPaths: list[str]
    seccomp: dict[str, Any]
    sysctl: dict[str, str]
    rootfsPropagation: str
    mountLabel: str
    uidMappings: list[dict[str, int]]
    gidMappings: list[dict[str, int]]


class Spec(TypedDict, total=False):
    """config.md."""

    ociVersion: str
    process: Process
    root: Root
    hostname: str
    domainname: str
    mounts: list[MountEntry]
    annotations: dict[str, str]
    hooks: dict[str, list[dict[str, Any]]]
    linux: Linux
    windows: dict[str, Any]
    vm: dict[str, Any]
