"""A spec without what belongs to one container, one store and one moment: what two runs can be compared by.

Instead of them stand words in braces: ``{id}`` (also its first twelve digits, which are the host's name),
``{bundle}``, ``{state}``, ``{root}`` for prun's directories, ``{pid}`` of a process whose namespace is joined, and
``{random 1}``, ... for the names of anonymous volumes and other long hexadecimal words.  The ids on the host of
``--userns auto`` are counted from the first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from prun.spec.document import Spec

_RANDOM = re.compile(r"(?<![0-9a-zA-Z:])[0-9a-f]{64}(?![0-9a-zA-Z])")
_PROCESS = re.compile(r"^/proc/[0-9]+(?=/ns/)")


def normalised(spec: Spec, *, container_id: str, root: str, state: str, auto_ids: bool = False) -> Spec:
    """Return a copy with placeholders; ``auto_ids``: the ids of its user namespace were chosen by prun."""
    places = {
        os.path.join(os.path.abspath(state), "bundles", container_id): "{bundle}",
        os.path.abspath(state): "{state}",
        os.path.abspath(root): "{root}",
    }
    patterns: list[tuple[re.Pattern[str], str]] = [
        (re.compile(rf"(?<![^=:,]){re.escape(path)}(?=[/:,]|$)"), word)
        for path, word in sorted(places.items(), key=lambda item: -len(item[0]))
        if path not in ("/", "/bundles")
    ]
    patterns += [
        (re.compile(rf"(?<![0-9a-zA-Z_.-]){re.escape(word)}(?![0-9a-zA-Z_.-])"), "{id}")
        for word in dict.fromkeys((container_id, container_id[:12]))
        if word
    ]
    random: dict[str, str] = {}

    def plain(text: str) -> str:
        for pattern, word in patterns:
            text = pattern.sub(word, text)
        text = _PROCESS.sub("/proc/{pid}", text)
        return _RANDOM.sub(lambda match: random.setdefault(match[0], f"{{random {len(random) + 1}}}"), text)

    found = _mapped(spec, plain)
    if auto_ids:
        for kind in ("uidMappings", "gidMappings"):
            maps = found.get("linux", {}).get(kind, [])
            first = min((each["hostID"] for each in maps), default=0)
            for each in maps:
                each["hostID"] -= first
    return cast("Spec", found)


def normalised_file(spec: Spec) -> Spec:
    """Return the same of a spec whose container is not known: what it says of itself in its paths is believed."""
    words = str(spec.get("linux", {}).get("cgroupsPath", "")).rpartition("/")[2]
    found = _RANDOM.fullmatch(words)
    container_id = found[0] if found else ""
    below = f"/bundles/{container_id}/"
    sources = [str(mount.get("source", "")) for mount in spec.get("mounts", [])]
    state = next((source.partition(below)[0] for source in sources if found and below in source), "/")
    return normalised(spec, container_id=container_id, root="/", state=state)


def hash_of(document: object) -> str:
    """Return the sha256 of a document's canonical JSON: keys sorted, nothing between them."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _mapped(value: object, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _mapped(each, change) for key, each in value.items()}
    return [_mapped(each, change) for each in value] if isinstance(value, list | tuple) else value
