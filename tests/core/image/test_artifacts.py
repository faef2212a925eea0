"""What is no image is kept and copied like one, and never run."""

from __future__ import annotations

import io
import json

import pytest
from archives import FULL, ONE, REF, archived, everything, load_text, refused
from artifacts import (
    AMD,
    ARM,
    EMPTY,
    UNKNOWN,
    blob,
    put_artifact,
    put_attestation,
    put_manifest,
    put_signature,
    put_whole_index,
)
from images import CONFIG, INDEX, MANIFEST, archive_of, descriptor, document, put_blob, put_image, put_index

from prun.engines.embedded.saving import Saved, save
from prun.errors import DataLoss, InvalidArgument, NotFound
from prun.image.layout import ContentStore
from prun.image.manifest import NotAnImage, blobs, is_image, manifests, members, needed, resolve
from prun.types import Platform

LINUX = Platform("linux", "amd64")


def files(path):
    return sorted("sha256:" + each.name for each in (path / "blobs" / "sha256").iterdir())


@pytest.mark.parametrize("piped", [False, True])
def test_an_index_is_loaded_and_saved_whole(tmp_path, store, piped):
    target = put_whole_index(tmp_path / "l", opaque=True)
    put_index(tmp_path / "l", [{**target, "annotations": {REF: "1"}}])
    data = archive_of(tmp_path / "l")
    source = {"stdin": io.BytesIO(data)} if piped else {}
    (loaded,) = load_text("-" if piped else str(archived(tmp_path / "x.tar", data)), store, **source)
    assert loaded.target == target
    assert everything(store) == files(tmp_path / "l")
    assert resolve(store, target, LINUX, "x").platform == LINUX

    out = io.BytesIO()
    save([Saved(("docker.io/library/x:1",), target)], store, out, "oci-archive", None)
    again = ContentStore(str(tmp_path / "again"))
    (loaded,) = load_text(str(archived(tmp_path / "y.tar", out.getvalue())), again)
    assert loaded.target == target
    assert everything(again) == everything(store)


def test_all_that_an_index_names_is_needed_and_before_the_index(tmp_path, store):
    inner = put_whole_index(tmp_path / "l", opaque=True)
    outer = {"schemaVersion": 2, "manifests": [inner, put_signature(tmp_path / "l")]}
    target = blob(tmp_path / "l", INDEX, document(outer))
    put_index(tmp_path / "l", [target])
    load_text(f"oci:{tmp_path}/l", store)
    found = list(needed(store, target))
    assert {each.descriptor["digest"] for each in found} == set(files(tmp_path / "l"))
    assert [each.descriptor["digest"] for each in found if each.is_document][-1] == target["digest"]
    assert len([each for each in found if each.is_document]) == 9
    assert [found.descriptor["platform"] for found in manifests(store, inner)] == [AMD, ARM]
    assert len(list(members(store, inner))) == 7


def test_what_is_no_image_is_loaded_under_its_name_and_not_run(tmp_path, store):
    signature = put_signature(tmp_path / "l")
    artifact = put_artifact(tmp_path / "l", signature)
    named = [{**each, "annotations": {FULL: f"docker.io/library/{name}:1"}}
             for each, name in ((signature, "sig"), (artifact, "sbom"))]  # fmt: skip
    put_index(tmp_path / "l", named)
    loaded = load_text(f"oci:{tmp_path}/l", store, unpack=lambda layers, _: layers and pytest.fail("unpacked"))
    assert [each.names for each in loaded] == [("docker.io/library/sig:1",), ("docker.io/library/sbom:1",)]
    for each, words in zip(loaded, ("simplesigning", "vnd.oci.empty"), strict=True):
        assert not is_image(store, each.target)
        with pytest.raises(NotAnImage, match=f"{words}.*that is no image") as error:
            resolve(store, each.target, LINUX, "x")
        assert "not run" in error.value.hint


def test_what_it_is_about_is_no_part_of_an_artifact(tmp_path, store):
    elsewhere = descriptor(MANIFEST, b"a manifest that is not here")
    artifact = put_artifact(tmp_path / "l", elsewhere)
    assert elsewhere["digest"] not in {each["digest"] for each in blobs(_loaded(tmp_path, store, artifact), artifact)}


def _loaded(tmp_path, store, *entries):
    put_index(tmp_path / "l", entries)
    load_text(f"oci:{tmp_path}/l", store)
    return store


def test_an_artifact_that_an_index_takes_for_an_image_of_no_platform_is_passed_over(tmp_path, store):
    signature = put_signature(tmp_path / "l")  # its entry says nothing of what it is
    image = put_image(tmp_path / "l", [ONE], {}, platform=AMD)
    index = blob(tmp_path / "l", INDEX, document({"schemaVersion": 2, "manifests": [signature, image]}))
    assert resolve(_loaded(tmp_path, store, index), index, LINUX, "x").digest == image["digest"]


def test_an_artifact_that_an_index_calls_an_image_of_our_platform_is_refused(tmp_path, store):
    entry = {**put_signature(tmp_path / "l"), "platform": AMD}
    index = blob(tmp_path / "l", INDEX, document({"schemaVersion": 2, "manifests": [entry]}))
    with pytest.raises(NotAnImage):
        resolve(_loaded(tmp_path, store, index), index, LINUX, "x")


def test_an_index_of_artifacts_alone_is_kept_and_has_no_platform(tmp_path, store):
    entries = [put_artifact(tmp_path / "l", descriptor(MANIFEST, b"x"), data) for data in (b"1", b"2")]
    index = blob(tmp_path / "l", INDEX, document({"schemaVersion": 2, "manifests": entries}))
    empty = blob(tmp_path / "l", INDEX, document({"schemaVersion": 2, "manifests": []}))
    named = [{**each, "annotations": {REF: name}} for each, name in ((index, "a"), (empty, "b"))]
    _loaded(tmp_path, store, *named)
    assert everything(store) == files(tmp_path / "l")
    with pytest.raises(NotFound, match="no manifest for linux/amd64"):
        resolve(store, index, LINUX, "x")


def test_images_without_a_name_and_what_lies_beside_them_are_one(tmp_path, store):
    entries = []
    for platform in (AMD, ARM):
        image = put_image(tmp_path / "l", [ONE], {}, platform=platform)
        entries += [{**image, "platform": platform}, put_attestation(tmp_path / "l", image)]
    put_index(tmp_path / "l", entries)
    (loaded,) = load_text(f"oci:{tmp_path}/l", store)
    assert json.loads(store.read(loaded.target["digest"], 1 << 20))["manifests"] == entries


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"layers": None},
        {"layers": [{"mediaType": "x"}]},
        {"manifests": []},
        {"schemaVersion": 1},
        {"subject": []},
        {"artifactType": 7},
        {"mediaType": INDEX},
    ],
)
def test_what_is_no_manifest_is_refused_whatever_an_index_calls_it(tmp_path, store, changes):
    image = {**put_image(tmp_path / "l", [ONE], {}, platform=AMD), "platform": AMD}
    odd = {"schemaVersion": 2, "mediaType": MANIFEST, "config": blob(tmp_path / "l", EMPTY, b"{}"), "layers": []}
    odd = blob(tmp_path / "l", MANIFEST, document({**odd, **changes}))
    index = blob(tmp_path / "l", INDEX, document(
        {"schemaVersion": 2, "manifests": [image, {**odd, "platform": UNKNOWN}]}))  # fmt: skip
    put_index(tmp_path / "l", [index])
    refused(f"oci:{tmp_path}/l", store, InvalidArgument)


def test_the_blobs_of_an_attestation_are_checked_like_layers(tmp_path, store):
    image = put_image(tmp_path / "l", [ONE], {}, platform=AMD)
    attestation = put_attestation(tmp_path / "l", image)
    index = document({"schemaVersion": 2, "manifests": [{**image, "platform": AMD}, attestation]})
    put_blob(tmp_path / "l", index)
    put_index(tmp_path / "l", [descriptor(INDEX, index)])
    manifest = json.loads((tmp_path / "l/blobs/sha256" / attestation["digest"][7:]).read_bytes())
    statement = tmp_path / "l/blobs/sha256" / manifest["layers"][0]["digest"][7:]
    statement.write_bytes(statement.read_bytes()[:-1] + b"!")
    refused(f"oci:{tmp_path}/l", store, DataLoss)
    statement.unlink()
    refused(f"oci:{tmp_path}/l", store, DataLoss)


def test_a_huge_config_of_an_artifact_is_no_document(tmp_path, store):
    config = blob(tmp_path / "l", "application/vnd.example.model", bytes(5 << 20))
    put_index(tmp_path / "l", [put_manifest(tmp_path / "l", config, [])])
    load_text(f"oci:{tmp_path}/l", store)
    assert store.size(config["digest"]) == 5 << 20
    image = put_manifest(tmp_path / "m", blob(tmp_path / "m", CONFIG, bytes(5 << 20)), [])
    put_index(tmp_path / "m", [image])
    with pytest.raises(Exception, match="limit"):
        load_text(f"oci:{tmp_path}/m", store)
