from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import zstandard
from images import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    archive_of,
    busybox_layout,
    compressed,
    config_document,
    descriptor,
    digest,
    document,
    file,
    hardlink,
    layer_tar,
    oci_layout,
    put_blob,
    put_image,
    put_index,
    symlink,
)

from prun.errors import DataLoss, InvalidArgument, NotFound, PrunError, ResourceExhausted
from prun.image.archive import Loaded, loading
from prun.image.layout import ContentStore
from prun.image.manifest import resolve
from prun.image.platform import host_platform
from prun.image.source import Source, parse_source
from prun.types import Platform

ONE, TWO = layer_tar([file("one", b"1" * 5000)]), layer_tar([file("two", b"2" * 5000)])
REF = "org.opencontainers.image.ref.name"
FULL = "io.containerd.image.name"


@pytest.fixture
def store(tmp_path):
    return ContentStore(str(tmp_path / "store"))


@pytest.fixture
def layout(tmp_path):
    oci_layout(tmp_path / "layout", [ONE, TWO], {"Cmd": ["sh"]}, tag="docker.io/library/x:1")
    return tmp_path / "layout"


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


# every kind of source gives the same


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "bare", "bare directory", "gzip", "zstd", "stdin", "fifo"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_an_oci_layout_loads_from_every_kind_of_source(tmp_path, store, kind, compression):
    oci_layout(tmp_path / "layout", [ONE, TWO], {"Cmd": ["sh"]}, tag="docker.io/library/x:1", compression=compression)
    data = archive_of(tmp_path / "layout")
    stdin = None
    if kind == "oci":
        text = f"oci:{tmp_path}/layout"
    elif kind == "bare directory":
        text = f"{tmp_path}/layout"
    elif kind == "stdin":
        text, stdin = "-", io.BytesIO(data)
    elif kind == "fifo":
        os.mkfifo(tmp_path / "fifo")
        subprocess.Popen(["cp", archived(tmp_path / "x.tar", data), tmp_path / "fifo"])
        text = f"oci-archive:{tmp_path}/fifo"
    else:
        wrapped = {"gzip": gzip.compress, "zstd": zstandard.compress}.get(kind, bytes)(data)
        text = ("" if kind == "bare" else "oci-archive:") + str(archived(tmp_path / "x.tar", wrapped))
    index = json.loads((tmp_path / "layout" / "index.json").read_bytes())
    (loaded,) = load_text(text, store, stdin=stdin)
    assert loaded.names == ("docker.io/library/x:1",)
    assert loaded.target == {key: index["manifests"][0][key] for key in ("mediaType", "digest", "size")}
    image = resolve(store, loaded.target, host_platform(), "x")
    assert [layer.diff_id for layer in image.layers] == [digest(ONE), digest(TWO)]
    assert [layer.digest for layer in image.layers] == [digest(compressed(layer, compression)) for layer in (ONE, TWO)]
    for layer, blob in zip(image.layers, (ONE, TWO), strict=True):
        assert store.read(layer.digest, layer.size_bytes) == compressed(blob, compression)
    assert len(everything(store)) == 4


@pytest.mark.parametrize("kind", ["docker-archive:", "", "gzip", "stdin"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_docker_archive_loads_from_every_kind_of_source(tmp_path, store, kind, compression):
    layers = [compressed(layer, compression) for layer in (ONE, TWO)]
    data = docker_save(layers, config_document([ONE, TWO], {"Cmd": ["sh"]}), tags=["busybox:1", "localhost:5000/y"])
    stdin = None
    if kind == "stdin":
        text, stdin = "-", io.BytesIO(data)
    else:
        wrapped = gzip.compress(data) if kind == "gzip" else data
        text = kind.replace("gzip", "") + str(archived(tmp_path / "x.tar", wrapped))
    (loaded,) = load_text(text, store, stdin=stdin)
    assert loaded.names == ("docker.io/library/busybox:1", "localhost:5000/y:latest")
    image = resolve(store, loaded.target, host_platform(), "x")
    assert image.config == {"Cmd": ["sh"]}
    assert [layer.diff_id for layer in image.layers] == [digest(ONE), digest(TWO)]
    assert [layer.media_type for layer in image.layers] == [LAYER[compression]] * 2
    assert [store.read(layer.digest, 1 << 20) for layer in image.layers] == layers


def test_the_manifest_made_for_a_docker_archive_depends_on_its_content_only(tmp_path, store):
    path = archived(tmp_path / "a.tar", docker_save([ONE, TWO]))
    other = archived(tmp_path / "b.tar", docker_save([ONE, TWO], names=["b.tar", "a.tar"], tags=["other"]))
    (first,), (second,) = load_text(str(path), store), load_text(str(other), store)
    assert first.target == second.target


def test_what_skopeo_and_umoci_write_is_loaded(tmp_path, store):
    busybox_layout(tmp_path / "bb")
    subprocess.run(["umoci", "config", "--image", f"{tmp_path}/bb:busybox", "--config.env", "A=1"], check=True)
    source = f"oci:{tmp_path}/bb:busybox"
    texts = [source]
    for kind, name in (("oci", "copy"), ("oci-archive", "o.tar"), ("docker-archive", "d.tar")):
        subprocess.run(
            ["skopeo", "copy", "-q", source, f"{kind}:{tmp_path}/{name}:busybox:9"], check=True, capture_output=True
        )
        texts += [f"{kind}:{tmp_path}/{name}", f"{kind}:{tmp_path}/{name}:busybox:9", f"{tmp_path}/{name}"]
    for text in texts:
        (loaded,) = load_text(text, store)
        assert loaded.names == (() if text == source else ("docker.io/library/busybox:9",))
        image = resolve(store, loaded.target, host_platform(), "x")
        assert image.config["Env"] == ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "A=1"]
        assert image.config["Cmd"] == ["/bin/sh"]


def test_layers_that_are_links_or_named_twice_are_one_blob(tmp_path, store):
    names = ["a/layer.tar", "b/layer.tar", "c/layer.tar", "a/layer.tar"]
    links = [symlink("b/layer.tar", "../a/layer.tar"), hardlink("c/layer.tar", "a/layer.tar")]
    config = document(config_document([ONE] * 4, {}))
    manifest = document([{"Config": "c.json", "RepoTags": None, "Layers": names}])
    data = layer_tar([file("a/layer.tar", ONE), *links, file("c.json", config), file("manifest.json", manifest)])
    for stdin in (None, io.BytesIO(data)):
        (loaded,) = load_text("-" if stdin else str(archived(tmp_path / "x.tar", data)), store, stdin=stdin)
        assert loaded.names == ()
        image = resolve(store, loaded.target, host_platform(), "x")
        assert [layer.digest for layer in image.layers] == [digest(ONE)] * 4
    assert len(everything(store)) == 3


def test_many_layers_are_copied_side_by_side(tmp_path, store):
    layers = [layer_tar([file(f"f{number}", os.urandom(3 << 20))]) for number in range(6)]
    oci_layout(tmp_path / "layout", layers, {}, compression="none")
    archive = archived(tmp_path / "x.tar", archive_of(tmp_path / "layout"))
    for text, jobs in ((f"oci:{tmp_path}/layout", 4), (str(archive), 4), (str(archive), 1)):
        shutil.rmtree(store.path, ignore_errors=True)
        (loaded,) = load_text(text, store, jobs=jobs)
        image = resolve(store, loaded.target, host_platform(), "x")
        assert [layer.digest for layer in image.layers] == [digest(layer) for layer in layers]
        assert all(digest(store.read(layer.digest, 4 << 20)) == layer.digest for layer in image.layers)


def test_loading_twice_changes_nothing_and_writes_no_layer_again(layout, store):
    first = load_text(f"oci:{layout}", store)
    paths = [store.blob_path(name) for name in everything(store)]
    inodes = [os.stat(path).st_ino for path in paths]
    assert load_text(f"oci:{layout}", store) == first
    assert [os.stat(path).st_ino for path in paths] == inodes


def test_a_truncated_blob_in_the_store_is_written_again(layout, store):
    (loaded,) = load_text(f"oci:{layout}", store)
    path = store.blob_path(loaded.target["digest"])
    os.chmod(path, 0o600)
    os.truncate(path, 3)
    load_text(f"oci:{layout}", store)
    assert os.stat(path).st_size == loaded.target["size"]


# names and tags


def two_images(path, first=None, second=None):
    one, two = put_image(path, [ONE]), put_image(path, [TWO])
    put_index(path, [{**one, "annotations": first or {REF: "a"}}, {**two, "annotations": second or {REF: "b"}}])
    return one, two


@pytest.mark.parametrize(
    ("annotations", "names"),
    [
        ({REF: "docker.io/library/x:1"}, ("docker.io/library/x:1",)),
        ({REF: "x:1"}, ("docker.io/library/x:1",)),
        ({REF: "localhost/x"}, ("localhost/x:latest",)),
        ({REF: "busybox"}, ()),
        ({REF: "1.36"}, ()),
        ({REF: "Not A Name"}, ()),
        ({}, ()),
        ({REF: "1.36", FULL: "docker.io/library/x:1.36"}, ("docker.io/library/x:1.36",)),
        ({REF: "y:2", FULL: "not/A/name"}, ("docker.io/library/y:2",)),
    ],
)
def test_a_name_is_what_the_annotations_give_in_full(tmp_path, store, annotations, names):
    put_index(tmp_path / "l", [{**put_image(tmp_path / "l", [ONE]), "annotations": annotations}])
    assert load_text(f"oci:{tmp_path}/l", store)[0].names == names


def test_without_a_tag_all_images_are_loaded_and_with_one_only_that(tmp_path, store):
    one, two = two_images(tmp_path / "l")
    assert [loaded.target["digest"] for loaded in load_text(f"oci:{tmp_path}/l:b", store)] == [two["digest"]]
    assert not store.has(one["digest"])
    both = load_text(f"oci:{tmp_path}/l", store)
    assert [loaded.target["digest"] for loaded in both] == [one["digest"], two["digest"]]


@pytest.mark.parametrize("tag", ["2", "x:2", "docker.io/library/x:2"])
def test_a_tag_is_matched_in_full_or_by_its_last_part(tmp_path, store, tag):
    _, two = two_images(tmp_path / "l", {REF: "docker.io/library/x:1"}, {REF: "docker.io/library/x:2"})
    (loaded,) = load_text(f"oci:{tmp_path}/l:{tag}", store)
    assert loaded == Loaded(("docker.io/library/x:2",), {key: two[key] for key in ("mediaType", "digest", "size")})


def test_a_tag_that_is_missing_is_not_found_and_those_there_are_named(tmp_path, store):
    two_images(tmp_path / "l")
    with pytest.raises(NotFound, match="'c'") as error:
        load_text(f"oci:{tmp_path}/l:c", store)
    assert error.value.hint == "it has: a, b"
    assert_nothing_stored(store)


def test_a_tag_that_fits_several_images_is_refused(tmp_path, store):
    two_images(tmp_path / "l", {REF: "x/a:1"}, {REF: "x/b:1"})
    with pytest.raises(InvalidArgument, match="several"):
        load_text(f"oci:{tmp_path}/l:1", store)


def test_one_image_with_two_names_is_loaded_once(tmp_path, store):
    one = put_image(tmp_path / "l", [ONE])
    put_index(tmp_path / "l", [{**one, "annotations": {REF: name}} for name in ("x/a:1", "x/b:1")])
    (loaded,) = load_text(f"oci:{tmp_path}/l", store)
    assert loaded.names == ("docker.io/x/a:1", "docker.io/x/b:1")


def test_a_docker_archive_is_searched_by_name_and_by_tag(tmp_path, store):
    path = archived(tmp_path / "x.tar", docker_save([ONE], tags=["x/y:1", "z:2"]))
    for tag in ("x/y:1", "1", "z:2", "docker.io/library/z:2"):
        assert len(load_text(f"docker-archive:{path}:{tag}", store)) == 1
    with pytest.raises(NotFound) as error:
        load_text(f"docker-archive:{path}:3", store)
    assert error.value.hint == "it has: docker.io/library/z:2, docker.io/x/y:1"


# platforms

ARM = {"os": "linux", "architecture": "arm64"}
AMD = {"os": "linux", "architecture": "amd64"}


def nested(path, *entries):
    data = document({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)})
    put_blob(path, data)
    return descriptor(INDEX, data)


def test_of_an_index_those_platforms_are_loaded_that_are_there(tmp_path, store):
    path = tmp_path / "l"
    amd = {**put_image(path, [ONE], platform=AMD), "platform": AMD}
    arm = {**put_image(path, [TWO], platform=ARM), "platform": ARM}
    absent = {**descriptor(MANIFEST, b"absent"), "platform": {"os": "linux", "architecture": "s390x"}}
    index = nested(path, amd, arm, absent)
    put_index(path, [{**index, "annotations": {REF: "x:1"}}])
    for stdin in (None, io.BytesIO(archive_of(path))):
        shutil.rmtree(store.path, ignore_errors=True)
        (loaded,) = load_text("-" if stdin else f"oci:{path}", store, stdin=stdin)
        assert loaded.target["digest"] == index["digest"]
        assert resolve(store, loaded.target, Platform("linux", "amd64"), "x").digest == amd["digest"]
        assert resolve(store, loaded.target, Platform("linux", "arm64"), "x").digest == arm["digest"]
        with pytest.raises(NotFound, match="not here"):
            resolve(store, loaded.target, Platform("linux", "s390x"), "x")


def test_an_index_none_of_whose_images_is_there_is_refused(tmp_path, store):
    index = nested(tmp_path / "l", {**descriptor(MANIFEST, b"absent"), "platform": AMD})
    put_index(tmp_path / "l", [index])
    with pytest.raises(NotFound, match="no image"):
        load_text(f"oci:{tmp_path}/l", store)
    assert_nothing_stored(store)


def test_images_for_several_platforms_without_a_name_are_one_image(tmp_path, store):
    path = tmp_path / "l"
    amd = {**put_image(path, [ONE], platform=AMD), "platform": AMD}
    arm = {**put_image(path, [TWO], platform=ARM), "platform": ARM}
    put_index(path, [amd, arm])
    (loaded,) = load_text(f"oci:{path}", store)
    assert loaded.names == ()
    assert resolve(store, loaded.target, Platform("linux", "arm64"), "x").digest == arm["digest"]


def test_attestations_are_not_loaded(tmp_path, store):
    path = tmp_path / "l"
    amd = {**put_image(path, [ONE], platform=AMD), "platform": AMD}
    attestation = b"not even a manifest"
    put_blob(path, attestation)
    entry = {**descriptor(MANIFEST, attestation), "platform": {"os": "unknown", "architecture": "unknown"}}
    put_index(path, [nested(path, amd, entry)])
    load_text(f"oci:{path}", store)
    assert not store.has(digest(attestation))


# archives that hold both kinds


def both_kinds(path):
    target = put_image(path, [ONE], {}, compression="none")
    put_index(path, [{**target, "annotations": {REF: "1", FULL: "docker.io/library/x:1"}}])
    config = digest(document(config_document([ONE], {})))
    names = [name.replace(":", "/") for name in (config, digest(ONE))]
    manifest = [{"Config": f"blobs/{names[0]}", "RepoTags": ["x:1"], "Layers": [f"blobs/{names[1]}"]}]
    Path(path, "manifest.json").write_bytes(document(manifest))
    return target


@pytest.mark.parametrize("kind", ["", "oci-archive:", "docker-archive:"])
@pytest.mark.parametrize("piped", [False, True])
def test_a_newer_docker_archive_can_be_read_either_way(tmp_path, store, kind, piped):
    target = both_kinds(tmp_path / "l")
    data = archive_of(tmp_path / "l")
    path = archived(tmp_path / "x.tar", gzip.compress(data) if piped else data)
    (loaded,) = load_text(f"{kind}{path}", store)
    assert loaded.names == ("docker.io/library/x:1",)
    assert (loaded.target["digest"] == target["digest"]) == (kind != "docker-archive:")
    assert resolve(store, loaded.target, host_platform(), "x").layers[0].digest == digest(ONE)


def test_the_wrong_kind_is_refused_with_the_right_one_as_the_hint(tmp_path, layout, store):
    oci = archived(tmp_path / "oci.tar", archive_of(layout))
    docker = archived(tmp_path / "docker.tar", docker_save([ONE]))
    for text, hint in (
        (f"docker-archive:{oci}", "oci-archive:"),
        (f"oci-archive:{docker}", "docker-archive:"),
        (f"oci:{oci}", "oci-archive:"),
        (f"oci-archive:{layout}", "oci:"),
    ):
        with pytest.raises(InvalidArgument) as error:
            load_text(text, store)
        assert hint in error.value.hint
    assert_nothing_stored(store)


# what is refused, and leaves nothing


def refused(source, store, error=PrunError, match=None, **more):
    with pytest.raises(error, match=match):
        load_text(source, store, **more)
    assert_nothing_stored(store)


def refused_everywhere(data, tmp_path, store, error=PrunError, match=None):
    """The archive is refused as a file and as a pipe, and uncompressed and compressed."""
    refused(str(archived(tmp_path / "x.tar", data)), store, error, match)
    refused("-", store, error, match, stdin=io.BytesIO(data))
    refused(str(archived(tmp_path / "x.tgz", gzip.compress(data, 1))), store, error, match)


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


def change_blob(layout, change):
    """Do something to the largest blob of the layout: a layer."""
    path = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    change(path)
    return path


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
        ({"layers": lambda layers: [{**layers[0], "mediaType": CONFIG}]}, InvalidArgument),
        ({"layers": lambda layers: [{**layers[0], "digest": "sha256:../../../../etc/passwd"}]}, InvalidArgument),
        ({"config": lambda config: {**config, "mediaType": "application/x"}}, InvalidArgument),
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


# hostile archives


def members_of(layout):
    """The files of a layout, to be put into an archive with something else."""
    return {str(path.relative_to(layout)): path.read_bytes() for path in layout.rglob("*") if path.is_file()}


def archive_with(parts, *more):
    return layer_tar([*(file(name, data) for name, data in parts.items()), *more])


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
@pytest.mark.parametrize("link", [symlink, hardlink])
def test_a_document_that_is_a_link_is_refused(tmp_path, layout, store, name, link):
    parts = members_of(layout)
    real = parts.pop(name)
    refused_everywhere(
        archive_with(parts, file("real", real), link(name, "real")), tmp_path, store, InvalidArgument, "link"
    )


@pytest.mark.parametrize("target", ["/etc/shadow", "real.json"])
def test_a_manifest_json_that_is_a_link_is_refused(tmp_path, store, target):
    data = layer_tar([file("real.json", b"[]"), symlink("manifest.json", target)])
    refused_everywhere(data, tmp_path, store, InvalidArgument, "link")


def test_a_docker_config_that_is_a_link_is_refused(tmp_path, store):
    config = document(config_document([ONE], {}))
    data = docker_save([ONE], members=[file("real", config), symlink("c", "real")], Config="c")
    refused_everywhere(data, tmp_path, store, InvalidArgument, "link")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "missing", "loop", "../x/loop"])
def test_a_layer_that_links_elsewhere_is_refused(tmp_path, store, target):
    config = document(config_document([ONE], {}))
    manifest = document([{"Config": "c", "Layers": ["x/loop"]}])
    data = layer_tar([symlink("x/loop", target), file("c", config), file("manifest.json", manifest)])
    refused_everywhere(data, tmp_path, store, PrunError)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", "config.json/../x"])
def test_a_docker_manifest_cannot_name_what_is_not_in_the_archive(tmp_path, store, name):
    refused_everywhere(docker_save([ONE], Config=name), tmp_path, store, PrunError)
    refused_everywhere(docker_save([ONE], Layers=[name]), tmp_path, store, PrunError)


def test_a_member_whose_name_leads_out_is_refused_and_nothing_is_touched(tmp_path, layout, store):
    victim = tmp_path / "victim"
    for name in ("../victim", "../../../../../../../../" + str(victim), "blobs/sha256/../../../victim"):
        refused_everywhere(
            archive_with(members_of(layout), file(name, b"x")), tmp_path, store, InvalidArgument, "leads out"
        )
    assert not victim.exists()


@pytest.mark.parametrize("name", ["index.json", "./index.json", "/index.json", "blobs/sha256/" + "0" * 64])
def test_one_member_twice_is_refused(tmp_path, layout, store, name):
    parts = {"blobs/sha256/" + "0" * 64: b"", **members_of(layout)}
    if name.startswith("blobs"):
        parts.pop(name)
        twice = [file(name, b"one"), file(name, b"other")]
    else:
        twice = [file(name, b'{"schemaVersion": 2, "manifests": []}')]
        parts.pop("blobs/sha256/" + "0" * 64)
    data = archive_with(parts, *twice)
    refused(str(archived(tmp_path / "x.tar", data)), store, InvalidArgument, "twice")
    refused("-", store, PrunError, stdin=io.BytesIO(data))


@pytest.mark.parametrize("name", ["index.json", "blobs/sha256/" + "0" * 64, "manifest.json", "other"])
def test_a_member_that_claims_an_exbibyte_is_refused(tmp_path, layout, store, name):
    parts = members_of(layout)
    parts.pop(name, None)
    header = tarfile.TarInfo(name)
    header.size = 1 << 60
    data = archive_with(parts).rstrip(b"\0")
    data += b"\0" * (-len(data) % 512) + header.tobuf(tarfile.GNU_FORMAT) + b"x" * 4096
    refused_everywhere(data, tmp_path, store, (DataLoss, ResourceExhausted), "ends too early|does not fit")


@pytest.mark.parametrize("size", [(4 << 20) + 1, 64 << 20])
def test_a_huge_document_is_refused(tmp_path, store, size):
    padding = b'"' + b"x" * size + b'"'
    layout_file = file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    for data in (layer_tar([file("manifest.json", padding)]), layer_tar([layout_file, file("index.json", padding)])):
        refused(str(archived(tmp_path / "x.tar", data)), store, ResourceExhausted)
        refused("-", store, ResourceExhausted, stdin=io.BytesIO(data))


def test_a_json_that_nests_too_deep_is_refused(tmp_path, store):
    refused_everywhere(layer_tar([file("manifest.json", b"[" * 4_000_000)]), tmp_path, store, InvalidArgument, "deep")


MEASURED = """
import re, sys
from prun.errors import PrunError
from prun.image.archive import loading
from prun.image.layout import ContentStore
from prun.image.source import parse_source
try:
    with loading(parse_source(sys.argv[1]), ContentStore(sys.argv[2]), stdin=sys.stdin.buffer):
        pass
except PrunError as error:
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())  # ru_maxrss includes the parent's
    print(type(error).__name__, int(peak[1]) // 1024)
"""


def measured(text, store, producer):
    """Load in a process of its own what another one produces; return the error, peak MiB and seconds."""
    started = time.monotonic()
    writer = subprocess.Popen([sys.executable, "-c", producer], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with writer:
        out = subprocess.run(
            [sys.executable, "-c", MEASURED, text, store.path],
            stdin=writer.stdout,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        writer.stdout.close()
    error, peak = out.split()
    return error, int(peak), time.monotonic() - started


MILLION_MEMBERS = """
import sys, tarfile
for number in range(1000):
    sys.stdout.buffer.write(b"".join(
        tarfile.TarInfo(f"member-{number}-{n}").tobuf(tarfile.GNU_FORMAT) for n in range(1000)))
"""
LONG_NAMES = """
import sys, tarfile
header = tarfile.TarInfo("././@LongLink")
header.type, header.size = b"L", 1 << 33
sys.stdout.buffer.write(header.tobuf(tarfile.GNU_FORMAT))
for _ in range(1 << 13):
    sys.stdout.buffer.write(b"n" * (1 << 20))
"""
ZEROS_IN_GZIP = """
import gzip, sys, tarfile
header = tarfile.TarInfo("index.json")
header.size = 1 << 50
out = gzip.GzipFile(fileobj=sys.stdout.buffer, mode="wb", compresslevel=1)
out.write(header.tobuf(tarfile.GNU_FORMAT))
while True:
    out.write(bytes(1 << 20))
"""
ZSTD_WINDOW = """
import sys
magic, no_single_segment, window_of_2_gib = "28b52ffd", "00", "a8"
sys.stdout.buffer.write(bytes.fromhex(magic + no_single_segment + window_of_2_gib) + bytes(1000))
"""


@pytest.mark.parametrize(
    "bomb", [MILLION_MEMBERS, LONG_NAMES, ZEROS_IN_GZIP, ZSTD_WINDOW], ids=["members", "names", "zeros", "window"]
)
def test_a_bomb_costs_neither_memory_nor_much_time(store, bomb):
    error, peak, seconds = measured("-", store, bomb)
    assert error in {"ResourceExhausted", "DataLoss"}
    assert peak < 200
    assert seconds < 30
    assert_nothing_stored(store)


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


# killed and concurrent

LOADER = """
import sys
from prun.image.archive import loading
from prun.image.layout import ContentStore
from prun.image.source import parse_source
with loading(parse_source(sys.argv[1]), ContentStore(sys.argv[2])) as found:
    for loaded in found:
        print(loaded.target["digest"])
"""


def loader(text, store):
    return subprocess.Popen([sys.executable, "-c", LOADER, text, store.path], stdout=subprocess.PIPE, text=True)


def test_a_load_that_is_killed_at_any_time_leaves_whole_blobs_and_what_can_be_cleared(tmp_path, store):
    oci_layout(
        tmp_path / "l", [layer_tar([file(name, os.urandom(8 << 20))]) for name in "abcd"], {}, compression="none"
    )
    for milliseconds in range(20, 200, 12):
        process = loader(f"oci:{tmp_path}/l", store)
        time.sleep(milliseconds / 1000)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for name in everything(store):
            assert digest(store.read(name, 16 << 20)) == name
        store.clear_leftovers()
        ingest = f"{store.path}/ingest"  # it may not have come to that yet
        assert not os.path.isdir(ingest) or os.listdir(ingest) == []
    (loaded,) = load_text(f"oci:{tmp_path}/l", store)
    assert len(resolve(store, loaded.target, host_platform(), "x").layers) == 4


def test_many_processes_load_one_image_at_once(tmp_path, store):
    busybox_layout(tmp_path / "bb")
    processes = [loader(f"oci:{tmp_path}/bb", store) for _ in range(8)]
    assert len({process.communicate()[0] for process in processes}) == 1
    assert {process.returncode for process in processes} == {0}
    assert len(everything(store)) == 3
    assert os.listdir(f"{store.path}/ingest") == []


def test_a_source_can_be_made_by_hand(layout, store):
    with loading(Source("oci", str(layout)), store) as found:
        assert found[0].names == ("docker.io/library/x:1",)
