"""``commit``: an image of a container: its image's layers, and one with what the container has changed in them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from prun.errors import FailedPrecondition
from prun.files.layers import mount_points, require_layer
from prun.files.origin import Origin, origin_of
from prun.image.instructions import applied
from prun.rootfs import tarstream
from prun.rootfs.changes import changes
from prun.rootfs.failures import translated
from prun.rootfs.marks import PREFIX
from prun.rootfs.tarheader import Entry, shown
from prun.rootfs.tarwriter import TarWriter
from prun.rootfs.tree import OPEN_DIRECTORY
from prun.rootfs.treereader import Member, TreeReader
from prun.rootfs.views import container_layer, container_tree, shift_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prun.image.document import ConfigDocument, Descriptor, ImageConfig, Manifest
    from prun.image.ingest import Ingest, Writer
    from prun.metadata import ContainerRow, ImageRow
    from prun.rootfs.views import Layer
    from prun.state import Store


class CommitOptions(NamedTuple):
    """``changes`` are instructions of a Dockerfile; ``squash``: one layer with everything, instead of one more.

    ``pause``: no process of the container runs while its files are read.  ``include_volumes``: what was mounted as a
    volume is one of the image too, not only what had no name.
    """

    author: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()
    pause: bool = True
    squash: bool = False
    include_volumes: bool = False


class _NewLayer(NamedTuple):
    """A layer that is written: what its blob is, and the digest of the tar in it."""

    descriptor: Descriptor
    diff_id: str


def commit(store: Store, words: str, name: str = "", options: CommitOptions = CommitOptions()) -> ImageRow:  # noqa: B008
    """Make an image of a container's files and of what it was made with, and give it ``name``.

    Without a name it is known by its digest.

    Raises:
        NotFound: there is no such container.
        InvalidArgument: the name or an instruction cannot be used.
        FailedPrecondition: the container has no layer of its own, or a file that no layer can hold.
    """
    from prun.engines.embedded.images import new_name, put, row_of
    from prun.image.identity import chain_ids
    from prun.image.manifest import resolve
    from prun.image.platform import host_platform

    row = store.find(words)
    require_layer(store, row)
    origin = origin_of(store, row)
    reference = new_name(store, name) if name else ""
    config = applied(_config_of(origin, row, options), options.changes)
    with store.using_images(), store.content.ingesting() as ingest:
        with _still(store, row, pause=options.pause), translated(lambda: f"files of {row.name} cannot be read"):
            layer = _write_layer(store, row, ingest, origin, squash=options.squash)
        document = _document(origin, row, config, layer, options)
        config_digest, target = _write_documents(ingest, origin, document, layer, squash=options.squash)
        diff_ids = document["rootfs"]["diff_ids"]
        wanted = [*([layer.descriptor["digest"]] if layer else []), config_digest, target["digest"]]
        ingest.hold([*wanted, *chain_ids(diff_ids)])
        ingest.commit(wanted)
        image = resolve(store.content, target, host_platform(), reference)
        store.snapshots.unpack(image.layers, store.content.open)
        made = row_of(reference or target["digest"], target)
        put(store, [made])
    attributes = row.attributes(imageID=made.digest, comment=options.message)
    store.metadata.add_event("container", "commit", row.id, attributes)
    return made


@contextmanager
def _still(store: Store, row: ContainerRow, *, pause: bool) -> Iterator[None]:
    """Keep a running container's processes where they stand; the record says so, whatever happens to us."""
    if row.status != "running" or not pause:
        yield
        return
    from prun import stopping

    stopping.pause(store, row)
    try:
        yield
    finally:
        with suppress(FailedPrecondition):  # somebody has killed it, or let it go on, meanwhile
            stopping.unpause(store, store.find(row.id))


# The layer


def _write_layer(store: Store, row: ContainerRow, ingest: Ingest, origin: Origin, *, squash: bool) -> _NewLayer | None:
    """Write what the container has changed, None where that is nothing; all of its files when squashed."""
    snapshots = store.snapshots
    points = mount_points(store, row.id)
    reader = TreeReader(shift_of(snapshots, row.id))
    members: Iterator[Member]
    with ExitStack() as stack:
        layer = stack.enter_context(container_layer(snapshots, row.id))
        maps = shift_of(snapshots, row.id)
        found = changes(layer, mount_points=points, maps=maps)
        if squash:
            made = {change.path for change in changes(layer, maps=maps)} - {change.path for change in found}
            root = stack.enter_context(container_tree(snapshots, row.id))
            below = reader.members(root, b"", lambda path: path not in made)
            members = chain(reader.opened(root, b".", None), below)
        elif found:
            members = _changed(layer, found, reader)
        else:
            return None
        with ingest.writer({"mediaType": _layer_type(origin)}) as writer:
            diff_id = _compressed(writer, members)
    return _NewLayer({"mediaType": _layer_type(origin), "digest": writer.digest, "size": writer.size}, diff_id)


def _changed(layer: Layer, found: list[Any], reader: TreeReader) -> Iterator[Member]:
    """Yield the entries of a layer: what is new or another, and a whiteout for what is gone."""
    for change in found:
        if not change.path:
            yield from reader.opened(layer.new, b".", None)
            continue
        parent, _, name = change.path.rpartition(b"/")
        if change.kind == "D":
            path = parent + b"/" + PREFIX + name if parent else PREFIX + name
            yield Member(Entry(path, tarstream.FILE, 0o600, 0, 0, 0, 0, 0, 0, b"", 0, 0, {}))
            continue
        with suppress(FileNotFoundError, NotADirectoryError), _opened_below(layer.new, parent) as directory:
            yield from reader.member(directory, name, change.path, None)


@contextmanager
def _opened_below(root: int, path: bytes) -> Iterator[int]:
    """Give a directory below ``root``, no link followed."""
    fd = os.dup(root)
    try:
        for part in path.split(b"/") if path else ():
            child = os.open(part, OPEN_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = child
        yield fd
    finally:
        os.close(fd)


def _compressed(writer: Writer, members: Iterator[Member]) -> str:
    """Write a tar of the members, compressed, and return its diff ID.

    Raises:
        FailedPrecondition: a file has the name of a whiteout.
    """
    from isal import igzip

    digest = hashlib.sha256()
    packed = igzip.IGzipFile(fileobj=cast("Any", _Sink(writer)), mode="wb", compresslevel=2, mtime=0)  # type: ignore[no-untyped-call]

    def write(data: bytes | memoryview) -> None:
        digest.update(data)
        packed.write(data)  # type: ignore[no-untyped-call]

    tar = TarWriter(write)
    for member in members:
        name = member.entry.name.rpartition(b"/")[2]
        if name.startswith(PREFIX) and member.fd >= 0:
            raise FailedPrecondition(
                f"file {shown(member.entry.name)} has the name of a whiteout, which no layer can hold", hint="rename it"
            )
        tar.add(member.entry, member.pieces() if member.fd >= 0 else ())
    tar.close()
    packed.close()
    return f"sha256:{digest.hexdigest()}"


class _Sink:
    """What a compressor takes for a file."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, data: bytes) -> int:
        self._writer.write(data)
        return len(data)

    def flush(self) -> None: ...


def _layer_type(origin: Origin) -> str:
    from prun.image.media_type import DOCKER_MANIFEST, OCI_LAYER

    is_docker = origin.manifest is not None and origin.manifest["mediaType"] == DOCKER_MANIFEST
    return "application/vnd.docker.image.rootfs.diff.tar.gzip" if is_docker else f"{OCI_LAYER}+gzip"


# The documents


def _config_of(origin: Origin, row: ContainerRow, options: CommitOptions) -> ImageConfig:
    """Return the image's config with what the container was made with in its place, as docker has it."""
    config: dict[str, Any] = dict(origin.config)
    request = origin.request
    if row.labels:
        config["Labels"] = {**config.get("Labels", {}), **row.labels}
    if row.stop_signal:
        config["StopSignal"] = row.stop_signal
    if request is None:
        return cast("ImageConfig", config)
    variables = dict(entry.split("=", 1) for entry in config.get("Env", []))
    for entry in request.env:
        key, equals, value = entry.partition("=")
        if equals:
            variables[key] = value
        else:
            variables.pop(key, None)
    if variables:
        config["Env"] = [f"{key}={value}" for key, value in variables.items()]
    if request.entrypoint is not None:
        config["Entrypoint"] = list(request.entrypoint)
        config.pop("Cmd", None)
    if request.args:
        config["Cmd"] = list(request.args)
    config.update({key: value for key, value in (("User", request.user), ("WorkingDir", request.workdir)) if value})
    volumes: dict[str, Any] = {
        mount.destination: {}
        for mount in request.volumes
        if options.include_volumes or (mount.type == "volume" and not mount.source)
    }
    if volumes:
        config["Volumes"] = {**config.get("Volumes", {}), **volumes}
    return cast("ImageConfig", config)


def _document(
    origin: Origin, row: ContainerRow, config: ImageConfig, layer: _NewLayer | None, options: CommitOptions
) -> ConfigDocument:
    """Return the config document of the new image."""
    from prun.image.platform import host_platform

    base: dict[str, Any] = dict(origin.document)
    if not base.get("os"):
        base.update(os=host_platform().os, architecture=host_platform().architecture)
    for key in ("container", "container_config", "author"):  # of the image below
        base.pop(key, None)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    entry: dict[str, Any] = {"created": now, "created_by": " ".join(row.command)}
    entry.update({key: value for key, value in (("author", options.author), ("comment", options.message)) if value})
    if layer is None:
        entry["empty_layer"] = True
    below = [] if options.squash else base.get("rootfs", {}).get("diff_ids", [])
    history = [] if options.squash else base.get("history", [])
    base.update(
        created=now,
        config=config,
        rootfs={"type": "layers", "diff_ids": [*below, *([layer.diff_id] if layer else [])]},
        history=[*history, entry],
    )
    if options.author:
        base["author"] = options.author
    return cast("ConfigDocument", base)


def _write_documents(
    ingest: Ingest, origin: Origin, document: ConfigDocument, layer: _NewLayer | None, *, squash: bool
) -> tuple[str, Descriptor]:
    """Write config and manifest in the format of the image below; return the digest of one, and all of the other."""
    from prun.image.manifest import open_manifest
    from prun.image.media_type import OCI_CONFIG, OCI_MANIFEST

    manifest: Manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}
    config_type = OCI_CONFIG
    if origin.manifest is not None:
        below = open_manifest(ingest.store, origin.manifest).manifest
        manifest["mediaType"] = origin.manifest["mediaType"]
        config_type = below["config"]["mediaType"]
        manifest["layers"] = [] if squash else list(below["layers"])
    if layer:
        manifest["layers"].append(layer.descriptor)
    manifest["config"] = ingest.put(json.dumps(document, separators=(",", ":")).encode(), config_type)
    target = ingest.put(json.dumps(manifest, separators=(",", ":")).encode(), manifest["mediaType"])
    return manifest["config"]["digest"], target
