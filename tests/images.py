"""Images made by hand, for every test that needs one: quick, exact, and as wrong as the test wants them.

A layer is a tar made of entries; an entry is a ``tarfile.TarInfo``, with its content where it has some::

    layer = layer_tar([directory("etc"), file("etc/motd", b"hello"), symlink("motd", "etc/motd")])
    oci_layout(tmp_path / "image", [layer], {"Cmd": ["/bin/sh"]}, tag="latest", compression="gzip")
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Entry = tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]
Compression = Literal["none", "gzip", "zstd"]

MTIME = 1_700_000_000
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = {
    "none": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def entry(name: str, kind: bytes, **fields: Any) -> tarfile.TarInfo:
    """A header of the given type; ``fields`` are attributes of TarInfo (mode, uid, gid, mtime, pax_headers, ...)."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mtime = MTIME
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def directory(name: str, **fields: Any) -> tarfile.TarInfo:
    return entry(name, tarfile.DIRTYPE, **fields)


def file(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.REGTYPE, size=len(data), **fields), data


def symlink(name: str, target: str, **fields: Any) -> tarfile.TarInfo:
    return entry(name, tarfile.SYMTYPE, linkname=target, **{"mode": 0o777, **fields})


def hardlink(name: str, target: str, **fields: Any) -> tarfile.TarInfo:
    return entry(name, tarfile.LNKTYPE, linkname=target, **fields)


def layer_tar(entries: Iterable[Entry], format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    """An uncompressed tar of the entries, in their order, names as given."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for item in entries:
            info, data = item if isinstance(item, tuple) else (item, b"")
            tar.addfile(info, io.BytesIO(data) if data else None)
    return out.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


def document(value: object) -> bytes:
    return json.dumps(value).encode()


def compressed(data: bytes, compression: Compression) -> bytes:
    if compression == "gzip":
        return gzip.compress(data, compresslevel=1, mtime=0)
    if compression == "zstd":
        import zstandard

        return zstandard.compress(data, level=1)
    return data


def put_blob(path: str | os.PathLike[str], data: bytes) -> str:
    """Store the blob in the layout at ``path`` and return its digest."""
    name = digest(data)
    blobs = Path(path, "blobs", "sha256")
    blobs.mkdir(parents=True, exist_ok=True)
    blobs.joinpath(name.partition(":")[2]).write_bytes(data)
    return name


def machine_platform() -> dict[str, str]:
    machine = os.uname().machine
    return {"os": "linux", "architecture": ARCHITECTURES.get(machine, machine)}


def config_document(
    layers: Sequence[bytes], config: dict[str, Any] | None, platform: dict[str, str] | None = None
) -> dict[str, Any]:
    """The image config of uncompressed layer tars; ``platform`` is this machine's where none is given."""
    return {
        **(platform or machine_platform()),
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        "history": [{"created_by": f"layer {number}"} for number, _ in enumerate(layers)],
    }


def put_image(
    path: str | os.PathLike[str],
    layers: Sequence[bytes],
    config: dict[str, Any] | None = None,
    compression: Compression = "gzip",
    platform: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Store an image's blobs in the layout at ``path`` and return the descriptor of its manifest."""
    config_blob = document(config_document(layers, config, platform))
    put_blob(path, config_blob)
    blobs = [compressed(layer, compression) for layer in layers]
    for blob in blobs:
        put_blob(path, blob)
    manifest = document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config_blob),
            "layers": [descriptor(LAYER[compression], blob) for blob in blobs],
        }
    )
    put_blob(path, manifest)
    return descriptor(MANIFEST, manifest)


def put_index(path: str | os.PathLike[str], manifests: Sequence[dict[str, Any]]) -> None:
    """Write ``oci-layout`` and ``index.json`` of the layout at ``path``."""
    Path(path).mkdir(parents=True, exist_ok=True)
    Path(path, "oci-layout").write_bytes(document({"imageLayoutVersion": "1.0.0"}))
    Path(path, "index.json").write_bytes(
        document({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)})
    )


def oci_layout(
    path: str | os.PathLike[str],
    layers: Sequence[bytes],
    config: dict[str, Any] | None = None,
    tag: str = "latest",
    compression: Compression = "gzip",
) -> None:
    """Write an OCI image layout that holds one image for this machine; ``config`` is the ``config`` object."""
    target = put_image(path, layers, config, compression)
    put_index(path, [{**target, "annotations": {"org.opencontainers.image.ref.name": tag}}])


def six_platforms(path: str | os.PathLike[str]) -> None:
    """Write an OCI image layout of one image, tag ``six``, for six platforms; its only file is ``which``."""
    entries = []
    for machine in ("amd64", "arm64", "ppc64le", "s390x", "riscv64", "386"):
        platform = {"os": "linux", "architecture": machine}
        layers = [layer_tar([file("which", machine.encode())])]
        entries.append({**put_image(path, layers, {}, platform=platform), "platform": platform})
    index = document({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    put_blob(path, index)
    put_index(path, [{**descriptor(INDEX, index), "annotations": {"org.opencontainers.image.ref.name": "six"}}])


def archive_of(directory: str | os.PathLike[str]) -> bytes:
    """A plain tar of a directory, as ``tar -C directory -cf - .`` makes it: an oci-archive of a layout."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in sorted(os.listdir(directory)):
            tar.add(Path(directory, name), arcname=name)
    return out.getvalue()


def busybox_layer() -> bytes:
    """A root file system of Debian's busybox-static: the usual applets, /etc/passwd and /etc/group, an empty /tmp."""
    applets = (
        "cat chmod echo env false hostname id kill ls mkdir mount ps pwd readlink rm sh sleep stat stty test touch"
    )
    return layer_tar(
        [
            *(directory(name) for name in ("bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "var")),
            directory("tmp", mode=0o1777),
            file("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755),
            *(symlink(f"bin/{name}", "busybox") for name in (*applets.split(), "true", "uname", "wc")),
            file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000:bob:/home:/bin/sh\n"),
            file("etc/group", b"root:x:0:\nbob:x:1000:\naudio:x:29:bob\n"),
        ]
    )


def busybox_layout(path: str | os.PathLike[str]) -> None:
    """Write an OCI image layout of busybox, tag ``busybox``, one gzip layer, ``Cmd`` /bin/sh."""
    config = {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
    oci_layout(path, [busybox_layer()], config, tag="busybox")
