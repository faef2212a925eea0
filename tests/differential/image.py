"""The two images that both peers run: ``peer`` is busybox and the probe, ``configured`` has every field of a config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from images import archive_of, busybox_layer, directory, file, layer_tar, oci_layout, symlink

if TYPE_CHECKING:
    from images import Entry

PROBE = Path(__file__).with_name("probe.sh")
APPLETS = "date find grep sed sort tail tr seq stty tee timeout umount whoami"
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000:bob:/home/bob:/bin/sh\nnohome:x:1001:1001::/none:/bin/sh\n"
GROUP = b"root:x:0:\nbob:x:1000:\naudio:x:29:bob\nstaff:x:50:\n"
PATHS = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONFIGS: dict[str, dict[str, Any]] = {
    "peer": {"Cmd": ["sh"], "Env": [PATHS]},
    "configured": {
        "Entrypoint": ["probe"],
        "Cmd": ["id", "cwd"],
        "Env": [PATHS, "FROM_IMAGE=image", "OVERRIDDEN=image"],
        "User": "bob",
        "WorkingDir": "/home/bob",
        "Volumes": {"/data": {}},
        "Labels": {"colour": "blue"},
        "StopSignal": "SIGINT",
    },
}


def entries() -> list[Entry]:
    """What the probe needs beside busybox, and files for volumes to copy and for commands that cannot run."""
    return [
        *(symlink(f"bin/{name}", "busybox") for name in APPLETS.split()),
        file("bin/probe", PROBE.read_bytes(), mode=0o755),
        file("etc/passwd", PASSWD),
        file("etc/group", GROUP),
        directory("home/bob", uid=1000, gid=1000),
        directory("data", mode=0o750, uid=1000, gid=1000),
        file("data/file", b"of the image\n", uid=1000, gid=1000, mode=0o640),
        directory("data/directory", uid=1000, gid=50, mode=0o2775),
        symlink("data/link", "file", uid=1000, gid=1000),
        file("etc/not-executable", b"#!/bin/sh\n", mode=0o644),
        file("etc/no-format", b"no program\n", mode=0o755),
        file("etc/no-interpreter", b"#!/bin/missing\n", mode=0o755),
    ]


def write_archives(path: Path) -> dict[str, Path]:
    """Write an oci-archive of each image below ``path``."""
    layers = [busybox_layer(), layer_tar(entries())]
    archives = {}
    for name, config in CONFIGS.items():
        tag = f"docker.io/library/{name}:latest"
        oci_layout(path / name, layers, config, tag=tag, compression="none")
        archives[name] = path / f"{name}.tar"
        archives[name].write_bytes(archive_of(path / name))
    return archives
