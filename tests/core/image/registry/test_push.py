"""An upload that breaks off is gone on with where the registry says that it stands, or begun anew."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from images import put_image
from stub_registry import OTHER, once
from stub_uploads import Uploads

from prun.errors import PermissionDenied, Unavailable
from prun.image.registry.push import push

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from stub_registry import Handler, Stub

    from prun.image.layout import ContentStore
    from prun.image.registry.client import Registry
    from prun.image.registry.progress import Progress

    Client = Callable[..., Registry]

SIZE = len(OTHER)


@pytest.fixture
def target(store: ContentStore) -> dict[str, Any]:
    """An image of one layer of a megabyte."""
    return put_image(store.path, [OTHER], {}, "none")


def send(registry: Registry, store: ContentStore, target: dict[str, Any]) -> None:
    push(registry, "1", store, target, {})  # type: ignore[arg-type]


def is_there(stub: Stub, target: dict[str, Any]) -> bool:
    return target["digest"] in stub.manifests and OTHER in stub.blobs.values()


def layer_bytes(uploads: Uploads) -> int:
    """How much was sent without the config, which has less than a kilobyte."""
    return uploads.received_bytes // 1000


def offsets(uploads: Uploads) -> list[str]:
    return [each.partition("-")[0] for each in uploads.ranges if each]


def test_what_has_come_is_not_sent_again(
    stub: Stub, store: ContentStore, client: Client, target: dict[str, Any], news: list[Progress]
) -> None:
    uploads = Uploads(stub, (300_000, 200_000))
    send(client(stub), store, target)
    assert is_there(stub, target)
    assert layer_bytes(uploads) == SIZE // 1000
    assert offsets(uploads) == ["300000", "500000"]
    assert [each.status for each in news].count("retrying") == 2
    assert "uploaded" in [each.status for each in news]


def test_it_is_gone_on_with_as_often_as_that_brings_something(
    stub: Stub, store: ContentStore, client: Client, target: dict[str, Any]
) -> None:
    uploads = Uploads(stub, (100_000,) * 9)  # three in a row that bring nothing would be the end
    send(client(stub), store, target)
    assert is_there(stub, target)
    assert offsets(uploads) == [f"{number}00000" for number in range(1, 10)]


def test_an_answer_that_was_lost_is_not_sent_for_again(
    stub: Stub, store: ContentStore, client: Client, target: dict[str, Any]
) -> None:
    """All of it has come, and a proxy says 502: what is missing is the last word."""
    uploads = Uploads(stub, (-502,))
    send(client(stub), store, target)
    assert is_there(stub, target)
    assert layer_bytes(uploads) == SIZE // 1000


def test_a_blob_that_is_there_after_all_is_not_sent_again(
    stub: Stub, store: ContentStore, client: Client, target: dict[str, Any], news: list[Progress]
) -> None:
    def finish(asked: Handler) -> bool:
        uploads.sessions.clear()
        stub.blobs.update({each: store.read(each, 1 << 30) for each in store.digests()})
        return asked.answer(404)

    uploads = Uploads(stub, (-504,))
    stub.lies.insert(0, lambda asked: asked.command == "GET" and "/uploads/" in asked.path and finish(asked))
    send(client(stub), store, target)
    assert layer_bytes(uploads) == SIZE // 1000
    assert "exists" in [each.status for each in news]


def _gone(uploads: Uploads, asked: Handler) -> bool:
    uploads.sessions.clear()
    return asked.answer(404)


LIES = {
    "gone": _gone,
    "nothing": lambda uploads, asked: asked.answer(204, b"", {"Range": "0-0"}),
    "more than there is": lambda uploads, asked: asked.answer(204, b"", {"Range": f"0-{SIZE}"}),
    "nonsense": lambda uploads, asked: asked.answer(204, b"", {"Range": "0-" + "9" * 5000}),
    "not from the start": lambda uploads, asked: asked.answer(204, b"", {"Range": "5-99999"}),
    "no word": lambda uploads, asked: asked.answer(200, b"{}"),
    "less": lambda uploads, asked: asked.answer(204, b"", {"Range": "0-4999"}),  # then it does not take the rest
    "somebody may not ask": lambda uploads, asked: asked.answer(403),
}


@pytest.mark.parametrize("lie", LIES)
def test_it_is_begun_anew_where_the_registry_does_not_go_on(
    stub: Stub, store: ContentStore, client: Client, target: dict[str, Any], lie: str
) -> None:
    uploads = Uploads(stub, (300_000,))
    stub.lies.insert(
        0, lambda asked: asked.command == "GET" and "/uploads/" in asked.path and LIES[lie](uploads, asked)
    )
    send(client(stub), store, target)
    assert is_there(stub, target)
    assert layer_bytes(uploads) == (SIZE + 300_000) // 1000


def test_other_bytes_than_it_had_said_are_begun_anew_and_no_wrong_blob_is_made(
    stub: Stub, store: ContentStore, client: Client, target: dict[str, Any]
) -> None:
    def spoil(asked: Handler) -> bool:
        if asked.command == "GET" and "/uploads/" in asked.path:
            for session in uploads.sessions.values():
                session[:3] = b"???"
        return False

    uploads = Uploads(stub, (300_000,))
    stub.lies.insert(0, spoil)
    send(client(stub), store, target)
    assert is_there(stub, target)
    assert all(store.has(digest) for digest in stub.blobs)


def test_a_registry_that_always_breaks_off_is_given_up(
    stub: Stub, store: ContentStore, client: Client, target: dict[str, Any]
) -> None:
    Uploads(stub, (10,) * 50)
    with pytest.raises(Unavailable, match="broke off"):
        send(client(stub), store, target)
    assert stub.manifests == {}


def test_the_place_to_go_on_is_none_of_this_machine(
    stub: Stub, store: ContentStore, client: Client, target: dict[str, Any]
) -> None:
    Uploads(stub, (300_000,))
    stub.lies.insert(
        0,
        lambda asked: (
            asked.command == "GET"
            and "/uploads/" in asked.path
            and asked.answer(204, b"", {"Range": "0-299999", "Location": "file:///etc/passwd"})
        ),
    )
    with pytest.raises(PermissionDenied, match="none of its business"):
        send(client(stub), store, target)


def test_a_busy_registry_is_sent_to_when_it_says(
    stub: Stub, store: ContentStore, client: Client, target: dict[str, Any]
) -> None:
    Uploads(stub)
    stub.lies.insert(0, once("/blobs/uploads/", lambda asked: asked.answer(429, b"", {"Retry-After": "1"})))
    before = time.monotonic()
    send(client(stub), store, target)
    assert is_there(stub, target)
    assert 1.0 <= time.monotonic() - before < 5
