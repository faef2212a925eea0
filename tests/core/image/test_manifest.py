from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import CONFIG, INDEX, LAYER, MANIFEST, config_document, descriptor, digest, document

from prun.errors import DataLoss, InvalidArgument, NotFound, PrunError, ResourceExhausted
from prun.image.manifest import (
    MAX_DOCUMENT_BYTES,
    MAX_LAYERS,
    MAX_MANIFESTS,
    blobs,
    parse_descriptor,
    parse_index,
    parse_manifest,
    resolve,
)
from prun.types import Layer, Platform

AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class Blobs(dict):
    """Content in memory: digests to blobs, and the digests that were read."""

    def has(self, name):
        return name in self

    def read(self, name, limit_bytes):
        if name not in self:
            raise NotFound(name)
        assert digest(self[name]) == name
        return self[name]

    def put(self, media_type, value, **more):
        data = value if isinstance(value, bytes) else document(value)
        self[digest(data)] = data
        return descriptor(media_type, data, **more)

    def image(
        self, platform=AMD64, contents=(b"layer",), entry=None, config_type=CONFIG, media_type=MANIFEST, **changes
    ):
        config = self.put(config_type, config_document(contents, {"Cmd": ["sh"]}, platform))
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config,
            "layers": [descriptor(LAYER["gzip"], b"z" + layer) for layer in contents],
        }
        return self.put(media_type, {**manifest, **changes}, **({"platform": entry} if entry else {}))

    def index(self, *entries, media_type=INDEX, **changes):
        return self.put(media_type, {"schemaVersion": 2, "mediaType": media_type, "manifests": entries, **changes})


@pytest.fixture
def content():
    return Blobs()


def platform(value=AMD64):
    return Platform(value["os"], value["architecture"], value.get("variant", ""))


# resolve


def test_a_manifest_resolves_to_its_config_and_layers(content):
    target = content.image(contents=[b"one", b"two"])
    image = resolve(content, target, platform(), "docker.io/library/x:latest")
    assert image.name == "docker.io/library/x:latest"
    assert image.digest == target["digest"]
    assert image.platform == platform()
    assert image.config == {"Cmd": ["sh"]}
    assert image.layers == tuple(
        Layer(digest(b"z" + layer), digest(layer), LAYER["gzip"], len(layer) + 1) for layer in (b"one", b"two")
    )


def test_an_index_resolves_to_the_manifest_of_the_platform(content):
    amd, arm = content.image(AMD64, entry=AMD64), content.image(ARM64, entry=ARM64)
    index = content.index(amd, arm)
    assert resolve(content, index, platform(AMD64), "x").digest == amd["digest"]
    assert resolve(content, index, platform(ARM64), "x").digest == arm["digest"]


def test_docker_documents_resolve_too(content):
    layer = descriptor(DOCKER_LAYER, b"zlayer")
    manifest = content.image(entry=AMD64, media_type=DOCKER_MANIFEST, config_type=DOCKER_CONFIG, contents=[b"layer"])
    old = json.loads(content[manifest["digest"]])
    manifest = content.put(DOCKER_MANIFEST, {**old, "layers": [layer]}, platform=AMD64)
    image = resolve(content, content.index(manifest, media_type=DOCKER_LIST), platform(), "x")
    assert image.layers[0].media_type == DOCKER_LAYER


def test_the_nearest_variant_wins_and_then_the_first(content):
    v5, v6, v6_again = (
        content.image(
            {**ARM64, "architecture": "arm"},
            contents=[name],
            entry={"os": "linux", "architecture": "arm", "variant": variant},
        )
        for variant, name in (("v5", b"5"), ("v6", b"6"), ("v6", b"six"))
    )
    index = content.index(v5, v6, v6_again)
    assert resolve(content, index, Platform("linux", "arm", "v7"), "x").digest == v6["digest"]
    assert resolve(content, index, Platform("linux", "arm", "v5"), "x").digest == v5["digest"]
    assert resolve(content, index, Platform("linux", "arm64"), "x").digest == v6["digest"]


def test_an_entry_without_a_platform_is_for_that_of_its_config(content):
    arm, amd = content.image(ARM64), content.image(AMD64)
    assert resolve(content, content.index(arm, amd), platform(), "x").digest == amd["digest"]


def test_an_attestation_is_never_chosen_nor_read(content):
    unknown = {"os": "unknown", "architecture": "unknown"}
    junk = content.put(MANIFEST, b"junk", platform=unknown)
    marked = content.put(
        MANIFEST, b"more", platform=AMD64, annotations={"vnd.docker.reference.type": "attestation-manifest"}
    )
    signature = content.put(MANIFEST, b"sig", artifactType="application/vnd.example.signature")
    amd = content.image()
    assert resolve(content, content.index(junk, marked, signature, amd), platform(), "x").digest == amd["digest"]


def test_an_unknown_wish_does_not_find_an_attestation(content):
    unknown = {"os": "unknown", "architecture": "unknown"}
    index = content.index(content.image(entry=unknown), content.image(entry=AMD64))
    with pytest.raises(NotFound):
        resolve(content, index, platform(unknown), "x")


def test_a_platform_that_is_missing_is_not_found_and_the_others_are_named(content):
    index = content.index(content.image(AMD64, entry=AMD64), content.image(ARM64, entry={**ARM64, "variant": "v8"}))
    with pytest.raises(NotFound, match=r"image 'x' has no manifest for linux/s390x") as error:
        resolve(content, index, Platform("linux", "s390x"), "x")
    assert error.value.hint == "it has: linux/amd64, linux/arm64"


def test_a_single_manifest_for_another_platform_is_not_found_and_its_own_is_named(content):
    with pytest.raises(NotFound, match="linux/amd64") as error:
        resolve(content, content.image(ARM64), platform(), "x")
    assert error.value.hint == "it has: linux/arm64"


def test_a_config_that_names_no_platform_fits_everyone(content):
    target = content.image({"os": "", "architecture": ""})
    assert resolve(content, target, platform(ARM64), "x").platform == platform(ARM64)


def test_a_manifest_that_was_not_kept_gives_way_to_the_next_that_fits(content):
    best = content.image({**AMD64}, contents=[b"a"], entry=AMD64)
    other = content.image({**AMD64, "architecture": "386"}, contents=[b"b"], entry={**AMD64, "architecture": "386"})
    index = content.index(best, other)
    del content[best["digest"]]
    assert resolve(content, index, platform(), "x").digest == other["digest"]


def test_a_platform_whose_content_was_not_kept_is_not_found_with_that_reason(content):
    amd = content.image(entry=AMD64)
    index = content.index(amd, content.image(ARM64, entry=ARM64))
    del content[amd["digest"]]
    with pytest.raises(NotFound, match="not here"):
        resolve(content, index, platform(), "x")


def test_indexes_may_nest_twice_and_no_deeper(content):
    inner = content.index(content.image(entry=AMD64))
    nested = content.index(inner)
    assert resolve(content, nested, platform(), "x").config == {"Cmd": ["sh"]}
    with pytest.raises(ResourceExhausted, match="one too many"):
        resolve(content, content.index(nested), platform(), "x")


def test_an_index_that_is_named_twice_is_looked_into_once(content):
    inner = content.index(content.image(entry=AMD64))
    image = resolve(content, content.index(inner, inner), platform(), "x")
    assert image.digest in content


def test_a_thousand_nested_indexes_are_too_many(content):
    inner = [content.index(annotations={"n": str(n)}) for n in range(200)]
    with pytest.raises(ResourceExhausted, match="one too many"):
        resolve(content, content.index(*inner), platform(), "x")


def test_nested_indexes_together_hold_a_thousand_manifests_at_most(content):
    entries = [content.image(entry=AMD64)] * 600
    index = content.index(content.index(*entries), content.index(*entries, annotations={"second": "one"}))
    with pytest.raises(ResourceExhausted, match=str(MAX_MANIFESTS)):
        resolve(content, index, platform(), "x")


# what is refused


@pytest.mark.parametrize(
    "changes",
    [
        {"manifests": []},
        {"fsLayers": []},
        {"schemaVersion": 1},
        {"schemaVersion": None},
        {"schemaVersion": "2"},
        {"mediaType": INDEX},
        {"mediaType": DOCKER_MANIFEST},
        {"mediaType": 7},
        {"layers": None},
        {"layers": {}},
        {"layers": [None]},
        {"layers": [{}]},
        {"config": None},
        {"config": "x"},
    ],
)
def test_an_ambiguous_or_broken_manifest_is_refused(content, changes):
    with pytest.raises(InvalidArgument):
        resolve(content, content.image(**changes), platform(), "x")


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": []},
        {"config": {}},
        {"fsLayers": []},
        {"schemaVersion": 3},
        {"mediaType": MANIFEST},
        {"mediaType": DOCKER_LIST},
        {"manifests": None},
        {"manifests": {}},
        {"manifests": [1]},
    ],
)
def test_an_ambiguous_or_broken_index_is_refused(content, changes):
    with pytest.raises(InvalidArgument):
        resolve(content, content.index(content.image(), **changes), platform(), "x")


def test_a_manifest_behind_the_descriptor_of_an_index_is_refused_and_the_reverse(content):
    manifest, index = content.image(), content.index(content.image())
    for target, lie in ((manifest, INDEX), (index, MANIFEST), (manifest, DOCKER_MANIFEST)):
        with pytest.raises(InvalidArgument):
            resolve(content, {**target, "mediaType": lie}, platform(), "x")


def test_a_document_without_its_own_media_type_is_what_the_descriptor_says(content):
    assert resolve(content, content.image(mediaType=None), platform(), "x").config == {"Cmd": ["sh"]}


def test_a_target_that_is_neither_manifest_nor_index_is_refused(content):
    with pytest.raises(InvalidArgument, match="neither"):
        resolve(content, content.put("application/vnd.docker.distribution.manifest.v1+json", b"{}"), platform(), "x")


@pytest.mark.parametrize(
    "media_type", ["application/vnd.oci.empty.v1+json", "application/vnd.cncf.helm.config.v1+json", "x/x"]
)
def test_an_unknown_config_media_type_is_refused_in_the_words_of_the_seed(content, media_type):
    with pytest.raises(InvalidArgument, match=f"unknown image config media type '{media_type}'".replace("+", r"\+")):
        resolve(content, content.image(config_type=media_type), platform(), "x")


def test_an_unknown_layer_media_type_is_refused(content):
    layers = [descriptor("application/vnd.in-toto+json", b"zlayer")]
    with pytest.raises(InvalidArgument, match="unknown layer media type"):
        resolve(content, _with_layers(content, layers), platform(), "x")


def _with_layers(content, layers):
    old = json.loads(content[content.image(contents=[b"layer"])["digest"]])
    return content.put(MANIFEST, {**old, "layers": layers})


def test_another_number_of_diff_ids_than_layers_is_refused(content):
    with pytest.raises(InvalidArgument, match="diff IDs"):
        resolve(content, _with_layers(content, []), platform(), "x")


def test_a_document_of_another_size_than_announced_is_refused(content):
    target = content.image()
    with pytest.raises(DataLoss, match="its descriptor says"):
        resolve(content, {**target, "size": target["size"] - 1}, platform(), "x")


def test_a_document_beyond_four_mebibytes_is_not_even_read(content):
    target = content.image()
    content.clear()
    with pytest.raises(ResourceExhausted):
        resolve(content, {**target, "size": MAX_DOCUMENT_BYTES + 1}, platform(), "x")


def test_too_many_layers_and_manifests_are_refused():
    layer = descriptor(LAYER["gzip"], b"x")
    manifest = {"schemaVersion": 2, "config": descriptor(CONFIG, b"{}")}
    parse_manifest(document({**manifest, "layers": [layer] * MAX_LAYERS}), MANIFEST)
    with pytest.raises(InvalidArgument, match="limit"):
        parse_manifest(document({**manifest, "layers": [layer] * (MAX_LAYERS + 1)}), MANIFEST)
    entry = descriptor(MANIFEST, b"x")
    parse_index(document({"schemaVersion": 2, "manifests": [entry] * MAX_MANIFESTS}))
    with pytest.raises(InvalidArgument, match="limit"):
        parse_index(document({"schemaVersion": 2, "manifests": [entry] * (MAX_MANIFESTS + 1)}))


@pytest.mark.parametrize(
    "change",
    [
        {"mediaType": ""},
        {"mediaType": None},
        {"mediaType": 1},
        {"digest": None},
        {"digest": "sha256:../../../etc/passwd"},
        {"digest": ["x"]},
        {"size": None},
        {"size": -1},
        {"size": "1"},
        {"size": 1.5},
        {"size": True},
        {"size": 1 << 70},
        {"annotations": []},
        {"annotations": {"a": 1}},
        {"platform": "linux"},
        {"platform": {"os": 1}},
        {"artifactType": []},
    ],
)
def test_a_descriptor_has_the_types_of_the_spec(change):
    with pytest.raises(InvalidArgument):
        parse_descriptor({**descriptor(MANIFEST, b"x"), **change}, "it")


# blobs


def test_what_is_needed_comes_before_what_needs_it(content):
    amd, arm = content.image(AMD64, entry=AMD64), content.image(ARM64, contents=[b"arm"], entry=ARM64)
    inner = content.index(arm)
    outer = content.index(amd, inner)
    order = [blob["digest"] for blob in blobs(content, outer)]
    for above in (amd, arm):
        manifest = json.loads(content[above["digest"]])
        for below in (*manifest["layers"], manifest["config"]):
            assert order.index(below["digest"]) < order.index(above["digest"])
    assert order.index(arm["digest"]) < order.index(inner["digest"]) < order.index(outer["digest"])
    assert order[-1] == outer["digest"]


def test_platforms_that_were_not_kept_are_left_out_but_not_all_of_them(content):
    amd, arm = content.image(AMD64, entry=AMD64), content.image(ARM64, contents=[b"arm"], entry=ARM64)
    index = content.index(amd, arm)
    del content[arm["digest"]]
    assert arm["digest"] not in {blob["digest"] for blob in blobs(content, index)}
    del content[amd["digest"]]
    with pytest.raises(NotFound):
        list(blobs(content, index))


# anything at all

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from([2, MANIFEST, INDEX, CONFIG, digest(b"")])
)
keys = st.sampled_from(
    ["schemaVersion", "mediaType", "manifests", "config", "layers", "digest", "size", "platform", "os", "rootfs"]
) | st.text(max_size=3)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6), max_leaves=20
)


@given(trees, st.sampled_from([MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST]))
def test_any_json_is_resolved_or_refused(tree, media_type):
    content = Blobs()
    target = content.put(media_type, tree)
    try:
        resolve(content, target, platform(), "x")
    except PrunError:
        return


@given(trees, trees, st.sampled_from(["config", "layers", "annotations", "subject"]))
def test_an_image_with_any_config_and_any_member_is_resolved_or_refused(config, member, key):
    content = Blobs()
    manifest = {"schemaVersion": 2, "config": content.put(CONFIG, config), "layers": [], key: member}
    try:
        resolve(content, content.put(MANIFEST, manifest), platform(), "x")
    except PrunError:
        return
