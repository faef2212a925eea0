from __future__ import annotations

import gzip
import os

import pytest
from archives import (
    ONE,
    TWO,
    archived,
    change_blob,
    docker_save,
    everything,
    load_text,
    refused,
    refused_everywhere,
    retouched,
    two_images,
)
from images import (
    INDEX,
    LAYER,
    MANIFEST,
    archive_of,
    config_document,
    document,
    file,
    layer_tar,
    oci_layout,
    put_index,
)

from prun.errors import DataLoss, InvalidArgument, NotFound, PrunError, ResourceExhausted

# what is refused, and leaves nothing


@pytest.mark.parametrize(
    "text", ["oci:/missing", "oci-archive:/missing.tar", "./missing.tar", "docker-archive:missing"]
)
def test_a_source_that_is_missing_is_not_found_and_no_store_is_made(store, text):
    with pytest.raises(NotFound):
        load_text(text, store)
    assert not os.path.exists(store.path)


def test_a_directory_without_a_layout_is_refused(tmp_path, store):
    refused(f"oci:{tmp_path}", store, InvalidArgument, "no OCI image layout")


def test_a_terminal_is_no_archive(store):
    leader, follower = os.openpty()
    with open(leader, "rb"), open(follower, "rb", buffering=0) as terminal:
        refused("-", store, InvalidArgument, "terminal", stdin=terminal)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        os.urandom(100_000),
        b"\0" * 10240,
        layer_tar([file("etc/passwd", b"root")]),
        b"\x1f\x8bjunk",
        b"\x28\xb5\x2f\xfdjunk",
    ],
    ids=["empty", "short", "random", "zeros", "a layer", "bad gzip", "bad zstd"],
)
def test_what_holds_no_image_is_refused(tmp_path, store, data):
    refused_everywhere(data, tmp_path, store)


@pytest.mark.parametrize("magic", [b"\xfd7zXZ\0", b"BZh91AY"])
def test_another_compression_is_refused_by_its_name(tmp_path, store, magic):
    refused(str(archived(tmp_path / "x.tar", magic + b"x" * 100)), store, InvalidArgument, "xz|bzip2")


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9, 0.98])
def test_a_truncated_archive_is_refused(tmp_path, layout, store, where):
    for data in (archive_of(layout), docker_save([ONE, TWO])):
        refused_everywhere(data[: int(len(data.rstrip(b"\0")) * where)], tmp_path, store)
        packed = gzip.compress(data)
        refused(str(archived(tmp_path / "y.tgz", packed[: int(len(packed) * where)])), store)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"),
        lambda path: path.write_bytes(path.read_bytes() + b"!"),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.unlink(),
    ],
    ids=["changed", "longer", "shorter", "missing"],
)
@pytest.mark.parametrize("jobs", [1, 4])
def test_a_damaged_or_missing_layer_is_refused(tmp_path, store, change, jobs):
    layers = [layer_tar([file("a", os.urandom(6 << 20))]), layer_tar([file("b", os.urandom(6 << 20))])]
    oci_layout(tmp_path / "l", layers, {}, compression="none")
    change_blob(tmp_path / "l", change)
    refused(f"oci:{tmp_path}/l", store, DataLoss, jobs=jobs)
    refused_everywhere(archive_of(tmp_path / "l"), tmp_path, store, DataLoss)


def test_a_damaged_manifest_or_config_is_refused(tmp_path, layout, store):
    for path in (layout / "blobs" / "sha256").iterdir():
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b" ")
        refused(f"oci:{layout}", store, DataLoss)
        refused_everywhere(archive_of(layout), tmp_path, store, DataLoss)
        path.write_bytes(data)
    assert len(load_text(f"oci:{layout}", store)) == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"manifests": []}, InvalidArgument),
        ({"mediaType": INDEX}, InvalidArgument),
        ({"schemaVersion": 1}, InvalidArgument),
        ({"layers": []}, InvalidArgument),
        ({"layers": lambda layers: layers * 501}, InvalidArgument),
        ({"layers": lambda layers: [{**layers[0], "size": 1}]}, DataLoss),
        ({"layers": lambda layers: [{**layers[0], "size": 1 << 60}]}, DataLoss),
        ({"layers": lambda layers: [{**layers[0], "mediaType": LAYER["none"]}]}, InvalidArgument),
        ({"layers": lambda layers: [{**layers[0], "mediaType": LAYER["zstd"]}]}, InvalidArgument),
        ({"layers": lambda layers: [{**layers[0], "digest": "sha256:../../../../etc/passwd"}]}, InvalidArgument),
        ({"subject": {"mediaType": MANIFEST, "digest": "sha256:x", "size": 1}}, InvalidArgument),
        ({"artifactType": 1}, InvalidArgument),
        ({"config": lambda config: {**config, "size": 5 << 20}}, ResourceExhausted),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_manifest_that_lies_is_refused(tmp_path, store, changes, error):
    path = retouched(tmp_path / "l", **changes)
    refused(f"oci:{path}", store, error)
    refused_everywhere(archive_of(path), tmp_path, store, error)


def test_one_broken_image_of_two_stores_neither(tmp_path, store):
    _, two = two_images(tmp_path / "l")
    (tmp_path / "l" / "blobs" / "sha256" / two["digest"][7:]).unlink()
    refused(f"oci:{tmp_path}/l", store, DataLoss)


def test_blobs_that_were_in_the_store_before_survive_a_failure(tmp_path, store):
    two_images(tmp_path / "l")
    load_text(f"oci:{tmp_path}/l:a", store)
    before = everything(store)
    change_blob(tmp_path / "l", lambda path: path.write_bytes(b"x"))
    with pytest.raises(DataLoss):
        load_text(f"oci:{tmp_path}/l", store)
    assert everything(store) == before


def test_an_index_that_holds_no_image_is_refused(tmp_path, store):
    put_index(tmp_path / "l", [])
    refused(f"oci:{tmp_path}/l", store, NotFound, "no image")
    refused_everywhere(layer_tar([file("manifest.json", b"[]")]), tmp_path, store, NotFound, "no image")


@pytest.mark.parametrize(
    "layout_file", [b"{}", b"[]", b'{"imageLayoutVersion": "2.0.0"}', b'{"imageLayoutVersion": 1}', b""]
)
def test_another_layout_version_is_refused(layout, store, layout_file):
    (layout / "oci-layout").write_bytes(layout_file)
    refused(f"oci:{layout}", store, InvalidArgument)


@pytest.mark.parametrize("name", ["index.json", "oci-layout", "blob"])
@pytest.mark.parametrize("what", ["symlink", "fifo", "directory"])
def test_in_a_directory_only_regular_files_are_read(tmp_path, layout, store, name, what):
    path = layout / name if name != "blob" else change_blob(layout, lambda path: None)
    content = path.read_bytes()
    path.unlink()
    if what == "symlink":
        path.symlink_to(archived(tmp_path / "elsewhere", content))
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    refused(f"oci:{layout}", store, InvalidArgument, "no regular file")


# docker's own


@pytest.mark.parametrize(
    "changes",
    [
        {"Config": None},
        {"Config": 1},
        {"Layers": "0/layer.tar"},
        {"Layers": []},
        {"Layers": [None]},
        {"Layers": ["0/layer.tar"] * 501},
        {"RepoTags": "x:1"},
        {"RepoTags": ["Upper:1"]},
        {"RepoTags": ["../x"]},
        {"RepoTags": ["x:1", 2]},
    ],
)
def test_a_docker_manifest_of_another_shape_is_refused(tmp_path, store, changes):
    refused_everywhere(docker_save([ONE], **changes), tmp_path, store, InvalidArgument)


@pytest.mark.parametrize("document_", [{}, "x", [[]], [1], [{}], [{"Config": "config.json"}] * 1001])
def test_a_docker_manifest_is_a_list_of_images(tmp_path, store, document_):
    refused_everywhere(layer_tar([file("manifest.json", document(document_))]), tmp_path, store, PrunError)


def test_a_plain_layer_with_another_diff_id_is_refused(tmp_path, store):
    refused_everywhere(docker_save([ONE], config_document([TWO], {})), tmp_path, store, DataLoss)


def test_one_layer_under_two_diff_ids_is_refused(tmp_path, store):
    data = docker_save([ONE], config_document([ONE, TWO], {}), Layers=["0/layer.tar", "0/layer.tar"])
    refused_everywhere(data, tmp_path, store, DataLoss)


def test_a_layer_in_a_compression_we_do_not_read_is_refused(tmp_path, store):
    data = docker_save([b"\xfd7zXZ\0junk"], config_document([ONE], {}))
    refused_everywhere(data, tmp_path, store, InvalidArgument, "xz")
