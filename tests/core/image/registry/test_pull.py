"""What is pulled is whole and what it says it is, whatever the registry does."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import pytest
from images import INDEX, MANIFEST, descriptor, document, machine_platform
from stub_registry import LAYER, OTHER, QUICK, about, once

from prun.errors import DataLoss, InvalidArgument, NotFound, PrunError, ResourceExhausted, Unavailable
from prun.image.manifest import open_manifest, resolve
from prun.image.platform import host_platform
from prun.image.registry.pull import pull

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

    from stub_registry import Handler, Stub

    from prun.image.layout import ContentStore
    from prun.image.registry.client import Registry
    from prun.image.registry.progress import Progress
    from prun.types import Image

    Client = Callable[..., Registry]

SIX = [
    {"os": "linux", "architecture": "amd64"},
    {"os": "linux", "architecture": "arm64"},
    {"os": "linux", "architecture": "arm", "variant": "v7"},
    {"os": "linux", "architecture": "ppc64le"},
    {"os": "linux", "architecture": "s390x"},
    {"os": "windows", "architecture": "amd64"},
]


def fetch(registry: Registry, store: ContentStore, reference: str = "1", **more: Any) -> dict[str, Any]:
    """Pull for this machine, as the engine does but for the name."""
    with store.ingesting() as ingest:
        target = pull(registry, reference, ingest, more.get("platform", host_platform()), more.get("unpack"))
    return dict(target)


def blobs_asked(stub: Stub) -> list[str]:
    return [path for path in stub.paths() if "/blobs/" in path]


def is_whole(store: ContentStore, target: dict[str, Any]) -> bool:
    """Every blob that the image needs is there, and is what its digest says."""
    image = resolve(store, target, host_platform(), "image")  # type: ignore[arg-type]
    return all(store.read(layer.digest, 1 << 30) for layer in image.layers)


def nothing_is_stored(store: ContentStore) -> bool:
    return not list(store.digests())


def test_an_image_is_fetched_once(stub: Stub, store: ContentStore, client: Client, news: list[Progress]) -> None:
    manifest = stub.put_image("1", [LAYER, OTHER])
    target = fetch(client(stub), store)
    assert target == {key: manifest[key] for key in ("mediaType", "digest", "size")}
    assert is_whole(store, target)
    assert len(blobs_asked(stub)) == 3
    assert {each.status for each in news} == {"downloading", "downloaded"}
    stub.asked.clear()
    news.clear()
    assert fetch(client(stub), store) == target
    assert blobs_asked(stub) == []
    assert [each.status for each in news] == ["exists", "exists"]


def test_a_digest_and_a_layer_that_is_there_twice(stub: Stub, store: ContentStore, client: Client) -> None:
    manifest = stub.put_image("1", [LAYER, LAYER])
    assert is_whole(store, fetch(client(stub), store, manifest["digest"]))
    assert len(blobs_asked(stub)) == 2


def test_of_an_index_one_platform_is_fetched(stub: Stub, store: ContentStore, client: Client) -> None:
    entries = [
        {**stub.put_image(f"p{number}", [LAYER + bytes(512 * number)], platform), "platform": platform}
        for number, platform in enumerate(SIX)
    ]
    stub.put_index("1", entries)
    target = fetch(client(stub), store)
    assert target["mediaType"] == INDEX
    assert is_whole(store, target)
    assert len(blobs_asked(stub)) == 2
    other = fetch(client(stub), store, platform=host_platform()._replace(os="windows", architecture="amd64"))
    assert other == target
    assert sum(store.has(entry["digest"]) for entry in entries) == 2


def test_of_an_index_all_platforms_are_fetched(stub: Stub, store: ContentStore, client: Client) -> None:
    entries = [
        {**stub.put_image(f"p{number}", [LAYER + bytes(512 * number)], platform), "platform": platform}
        for number, platform in enumerate(SIX)
    ]
    stub.put_index("1", entries)
    fetch(client(stub), store, platform=None)
    for entry in entries:
        for layer in open_manifest(store, entry).manifest["layers"]:  # type: ignore[arg-type]
            assert store.has(layer["digest"])


def test_a_platform_that_is_not_there_is_named(stub: Stub, store: ContentStore, client: Client) -> None:
    stub.put_index("1", [{**stub.put_image("p", [LAYER], SIX[4]), "platform": SIX[4]}])
    with pytest.raises(NotFound, match="no manifest for") as caught:
        fetch(client(stub), store)
    assert "linux/s390x" in caught.value.hint
    assert nothing_is_stored(store)


def test_what_is_not_there_is_not_found(stub: Stub, store: ContentStore, client: Client) -> None:
    with pytest.raises(NotFound, match="nothing of that name"):
        fetch(client(stub), store)


@pytest.mark.parametrize("where", ["layer", "config", "manifest"])
def test_a_wrong_digest_is_refused(stub: Stub, store: ContentStore, client: Client, where: str) -> None:
    manifest = stub.put_image("1", [LAYER])
    parts = json.loads(stub.manifests["1"][1])
    digest = {"layer": parts["layers"][0]["digest"], "config": parts["config"]["digest"], "manifest": ""}[where]
    if digest:
        stub.blobs[digest] = stub.blobs[digest][:-1] + b"!"
    else:
        media_type, data = stub.manifests["1"]
        stub.manifests[manifest["digest"]] = (media_type, data + b" ")
    with pytest.raises(DataLoss):
        fetch(client(stub), store, "1" if digest else manifest["digest"])
    assert not store.has(manifest["digest"])
    assert not digest or not store.has(digest)


@pytest.mark.parametrize("stated", ["sha256:" + "0" * 64, "sha256:../../etc/passwd", "md5:0"])
def test_a_digest_header_that_is_not_true_is_refused(
    stub: Stub, store: ContentStore, client: Client, stated: str
) -> None:
    stub.put_image("1", [LAYER])
    media_type, data = stub.manifests["1"]
    lie = lambda asked: asked.answer(200, data, {"Content-Type": media_type, "Docker-Content-Digest": stated})  # noqa: E731
    stub.lies.append(about("/manifests/", lie))
    with pytest.raises(DataLoss):
        fetch(client(stub), store)


def test_a_longer_blob_is_refused(stub: Stub, store: ContentStore, client: Client) -> None:
    stub.put_image("1", [LAYER])
    digest = json.loads(stub.manifests["1"][1])["layers"][0]["digest"]
    stub.blobs[digest] += b"more"
    with pytest.raises(DataLoss, match="bytes"):
        fetch(client(stub), store)
    assert not store.has(digest)


AMBIGUOUS: dict[str, Callable[[dict[str, Any]], None]] = {
    "index and manifest": lambda made: made.update(manifests=[]),
    "schema 1": lambda made: made.update(fsLayers=[]),
    "another media type": lambda made: made.update(mediaType=INDEX),
    "no version": lambda made: made.pop("schemaVersion"),
}


@pytest.mark.parametrize("how", AMBIGUOUS)
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_an_ambiguous_document_is_refused(stub: Stub, store: ContentStore, client: Client, how: str, by: str) -> None:
    stub.put_image("1", [LAYER])
    made = json.loads(stub.manifests["1"][1])
    AMBIGUOUS[how](made)
    found = stub.put("1", MANIFEST, document(made))
    with pytest.raises(InvalidArgument):
        fetch(client(stub), store, "1" if by == "tag" else found["digest"])
    assert nothing_is_stored(store)


@pytest.mark.parametrize(
    "media_type", ["text/html", "", "application/vnd.docker.distribution.manifest.v1+prettyjws", INDEX]
)
def test_a_document_of_another_content_type_is_refused(
    stub: Stub, store: ContentStore, client: Client, media_type: str
) -> None:
    stub.put_image("1", [LAYER])
    stub.manifests["1"] = (media_type, stub.manifests["1"][1])
    with pytest.raises(InvalidArgument):
        fetch(client(stub), store)


def test_a_manifest_of_more_than_4_mib_is_refused(stub: Stub, store: ContentStore, client: Client) -> None:
    stub.put("1", MANIFEST, b" " * ((4 << 20) + 1))
    with pytest.raises(ResourceExhausted, match="longer than 4194304"):
        fetch(client(stub), store)


def test_json_without_an_end_is_read_up_to_the_limit(stub: Stub, store: ContentStore, client: Client) -> None:
    sent = []

    def endless(asked: Handler) -> bool:
        asked.send_response(200)
        asked.send_header("Content-Type", MANIFEST)
        asked.send_header("Connection", "close")
        asked.end_headers()
        asked.close_connection = True
        while True:
            asked.wfile.write(b"[" * 65536)
            sent.append(65536)

    stub.lies.append(about("/manifests/", endless))
    with pytest.raises(ResourceExhausted):
        fetch(client(stub), store)
    time.sleep(0.05)
    assert sum(sent) < 32 << 20


def test_an_index_in_itself_and_one_too_deep(stub: Stub, store: ContentStore, client: Client) -> None:
    below = stub.put_index("d", [{**stub.put_image("p", [LAYER]), "platform": machine_platform()}])
    for name in ("c", "b", "1"):
        below = stub.put_index(name, [below])
    with pytest.raises(ResourceExhausted, match="one too many"):
        fetch(client(stub), store)


def test_a_truncated_body_is_gone_on_with(
    stub: Stub, store: ContentStore, client: Client, news: list[Progress]
) -> None:
    stub.put_image("1", [OTHER], compression="none")
    digest = descriptor("", OTHER)["digest"]
    stub.lies.append(once(digest, lambda asked: asked.break_off(200, OTHER[:300_000], len(OTHER))))
    target = fetch(client(stub), store)
    assert is_whole(store, target)
    assert stub.headers("Range") == ["bytes=300000-"]
    assert [each.status for each in news if each.status == "retrying"] == ["retrying"]


def test_a_registry_without_ranges_starts_again(stub: Stub, store: ContentStore, client: Client) -> None:
    stub.put_image("1", [OTHER], compression="none")
    about_it = "/blobs/" + descriptor("", OTHER)["digest"]
    stub.lies += [
        once(about_it, lambda asked: asked.break_off(200, OTHER[:300_000], len(OTHER))),
        about(about_it, lambda asked: asked.answer(200, OTHER)),
    ]
    assert is_whole(store, fetch(client(stub), store))


@pytest.mark.parametrize("stated", ["bytes 0-9/10", "bytes 5-9/10", "", "nonsense"])
def test_a_range_that_was_not_asked_for_is_not_taken(
    stub: Stub, store: ContentStore, client: Client, stated: str
) -> None:
    stub.put_image("1", [OTHER], compression="none")
    about_it = "/blobs/" + descriptor("", OTHER)["digest"]
    stub.lies += [
        once(about_it, lambda asked: asked.break_off(200, OTHER[:300_000], len(OTHER))),
        once(about_it, lambda asked: asked.answer(206, OTHER[300_000:], {"Content-Range": stated})),
    ]
    assert is_whole(store, fetch(client(stub), store))


def test_a_body_that_never_gets_longer_is_given_up_and_kept(stub: Stub, store: ContentStore, client: Client) -> None:
    stub.put_image("1", [OTHER], compression="none")
    digest = descriptor("", OTHER)["digest"]

    def halt(asked: Handler) -> bool:
        start = 300_000 if "Range" in asked.headers else 0
        stated = {"Content-Range": f"bytes {start}-{len(OTHER) - 1}/{len(OTHER)}"}
        return asked.break_off(206 if start else 200, OTHER[start:300_000], len(OTHER) - start, stated)

    stub.lies.append(about(digest, halt))
    with pytest.raises(Unavailable):
        fetch(client(stub), store)
    assert not store.has(digest)
    stub.lies.clear()
    stub.asked.clear()
    assert is_whole(store, fetch(client(stub), store))
    assert stub.headers("Range") == ["bytes=300000-"]


@pytest.mark.parametrize("pause", [0.6, 0.05])
def test_a_slow_body_is_a_broken_one(stub: Stub, store: ContentStore, client: Client, pause: float) -> None:
    stub.put_image("1", [OTHER], compression="none")

    def slowly(asked: Handler) -> bool:
        asked.send_response(200)
        asked.send_header("Content-Length", str(len(OTHER)))
        asked.end_headers()
        for at in range(20):
            asked.wfile.write(OTHER[at : at + 1])
            time.sleep(pause)
        asked.close_connection = True
        return True

    stub.lies.append(once("/blobs/" + descriptor("", OTHER)["digest"], slowly))
    assert is_whole(store, fetch(client(stub), store))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("what", ["/manifests/", "/blobs/"])
def test_a_busy_registry_is_asked_again_when_it_says(
    stub: Stub, store: ContentStore, client: Client, status: int, what: str
) -> None:
    stub.put_image("1", [LAYER])
    stub.lies.append(once(what, lambda asked: asked.answer(status, b"", {"Retry-After": "1"})))
    before = time.monotonic()
    assert is_whole(store, fetch(client(stub), store))
    assert 1.0 <= time.monotonic() - before < 5


def test_a_registry_that_asks_for_an_hour_is_not_waited_for(stub: Stub, store: ContentStore, client: Client) -> None:
    stub.put_image("1", [LAYER])
    stub.lies.append(lambda asked: asked.answer(429, b"", {"Retry-After": "3600"}))
    before = time.monotonic()
    with pytest.raises(Unavailable, match="429") as caught:
        fetch(client(stub), store)
    assert "3600 seconds" in caught.value.hint
    assert time.monotonic() - before < 1


def test_the_urls_of_foreign_layers_are_never_asked(stub: Stub, store: ContentStore, client: Client) -> None:
    stub.put_image("1", [LAYER])
    made = json.loads(stub.manifests["1"][1])
    made["layers"][0]["urls"] = [f"http://{stub.netloc}/foreign"]
    made["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    stub.put("1", MANIFEST, document(made))
    assert is_whole(store, fetch(client(stub), store))
    del stub.blobs[made["layers"][0]["digest"]]
    store.delete(made["layers"][0]["digest"])
    with pytest.raises(NotFound):
        fetch(client(stub), store)
    assert "/foreign" not in stub.paths()


def test_a_layer_is_read_while_it_arrives(stub: Stub, store: ContentStore, client: Client) -> None:
    stub.put_image("1", [OTHER], compression="none")
    half, seen = threading.Event(), threading.Event()

    def in_halves(asked: Handler) -> bool:
        asked.send_response(200)
        asked.send_header("Content-Length", str(len(OTHER)))
        asked.end_headers()
        asked.wfile.write(OTHER[:500_000])
        half.set()
        assert seen.wait(10)
        asked.wfile.write(OTHER[500_000:])
        return True

    stub.lies.append(about("/blobs/" + descriptor("", OTHER)["digest"], in_halves))
    read = []

    def unpack(image: Image, open_blob: Callable[[str], BinaryIO]) -> None:
        with open_blob(image.layers[0].digest) as blob:
            read.append(blob.read(400_000))
            assert not store.has(image.layers[0].digest)
            seen.set()
            read.append(blob.read())

    fetch(client(stub, patience=QUICK._replace(silence_s=5, slow_s=5)), store, unpack=unpack)
    assert b"".join(read) == OTHER


def test_who_unpacks_gets_no_end_of_a_wrong_layer(stub: Stub, store: ContentStore, client: Client) -> None:
    stub.put_image("1", [OTHER], compression="none")
    digest = descriptor("", OTHER)["digest"]
    stub.blobs[digest] = OTHER[:-1] + b"?"
    ended = []

    def unpack(image: Image, open_blob: Callable[[str], BinaryIO]) -> None:
        with open_blob(image.layers[0].digest) as blob:
            while blob.read(65536):
                pass
            ended.append(True)

    with pytest.raises(DataLoss):
        fetch(client(stub), store, unpack=unpack)
    assert ended == []


def test_one_layer_that_fails_ends_the_others(stub: Stub, store: ContentStore, client: Client) -> None:
    layers = [LAYER, OTHER]
    stub.put_image("1", layers, compression="none")
    stub.blobs[descriptor("", LAYER)["digest"]] = b"wrong"
    stub.lies.append(about("/blobs/" + descriptor("", OTHER)["digest"], lambda asked: bool(time.sleep(20))))
    before = time.monotonic()
    with pytest.raises(PrunError):
        fetch(client(stub, patience=QUICK._replace(silence_s=30)), store)
    assert time.monotonic() - before < 5
