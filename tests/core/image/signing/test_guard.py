"""Signatures of every kind, good ones and hostile ones, as a registry gives them."""

from __future__ import annotations

import base64
import json

import pytest
from artifacts import SIMPLE_SIGNING
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from images import CONFIG, INDEX, MANIFEST, descriptor, document
from signing import (
    ECDSA,
    ED25519,
    OTHER,
    encoded,
    layer_of,
    manifest_of,
    payload,
    pem,
    rule,
    signature,
    tag_of,
    write_key,
    write_policy,
)
from stub_registry import LAYER, QUICK, about, stub_registry

from prun.config import Settings
from prun.engines.embedded.pulling import Access, pull_image
from prun.errors import InvalidArgument, NotFound, PermissionDenied, PrunError, Unavailable
from prun.image.signing.claims import ARTIFACT_TYPE
from prun.image.signing.payload import parse_payload
from prun.state import Store

RSA = rsa.generate_private_key(65537, 2048)


@pytest.fixture
def stub():
    with stub_registry() as made:
        yield made


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "root"), str(tmp_path / "state")) as made:
        yield made


class Signed:
    """An image in a registry, its name, and a policy that wants it signed."""

    def __init__(self, stub, tmp_path, identity="matchRepository"):
        self.stub, self.name = stub, f"{stub.netloc}/team/app"
        self.target = stub.put_image("1", [LAYER])
        self.digest = self.target["digest"]
        self.key = write_key(tmp_path / "key.pub")
        self.policy = write_policy(tmp_path / "policy.json", docker={stub.netloc: [rule(self.key, identity)]})

    def put(self, *layers, digest="", tag="", **more):
        """Put these signatures to where cosign does."""
        manifest, config = manifest_of(*layers, **more)
        self.stub.blobs[descriptor("", config)["digest"]] = config
        return self.stub.put(tag or tag_of(digest or self.digest), MANIFEST, manifest)

    def layer(self, data=None, word=None, key=ECDSA, **changes):
        data = payload(self.digest, self.name) if data is None else data
        self.stub.blobs[descriptor("", data)["digest"]] = data
        return layer_of(data, encoded(key, data) if word is None else word, **changes)

    def sign(self, key=ECDSA, **changes):
        return self.put(self.layer(key=key), **changes)

    def pull(self, store, name="", **more):
        access = Access(patience=QUICK)
        policy = more.pop("policy", self.policy)
        return pull_image(store, name or f"{self.name}:1", Settings(), access=access, signature_policy=policy, **more)

    def refused(self, store, *words, error=PermissionDenied, **more):
        with pytest.raises(error) as caught:
            self.pull(store, **more)
        assert store.metadata.images() == []
        assert list(store.content.digests()) == []
        for word in words:
            assert word in str(caught.value)
        return caught.value


@pytest.fixture
def signed(stub, tmp_path):
    return Signed(stub, tmp_path)


@pytest.mark.parametrize(
    "key", [ECDSA, RSA, ED25519, ec.generate_private_key(ec.SECP384R1())], ids=lambda key: type(key).__name__
)
def test_a_signature_of_every_kind_of_key_lets_an_image_in(signed, store, tmp_path, key):
    signed.sign(key)
    write_key(tmp_path / "key.pub", key)
    assert signed.pull(store).digest == signed.digest
    write_key(tmp_path / "key.pub", OTHER)
    store.metadata.drop_image(f"{signed.name}:1")
    with pytest.raises(PermissionDenied, match="is not of this key"):
        signed.pull(store)


def test_without_a_policy_nobody_asks_for_signatures(signed, store):
    signed.pull(store, policy="")
    assert not [path for path in signed.stub.paths() if ".sig" in path or "referrers" in path]


def test_an_image_without_a_signature_is_refused_by_rule_key_and_reason(signed, store):
    error = signed.refused(store, f'policy.json: transports.docker["{signed.stub.netloc}"][0]', str(signed.key),
                           "there is no signature of it", f"image {signed.name}:1")  # fmt: skip
    assert "cosign sign" in error.hint


def test_no_layer_is_fetched_before_an_image_is_let_in(signed, store):
    manifest = json.loads(signed.stub.manifests["1"][1])
    signed.refused(store)
    assert not [path for path in signed.stub.paths() if manifest["layers"][0]["digest"] in path]


def test_one_good_signature_of_several_will_do(signed, store):
    signed.put(signed.layer(key=OTHER), signed.layer(word="!"), signed.layer(b"junk"), signed.layer())
    assert signed.pull(store).digest == signed.digest


def test_any_of_several_keys_will_do_and_every_rule_must(signed, store, tmp_path):
    other = write_key(tmp_path / "other.pub", OTHER)
    any_key = {
        "type": "sigstoreSigned",
        "keyPaths": [str(other), str(signed.key)],
        "signedIdentity": {"type": "matchRepository"},
    }
    signed.put(signed.layer())
    both = [rule(signed.key, "matchRepository"), rule(other, "matchRepository")]
    signed.refused(store, "[1] (key", str(other),
                   policy=write_policy(tmp_path / "both.json", docker={"": both}))  # fmt: skip
    assert signed.pull(store, policy=write_policy(tmp_path / "any.json", docker={"": [any_key]}))
    signed.put(signed.layer(), signed.layer(key=OTHER))
    assert signed.pull(store, policy=write_policy(tmp_path / "both.json", docker={"": both}))


def test_a_key_may_stand_in_the_policy(signed, store, tmp_path):
    signed.sign()
    inline = rule("/", "matchRepository", keyData=base64.b64encode(pem(ECDSA)).decode())
    del inline["keyPath"]
    assert signed.pull(store, policy=write_policy(tmp_path / "p.json", docker={"": [inline]}))


@pytest.mark.parametrize("word", ["", "!", "AA=", "AA==", "A" * 9000, "\u00e4"])
def test_a_signature_that_is_none_is_refused(signed, store, word):
    signed.put(signed.layer(word=word))
    signed.refused(store, f"signature :{tag_of(signed.digest)}[0]")


def test_a_signature_of_another_image_is_refused(signed, store):
    other = signed.stub.put_image("2", [LAYER, LAYER])
    signed.put(signed.layer(payload(other["digest"], signed.name)))
    signed.refused(store, "is of another image", other["digest"])


def test_a_signature_for_another_repository_is_refused(signed, store):
    signed.put(signed.layer(payload(signed.digest, f"{signed.stub.netloc}/team/other")))
    signed.refused(store, "is for", "team/other", f"not for {signed.name}:1")


def test_what_cosign_signs_is_a_repository_and_the_hint_says_so(stub, store, tmp_path):
    strict = Signed(stub, tmp_path, identity="")
    strict.sign()
    assert "matchRepository" in strict.refused(store, "not for").hint
    strict.put(strict.layer(payload(strict.digest, f"{strict.name}:1")))
    assert strict.pull(store)


def test_an_image_that_is_pulled_by_its_digest_is_checked_too(signed, store):
    signed.refused(store, "no signature", name=f"{signed.name}@{signed.digest}")
    signed.sign()
    assert signed.pull(store, f"{signed.name}@{signed.digest}")


@pytest.mark.parametrize(
    "change",
    [
        {"type": "atomic container signature"},
        {"type": None},
        {"image": {}},
        {"image": {"docker-manifest-digest": 1}},
        {"image": {"docker-manifest-digest": "sha256:x"}},
        {"image": []},
        {"identity": None},
        {"identity": {"docker-reference": []}},
        {"identity": {"docker-reference": "\0"}},
        {"more": 1},
    ],
)
def test_a_payload_that_is_signed_and_is_none_of_cosigns_is_refused(signed, store, change):
    signed.put(signed.layer(payload(signed.digest, signed.name, **change)))
    signed.refused(store, "[0]: ")


@pytest.mark.parametrize(
    "data", [b"", b"junk", b"[]", b"{}", b"[" * 50_000, b'{"critical": {}, "critical": {}}', b"\xff"]
)
def test_junk_that_is_signed_is_refused(signed, store, data):
    signed.put(signed.layer(data))
    signed.refused(store, "payload")
    with pytest.raises(InvalidArgument):
        parse_payload(data)


def test_a_huge_payload_is_not_even_fetched(signed, store):
    data = payload(signed.digest, signed.name) + b" " * (200 << 10)
    layer = signed.layer(data)
    signed.put(layer)
    signed.refused(store, "131072 is the limit")
    assert not [path for path in signed.stub.paths() if layer["digest"] in path]


def test_a_payload_that_is_longer_than_announced_is_refused(signed, store):
    data = payload(signed.digest, signed.name)
    signed.put(signed.layer(data, size=len(data) - 1))
    signed.refused(store, "signature")


def test_a_payload_with_another_digest_is_refused(signed, store):
    layer = signed.layer()
    signed.stub.blobs[layer["digest"]] = payload(signed.digest, signed.name + "x")
    signed.put(layer)
    signed.refused(store, "signature")


def test_a_signature_that_was_moved_to_the_tag_of_another_image_is_refused(signed, store):
    """Replayed: signed for 1, and put where signatures of 2 are looked for."""
    signed.sign()
    other = signed.stub.put_image("2", [LAYER, LAYER])
    signed.stub.manifests[tag_of(other["digest"])] = signed.stub.manifests[tag_of(signed.digest)]
    signed.refused(store, "is of another image", name=f"{signed.name}:2")


def test_hundreds_of_signatures_are_gone_through_and_thousands_refused(signed, store):
    bad = [signed.layer(word="!") for _ in range(499)]
    signed.put(*bad, signed.layer())
    assert signed.pull(store)
    signed.put(*bad, signed.layer(), signed.layer())
    store.metadata.drop_image(f"{signed.name}:1")
    with pytest.raises(PermissionDenied, match="501 members; 500 is the limit"):
        signed.pull(store)


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        (MANIFEST, b"junk"),
        (MANIFEST, document({"schemaVersion": 2, "manifests": []})),
        (MANIFEST, document({"schemaVersion": 2, "config": descriptor(CONFIG, b""), "layers": [1]})),
        (INDEX, document({"schemaVersion": 2, "manifests": []})),
        ("text/plain", b"x"),
    ],
)
def test_a_manifest_of_signatures_that_is_none_is_refused(signed, store, media_type, data):
    signed.stub.put(tag_of(signed.digest), media_type, data)
    signed.refused(store, "its signatures cannot be read")


def test_a_layer_of_another_kind_is_no_signature(signed, store):
    signed.put(signed.layer(mediaType="text/plain"))
    signed.refused(store, "'text/plain' is none of a signature")


def test_a_registry_that_does_not_answer_lets_nothing_in(signed, store):
    signed.stub.lies.append(about(".sig", lambda handler: handler.answer(503)))
    signed.refused(store, error=Unavailable)


@pytest.mark.parametrize("sign", ["index", "image", ""])
def test_of_an_index_it_or_the_platform_that_is_wanted_is_signed(signed, store, sign):
    index = signed.stub.put_index("1", [signed.target])
    if sign:
        digest = (index if sign == "index" else signed.target)["digest"]
        signed.put(signed.layer(payload(digest, signed.name)), digest=digest)
    if not sign:
        signed.refused(store, "no signature")
        return
    assert signed.pull(store).digest == index["digest"]
    store.metadata.drop_image(f"{signed.name}:1")
    if sign == "index":
        assert signed.pull(store, everything=True)
    else:
        with pytest.raises(PermissionDenied):
            signed.pull(store, everything=True)


def test_a_signature_that_refers_to_the_image_counts(signed, store):
    made = signed.sign(tag="other", artifactType=ARTIFACT_TYPE, subject=signed.target)
    entry = {**made, "artifactType": ARTIFACT_TYPE}
    index = document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    signed.stub.lies.append(about("/referrers/", lambda handler: handler.answer(200, index, {"Content-Type": INDEX})))
    assert signed.pull(store)
    assert [path for path in signed.stub.paths() if f"/referrers/{signed.digest}" in path]


def test_signatures_themselves_need_none_and_may_be_rejected(signed, store, tmp_path):
    signed.sign()
    assert signed.pull(store, f"{signed.name}:{tag_of(signed.digest)}")
    store.metadata.drop_image(f"{signed.name}:{tag_of(signed.digest)}")
    with pytest.raises(PermissionDenied, match="rejects it"):
        signed.pull(store, f"{signed.name}:{tag_of(signed.digest)}", policy=write_policy(tmp_path / "none.json"))


def test_rejecting_and_accepting_need_no_signature(signed, store, tmp_path):
    signed.refused(store, "default[0] rejects it", policy=write_policy(tmp_path / "none.json"))
    accept = [{"type": "insecureAcceptAnything"}]
    assert signed.pull(store, policy=write_policy(tmp_path / "ours.json", docker={signed.name: accept}))


@pytest.mark.parametrize(
    ("words", "requirement"),
    [
        ("signedBy (GPG keys)", {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}),
        ("fulcio", {"type": "sigstoreSigned", "fulcio": {"caPath": "/x"}}),
        ("rekorPublicKeyPath", {"type": "sigstoreSigned", "keyPath": "/k", "rekorPublicKeyPath": "/r"}),
    ],
)
def test_what_prun_cannot_check_refuses_by_its_name(signed, store, tmp_path, words, requirement):
    signed.sign()
    policy = write_policy(tmp_path / "p.json", docker={"": [requirement]})
    assert "sigstoreSigned" in signed.refused(store, f"prun cannot check {words}", policy=policy).hint


def test_a_key_that_cannot_be_used_is_an_error_that_names_its_file(signed, store, tmp_path):
    signed.sign()
    small = rsa.generate_private_key(65537, 1024)
    for data, word in ((b"junk", "no public key in PEM"), (b"", "no public key"), (pem(small), "1024 bits")):
        signed.key.write_bytes(data)
        signed.refused(store, str(signed.key), word, error=InvalidArgument)
    signed.key.write_bytes(pem(ECDSA))
    signed.key.chmod(0o664)
    signed.refused(store, str(signed.key), "may be changed by others")
    signed.key.unlink()
    signed.refused(store, str(signed.key), "does not exist", error=NotFound)


def test_a_policy_that_cannot_be_used_lets_nothing_in(signed, store, tmp_path):
    (tmp_path / "policy.json").write_text("{")
    signed.refused(store, str(tmp_path / "policy.json"), error=InvalidArgument)
    assert signed.stub.asked == []
    signed.refused(store, "does not exist", error=NotFound, policy=str(tmp_path / "none.json"))


def test_the_policy_of_prun_toml_counts_unless_another_is_named(signed, store, tmp_path):
    settings, access = Settings(signature_policy=signed.policy), Access(patience=QUICK)
    with pytest.raises(PermissionDenied):
        pull_image(store, f"{signed.name}:1", settings, access=access)
    assert pull_image(store, f"{signed.name}:1", settings, access=access, signature_policy=write_policy(
        tmp_path / "all.json", "insecureAcceptAnything"))  # fmt: skip


def test_a_signature_says_nothing_before_its_key_does(signed, store):
    """What nobody vouches for is not parsed: its JSON is of no interest."""
    data = b'{"critical": "junk"}'
    signed.put(signed.layer(data, base64.b64encode(signature(OTHER, data)).decode()))
    with pytest.raises(PrunError) as error:
        signed.pull(store)
    assert "is not of this key" in str(error.value)
    assert "critical" not in str(error.value)
    assert SIMPLE_SIGNING not in str(error.value)
