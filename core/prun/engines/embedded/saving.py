"""Images into an archive: an OCI layout that old readers take for docker's too, or docker's own of old.

``oci-archive`` is what docker writes since version 25: the blobs as they are, so that every digest stays what it is,
``index.json`` with the names, and docker's ``manifest.json`` beside it.  ``docker-archive`` has the layers unpacked
under their diff IDs; a reader makes a manifest of its own.  Every blob is verified on the way out.

Spec: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md and
https://github.com/moby/docker-image-spec/blob/v1.3.1/v1.2.md#combined-image-json--filesystem-changeset-format
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from prun.errors import DataLoss, NotFound
from prun.image.digest import new_hasher
from prun.image.ingest import NAME_ANNOTATION
from prun.image.manifest import NotAnImage, blobs, manifests, open_manifest, resolve
from prun.image.media_type import OCI_INDEX
from prun.image.platform import host_platform
from prun.image.reference import parse_reference
from prun.rootfs.decompress import CHUNK_BYTES, open_uncompressed

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from _typeshed import WriteableBuffer

    from prun.image.document import Descriptor
    from prun.image.layout import ContentStore
    from prun.types import Platform

Format = Literal["oci-archive", "docker-archive"]
FORMATS: tuple[Format, ...] = ("oci-archive", "docker-archive")
_FULL_NAME_ANNOTATION = "io.containerd.image.name"
_COPY_BYTES = 1 << 20


class Saved(NamedTuple):
    """One image to save: canonical names, none where it was named by its digest, and what they lead to."""

    names: tuple[str, ...]
    target: Descriptor


def save(
    images: Sequence[Saved], content: ContentStore, out: BinaryIO, form: Format, platform: Platform | None
) -> None:
    """Write an archive of ``images`` to ``out``, which need not be seekable.

    Of an index, the platforms that the store has are saved; with ``platform`` that one alone, its manifest in the
    index's place.  A docker archive has one platform of each image, this machine's by default.

    Raises:
        NotFound: there is no such platform, or nothing of the image is here.
        DataLoss: a blob is damaged; what was written by then is no archive.
    """
    import tarfile

    if platform:
        images = [saved._replace(target=_manifest_for(content, saved, platform)) for saved in images]
    write = _write_oci if form == "oci-archive" else _write_docker
    with tarfile.open(fileobj=out, mode="w|", bufsize=_COPY_BYTES, format=tarfile.GNU_FORMAT) as tar:
        tar.copybufsize = _COPY_BYTES  # type: ignore[attr-defined]  # an argument that open() does not pass on
        write(_Archive(tar, content), images)


class _Archive:
    """A tar that is being written: every member at the same time in the past, so that what is equal stays equal."""

    def __init__(self, tar: tarfile.TarFile, content: ContentStore) -> None:
        self.content = content
        self._tar = tar
        self._names: set[str] = set()

    def add_directory(self, name: str) -> None:
        import tarfile

        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        self._tar.addfile(info)

    def add_document(self, name: str, document: object) -> None:
        data = json.dumps(document, separators=(",", ":")).encode()
        self.add(name, len(data), io.BytesIO(data))

    def add_blob(self, name: str, descriptor: Descriptor) -> None:
        """Write a blob unless a member of that name has been; raises DataLoss where it is damaged."""
        digest = descriptor["digest"]
        with self.content.open(digest) as blob:
            self.add(name, descriptor["size"], _Verified(blob, digest))

    def add(self, name: str, size: int, file: io.BytesIO | _Verified) -> None:
        import tarfile

        if name in self._names:
            return
        self._names.add(name)
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o644
        try:
            self._tar.addfile(info, file)
        except OSError as error:
            if str(error) != "unexpected end of data":  # tarfile's word for a blob that is too short
                raise
            raise DataLoss(f"{name} is shorter than the {size} bytes that it should have") from error
        if isinstance(file, _Verified):
            file.check()


class _Verified(io.RawIOBase):
    """A blob that is hashed while it is read."""

    def __init__(self, blob: BinaryIO, digest: str) -> None:
        self._blob, self._digest = blob, digest
        self._hasher = new_hasher(digest)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        data = self._blob.read(len(memoryview(buffer)))
        memoryview(buffer)[: len(data)] = data
        self._hasher.update(data)
        return len(data)

    def check(self) -> None:
        """Raise DataLoss unless everything has been read and is what the digest says."""
        if self._blob.read(1) or f"{self._digest.partition(':')[0]}:{self._hasher.hexdigest()}" != self._digest:
            raise DataLoss(
                f"blob {self._digest} is damaged in the content store",
                hint="prun system check --repair, then load again",
            )


def _write_oci(archive: _Archive, images: Sequence[Saved]) -> None:
    archive.add_document("oci-layout", {"imageLayoutVersion": "1.0.0"})
    entries = list(_entries(images))
    archive.add_document("index.json", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    if known := [entry for saved in images for entry in _docker_entries(archive, saved)]:
        archive.add_document("manifest.json", known)
    archive.add_directory("blobs")
    archive.add_directory("blobs/sha256")
    for saved in images:
        for blob in blobs(archive.content, saved.target):
            archive.add_blob(_path(blob), blob)


def _entries(images: Sequence[Saved]) -> Iterator[dict[str, object]]:
    """Yield the entries of ``index.json``: one a name, with its tag alone where that says which it is."""
    tags = [parse_reference(name).tag for saved in images for name in saved.names]
    for names, target in images:
        for name in names:
            tag = parse_reference(name).tag
            called = tag if tag and tags.count(tag) == 1 else name
            yield {**target, "annotations": {NAME_ANNOTATION: called, _FULL_NAME_ANNOTATION: name}}
        if not names:
            yield dict(target)


def _docker_entries(archive: _Archive, saved: Saved) -> Iterator[dict[str, object]]:
    """Yield what a docker of before version 25 reads: the image for this machine, or the only one that is here."""
    try:
        manifest = open_manifest(archive.content, _one_manifest(archive.content, saved)).manifest
    except (NotAnImage, NotFound):
        return
    yield {
        "Config": _path(manifest["config"]),
        "RepoTags": _tags(saved.names),
        "Layers": [_path(layer) for layer in manifest["layers"]],
    }


def _write_docker(archive: _Archive, images: Sequence[Saved]) -> None:
    entries = []
    for saved in images:
        descriptor = _one_manifest(archive.content, saved)
        found = open_manifest(archive.content, descriptor)
        config = f"{found.manifest['config']['digest'].partition(':')[2]}.json"
        archive.add_blob(config, found.manifest["config"])
        layers = []
        for layer, diff_id in zip(found.manifest["layers"], found.config["rootfs"]["diff_ids"], strict=True):
            layers.append(f"{diff_id.partition(':')[2]}.tar")
            _add_unpacked(archive, layers[-1], layer, diff_id)
        entries.append({"Config": config, "RepoTags": _tags(saved.names), "Layers": layers})
    archive.add_document("manifest.json", entries)


def _add_unpacked(archive: _Archive, name: str, layer: Descriptor, diff_id: str) -> None:
    """Write a layer's tar: read twice, because its size stands before it."""
    media_type, digest = layer["mediaType"], layer["digest"]
    size = 0
    with archive.content.open(digest) as blob:
        reader = open_uncompressed(blob, media_type)
        hasher = new_hasher(diff_id)
        while chunk := reader.read(CHUNK_BYTES):
            hasher.update(chunk)
            size += len(chunk)
    if f"{diff_id.partition(':')[0]}:{hasher.hexdigest()}" != diff_id:
        raise DataLoss(f"layer {digest} has another diff ID than {diff_id}, which its image says")
    with archive.content.open(digest) as blob:
        archive.add(name, size, cast("io.BytesIO", open_uncompressed(blob, media_type)))


def _manifest_for(content: ContentStore, saved: Saved, platform: Platform) -> Descriptor:
    """Return the manifest of a platform; raises NotFound where the image has none."""
    name = saved.names[0] if saved.names else saved.target["digest"]
    digest = resolve(content, saved.target, platform, name).digest
    found = next(each for each, *_ in manifests(content, saved.target) if each["digest"] == digest)
    return {"mediaType": found["mediaType"], "digest": digest, "size": found["size"]}


def _one_manifest(content: ContentStore, saved: Saved) -> Descriptor:
    """Return the manifest for this machine, or the first that is here."""
    here = [each for each, *_ in manifests(content, saved.target) if content.has(each["digest"])]
    if len(here) > 1:
        return _manifest_for(content, saved, host_platform())
    if not here:
        raise NotAnImage(f"image {saved.target['digest']} has no manifest of an image here")
    return here[0]


def _tags(names: Sequence[str]) -> list[str] | None:
    """Return names in full: podman takes a short one for its own (``localhost/``), docker knows both."""
    return list(names) or None


def _path(descriptor: Descriptor) -> str:
    return "blobs/" + descriptor["digest"].replace(":", "/")
