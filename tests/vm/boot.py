"""What a guest boots from: a kernel of Debian's, unpacked and not installed, and an initial root file system for it.

The kernel is fetched once for a version and kept in the cache directory, as ``debian_image.py`` keeps its image.
"""

from __future__ import annotations

import fcntl
import io
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

META_PACKAGE = "linux-image-amd64"  # the cloud kernel is smaller, and has no 9p
# Only these and what they need are loaded: the root comes over 9p, below an overlay; a disk is there to be limited.
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_blk")
BUSYBOX = Path("/bin/busybox")
INIT = Path(__file__).with_name("init")
_RECIPE = 2  # to be counted up when what is cached changes
_XZ = b"\xfd7zXZ\0"
_DEPENDENCY = re.compile(rb"(?:^|\0)(?:depends|softdep)=([^\0]*)")


class Kernel(NamedTuple):
    """The kernel as an ELF file, and its modules in the order of loading."""

    image: Path
    modules: tuple[Path, ...]


@cache
def debian_kernel() -> Kernel:
    """Return the kernel that apt knows as the newest.  Needs the apt mirror for the first time."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "prun-tests")
    kept.mkdir(parents=True, exist_ok=True)
    name, version = _kernel_package()
    path = kept / f"{name}_{version}-{_RECIPE}"
    with open(kept / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=kept) as work:
                os.rename(_fetch(Path(work), name, version), path)
    return Kernel(path / "vmlinux", tuple(sorted(path.glob("*.ko"))))


def initrd(kernel: Kernel) -> bytes:
    """Return the archive that the kernel takes its first files from: init, busybox, the modules."""
    files = {"init": INIT, "bin/busybox": BUSYBOX, **{f"modules/{path.name}": path for path in kernel.modules}}
    out = io.BytesIO()
    for name in ("bin", "modules"):
        out.write(_member(name, 0o40755))
    for name, path in files.items():
        out.write(_member(name, 0o100755, path.read_bytes()))
    out.write(_member("TRAILER!!!", 0))
    return out.getvalue()


def _member(name: str, mode: int, data: bytes = b"") -> bytes:
    """One entry in the "new ASCII" form of cpio (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    ino, uid, gid, links, mtime, device, check = 0, 0, 0, 1, 0, (0, 0, 0, 0), 0
    fields = (ino, mode, uid, gid, links, mtime, len(data), *device, len(name) + 1, check)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return b"".join(part + b"\0" * (-len(part) % 4) for part in (head, data))


def _kernel_package() -> tuple[str, str]:
    """Name and version of the package that the meta package stands for today."""
    shown = _output("apt-cache", "show", "--no-all-versions", META_PACKAGE)
    [name] = re.findall(r"^Depends: (linux-image-\S+)", shown, re.MULTILINE)
    [version] = re.findall(r"^Version: (\S+)", _output("apt-cache", "show", "--no-all-versions", name), re.MULTILINE)
    return name, version


def _output(*words: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def _fetch(work: Path, name: str, version: str) -> Path:
    """Download the package and return a directory of ``vmlinux`` and the numbered modules."""
    _output("apt-get", "download", f"{name}={version}", cwd=work)
    [deb] = work.glob("*.deb")
    _output("dpkg-deb", "-x", deb, work / "package")
    result = work / "result"
    result.mkdir()
    [image] = (work / "package/boot").glob("vmlinuz-*")
    (result / "vmlinux").write_bytes(_vmlinux(image.read_bytes()))
    [modules] = (work / "package/lib/modules").iterdir()
    for number, path in enumerate(_in_order(modules)):
        shutil.move(path, result / f"{number:02}-{path.name}")
    return result


def _vmlinux(image: bytes) -> bytes:
    """Return the ELF file inside a bzImage: QEMU starts it at once, where the guest would unpack it for seconds."""
    return lzma.LZMADecompressor().decompress(image[image.index(_XZ) :])


def _in_order(modules: Path) -> list[Path]:
    """The files of ``MODULES``, each after those that its ``.modinfo`` section says it needs."""
    paths = {path.stem.replace("-", "_"): path for path in modules.rglob("*.ko")}
    builtin = {Path(line).stem.replace("-", "_") for line in (modules / "modules.builtin").read_text().splitlines()}
    order: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in order or name in builtin:
            return
        for needed in _DEPENDENCY.findall(paths[name].read_bytes()):
            # "depends" has commas, "softdep" has "pre: a b post: c"; what is only a wish may be missing.
            wishes = re.split(rb"[,\s]+|\w+:", needed.partition(b"post:")[0])
            for wish in filter(None, (word.decode().replace("-", "_") for word in wishes)):
                if wish in paths or wish in builtin:
                    add(wish)
        order[name] = paths[name]

    for name in MODULES:
        add(name)
    return list(order.values())
