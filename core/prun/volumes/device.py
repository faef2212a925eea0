"""What docker's local driver mounts for a volume: ``--opt type=,device=,o=``.

With ``o=bind`` (or ``type=bind``) the device is a directory of the host and is handed to the container as it is;
anything else is mounted by mount(8), once for all containers that use the volume.

Source: https://docs.docker.com/reference/cli/docker/volume/create/#driver-specific-options
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.metadata import VolumeRow

_NEEDS = {"device": ("type",), "type": ("device",), "o": ("type", "device")}
# Options of a bind mount that the container's own mount can have.
_BIND_OPTIONS = ("ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec")
_MOUNT = "/bin/mount"


def check_options(options: Mapping[str, str]) -> None:
    """Refuse what the driver does not know, and what it needs and has not got.

    Raises:
        InvalidArgument: the message names the option.
    """
    for key, value in options.items():
        if key not in _NEEDS:
            known = "a size needs project quotas, which prun does not set" if key == "size" else "type, device and o"
            raise InvalidArgument(f"volume option {key}={value} is not supported", hint=known)
        for other in _NEEDS[key]:
            if not options.get(other):
                raise InvalidArgument(f"missing required option: {other}", hint=f"volume option {key} needs it")
    if is_bind(options):
        if not options["device"].startswith("/"):
            raise InvalidArgument(f"volume device {options['device']!r} is not an absolute path")
        for word in _words(options):
            if word not in (*_BIND_OPTIONS, "bind", "rbind"):
                raise InvalidArgument(f"volume option o={word} does not go with bind", hint=", ".join(_BIND_OPTIONS))


def is_bind(options: Mapping[str, str]) -> bool:
    """Tell whether the volume is a directory of the host; podman says so with the type, too."""
    return options.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(_words(options))


def bound(options: Mapping[str, str]) -> str:
    """Return the directory of the host that the volume is, empty for any other."""
    return options["device"] if is_bind(options) else ""


def bind_options(options: Mapping[str, str]) -> list[str]:
    """Return what the container's mount gets from ``o``."""
    return [word for word in _words(options) if word in _BIND_OPTIONS] if is_bind(options) else []


def is_mounted_by_us(options: Mapping[str, str]) -> bool:
    """Tell whether something has to be mounted before the volume can be used."""
    return bool(options.get("device")) and not is_bind(options)


def mount(row: VolumeRow, target: str) -> None:
    """Mount what the volume is at ``target``, if it is not yet.

    Raises:
        FailedPrecondition: there is no such directory, or mount(8) failed; the message has its words.
    """
    if (directory := bound(row.options)) and not os.path.isdir(directory):
        raise FailedPrecondition(f"volume {row.name}: {directory} is no directory on this machine", hint="make it")
    if not is_mounted_by_us(row.options) or os.path.ismount(target):
        return
    import subprocess

    words = [_MOUNT, "-t", row.options["type"], *(["-o", row.options["o"]] if row.options.get("o") else [])]
    done = subprocess.run(
        [*words, "--", row.options["device"], target],
        stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}, check=False,
    )  # fmt: skip
    if done.returncode:
        reason = " ".join(done.stderr.split()).replace(target, "its directory")
        raise FailedPrecondition(
            f"volume {row.name} cannot be mounted: {reason}",
            hint=f"look at its options: prun volume inspect {row.name}",
        )


def unmount(target: str) -> None:
    """Unmount what ``mount`` has mounted; nothing there is fine."""
    if os.path.ismount(target):
        from prun.rootfs.mount import unmount as unmounted

        unmounted(target)


def _words(options: Mapping[str, str]) -> list[str]:
    return [word for word in options.get("o", "").split(",") if word]
