"""Build a small OCI image from Debian's static busybox, as an oci-archive: ``busybox_image.py ARCHIVE``."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile

BUSYBOX = "/bin/busybox"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "usr/bin", "var")
ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}


def layer() -> bytes:
    """Return a tar of busybox, a link for each of its applets, and a minimal /etc."""
    out = io.BytesIO()
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in DIRECTORIES:
            tar.addfile(_entry(name, tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755))
        with open(BUSYBOX, "rb") as file:
            tar.addfile(_entry("bin/busybox", size=os.fstat(file.fileno()).st_size), file)
        for applet in sorted(set(applets) - {"busybox"}):
            tar.addfile(_entry(f"bin/{applet}", tarfile.SYMTYPE, link="busybox"))
        for name, text in ETC.items():
            tar.addfile(_entry(name, size=len(text), mode=0o644), io.BytesIO(text.encode()))
    return out.getvalue()


def image(tar: bytes) -> dict[str, bytes]:
    """Return the files of an OCI image layout that holds one image of one layer."""
    files = {"oci-layout": json.dumps({"imageLayoutVersion": "1.0.0"}).encode()}

    def blob(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        files[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    config = {
        "architecture": MACHINES[os.uname().machine],
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(tar, "application/vnd.oci.image.layer.v1.tar")],
    }
    target = blob(json.dumps(manifest).encode(), manifest["mediaType"])
    target["annotations"] = {"org.opencontainers.image.ref.name": "docker.io/library/busybox:latest"}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [target]}).encode()
    return files


def _entry(
    name: str, kind: bytes = tarfile.REGTYPE, *, size: int = 0, mode: int = 0o755, link: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.linkname = kind, size, mode, link
    return info


def main() -> None:
    """Write the archive that the command line names."""
    with tarfile.open(sys.argv[1], "w") as archive:
        for name, data in image(layer()).items():
            archive.addfile(_entry(name, size=len(data), mode=0o644), io.BytesIO(data))


if __name__ == "__main__":
    main()
