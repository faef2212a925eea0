from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard
from archives import (
    AMD,
    ARM,
    FULL,
    ONE,
    REF,
    TWO,
    archived,
    assert_nothing_stored,
    docker_save,
    everything,
    load_text,
    nested,
    two_images,
)
from images import (
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
    put_image,
    put_index,
    symlink,
)

from prun.errors import InvalidArgument, NotFound
from prun.image.archive import Loaded, loading
from prun.image.manifest import resolve
from prun.image.platform import host_platform
from prun.image.source import Source
from prun.types import Platform

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
