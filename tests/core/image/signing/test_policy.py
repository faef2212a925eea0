from __future__ import annotations

import base64
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signing import ECDSA, pem

from prun.errors import InvalidArgument, NotFound, PermissionDenied, PrunError, ResourceExhausted
from prun.image.reference import parse_reference
from prun.image.signing.identity import SignedIdentity, mismatch, parse_identity
from prun.image.signing.policy import docker_scopes, parse_policy, path_scopes, read_policy

ACCEPT, REJECT = {"type": "insecureAcceptAnything"}, {"type": "reject"}
KEY = {"type": "sigstoreSigned", "keyPath": "/etc/key.pub"}


def parse(**document):
    return parse_policy(json.dumps({"default": [REJECT], **document}).encode(), "P")


def signed(**more):
    return {"transports": {"docker": {"example.com": [{**KEY, **more}]}}}


# which requirements count


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("example.com:5000/team/app:1", "example.com:5000/team/app:1"),
        ("example.com:5000/team/app:2", "example.com:5000/team/app"),
        ("example.com:5000/team/other", "example.com:5000/team"),
        ("example.com:5000/teams/app", "example.com:5000"),
        ("registry.example.com/x", "*.example.com"),
        ("registry.example.com:5000/x", "*.example.com"),
        ("a.b.example.com/x", "*.b.example.com"),
        ("example.org/x", ""),
        ("busybox", "docker.io/library/busybox"),
        ("index.docker.io/library/busybox:3", "docker.io/library/busybox"),
        (f"example.com:5000/x@sha256:{'a' * 64}", f"example.com:5000/x@sha256:{'a' * 64}"),
    ],
)
def test_the_most_specific_scope_counts(name, scope):
    scopes = ["", "*.example.com", "*.b.example.com", "example.com:5000", "example.com:5000/team",
              "example.com:5000/team/app", "example.com:5000/team/app:1", "docker.io/library/busybox",
              f"example.com:5000/x@sha256:{'a' * 64}", "example.com"]  # fmt: skip
    policy = parse(transports={"docker": {each: [ACCEPT] for each in scopes}})
    (found,) = policy.requirements("docker", docker_scopes(parse_reference(name)))
    assert found.where == f'signature policy P: transports.docker["{scope}"][0]'


def test_without_a_scope_that_fits_the_default_counts():
    policy = parse(transports={"docker": {"example.com": [ACCEPT]}})
    for transport, scopes in (("docker", docker_scopes(parse_reference("x"))), ("oci", path_scopes("/srv"))):
        assert [each.where for each in policy.requirements(transport, scopes)] == ["signature policy P: default[0]"]


def test_paths_are_scopes_with_all_above_them_and_without_links(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    scopes = list(path_scopes(str(tmp_path / "link" / "x.tar"), "1"))
    assert scopes[:3] == [f"{tmp_path}/real/x.tar:1", f"{tmp_path}/real/x.tar", f"{tmp_path}/real"]
    assert scopes[-1] == ""
    assert "/" not in scopes
    assert list(path_scopes("")) == [""]


# what is no policy


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"default": None}, "no 'default'"),
        ({"default": []}, "default is empty"),
        ({"default": {}}, "default is an object"),
        ({"default": [1]}, r"default\[0\] is a number"),
        ({"default": [{"type": "accept"}]}, r"default\[0\].type is 'accept'"),
        ({"default": [{}]}, r"default\[0\].type is null"),
        ({"default": [{**REJECT, "keyPath": "/x"}]}, r"default\[0\] has no key 'keyPath'"),
        ({"other": 1}, "no key 'other'"),
        ({"transports": []}, "transports is a list"),
        ({"transports": {"docker": []}}, "transports.docker is a list"),
        ({"transports": {"docker": {"x": [ACCEPT, {"type": 1}]}}}, r'transports.docker\["x"\]\[1\].type'),
        ({"transports": {"oci": {"/": [ACCEPT]}}}, "scope '/'"),
        ({"transports": {"docker": {"a*.example.com": [ACCEPT]}}}, "scope"),
        (signed(keyData="eA=="), "keyPath and keyData"),
        ({"default": [{"type": "sigstoreSigned"}]}, "no key"),
        (signed(key="x"), "no key 'key'"),
        ({"default": [{**KEY, "keyPath": "key.pub"}]}, "keyPath is 'key.pub'"),
        ({"default": [{**KEY, "keyPath": 1}]}, "keyPath is a number"),
        ({"default": [{"type": "sigstoreSigned", "keyPaths": []}]}, "keyPaths is empty"),
        ({"default": [{"type": "sigstoreSigned", "keyData": "!"}]}, "keyData is not base64"),
        (signed(signedIdentity="matchExact"), "signedIdentity is a string"),
        (signed(signedIdentity={"type": "match"}), "signedIdentity.type is 'match'"),
        (signed(signedIdentity={"type": "matchExact", "prefix": "x"}), "no key 'prefix'"),
        (signed(signedIdentity={"type": "exactReference"}), "dockerReference is null"),
        (signed(signedIdentity={"type": "exactReference", "dockerReference": "example.com/x"}), "dockerReference"),
        (signed(signedIdentity={"type": "exactRepository", "dockerRepository": "example.com/x:1"}), "dockerRepository"),
        (signed(signedIdentity={"type": "remapIdentity", "prefix": "x/", "signedPrefix": "y"}), "prefix is 'x/'"),
    ],
)
def test_a_malformed_policy_is_refused_with_the_path_of_the_key(document, words):
    with pytest.raises(InvalidArgument, match=f"signature policy P.*{words}"):
        parse(**document)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"default": [], "default": []}', b"[" * 100_000, b"\xff"])
def test_what_is_no_json_object_is_no_policy(data):
    with pytest.raises(InvalidArgument, match="signature policy P"):
        parse_policy(data, "P")


keys = st.sampled_from(["default", "transports", "docker", "type", "keyPath", "signedIdentity", ""])
trees = st.recursive(
    st.none() | st.text(max_size=8) | st.sampled_from(["reject", "sigstoreSigned", "docker", "/k"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(trees)
def test_any_json_is_a_policy_or_refused(tree):
    try:
        parse_policy(json.dumps(tree).encode(), "P")
    except PrunError:
        return


def test_a_policy_that_others_may_change_is_refused(tmp_path):
    path = tmp_path / "policy.json"
    with pytest.raises(NotFound, match=str(path)):
        read_policy(str(path))
    path.write_text(json.dumps({"default": [ACCEPT]}))
    path.chmod(0o644)
    assert read_policy(str(path)).default[0].type == "insecureAcceptAnything"
    path.chmod(0o666)
    with pytest.raises(PermissionDenied, match="may be changed by others") as error:
        read_policy(str(path))
    assert "chmod go-w" in error.value.hint
    path.chmod(0o644)
    path.write_bytes(bytes(2 << 20))
    with pytest.raises(ResourceExhausted):
        read_policy(str(path))
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(InvalidArgument):  # and nobody waits for a writer
        read_policy(str(path))


def test_what_prun_cannot_check_is_kept_to_refuse():
    inline = {"type": "sigstoreSigned", "keyData": base64.b64encode(pem(ECDSA)).decode()}
    rekor = {**KEY, "rekorPublicKeyPath": "/r"}
    signed_by = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}
    policy = parse(default=[signed_by, {"type": "sigstoreSigned", "fulcio": {}}, rekor, KEY, inline])
    unsupported = [each.unsupported for each in policy.default]
    assert unsupported == ["signedBy (GPG keys)", "fulcio", "rekorPublicKeyPath", "", ""]
    assert policy.default[4].keys[0].pem == pem(ECDSA)


# which image a signature is about

DIGEST = f"@sha256:{'a' * 64}"
HOST = "example.com"


@pytest.mark.parametrize(
    ("kind", "words", "wanted", "fitting", "unfitting"),
    [
        ("matchExact", {}, "x:1", ["x:1", "docker.io/library/x:1"], ["x", "x:2", "y:1", "x@" + DIGEST[1:]]),
        ("matchExact", {}, "x" + DIGEST, ["x" + DIGEST], ["x:1", "x"]),
        ("matchRepoDigestOrExact", {}, "x:1", ["x:1"], ["x", "x:2", "y:1"]),
        ("matchRepoDigestOrExact", {}, "x" + DIGEST, ["x:1", "x:2", "x" + DIGEST], ["x", "y:1"]),
        ("matchRepository", {}, f"{HOST}/x:1", [f"{HOST}/x", f"{HOST}/x:2", f"{HOST}/x{DIGEST}"],
         [f"{HOST}/xy", f"{HOST}/x/y", "x", f"{HOST}:443/x"]),
        ("exactReference", {"dockerReference": "y:1"}, "x:7", ["y:1"], ["x:7", "y", "y:latest"]),
        ("exactReference", {"dockerReference": "y:latest"}, None, ["y:latest"], ["y"]),
        ("exactRepository", {"dockerRepository": "y"}, None, ["y", "y:1"], ["x", "yy"]),
        ("remapIdentity", {"prefix": f"{HOST}/m", "signedPrefix": "vendor.org"}, f"{HOST}/m/x:1",
         ["vendor.org/x:1"], [f"{HOST}/m/x:1", "vendor.org/x:2", "vendor.org/x"]),
        ("remapIdentity", {"prefix": f"{HOST}/m", "signedPrefix": "vendor.org"}, f"{HOST}/mm/x:1",
         [f"{HOST}/mm/x:1"], ["vendor.orgm/x:1"]),
        ("remapIdentity", {"prefix": HOST, "signedPrefix": "vendor.org"}, f"{HOST}:5000/x:1",
         [f"{HOST}:5000/x:1"], ["vendor.org:5000/x:1"]),
        ("remapIdentity", {"prefix": f"{HOST}/m", "signedPrefix": "vendor.org"}, f"{HOST}/m:1", [], ["vendor.org:1"]),
        *((kind, {}, None, [], ["x:1", "x"]) for kind in ("matchExact", "matchRepoDigestOrExact", "matchRepository")),
    ],
)  # fmt: skip
def test_a_signature_is_for_the_image_that_it_names(kind, words, wanted, fitting, unfitting):
    identity = parse_identity({"type": kind, **words}, "it")
    reference = parse_reference(wanted) if wanted else None
    assert [name for name in fitting if mismatch(identity, reference, name)] == []
    assert [name for name in unfitting if not mismatch(identity, reference, name)] == []


@pytest.mark.parametrize("name", ["", "A B", "x:", "x@sha256:1", "../x", "x" * 5000, "example.com/"])
def test_a_name_that_is_none_fits_nothing(name):
    for kind in ("matchExact", "matchRepository"):
        assert "no reference" in mismatch(SignedIdentity(kind), parse_reference("x"), name)
