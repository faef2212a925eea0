"""A real Debian (or Ubuntu) image of several layers, made once a machine by debootstrap and umoci.

It has what an image of a distribution has (setuid programs, hard links, devices), and on purpose: a file with
capabilities and ``getcap`` to see them, a whiteout, an opaque directory, a directory that a later layer changes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

TAG = "debian"
CAPABLE = "/usr/local/bin/true-with-capabilities"
_RECIPE = 1  # to be counted up when the recipe below changes


def debian_oci_layout() -> Path:
    """Return the directory of the OCI image layout; the image's tag is ``TAG``.  Needs root and the apt mirror."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "prun-tests")
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{_release()}-{_RECIPE}"
    with open(cache / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=cache) as work:
                _build(Path(work))
                os.rename(Path(work, "layout"), path)
    return path


def _release() -> str:
    """The code name of this machine's distribution: the one whose packages it can reach."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    [name] = [line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME=")]
    return name


def _mirror() -> str:
    """The address that apt itself is configured with."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    for line in output.splitlines():
        uri, release, component = line.split()
        if (release, component) == (_release(), "main"):
            return uri
    raise RuntimeError(f"apt has no mirror of {_release()}")


def _run(*words: str | Path) -> None:
    done = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _build(work: Path) -> None:
    layout, bundle = work / "layout", work / "bundle"
    image = f"{layout}:{TAG}"
    root = bundle / "rootfs"
    _run("umoci", "init", "--layout", layout)
    _run("umoci", "new", "--image", image)
    _run("umoci", "unpack", "--image", image, bundle)
    _run("debootstrap", "--variant=minbase", "--include=libcap2-bin", _release(), root, _mirror())
    for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / leftover)
    _run("umoci", "repack", "--refresh-bundle", "--image", image, bundle)

    shutil.copy2(root / "bin/true", root / CAPABLE[1:])
    _run("setcap", "cap_net_raw,cap_net_bind_service+ep", root / CAPABLE[1:])
    shutil.rmtree(root / "usr/share/doc/tar")  # a whiteout
    (root / "etc/motd").unlink(missing_ok=True)
    (root / "srv").chmod(0o750)
    (root / "srv" / "note").write_text("changed\n", encoding="utf-8")
    os.link(root / "srv" / "note", root / "srv" / "the-same-note")
    _run("umoci", "repack", "--refresh-bundle", "--image", image, bundle)

    skeleton = work / "skeleton"
    skeleton.mkdir()
    (skeleton / ".profile").write_text("# of the image's third layer\n", encoding="utf-8")
    _run("umoci", "insert", "--opaque", "--image", image, skeleton, "/etc/skel")
    _run(
        "umoci",
        "config",
        "--image",
        image,
        "--config.cmd",
        "/bin/bash",
        "--config.env",
        f"PATH={os.defpath}:/usr/sbin:/sbin",
    )
    _run("umoci", "gc", "--layout", layout)
