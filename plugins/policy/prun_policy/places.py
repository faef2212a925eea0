"""Where on this machine a mount's source is, by the kernel's own account (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re


def places(path: str) -> list[str]:
    """Return the names under which the mount at ``path`` can be reached besides; none where there is no such mount.

    prun mounts copies of bind sources into the bundle, so that nobody can swap them; this says of what.
    """
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.split(" ")[2:5] for line in file]
    except OSError:
        return []
    mounts = [(device, _plain(root), _plain(point)) for device, root, point in rows]
    ours = [(device, root) for device, root, point in mounts if point == path]
    if not ours:
        return []
    device, root = ours[-1]
    return [
        (point.rstrip("/") + root[len(other.rstrip("/")) :]).rstrip("/") or "/"
        for same, other, point in mounts
        if same == device and point != path and (root == other or root.startswith(other.rstrip("/") + "/"))
    ]


def _plain(text: str) -> str:
    """Undo the kernel's octal escapes."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
