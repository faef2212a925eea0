from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from images import CONFIG, MANIFEST, busybox_layout, digest

from prun.errors import DataLoss, InvalidArgument, NotFound, PrunError, ResourceExhausted, Unavailable
from prun.image.archive import loading
from prun.image.layout import ContentStore
from prun.image.source import parse_source

DATA = b"a blob"
BLOB = {"mediaType": CONFIG, "digest": digest(DATA), "size": len(DATA)}


@pytest.fixture
def store(tmp_path):
    return ContentStore(str(tmp_path / "content"))


def test_a_store_is_not_made_before_the_first_write(store):
    assert not store.has(BLOB["digest"])
    assert list(store.digests()) == []
    assert store.leftovers() == store.clear_leftovers() == []
    store.delete(BLOB["digest"])
    with pytest.raises(NotFound):
        store.open(BLOB["digest"])
    assert not os.path.lexists(store.path)


def test_a_blob_that_was_put_is_there(store):
    assert store.put(DATA, CONFIG) == BLOB
    assert store.has(BLOB["digest"])
    assert store.size(BLOB["digest"]) == len(DATA)
    assert store.read(BLOB["digest"], 100) == DATA
    with store.open(BLOB["digest"]) as blob:
        assert blob.read() == DATA
    assert list(store.digests()) == [BLOB["digest"]]


def test_a_blob_that_was_deleted_is_gone_and_may_be_deleted_again(store):
    store.put(DATA, CONFIG)
    store.delete(BLOB["digest"])
    store.delete(BLOB["digest"])
    assert not store.has(BLOB["digest"])


@pytest.mark.parametrize("call", ["has", "size", "open", "delete", "blob_path"])
def test_a_digest_never_becomes_a_path_unchecked(store, call):
    with pytest.raises(InvalidArgument):
        getattr(store, call)("sha256:../../oci-layout")


def test_a_blob_that_is_not_there_is_not_found(store):
    store.put(b"other", CONFIG)
    for call in (store.size, store.open, lambda name: store.read(name, 1)):
        with pytest.raises(NotFound, match=BLOB["digest"]):
            call(BLOB["digest"])


def test_a_blob_is_read_up_to_a_limit(store):
    store.put(DATA, CONFIG)
    assert store.read(BLOB["digest"], len(DATA)) == DATA
    with pytest.raises(ResourceExhausted):
        store.read(BLOB["digest"], len(DATA) - 1)


def test_a_damaged_blob_is_noticed_when_it_is_read(store):
    store.put(DATA, CONFIG)
    path = Path(store.blob_path(BLOB["digest"]))
    path.chmod(0o600)
    path.write_bytes(b"b blob")
    with pytest.raises(DataLoss, match="damaged"):
        store.read(BLOB["digest"], 100)


def test_a_blob_may_have_a_sha512_digest(store):
    name = "sha512:" + hashlib.sha512(DATA).hexdigest()
    with store.ingest({"mediaType": CONFIG, "digest": name, "size": len(DATA)}) as writer:
        writer.write(DATA)
    assert store.read(name, 100) == DATA
    assert list(store.digests()) == [name]


def test_everything_is_private_whatever_the_umask(store):
    for mask in (0o777, 0o000, 0o077):
        previous = os.umask(mask)
        try:
            store.put(str(mask).encode(), CONFIG)
        finally:
            os.umask(previous)
    for directory, _, names in os.walk(store.path):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
        for name in names:
            mode = stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode)
            assert mode == (0o444 if "blobs" in directory else 0o600)


@pytest.mark.parametrize(
    ("written", "expected", "reason"),
    [
        (b"another", {}, "longer"),
        (b"short", {}, "5 bytes"),
        (b"A blob", {}, "has the digest"),
        (DATA, {"size": 7}, "6 bytes"),
        (DATA, {"digest": digest(b"x")}, "has the digest"),
        (b"", {}, "0 bytes"),
    ],
)
def test_what_is_not_as_announced_never_appears(store, written, expected, reason):
    announced = {**BLOB, **expected}
    with pytest.raises(DataLoss, match=reason), store.ingest(announced) as writer:
        writer.write(written)
    assert not store.has(announced["digest"])
    assert os.listdir(f"{store.path}/ingest") == []


def test_a_writer_that_fails_leaves_nothing(store):
    def fail():
        with store.ingest(BLOB) as writer:
            writer.write(DATA)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not store.has(BLOB["digest"])
    assert os.listdir(f"{store.path}/ingest") == []


def test_an_oversized_blob_is_stopped_at_once(store):
    with pytest.raises(DataLoss), store.ingest(BLOB) as writer:
        writer.write(b"x" * 1000)


def test_a_blob_larger_than_the_disk_is_refused_before_it_is_written(store):
    with pytest.raises(ResourceExhausted, match="does not fit"), store.ingest({**BLOB, "size": 1 << 60}):
        pass


def test_an_empty_blob_can_be_stored(store):
    assert store.put(b"", CONFIG)["size"] == 0
    assert store.read(digest(b""), 0) == b""


def test_a_blob_of_many_writes_that_the_disk_takes_meanwhile_is_whole(store):
    chunk = os.urandom(1 << 20)
    data = chunk * 70
    with store.ingest({"mediaType": CONFIG, "digest": digest(data), "size": len(data)}) as writer:
        for _ in range(70):
            writer.write(chunk)
    with store.open(digest(data)) as blob:
        assert hashlib.sha256(blob.read()).hexdigest() == digest(data)[7:]


def test_two_writers_of_one_blob_both_succeed(store):
    with store.ingest(BLOB) as one, store.ingest(BLOB) as two:
        one.write(DATA)
        two.write(DATA)
    assert list(store.digests()) == [BLOB["digest"]]
    assert store.read(BLOB["digest"], 100) == DATA


def test_many_threads_make_one_store(store):
    errors = []

    def put():
        try:
            for number in range(20):
                store.put(b"%d" % number, CONFIG)
        except BaseException as error:  # noqa: BLE001  it is reported below
            errors.append(error)

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(list(store.digests())) == 20
    assert os.listdir(f"{store.path}/ingest") == []


def test_blobs_of_one_ingest_appear_at_its_commit_and_those_not_named_do_not(store):
    with store.ingesting() as ingest:
        one, two = ingest.put(b"one", CONFIG), ingest.put(b"two", CONFIG)
        assert not store.has(one["digest"])
        with ingest.open(one["digest"]) as blob:
            assert blob.read() == b"one"
        ingest.commit([one["digest"], digest(b"never written")])
    assert store.has(one["digest"])
    assert not store.has(two["digest"])


def test_a_damaged_blob_is_replaced_by_a_good_one(store):
    store.put(DATA, CONFIG)
    os.chmod(store.blob_path(BLOB["digest"]), 0o600)
    os.truncate(store.blob_path(BLOB["digest"]), 1)
    store.put(DATA, CONFIG)
    assert store.read(BLOB["digest"], 100) == DATA


DYING_WRITER = """
import os, sys
from prun.image.layout import ContentStore
with ContentStore(sys.argv[1]).ingest({"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": 100}) as writer:
    writer.write(b"half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_writer_left_is_found_and_cleared_and_a_live_ones_is_not(store):
    writer = subprocess.Popen(
        [sys.executable, "-c", DYING_WRITER, store.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "ready\n"
    assert store.leftovers() == store.clear_leftovers() == []
    writer.kill()
    writer.communicate()
    left = store.leftovers()
    assert [os.path.dirname(path) for path in left] == [f"{store.path}/ingest"]
    with store.ingest(BLOB) as live:
        live.write(DATA)
        assert store.clear_leftovers() == left
    assert store.leftovers() == os.listdir(f"{store.path}/ingest") == []
    assert list(store.digests()) == [BLOB["digest"]]


def test_strangers_in_the_store_are_no_blobs_and_those_in_ingest_are_cleared(store):
    store.put(DATA, CONFIG)
    Path(store.path, "blobs", "sha256", "README").touch()
    Path(store.path, "blobs", "notes").touch()
    Path(store.path, "ingest", "file").touch()
    assert list(store.digests()) == [BLOB["digest"]]
    assert store.clear_leftovers() == [f"{store.path}/ingest/file"]


def test_a_store_below_a_file_is_an_error_of_ours(tmp_path):
    tmp_path.joinpath("file").touch()
    with pytest.raises(PrunError, match="content store"):
        ContentStore(str(tmp_path / "file" / "content")).put(DATA, CONFIG)


@pytest.fixture
def small_disk(tmp_path):
    mounted = tmp_path / "small"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mounted], check=True)
    yield mounted
    subprocess.run(["umount", mounted], check=True)


@pytest.mark.root
def test_a_disk_that_runs_full_is_an_error_that_leaves_nothing(small_disk):
    store = ContentStore(str(small_disk / "content"))
    data = os.urandom(3 << 20)
    with pytest.raises(ResourceExhausted, match="does not fit"):
        store.put(data, CONFIG)
    full = pytest.raises(ResourceExhausted, match="No space left")
    with full, store.ingesting() as ingest, ingest.writer({"mediaType": CONFIG}) as writer:
        writer.write(data)
    assert list(store.digests()) == os.listdir(f"{store.path}/ingest") == []
    assert store.has(store.put(data[: 1 << 20], CONFIG)["digest"])


def test_a_cancelled_ingest_writes_no_more(store):
    with store.ingesting() as ingest:
        ingest.cancel()
        with pytest.raises(Unavailable, match="cancelled"):
            ingest.put(DATA, CONFIG)


# as an OCI image layout


def test_a_store_is_a_valid_layout_from_the_first_blob(store):
    store.put(DATA, CONFIG)
    assert json.loads(Path(store.path, "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(Path(store.path, "index.json").read_bytes())
    assert (index["schemaVersion"], index["manifests"]) == (2, [])


def test_a_new_blob_leaves_the_index_as_it_is(store):
    target = store.put(b"{}", MANIFEST)
    store.write_index([("docker.io/library/x:latest", target)])
    before = Path(store.path, "index.json").read_bytes()
    store.put(b"more", CONFIG)
    assert Path(store.path, "index.json").read_bytes() == before


def test_the_index_is_read_under_a_lock_so_that_no_older_state_wins(store):
    store.put(DATA, CONFIG)
    names = ["a"]
    started = threading.Event()

    def known():
        yield from [(name, BLOB) for name in names]

    def late():
        started.set()
        store.write_index(known())

    def early():
        thread.start()
        started.wait()
        yield from known()
        names.append("b")  # what is known after this one has read, the other one must see

    thread = threading.Thread(target=late)
    store.write_index(early())
    thread.join()
    index = json.loads(Path(store.path, "index.json").read_bytes())
    assert len(index["manifests"]) == 2


@pytest.mark.parametrize("name", ["docker.io/library/busybox:latest", "localhost:5000/a/b:c"])
def test_skopeo_reads_an_image_out_of_the_store(tmp_path, store, name):
    busybox_layout(tmp_path / "image")
    with loading(parse_source(f"oci:{tmp_path}/image:busybox"), store) as (loaded,):
        pass
    store.write_index([(name, loaded.target)])
    found = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{store.path}:{name}"], capture_output=True, check=True
    ).stdout
    assert digest(found) == loaded.target["digest"]
    subprocess.run(
        ["skopeo", "copy", "-q", f"oci:{store.path}:{name}", f"oci:{tmp_path}/copy:x"], check=True, capture_output=True
    )


def test_umoci_reads_an_image_out_of_the_store(tmp_path, store):
    busybox_layout(tmp_path / "image")
    with loading(parse_source(f"oci:{tmp_path}/image:busybox"), store) as (loaded,):
        pass
    store.write_index([("busybox", loaded.target)])
    out = subprocess.run(
        ["umoci", "stat", "--json", "--image", f"{store.path}:busybox"], capture_output=True, check=True
    ).stdout
    assert json.loads(out)
