"""Platforms: which of the manifests in an index fits a machine.

The rules are containerd's (https://github.com/containerd/platforms/blob/v0.2.1/platforms.go), which follow
https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md#platform-variants
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument
from prun.types import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
}
_KNOWN_ARCHITECTURES = frozenset(
    {"386", "amd64", "arm", "arm64", "loong64", "mips64le", "mipsle", "ppc64le", "riscv64", "s390x", "wasm"}
)
_KNOWN_SYSTEMS = frozenset({"darwin", "freebsd", "illumos", "linux", "netbsd", "openbsd", "solaris", "windows"})
_DEFAULT_VARIANT = {"amd64": "v1", "arm": "v7", "arm64": "v8"}
# v9.0 grew out of v8.5: an arm64/v9.x machine runs v8.(x+5) (containerd's compare.go).
_ARM_V9_IS_V8 = 5


def host_platform() -> Platform:
    """Return the platform of this machine."""
    if not hasattr(os, "uname"):
        return normalize(Platform("windows", os.environ.get("PROCESSOR_ARCHITECTURE", "amd64")))
    uname = os.uname()
    return normalize(Platform(uname.sysname, uname.machine))


def parse_platform(text: str) -> Platform:
    """Return the platform that ``os/architecture[/variant]`` names, normalised.

    An architecture alone is one of Linux (``arm64`` is ``linux/arm64``), an operating system alone is that on this
    machine's architecture.  ``windows(10.0.17763)/amd64`` names a version of the operating system.

    Raises:
        InvalidArgument: it is no platform.
    """
    match = re.fullmatch(r"([\w.-]+)(?:\(([\w.-]+)\))?(?:/([\w.-]+))?(?:/([\w.-]+))?", text, re.ASCII)
    if not match:
        raise InvalidArgument(
            f"platform {text[:200]!r} is not os/architecture[/variant]", hint="for example linux/amd64, linux/arm/v7"
        )
    first, version, second, variant = (part or "" for part in match.groups())
    if second:
        return normalize(Platform(first, second, variant, version))
    host = host_platform()
    alone = normalize(Platform("linux", first))
    if alone.architecture in _KNOWN_ARCHITECTURES and not version:
        return alone
    system = normalize(Platform(first, host.architecture, host.variant, version))
    if system.os in _KNOWN_SYSTEMS:
        return system
    raise InvalidArgument(
        f"platform {text[:200]!r} is neither a known architecture nor a known operating system",
        hint="write both: os/architecture[/variant]",
    )


def normalize(platform: Platform) -> Platform:
    """Return the usual spelling: ``Linux/aarch64/v8`` is ``linux/arm64``, ``linux/arm`` is ``linux/arm/v7``."""
    system = platform.os.lower()
    architecture = platform.architecture.lower()
    variant = platform.variant.lower()
    if architecture in _ARCHITECTURES:
        architecture, known = _ARCHITECTURES[architecture]
        variant = known or ("" if architecture == "386" else variant)
    if architecture in _DEFAULT_VARIANT:
        variant = f"v{variant}" if variant[:1].isdigit() else variant
        variant = variant.removesuffix(".0") or _DEFAULT_VARIANT[architecture]
        if architecture != "arm" and variant == _DEFAULT_VARIANT[architecture]:
            variant = ""
    return Platform("darwin" if system == "macos" else system, architecture, variant, platform.os_version)


def rank(wanted: Platform, offered: Platform) -> int | None:
    """Say how well an offered platform fits the wanted one: 0 is exact, more is worse, None is not at all."""
    wanted, offered = normalize(wanted), normalize(offered)
    if wanted.os != offered.os or not _same_build(wanted.os_version, offered.os_version):
        return None
    for position, candidate in enumerate(_runnable(wanted.architecture, wanted.variant)):
        if candidate == (offered.architecture, offered.variant):
            return position
    return None


def _same_build(wanted: str, offered: str) -> bool:
    """Windows runs images of its own build: the first three numbers count (image-index.md, ``os.version``)."""
    return not wanted or not offered or wanted.split(".")[:3] == offered.split(".")[:3]


def _runnable(architecture: str, variant: str) -> Iterator[tuple[str, str]]:
    """Yield what a machine can run, the best first."""
    yield architecture, variant
    number = re.fullmatch(r"v([0-9])(?:\.([0-9]))?", variant or _DEFAULT_VARIANT.get(architecture, ""))
    major, minor = (int(number[1]), int(number[2] or 0)) if number else (0, 0)
    if architecture == "amd64":
        yield from (("amd64", f"v{lower}" if lower > 1 else "") for lower in range(major - 1, 0, -1))
        yield "386", ""
    elif architecture == "arm":
        yield from (("arm", f"v{lower}") for lower in range(major - 1, 4, -1))
    elif architecture == "arm64":
        if major == 9:
            yield from (("arm64", f"v9.{lower}" if lower else "v9") for lower in range(minor - 1, -1, -1))
            minor += _ARM_V9_IS_V8 + 1
        yield from (("arm64", f"v8.{lower}" if lower else "") for lower in range(minor - 1, -1, -1))
        yield from (("arm", f"v{lower}") for lower in range(8, 4, -1))
