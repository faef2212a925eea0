"""Images in an OCI image layout: a directory, or an archive of one.

Spec: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from prun.errors import DataLoss, InvalidArgument, NotFound
from prun.image.digest import digest_of, matches
from prun.image.fields import as_string, load_object
from prun.image.ingest import NAME_ANNOTATION
from prun.image.manifest import MAX_DOCUMENT_BYTES, NotAnImage, blobs, is_offered, needed_for, parse_index, resolve
from prun.image.media_type import LAYERS, OCI_INDEX
from prun.image.platform import host_platform, rank
from prun.image.reference import is_tag, parse_reference
from prun.image.staging import check_compression

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prun.image.document import Descriptor
    from prun.image.files import Files
    from prun.image.staging import Admit, Staging
    from prun.types import Layer, Platform

LAYOUT_FILE = "oci-layout"
_INDEX_FILE = "index.json"
# containerd and docker put the full name here, and the tag alone into the annotation of the spec.
_FULL_NAME_ANNOTATION = "io.containerd.image.name"


class _Entry(NamedTuple):
    """An image in ``index.json``: as it is called there, and the canonical names that this stands for."""

    target: Descriptor
    called: str
    names: tuple[str, ...]

    @property
    def tags(self) -> list[str]:
        """The tags that it goes by."""
        return [self.called, *(parse_reference(name).tag for name in self.names)]


class _LayoutContent:
    """The blobs of the layout, as content to resolve images in."""

    def __init__(self, files: Files, entries: Sequence[_Entry]) -> None:
        self._files = files
        self.made: dict[str, bytes] = {}
        self.entries = [(entry.target, entry.tags) for entry in entries]

    def has(self, digest: str) -> bool:
        return digest in self.made or self._files.has(_blob(digest))

    def read(self, digest: str, limit_bytes: int) -> bytes:
        if digest in self.made:
            return self.made[digest]
        data = self._files.read(_blob(digest), limit_bytes)
        if not matches(data, digest):
            raise DataLoss(f"{self._files.label}: blob {digest} has another content than its digest says")
        return data


def load_oci(staging: Staging, tag: str) -> tuple[list[tuple[tuple[str, ...], Descriptor]], list[str]]:
    """Stage the images of a layout; see ``archive.loading``.

    Returns each image's names and target, and the digests of all that they need, in the order to commit them in.
    """
    files, ingest = staging.files, staging.ingest
    content, chosen = _chosen(files, tag, staging.admit)
    needed: dict[str, Descriptor] = {}
    for entry in chosen:
        for descriptor in _blobs_of(content, entry, staging.platform):
            if descriptor["digest"] not in content.made:
                needed.setdefault(descriptor["digest"], descriptor)
    for descriptor in needed.values():
        _check_blob(files, descriptor)
    here = host_platform()
    if staging.unpack and (not staging.platform or rank(here, staging.platform) is not None):
        images = [_layers(content, entry.target, staging.platform or here) for entry in chosen]
    else:
        images = []
    staging.run({_blob(digest): descriptor for digest, descriptor in needed.items()}, images, _blob)
    made = [ingest.put(data, OCI_INDEX)["digest"] for data in content.made.values()]
    return [(entry.names, _plain(entry.target)) for entry in chosen], [*needed, *made]


def look_into(
    files: Files, tag: str, admit: Admit | None
) -> tuple[_LayoutContent, list[tuple[tuple[str, ...], Descriptor]]]:
    """Return the documents of a layout, and each image's names and target; see ``archive.looking``."""
    content, chosen = _chosen(files, tag, admit)
    return content, [(entry.names, _plain(entry.target)) for entry in chosen]


def _chosen(files: Files, tag: str, admit: Admit | None) -> tuple[_LayoutContent, list[_Entry]]:
    """Return the documents of a layout, and those images of it that are wanted and may come in."""
    _check_layout(files)
    entries = _entries(files)
    content = _LayoutContent(files, entries)
    chosen = _tagged(files, entries, tag) if tag else _all(entries, content)
    if admit:
        for entry in chosen:
            admit("oci", entry.names, entry.target, content)
    return content, chosen


def _blobs_of(content: _LayoutContent, entry: _Entry, platform: Platform | None) -> Iterable[Descriptor]:
    if platform is None:
        return blobs(content, entry.target)
    return needed_for(content, entry.target, platform, entry.called or entry.target["digest"])[1]


def _layers(content: _LayoutContent, target: Descriptor, platform: Platform) -> tuple[Layer, ...]:
    """Return the layers of the image for a platform; none where it is one for others, or no image."""
    try:
        return resolve(content, target, platform, target["digest"]).layers
    except (NotFound, NotAnImage):
        return ()


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _plain(target: Descriptor) -> Descriptor:
    return {"mediaType": target["mediaType"], "digest": target["digest"], "size": target["size"]}


def _check_layout(files: Files) -> None:
    layout = load_object(files.read(LAYOUT_FILE, MAX_DOCUMENT_BYTES), f"{files.label}: {LAYOUT_FILE}")
    version = as_string(layout.get("imageLayoutVersion"), f"{files.label}: imageLayoutVersion")
    if not version.startswith("1."):
        raise InvalidArgument(f"{files.label} is an OCI image layout of version {version[:100]!r}, not 1")


def _check_blob(files: Files, descriptor: Descriptor) -> None:
    name = _blob(descriptor["digest"])
    size = files.size(name)
    if size != descriptor["size"]:
        raise DataLoss(
            f"{files.label}: blob {descriptor['digest']} has {size} bytes, its descriptor says {descriptor['size']}"
        )
    if descriptor["mediaType"] in LAYERS:
        check_compression(files, name, descriptor["mediaType"])


def _entries(files: Files) -> list[_Entry]:
    index = parse_index(files.read(_INDEX_FILE, MAX_DOCUMENT_BYTES))
    entries = [_entry(target) for target in index["manifests"]]
    if not entries:
        raise NotFound(f"{files.label} holds no image")
    return entries


def _entry(target: Descriptor) -> _Entry:
    annotations = target.get("annotations", {})
    called = annotations.get(NAME_ANNOTATION, "")
    full = annotations.get(_FULL_NAME_ANNOTATION, "")
    names = _canonical(full) or (() if is_tag(called) else _canonical(called))  # a tag alone names no repository
    return _Entry(target, called or full, names)


def _canonical(name: str) -> tuple[str, ...]:
    """Return the canonical form of a name, nothing where it is none: anything may stand in an annotation."""
    try:
        return (str(parse_reference(name)),) if name else ()
    except InvalidArgument:
        return ()


def _tagged(files: Files, entries: list[_Entry], tag: str) -> list[_Entry]:
    """Return the image that is meant by ``tag``: as it is called there, by its full name, or by its tag alone."""
    full = _canonical(tag)
    by_call = [entry for entry in entries if entry.called == tag]
    by_name = [entry for entry in entries if entry.names and entry.names == full]
    by_tag = [entry for entry in entries if any(parse_reference(name).tag == tag for name in entry.names)]
    found = by_call or by_name or by_tag
    available = ", ".join(sorted({entry.called for entry in entries if entry.called})) or "images without a name"
    if not found:
        raise NotFound(f"{files.label} has no image {tag!r}", hint=f"it has: {available}")
    if len({entry.target["digest"] for entry in found}) > 1:
        raise InvalidArgument(f"{files.label} has several images {tag!r}", hint=f"it has: {available}")
    return found[:1]


def _all(entries: list[_Entry], content: _LayoutContent) -> list[_Entry]:
    """Return all images; those of one target together, and those for several platforms without a name as one."""
    nameless = [entry.target for entry in entries if not entry.called]
    images = [target for target in nameless if is_offered(target)]
    if len(images) > 1 and all("platform" in target for target in images):
        # crane and Bazel write a multi-platform image so: index.json itself is the image's index.
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": nameless}
        data = json.dumps(document, separators=(",", ":")).encode()
        content.made[digest_of(data)] = data
        index: Descriptor = {"mediaType": OCI_INDEX, "digest": digest_of(data), "size": len(data)}
        entries = [entry for entry in entries if entry.called] + [_Entry(index, "", ())]
    together: dict[str, _Entry] = {}
    for entry in entries:
        digest = entry.target["digest"]
        names = together[digest].names if digest in together else ()
        together[digest] = entry._replace(names=tuple(dict.fromkeys(names + entry.names)))
    return list(together.values())
