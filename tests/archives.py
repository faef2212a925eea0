"""Archives and layouts as tests make them, and what it means that one is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path

import pytest
from images import (
    INDEX,
    MANIFEST,
    config_document,
    descriptor,
    document,
    file,
    layer_tar,
    put_blob,
    put_image,
    put_index,
)

from prun.errors import PrunError
from prun.image.archive import loading
from prun.image.source import parse_source

ONE, TWO = layer_tar([file("one", b"1" * 5000)]), layer_tar([file("two", b"2" * 5000)])
REF = "org.opencontainers.image.ref.name"
FULL = "io.containerd.image.name"
ARM = {"os": "linux", "architecture": "arm64"}
AMD = {"os": "linux", "architecture": "amd64"}


def archived(path, data):
    path.write_bytes(data)
    return path


def load_text(text, store, **more):
    with loading(parse_source(text), store, **more) as found:
        return found


def everything(store):
    return sorted(store.digests())


def assert_nothing_stored(store):
    assert everything(store) == []
    if os.path.isdir(store.path):
        assert os.listdir(f"{store.path}/ingest") == []


def docker_save(layers, config=None, tags=("busybox:1",), names=None, members=(), **changes):
    """A docker archive; ``layers`` are the files as they are stored, ``names`` their names in it."""
    names = names or [f"{number}/layer.tar" for number, _ in enumerate(layers)]
    config = document(config if config is not None else config_document(layers, {"Cmd": ["sh"]}))
    manifest = [{"Config": "config.json", "RepoTags": list(tags), "Layers": list(names), **changes}]
    parts = [file(name, data) for name, data in zip(names, layers, strict=True)]
    return layer_tar([*parts, *members, file("config.json", config), file("manifest.json", document(manifest))])


def two_images(path, first=None, second=None):
    one, two = put_image(path, [ONE]), put_image(path, [TWO])
    put_index(path, [{**one, "annotations": first or {REF: "a"}}, {**two, "annotations": second or {REF: "b"}}])
    return one, two


def nested(path, *entries):
    data = document({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)})
    put_blob(path, data)
    return descriptor(INDEX, data)


def change_blob(layout, change):
    """Do something to the largest blob of the layout: a layer."""
    path = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    change(path)
    return path


def refused(source, store, error=PrunError, match=None, **more):
    with pytest.raises(error, match=match):
        load_text(source, store, **more)
    assert_nothing_stored(store)


def refused_everywhere(data, tmp_path, store, error=PrunError, match=None):
    """The archive is refused as a file and as a pipe, and uncompressed and compressed."""
    refused(str(archived(tmp_path / "x.tar", data)), store, error, match)
    refused("-", store, error, match, stdin=io.BytesIO(data))
    refused(str(archived(tmp_path / "x.tgz", gzip.compress(data, 1))), store, error, match)


def retouched(path, **changes):
    """A layout whose manifest has been changed, with all digests right."""
    target = put_image(path, [ONE], {})
    manifest = json.loads(Path(path, "blobs", "sha256", target["digest"][7:]).read_bytes())
    manifest = {
        key: change(manifest.get(key)) if callable(change) else change
        for key, change in {**manifest, **changes}.items()
    }
    put_blob(path, document(manifest))
    put_index(path, [descriptor(MANIFEST, document(manifest))])
    return path


def members_of(layout):
    """The files of a layout, to be put into an archive with something else."""
    return {str(path.relative_to(layout)): path.read_bytes() for path in layout.rglob("*") if path.is_file()}


def archive_with(parts, *more):
    return layer_tar([*(file(name, data) for name, data in parts.items()), *more])
